//! The flow table: hashing and looking up bursts of 32 keys, in tables that fit into the caches and that do not.

mod thread_time;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow::{Candidate, Flow, FlowKey, FlowState, FlowTable, HashKey, Place, Repair, Way};
use model::{Address, BackendId, MacAddress, Mode, PortId, VirtualServerId};
use thread_time::ThreadTime;

const BURST: usize = 32;
const FLOWS: [u32; 3] = [4_096, 65_536, 1_048_576];

/// The key of client `number`.
fn key(number: u32, v6: bool) -> FlowKey {
    let [a, b, c, d] = number.to_be_bytes();
    let source = if v6 {
        Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, a, b, c, d])
    } else {
        Address::from_v4([10, b, c, d])
    };
    let destination = if v6 {
        Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    } else {
        Address::from_v4([198, 51, 100, 1])
    };
    FlowKey {
        source,
        destination,
        source_port: 40_000,
        destination_port: 80,
        protocol: 6,
        ..FlowKey::default()
    }
}

fn flow(number: u32) -> Flow {
    let client = key(number, false);
    let reply = FlowKey { source: Address::from_v4([192, 0, 2, 11]), source_port: 9000, ..client.reversed() };
    Flow {
        client,
        reply,
        last_seen: 0,
        checked: 0,
        backend: BackendId(0),
        neighbour: 0,
        to_backend: Repair::default(),
        state: FlowState::Established,
        mode: Mode::Nat,
        marks: 0,
        client_port: PortId(0),
        virtual_server: VirtualServerId(0),
        created: 0,
        client_mac: MacAddress::default(),
        incarnation: 0,
    }
}

/// A table of so many flows.
fn table(flows: u32) -> FlowTable {
    let mut table = FlowTable::with_capacity(flows as usize, HashKey::from_seed([7; 16], 0));
    for number in 0..flows {
        assert!(table.insert(&flow(number)).is_ok(), "a table takes as many flows as it says");
    }
    table
}

/// The keys of clients `first` to `first + flows`, in an order that no prefetcher sees through.
fn shuffled(first: u32, flows: u32) -> Vec<FlowKey> {
    // An odd multiplier visits each number below a power of two once.
    (0..flows).map(|number| key(first + number.wrapping_mul(0x9e37_79b1) % flows, false)).collect()
}

/// Burst after burst of some keys, round and round.
fn bursts<'a>(keys: &'a [FlowKey]) -> impl FnMut() -> &'a [FlowKey] {
    let mut rest = keys.chunks_exact(BURST).cycle();
    move || rest.next().unwrap_or_default()
}

fn hash(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("flow/place");
    group.throughput(Throughput::Elements(BURST as u64));
    let table = table(16);
    for (name, v6) in [("IPv4", false), ("IPv6", true)] {
        let keys: Vec<FlowKey> = (0..BURST as u32).map(|number| key(number, v6)).collect();
        group.bench_with_input(BenchmarkId::from_parameter(name), &keys, |bencher, keys| {
            bencher.iter(|| {
                black_box(keys)
                    .iter()
                    .map(|key| table.place(Way::Source, key))
                    .fold((), |(), place| table.prefetch(black_box(place)))
            });
        });
    }
    group.finish();
}

/// Places included, because these ask for the memory that looking up reads.
fn find(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("flow/look_up");
    group.throughput(Throughput::Elements(BURST as u64));
    for flows in FLOWS {
        let mut table = table(flows);
        for (name, first) in [("hit", 0), ("miss", flows)] {
            let keys = shuffled(first, flows);
            let mut next = bursts(&keys);
            let mut places = [Place::NOWHERE; BURST];
            let mut candidates = [Candidate::NONE; BURST];
            group.bench_function(BenchmarkId::new(name, flows), |bencher| {
                bencher.iter(|| {
                    let keys = next();
                    for (key, place) in keys.iter().zip(&mut places) {
                        *place = table.place(Way::Source, key);
                        table.prefetch(*place);
                    }
                    candidates = places.map(|place| table.look_up(place));
                    keys.iter()
                        .zip(candidates)
                        .filter(|(key, candidate)| table.confirm(*candidate, key).is_some())
                        .count()
                });
            });
        }
    }
    group.finish();
}

/// A flow in and out of a table that is nearly full.
fn turnover(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("flow/insert and remove");
    for flows in FLOWS {
        let mut table = FlowTable::with_capacity(flows as usize, HashKey::from_seed([7; 16], 0));
        (1..flows).for_each(|number| assert!(table.insert(&flow(number)).is_ok(), "there is room"));
        let mut number = flows;
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            bencher.iter(|| {
                number = number.wrapping_add(1).max(flows);
                let index = table.insert(&flow(number)).ok()?;
                table.remove(index)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = thread_time::criterion();
    targets = hash, find, turnover
}
criterion_main!(benches);
