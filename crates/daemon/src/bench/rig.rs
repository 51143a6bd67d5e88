//! The two loops that take turns: a worker, and what is around it without the worker.

use std::sync::Arc;

use datapath::{HashKey, Snapshot, WorkerMeters};
use meter::Counter;
use model::{PortId, WorkerId};
use nic::{Burst, RxQueue, TxQueue};
use publish::{Publisher, Reader};
use worker::{Idle, Parts, PortQueues, Worker, desk::desk, mesh::seats};

use super::{
    Case,
    frame::{NoFrames, PoolFrame},
    gateway,
    link::{BenchClock, Link, Receiver, Transmitter},
    script::Script,
    watch::Watch,
};
use crate::failure::Failure;

/// Frames in a burst, as a gateway has it unless configured.
pub(crate) const BURST: usize = 32;
/// By how much time is set ahead at once, in seconds: more than a flow outlives its first or last packet.
const LEAP: u64 = 10;
/// How often, before a table that is still not empty is a defect.
const LEAPS: u32 = 1000;
/// Idle turns between two looks at the table's occupancy.
const TURNS: u32 = 64;
/// Flows that an idle turn looks at, at least.
const FLOWS_PER_TURN: u32 = 64;
const SEED: [u8; 16] = *b"flow table bench";

/// What runs: frames come in, and go out.
pub(super) trait Loop {
    /// One turn; the frames that came in.
    fn turn(&mut self) -> usize;

    /// The link that it works on.
    fn link(&self) -> &Link;
}

/// Receives and transmits, nothing else.
pub(super) struct Bare {
    link: Link,
    receiver: Receiver,
    transmitter: Transmitter,
    burst: Burst<PoolFrame>,
}

impl Bare {
    pub(super) fn new() -> Self {
        let link = Link::new();
        let (receiver, transmitter) = link.queues();
        Self { link, receiver, transmitter, burst: Burst::new() }
    }
}

impl Loop for Bare {
    #[inline]
    fn turn(&mut self) -> usize {
        self.receiver.receive(&mut self.burst, BURST);
        let received = self.burst.len();
        self.transmitter.transmit(&mut self.burst);
        received
    }

    fn link(&self) -> &Link {
        &self.link
    }
}

/// A worker with a port.
pub(super) struct Rig {
    worker: Worker<Receiver, Transmitter, NoFrames, BenchClock>,
    link: Link,
    meters: Arc<WorkerMeters>,
    clock: BenchClock,
    flows: u32,
    /// The snapshot's, when nobody else publishes.
    _publisher: Option<Publisher<Snapshot>>,
}

fn no_worker() -> Failure {
    Failure::not_so("a worker could not be made")
}

/// What a worker has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) received: u64,
    pub(super) sent: u64,
    /// For all reasons together.
    pub(super) dropped: u64,
}

impl Loop for Rig {
    #[inline]
    fn turn(&mut self) -> usize {
        self.worker.poll_once()
    }

    fn link(&self) -> &Link {
        &self.link
    }
}

impl Rig {
    /// A worker with room for exactly the flows of a case. `meters` count for it alone.
    pub(super) fn try_new(case: &Case, hertz: u64, meters: Arc<WorkerMeters>) -> Result<Self, Failure> {
        let (publisher, readers) = publish::channel(gateway::snapshot(case)?, 1);
        let reader = readers.into_iter().next().ok_or_else(no_worker)?;
        Ok(Self { _publisher: Some(publisher), ..Self::reading(case, hertz, meters, reader)? })
    }

    /// The same with snapshots that somebody else publishes.
    pub(super) fn reading(
        case: &Case,
        hertz: u64,
        meters: Arc<WorkerMeters>,
        reader: Reader<Snapshot>,
    ) -> Result<Self, Failure> {
        let seat = seats(1).into_iter().next().ok_or_else(no_worker)?;
        let link = Link::new();
        let (rx, tx) = link.queues();
        let clock = BenchClock::new(hertz);
        let worker = Worker::new(Parts {
            id: WorkerId(0),
            ports: vec![PortQueues { rx, tx, host: None }],
            reader,
            meters: Arc::clone(&meters),
            source: NoFrames,
            clock: clock.clone(),
            flows: case.flows as usize,
            flow_key: HashKey::from_seed(SEED, 0),
            burst: BURST,
            idle: Idle::Busy,
            seat,
            desk: desk().1,
        });
        Ok(Self { worker, link, meters, clock, flows: case.flows, _publisher: None })
    }

    /// What the worker counts.
    pub(super) fn meters(&self) -> &WorkerMeters {
        &self.meters
    }

    /// What the worker has counted since it was made.
    pub(super) fn count(&self) -> Count {
        let port = self.meters.port(PortId(0));
        Count {
            received: port.map_or(0, |port| port.rx_frames.read()),
            sent: port.map_or(0, |port| port.tx_frames.read()),
            dropped: self.meters.drops.iter().map(Counter::read).sum(),
        }
    }

    /// Lets all packets of a script that ends pass, and looks at each that leaves.
    pub(super) fn pass(&mut self, case: &Case, script: &Script) -> Watch {
        self.link.play(Some(script.clone()), Some(Watch::new(case, script)));
        while self.turn() > 0 {}
        let watch = self.link.take_watch();
        self.link.play(None, None);
        watch.unwrap_or_else(|| Watch::new(case, script))
    }

    /// Lets time pass until the worker has forgotten all flows.
    ///
    /// # Errors
    /// When it never does.
    pub(super) fn forget(&mut self) -> Result<(), Failure> {
        self.link.play(None, None);
        for _ in 0..LEAPS {
            self.clock.advance(LEAP);
            for _ in 0..=self.flows / FLOWS_PER_TURN / TURNS {
                for _ in 0..TURNS {
                    self.turn();
                }
                if self.meters.flows.read() == 0 {
                    return Ok(());
                }
            }
        }
        let left = self.meters.flows.read();
        Err(Failure::not_so(format_args!("{left} flows are still there long after their last packets")))
    }
}
