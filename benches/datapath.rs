//! All passes of `datapath::forward` over a burst of 32 frames: packets of established flows by mode, family and direction;
//! the first packets of new flows; and what is dropped.
#![allow(clippy::indexing_slicing, reason = "a benchmark that cannot go on panics")]

mod thread_time;

use std::{cell::RefCell, net::SocketAddr, sync::Arc};

use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use datapath::{Arrival, HashKey, Outputs, Snapshot, Verdict, WorkerMeters, WorkerState, forward};
use model::{Millis, Mode, PortId, WorkerId};
use nic::{Burst, Frame, FrameSource};
use testkit::{
    gateway::{self, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT_MAC, CLIENTS, CLIENTS_MAC},
    packets::{self, ACK, Flags, SYN},
};
use thread_time::ThreadTime;

const BURST: u16 = 32;
/// Bursts that are made before they are timed together; 140 KiB.
const BATCH: BatchSize = BatchSize::NumIterations(16);
/// Flows of a table; after that many the benchmark of new flows takes an empty one.
const FLOWS: u16 = 16_384;

/// A frame that lies in itself: neither allocation nor indirection.
#[derive(Clone, Copy)]
struct InlineFrame {
    bytes: [u8; 128],
    length: usize,
}

impl InlineFrame {
    fn new(bytes: &[u8]) -> Self {
        let mut frame = Self { bytes: [0; 128], length: bytes.len().min(128) };
        frame.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        frame
    }
}

impl Frame for InlineFrame {
    fn head(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }

    fn length(&self) -> usize {
        self.length
    }

    fn segment(&self, index: usize) -> Option<&[u8]> {
        (index == 0).then(|| self.head())
    }

    fn pull(&mut self, length: usize) -> bool {
        length <= self.length
    }

    fn resize(&mut self, length: usize) -> bool {
        let fits = length <= self.bytes.len();
        self.length = if fits { length } else { self.length };
        fits
    }
}

/// A source of no frames.
struct Exhausted;

impl FrameSource for Exhausted {
    type Frame = InlineFrame;

    fn allocate(&mut self, _: usize) -> Option<InlineFrame> {
        None
    }
}

/// One worker of the gateway of `testkit::gateway`.
struct Rig {
    snapshot: Snapshot,
    state: WorkerState<InlineFrame>,
    outputs: Outputs<InlineFrame>,
    meters: Arc<WorkerMeters>,
}

impl Rig {
    fn new() -> Self {
        let meters = Arc::new(WorkerMeters::new());
        let snapshot = gateway::snapshot(1);
        Self { state: state(&snapshot, &meters), snapshot, outputs: Outputs::new(1), meters }
    }

    /// Forgets all flows.
    fn forget(&mut self) {
        self.state = state(&self.snapshot, &self.meters);
    }

    fn forward(&mut self, port: PortId, burst: &mut Burst<InlineFrame>) {
        let arrival = Arrival { port, is_handed_over: false };
        let Self { state, snapshot, outputs, .. } = self;
        forward(state, snapshot, arrival, Millis(1000), burst, outputs, &mut Exhausted);
        for port in [CLIENTS, BACKENDS] {
            for burst in outputs.port(port).into_iter().flat_map(datapath::Lane::bursts) {
                burst.clear();
            }
        }
    }

    /// What a burst becomes; all of it must leave by `to`, or be dropped when that is `None`.
    fn sent(&mut self, port: PortId, burst: &[InlineFrame], to: Option<PortId>) -> Vec<InlineFrame> {
        let arrival = Arrival { port, is_handed_over: false };
        let mut burst: Burst<InlineFrame> = burst.iter().copied().collect();
        let Self { state, snapshot, outputs, .. } = self;
        forward(state, snapshot, arrival, Millis(1000), &mut burst, outputs, &mut Exhausted);
        assert!(self.state.verdicts().all(|verdict| match to {
            Some(to) => verdict == Verdict::Transmit(to),
            None => matches!(verdict, Verdict::Drop(_)),
        }));
        let lane = to.and_then(|to| self.outputs.port(to));
        lane.into_iter().flat_map(datapath::Lane::bursts).flat_map(|burst| burst.take()).collect()
    }
}

fn state(snapshot: &Snapshot, meters: &Arc<WorkerMeters>) -> WorkerState<InlineFrame> {
    let key = HashKey::from_seed([2; 16], 0);
    let mut state = WorkerState::new(WorkerId(0), usize::from(FLOWS), key, Arc::clone(meters));
    state.adopt(snapshot);
    state
}

/// 32 segments from as many clients, beginning with port `first`.
fn segments(mode: Mode, v6: bool, flags: Flags, first: u16) -> Vec<InlineFrame> {
    let client = gateway::address(if v6 { gateway::CLIENT_6 } else { gateway::CLIENT });
    let server = gateway::address(gateway::virtual_address(mode, v6));
    let segment = |port| {
        let (from, to) = (SocketAddr::new(client.into(), port), SocketAddr::new(server.into(), 80));
        InlineFrame::new(&packets::tcp((CLIENT_MAC, CLIENTS_MAC), from, to, flags, &[]))
    };
    (first..first + BURST).map(segment).collect()
}

/// The frame that the backend answers with: addresses and ports exchanged, which changes no checksum.
fn reply(sent: &InlineFrame, v6: bool) -> InlineFrame {
    let mut frame = *sent;
    let (addresses, length, ports) = if v6 { (22, 16, 54) } else { (26, 4, 34) };
    frame.bytes[addresses..addresses + 2 * length].rotate_left(length);
    frame.bytes[ports..ports + 4].rotate_left(2);
    frame.bytes[..6].copy_from_slice(&BACKENDS_MAC);
    frame.bytes[6..12].copy_from_slice(&BACKEND_MAC);
    frame
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Nat => "nat",
        Mode::FullNat => "full_nat",
        Mode::Dsr => "dsr",
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
    for (mode, v6) in
        [Mode::Nat, Mode::FullNat, Mode::Dsr].into_iter().flat_map(|mode| [(mode, false), (mode, true)])
    {
        let mut rig = Rig::new();
        let opened = rig.sent(CLIENTS, &segments(mode, v6, SYN, 40_000), Some(BACKENDS));
        let data = segments(mode, v6, ACK, 40_000);
        rig.sent(CLIENTS, &data, Some(BACKENDS));
        let name = format!("{} {}", mode_name(mode), family(v6));
        measure(&mut group, BenchmarkId::new(&name, "to backend"), &mut rig, CLIENTS, &data);
        if mode != Mode::Dsr {
            // The SYN comes back as a SYN; the datapath does not mind.
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
                    rig.borrow_mut().forget();
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

criterion_group! {
    name = benches;
    config = thread_time::criterion();
    targets = established, new_flows, drops
}
criterion_main!(benches);
