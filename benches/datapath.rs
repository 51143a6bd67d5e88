//! All passes of `datapath::forward` over a burst of 32 frames: packets of established flows by mode, family and direction;
//! the first packets of new flows; and what is dropped.
#![allow(clippy::indexing_slicing, reason = "a benchmark that cannot go on panics")]

mod rig;
mod thread_time;

use std::cell::RefCell;

use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use model::{Mode, PortId};
use rig::{BURST, FLOWS, InlineFrame, Rig, agreement, reply, segments};
use testkit::{
    gateway::{BACKENDS, CLIENTS},
    packets::{ACK, SYN},
};
use thread_time::ThreadTime;

/// Bursts that are made before they are timed together; 140 KiB.
const BATCH: BatchSize = BatchSize::NumIterations(16);
const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Nat => "nat",
        Mode::FullNat => "full_nat",
        Mode::Dsr => "dsr",
        Mode::Ipip => "ipip",
        Mode::Gue => "gue",
    }
}

const fn family(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

fn measure(
    group: &mut BenchmarkGroup<'_, ThreadTime>,
    id: BenchmarkId,
    rig: &mut Rig,
    port: PortId,
    frames: &[InlineFrame],
) {
    group.bench_function(id, |bencher| {
        let burst = || frames.iter().copied().collect();
        bencher.iter_batched_ref(burst, |burst| rig.forward(port, burst), BATCH);
    });
}

fn established(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("forward/established");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    let modes = [Mode::Nat, Mode::FullNat, Mode::Dsr, Mode::Ipip, Mode::Gue];
    for (mode, v6) in modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let mut rig = Rig::new();
        let opened = rig.sent(CLIENTS, &segments(mode, v6, SYN, 40_000), Some(BACKENDS));
        if !mode.is_direct() {
            let agreed: Vec<InlineFrame> = opened.iter().map(|frame| agreement(frame, v6)).collect();
            rig.sent(BACKENDS, &agreed, Some(CLIENTS));
        }
        let data = segments(mode, v6, ACK, 40_000);
        let opened = rig.sent(CLIENTS, &data, Some(BACKENDS));
        let name = format!("{} {}", mode_name(mode), family(v6));
        measure(&mut group, BenchmarkId::new(&name, "to backend"), &mut rig, CLIENTS, &data);
        if !mode.is_direct() {
            let replies: Vec<InlineFrame> = opened.iter().map(|frame| reply(frame, v6)).collect();
            rig.sent(BACKENDS, &replies, Some(CLIENTS));
            measure(&mut group, BenchmarkId::new(&name, "to client"), &mut rig, BACKENDS, &replies);
        }
    }
    group.finish();
}

fn new_flows(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("forward/new flows");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    for (mode, v6) in [(Mode::Nat, false), (Mode::FullNat, false), (Mode::Dsr, false), (Mode::Nat, true)] {
        let firsts: Vec<Vec<InlineFrame>> =
            (0..FLOWS / BURST).map(|number| segments(mode, v6, SYN, 1024 + number * BURST)).collect();
        let rig = RefCell::new(Rig::new());
        let mut position = 0;
        group.bench_function(BenchmarkId::new(mode_name(mode), family(v6)), |bencher| {
            let burst = || {
                if position == firsts.len() {
                    position = 0;
                    *rig.borrow_mut() = Rig::new();
                }
                position += 1;
                firsts.get(position - 1).into_iter().flatten().copied().collect()
            };
            bencher.iter_batched_ref(burst, |burst| rig.borrow_mut().forward(CLIENTS, burst), BATCH);
        });
    }
    group.finish();
}

fn drops(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("forward/drops");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    let wrong = |offset: usize, value: u8| {
        let mut frames = segments(Mode::Nat, false, ACK, 40_000);
        frames.iter_mut().for_each(|frame| frame.bytes[offset] ^= value);
        frames
    };
    let mut elsewhere = segments(Mode::Nat, false, SYN, 40_000);
    for frame in &mut elsewhere {
        frame.bytes[36..38].copy_from_slice(&81_u16.to_be_bytes());
    }
    for (name, frames) in [
        ("for another MAC address", wrong(5, 0xff)),
        ("wrong IPv4 checksum", wrong(24, 0xff)),
        ("no flow", segments(Mode::Nat, false, ACK, 40_000)),
        ("no virtual server", elsewhere),
    ] {
        let mut rig = Rig::new();
        rig.sent(CLIENTS, &frames, None);
        measure(&mut group, BenchmarkId::from_parameter(name), &mut rig, CLIENTS, &frames);
    }
    group.finish();
}

/// One call, with flows in the table, none of which ends.
fn housekeeping(criterion: &mut Criterion<ThreadTime>) {
    let mut rig: Rig = Rig::new();
    for number in 0..FLOWS / BURST / 2 {
        rig.sent(CLIENTS, &segments(Mode::Nat, false, SYN, 1024 + number * BURST), Some(BACKENDS));
    }
    criterion.bench_function("housekeeping", |bencher| bencher.iter(|| rig.keep_house()));
}

criterion_group! {
    name = benches;
    config = thread_time::criterion();
    targets = established, new_flows, drops, housekeeping
}
criterion_main!(benches);
