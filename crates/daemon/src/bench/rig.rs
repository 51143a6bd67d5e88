//! The two loops that take turns: a worker, and what is around it without the worker.

use std::sync::{Arc, atomic::AtomicBool};

use datapath::{Colleagues, HashKey, Snapshot, WorkerMeters};
use meter::Counter;
use model::{PortId, WorkerId};
use nic::{Burst, RxQueue, TxQueue};
use publish::{Publisher, Reader};
use worker::{
    Idle, Parts, PortQueues, Worker,
    desk::{WorkerDesk, desk},
    mesh::seats,
};

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

impl Berth {
    /// The only worker's of a case, with who publishes for it.
    fn alone(case: &Case, meters: Arc<WorkerMeters>) -> Result<(Publisher<Snapshot>, Self), Failure> {
        let (publisher, readers) = publish::channel(gateway::snapshot(case)?, 1);
        let reader = readers.into_iter().next().ok_or_else(no_worker)?;
        Ok((publisher, Self { id: WorkerId(0), workers: 1, reader, meters, desk: desk().1 }))
    }
}

fn no_worker() -> Failure {
    Failure::not_so("a worker could not be made")
}

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
    _publisher: Option<Publisher<Snapshot>>,
}

/// What a worker has in common with others.
pub(super) struct Berth {
    pub(super) id: WorkerId,
    /// How many workers there are.
    pub(super) workers: u8,
    pub(super) reader: Reader<Snapshot>,
    pub(super) meters: Arc<WorkerMeters>,
    pub(super) desk: WorkerDesk,
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
        Self::with_room(case, hertz, meters, case.flows)
    }

    /// A worker that reads snapshots which somebody else publishes.
    pub(super) fn reading(
        case: &Case,
        hertz: u64,
        meters: Arc<WorkerMeters>,
        reader: Reader<Snapshot>,
    ) -> Result<Self, Failure> {
        let berth = Berth { id: WorkerId(0), workers: 1, reader, meters, desk: desk().1 };
        Self::at(berth, hertz, case.flows, Idle::Busy)
    }

    /// A worker with room for so many flows.
    pub(super) fn with_room(
        case: &Case,
        hertz: u64,
        meters: Arc<WorkerMeters>,
        flows: u32,
    ) -> Result<Self, Failure> {
        let (publisher, berth) = Berth::alone(case, meters)?;
        Ok(Self { _publisher: Some(publisher), ..Self::at(berth, hertz, flows, Idle::Busy)? })
    }

    /// A worker with room for exactly the flows of a case that does so when there is nothing to do.
    pub(super) fn idling(case: &Case, hertz: u64, idle: Idle) -> Result<Self, Failure> {
        let (publisher, berth) = Berth::alone(case, Arc::default())?;
        Ok(Self { _publisher: Some(publisher), ..Self::at(berth, hertz, case.flows, idle)? })
    }

    /// A worker with room for so many flows in the place that it is given.
    pub(super) fn at(berth: Berth, hertz: u64, flows: u32, idle: Idle) -> Result<Self, Failure> {
        let Berth { id, workers, reader, meters, desk } = berth;
        // Nothing is handed over, so that nobody misses the other ends of the rings.
        let seat = seats(workers).into_iter().nth(id.index()).ok_or_else(no_worker)?;
        let link = Link::new();
        let (rx, tx) = link.queues();
        let clock = BenchClock::new(hertz);
        let worker = Worker::new(Parts {
            id,
            ports: vec![PortQueues { rx, tx, host: None }],
            reader,
            colleagues: Colleagues { workers: vec![Arc::clone(&meters)], ..Colleagues::default() },
            meters: Arc::clone(&meters),
            source: NoFrames,
            clock: clock.clone(),
            flows: flows as usize,
            flow_key: HashKey::from_seed(SEED, u64::from(id.0)),
            burst: BURST,
            idle,
            seat,
            desk,
        });
        Ok(Self { worker, link, meters, clock, flows, _publisher: None })
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

    /// Lets the worker's own loop run until `stop` is set.
    pub(super) fn run(&mut self, stop: &AtomicBool) {
        self.worker.run(stop);
    }

    /// Lets seconds have passed.
    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(seconds);
    }

    /// Flows that the worker has opened since it was made.
    pub(super) fn opened(&self) -> u64 {
        self.meters.virtual_servers.iter().map(|server| server.flows_opened.read()).sum()
    }

    /// Lets all packets of a script that ends pass, and looks at each that leaves.
    pub(super) fn pass(&mut self, case: &Case, script: &Script) -> Watch {
        self.pass_some(case, script, script)
    }

    /// The same when only packets of another script are to leave.
    pub(super) fn pass_some(&mut self, case: &Case, script: &Script, leaving: &Script) -> Watch {
        self.link.play(Some(script.clone()), Some(Watch::new(case, leaving)));
        while self.turn() > 0 {}
        let watch = self.link.take_watch();
        self.link.play(None, None);
        watch.unwrap_or_else(|| Watch::new(case, leaving))
    }

    /// Lets time pass until the worker has forgotten all flows.
    ///
    /// # Errors
    /// When it never does.
    pub(super) fn forget(&mut self) -> Result<(), Failure> {
        self.forget_down_to(0)
    }

    /// Lets time pass until the worker has forgotten all flows but some, which outlive the others.
    ///
    /// # Errors
    /// When it never does.
    pub(super) fn forget_down_to(&mut self, kept: u32) -> Result<(), Failure> {
        self.link.play(None, None);
        for _ in 0..LEAPS {
            self.clock.advance(LEAP);
            for _ in 0..=self.flows / FLOWS_PER_TURN / TURNS {
                for _ in 0..TURNS {
                    self.turn();
                }
                if self.meters.flows.read() <= u64::from(kept) {
                    return Ok(());
                }
            }
        }
        let left = self.meters.flows.read();
        Err(Failure::not_so(format_args!("{left} flows are still there long after their last packets")))
    }
}
