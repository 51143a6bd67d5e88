//! Filling a pool's table, by configuration and after a change of health; choosing a backend.

mod thread_time;

use balance::{CAPACITY_AS_WEIGHED, Candidate, Chooser, Hashes, Level, Sight, Table};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use meter::Gauge;
use model::{Address, Method};
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

/// Workers whose counts are added up.
const WORKERS: usize = 8;

/// Backends' flows as so many workers have noted them.
struct Noted(Vec<Vec<Gauge>>);

impl Sight for Noted {
    fn open_flows(&self, position: u32) -> u64 {
        self.0.iter().filter_map(|worker| worker.get(position as usize)).map(Gauge::read).sum()
    }

    fn capacity(&self, _: u32) -> u64 {
        CAPACITY_AS_WEIGHED
    }

    fn handshake(&self, _: u32) -> u64 {
        0
    }
}

/// A choice that looks at all backends, by what eight workers have noted.
fn choose(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("choose");
    for (name, method) in [
        ("least_connections", Method::LeastConnections),
        ("adaptive", Method::Adaptive),
        ("maglev", Method::Maglev),
    ] {
        for backends in [16, 64, 1000] {
            let table = Table::maglev(SEED, &candidates(backends), SLOTS);
            let weights: Vec<u16> = candidates(backends).iter().map(|candidate| candidate.weight).collect();
            let chooser = Chooser::of(method, &table, &weights, &vec![Level::FULL; backends as usize]);
            let noted =
                Noted((0..WORKERS).map(|_| (0..backends).map(|_| Gauge::default()).collect()).collect());
            group.bench_function(BenchmarkId::new(name, backends), |bencher| {
                let (mut hash, mut turn) = (1_u64, 0);
                bencher.iter(|| {
                    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
                    chooser.choose(Hashes { flow: hash, source: hash }, &mut turn, &noted)
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = thread_time::criterion();
    targets = build, assign, choose
}
criterion_main!(benches);
