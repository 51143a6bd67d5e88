//! One worker of a gateway and the frames that it forwards, for the benchmarks of the datapath.

use std::{marker::PhantomData, net::SocketAddr, sync::Arc};

use datapath::{
    Arrival, HashKey, Outputs, Snapshot, Verdict, WorkerMeters, WorkerState, forward, housekeeping,
};
use model::{Millis, Mode, PortId, WorkerId};
use nic::{Burst, Frame, FrameSource};
use testkit::{
    gateway::{self, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT_MAC, CLIENTS, CLIENTS_MAC},
    packets::{self, Flags},
};

/// Frames in a burst.
pub(crate) const BURST: u16 = 32;
/// Flows of its table.
pub(crate) const FLOWS: u16 = 16_384;

/// A frame that lies in itself: neither allocation nor indirection.
#[derive(Clone, Copy)]
pub(crate) struct InlineFrame {
    pub(crate) bytes: [u8; 128],
    length: usize,
}

impl InlineFrame {
    pub(crate) fn new(bytes: &[u8]) -> Self {
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

    /// What lies in the frame moves, which a card's frame, with room in front, has not to do.
    fn prepend(&mut self, length: usize) -> bool {
        let fits = self.length + length <= self.bytes.len();
        if fits {
            self.bytes.copy_within(..self.length, length);
            self.length += length;
        }
        fits
    }

    fn behead(&mut self, length: usize) -> bool {
        let is_longer = length < self.length;
        if is_longer {
            self.bytes.copy_within(length..self.length, 0);
            self.length -= length;
        }
        is_longer
    }
}

/// A source of no frames.
struct Exhausted<F>(PhantomData<F>);

impl<F: Frame> FrameSource for Exhausted<F> {
    type Frame = F;

    fn allocate(&mut self, _: usize) -> Option<F> {
        None
    }
}

/// One worker of the gateway of `testkit::gateway`.
pub(crate) struct Rig<F: Frame = InlineFrame> {
    snapshot: Snapshot,
    state: WorkerState<F>,
    outputs: Outputs<F>,
}

impl<F: Frame + From<InlineFrame>> Rig<F> {
    pub(crate) fn new() -> Self {
        let snapshot = gateway::snapshot(1);
        Self { state: state(&snapshot), snapshot, outputs: Outputs::new(1) }
    }

    /// Forwards a burst and forgets what came out.
    pub(crate) fn forward(&mut self, port: PortId, burst: &mut Burst<F>) {
        let arrival = Arrival { port, is_handed_over: false };
        let Self { state, snapshot, outputs, .. } = self;
        forward(state, snapshot, arrival, Millis(1000), burst, outputs, &mut Exhausted(PhantomData));
        for port in [CLIENTS, BACKENDS] {
            for burst in outputs.port(port).into_iter().flat_map(datapath::Lane::bursts) {
                burst.clear();
            }
        }
    }

    /// One turn's housekeeping.
    pub(crate) fn keep_house(&mut self) {
        let Self { state, snapshot, outputs, .. } = self;
        housekeeping(state, snapshot, Millis(1000), outputs, &mut Exhausted(PhantomData));
    }

    /// What a burst becomes; all of it must leave by `to`, or be dropped when that is `None`.
    pub(crate) fn sent(
        &mut self,
        port: PortId,
        burst: &[InlineFrame],
        to: Option<PortId>,
    ) -> Vec<InlineFrame> {
        let arrival = Arrival { port, is_handed_over: false };
        let mut burst: Burst<F> = burst.iter().copied().map(F::from).collect();
        let Self { state, snapshot, outputs, .. } = self;
        forward(state, snapshot, arrival, Millis(1000), &mut burst, outputs, &mut Exhausted(PhantomData));
        assert!(self.state.verdicts().all(|verdict| match to {
            Some(to) => verdict == Verdict::Transmit(to),
            None => matches!(verdict, Verdict::Drop(_)),
        }));
        let lane = to.and_then(|to| self.outputs.port(to));
        let sent = lane.into_iter().flat_map(datapath::Lane::bursts).flat_map(|burst| burst.take());
        sent.map(|frame| InlineFrame::new(frame.head())).collect()
    }
}

fn state<F: Frame>(snapshot: &Snapshot) -> WorkerState<F> {
    let key = HashKey::from_seed([2; 16], 0);
    let mut state = WorkerState::new(WorkerId(0), usize::from(FLOWS), key, Arc::new(WorkerMeters::new()));
    state.adopt(snapshot);
    state
}

/// 32 segments from as many clients, beginning with port `first`.
pub(crate) fn segments(mode: Mode, v6: bool, flags: Flags, first: u16) -> Vec<InlineFrame> {
    let client = gateway::address(if v6 { gateway::CLIENT_6 } else { gateway::CLIENT });
    let server = gateway::address(gateway::virtual_address(mode, v6));
    let segment = |port| {
        let (from, to) = (SocketAddr::new(client.into(), port), SocketAddr::new(server.into(), 80));
        InlineFrame::new(&packets::tcp((CLIENT_MAC, CLIENTS_MAC), from, to, flags, &[]))
    };
    (first..first + BURST).map(segment).collect()
}

/// The frame that the backend answers with: addresses and ports exchanged, which changes no checksum.
pub(crate) fn reply(sent: &InlineFrame, v6: bool) -> InlineFrame {
    let mut frame = *sent;
    let (addresses, length, ports) = if v6 { (22, 16, 54) } else { (26, 4, 34) };
    frame.bytes[addresses..addresses + 2 * length].rotate_left(length);
    frame.bytes[ports..ports + 4].rotate_left(2);
    frame.bytes[..6].copy_from_slice(&BACKENDS_MAC);
    frame.bytes[6..12].copy_from_slice(&BACKEND_MAC);
    frame
}

/// The segment by which a backend agrees to the first one that it was sent.
pub(crate) fn agreement(sent: &InlineFrame, v6: bool) -> InlineFrame {
    const SYN_ACK: u8 = 0x12;
    let mut frame = reply(sent, v6);
    frame.bytes[if v6 { 67 } else { 47 }] = SYN_ACK;
    frame
}
