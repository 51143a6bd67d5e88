//! Lists of sources with a million prefixes: reading them, compiling them, and what a look-up costs of one client after the other
//! and of clients who come in no order, as new flows do.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]

mod thread_time;

use std::{fmt::Write, fs, hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use datapath::snapshot::{Network, Sources};
use ipnet::IpNet;
use model::Address;
use thread_time::ThreadTime;

const PREFIXES: [u32; 3] = [1_000, 100_000, 1_000_000];
/// Clients that are asked for one after the other, so that one that was is forgotten by the caches before it comes again.
const CLIENTS: u32 = 1 << 20;

/// Knuth 6.4: numbers all over the place.
const fn spread(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1)
}

/// Prefixes of 20 to 32 bits.
fn prefixes(count: u32) -> Vec<IpNet> {
    let prefix = |number: u32| {
        let address = std::net::Ipv4Addr::from(spread(number));
        IpNet::new(address.into(), 20 + (number % 13) as u8).unwrap().trunc()
    };
    (0..count).map(prefix).collect()
}

fn wide_prefixes(count: u32) -> Vec<IpNet> {
    let prefix = |number: u32| {
        let address = std::net::Ipv6Addr::from(0x2001_u128 << 112 | u128::from(spread(number)) << 72);
        IpNet::new(address.into(), 40 + (number % 25) as u8).unwrap().trunc()
    };
    (0..count).map(prefix).collect()
}

fn compiled(denied: &[IpNet]) -> Sources {
    let networks: Vec<_> =
        denied.iter().map(|net| Network::new(net.addr().into(), net.prefix_len())).collect();
    Sources::new(&[], &networks)
}

fn load(criterion: &mut Criterion<ThreadTime>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.yaml");
    fs::write(
        &path,
        "version: 1
ports: [{ name: a, device: net_null0, addresses: [192.0.2.2/24] }]
pools: [{ name: p, backends: [{ address: '192.0.2.9:80' }] }]
virtual_servers: [{ name: v, address: 198.51.100.1, port: 80, protocol: tcp, mode: nat, pool: p, sources: { deny_file: deny.txt } }]
",
    )
    .unwrap();
    let mut group = criterion.benchmark_group("sources/load");
    group.sample_size(10);
    for count in PREFIXES {
        let list = prefixes(count);
        let mut text = String::new();
        list.iter().for_each(|prefix| writeln!(text, "{prefix}").unwrap());
        fs::write(folder.path().join("deny.txt"), text).unwrap();
        group.bench_function(BenchmarkId::new("read", count), |bencher| {
            bencher.iter(|| config::read(&path).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("compile", count), &list, |bencher, list| {
            bencher.iter(|| compiled(list));
        });
    }
    group.finish();
}

fn look_up(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("sources/look up");
    for count in PREFIXES {
        let (v4, v6) = (Arc::new(compiled(&prefixes(count))), Arc::new(compiled(&wide_prefixes(count))));
        let mut client = 0_u32;
        let mut next = move || {
            client = (client + 1) % CLIENTS;
            spread(client.wrapping_add(77))
        };
        group.bench_function(BenchmarkId::new("ipv4", count), |bencher| {
            bencher.iter(|| black_box(v4.permit_v4(next().to_be_bytes())));
        });
        group.bench_function(BenchmarkId::new("ipv6", count), |bencher| {
            bencher.iter(|| {
                let address = 0x2001_u128 << 112 | u128::from(next()) << 72;
                black_box(v6.permit(Address::from_v6(address.to_be_bytes())))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = thread_time::criterion();
    targets = load, look_up
}
criterion_main!(benches);
