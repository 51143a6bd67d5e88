//! The Internet checksum: summed, and repaired after a change.

mod thread_time;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thread_time::ThreadTime;
use wire::checksum::{Delta, Sum, is_right, pseudo_v4, pseudo_v6};

const BYTES: [u8; 9000] = [0x5a; 9000];

fn sum(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("checksum/sum");
    for length in [20, 60, 1460, 9000] {
        let bytes = BYTES.get(..length).unwrap_or_default();
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_with_input(BenchmarkId::from_parameter(length), bytes, |bencher, bytes| {
            bencher.iter(|| Sum::of(black_box(bytes)).fold());
        });
    }
    group.bench_function("is a header right", |bencher| {
        bencher.iter(|| black_box(BYTES.first_chunk::<20>()).is_some_and(is_right));
    });
    group.finish();
}

fn pseudo_headers(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("checksum/pseudo-header");
    group.bench_function("IPv4", |bencher| {
        bencher.iter(|| pseudo_v4(black_box(&[10, 0, 0, 1]), black_box(&[10, 0, 0, 2]), 6, 40).fold());
    });
    group.bench_function("IPv6", |bencher| {
        bencher.iter(|| pseudo_v6(black_box(&[0x20; 16]), black_box(&[0x21; 16]), 6, 40).fold());
    });
    group.finish();
}

fn repair(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("checksum/repair");
    group.bench_function("difference of 12 bytes", |bencher| {
        bencher.iter(|| Delta::of(black_box(&[1; 12]), black_box(&[2; 12])));
    });
    group.bench_function("apply", |bencher| {
        let delta = Delta::of(&[1; 12], &[2; 12]);
        bencher.iter(|| black_box(delta).apply(black_box(0x1234)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = thread_time::criterion();
    targets = sum, pseudo_headers, repair
}
criterion_main!(benches);
