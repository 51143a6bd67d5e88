//! Filling a pool's table: by configuration, and after a change of health.

mod thread_time;

use balance::{Candidate, Level, Table};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use model::Address;
use thread_time::ThreadTime;

const SEED: [u8; 16] = *b"sixteen letters!";
const SLOTS: usize = 65_536;
const BACKENDS: [u32; 4] = [3, 10, 100, 1000];

fn candidates(backends: u32) -> Vec<Candidate> {
    let candidate = |number: u32| Candidate {
        address: Address::from_v4((0x0a00_0000 + number).to_be_bytes()),
        port: 9000,
        weight: 1 + (number % 10) as u16,
    };
    (1..=backends).map(candidate).collect()
}

fn build(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("maglev/build");
    for backends in BACKENDS {
        let candidates = candidates(backends);
        group.bench_with_input(BenchmarkId::from_parameter(backends), &candidates, |bencher, candidates| {
            bencher.iter(|| Table::maglev(SEED, candidates, SLOTS));
        });
    }
    group.finish();
}

/// The table with every n-th backend down.
fn assign(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("maglev/assign");
    for backends in BACKENDS {
        let table = Table::maglev(SEED, &candidates(backends), SLOTS);
        let down = [("none down", u32::MAX), ("one down", backends), ("every tenth down", 10)];
        for (name, every) in down {
            let usable: Vec<Level> =
                (1..=backends).map(|number| Level::of(!number.is_multiple_of(every))).collect();
            group.bench_with_input(BenchmarkId::new(name, backends), &usable, |bencher, usable| {
                bencher.iter(|| table.assign(usable));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = thread_time::criterion();
    targets = build, assign
}
criterion_main!(benches);
