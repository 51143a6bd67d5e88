//! One core's loop.
//!
//! [`Worker::poll_once`] is the whole turn: receive, forward, transmit. Every few thousand turns it keeps house.
//!
//! What must stay true:
//!
//! - A worker never allocates, locks or logs after it has started, and makes no system call while there is work: only an
//!   idle one that is told to be [`Idle::Adaptive`] yields its core.
//! - It shares with other cores only what `publish` and `meter` hold and the rings of [`mesh`] and [`desk`].
//!
//! What it leaves to others: what happens to a packet (`datapath`), how queues work (`nic`'s implementations), where it
//! runs (the daemon).
#![forbid(unsafe_code)]

pub mod desk;
mod idle;
pub mod mesh;
mod turn;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrayvec::ArrayVec;
use datapath::{Colleagues, Outputs, Snapshot, WorkerMeters, WorkerState};
use model::{Generation, MAX_PORTS, Millis, WorkerId};
use nic::{Burst, Clock, Cycles, FrameSource, MAX_BURST, RxQueue, TxQueue};

pub use self::idle::Idle;
use self::{desk::WorkerDesk, idle::Rest, mesh::Seat};

/// Turns between two housekeepings.
const TURNS: u32 = 256;

/// A port's queues that one worker polls.
pub struct PortQueues<R, T> {
    /// What comes in.
    pub rx: R,
    /// What goes out.
    pub tx: T,
    /// The host twin's queues.
    pub host: Option<HostQueues<R, T>>,
}

/// A host twin's queues that one worker polls.
pub struct HostQueues<R, T> {
    /// What the host sends.
    pub rx: R,
    /// What the host gets.
    pub tx: T,
}

/// All that a worker is made of.
pub struct Parts<R: RxQueue, T, S, C> {
    /// Which worker it is.
    pub id: WorkerId,
    /// By [`model::PortId`]; [`MAX_PORTS`] at most.
    pub ports: Vec<PortQueues<R, T>>,
    /// Where snapshots come from.
    pub reader: publish::Reader<Snapshot>,
    /// What it counts.
    pub meters: Arc<WorkerMeters>,
    /// All workers, itself included, and what control tells them.
    pub colleagues: Colleagues,
    /// Where new frames come from.
    pub source: S,
    /// What time it is.
    pub clock: C,
    /// Flows that it remembers at most.
    pub flows: usize,
    /// The secret of its flow table.
    pub flow_key: datapath::HashKey,
    /// Frames that it takes from a queue at once, [`MAX_BURST`] at most.
    pub burst: usize,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// Its rings to and from the other workers.
    pub seat: Seat<R::Frame>,
    /// Its rings to and from control.
    pub desk: WorkerDesk,
}

/// One core's loop, and all that it touches.
pub struct Worker<R: RxQueue, T, S, C> {
    id: WorkerId,
    ports: ArrayVec<PortQueues<R, T>, MAX_PORTS>,
    reader: publish::Reader<Snapshot>,
    meters: Arc<WorkerMeters>,
    source: S,
    clock: C,
    ticks_per_milli: u64,
    started: Option<Cycles>,
    now: Millis,
    next_milli: Cycles,
    state: WorkerState<R::Frame>,
    outputs: Outputs<R::Frame>,
    burst: Burst<R::Frame>,
    limit: usize,
    rest: Rest,
    seat: Seat<R::Frame>,
    desk: WorkerDesk,
    generation: Option<Generation>,
    turns: u32,
}

impl<R, T, S, C> Worker<R, T, S, C>
where
    R: RxQueue,
    T: TxQueue<Frame = R::Frame>,
    S: FrameSource<Frame = R::Frame>,
    C: Clock,
{
    /// A worker that has yet to run. Allocates all that it will ever need. Ports beyond [`MAX_PORTS`] are ignored.
    #[must_use]
    pub fn new(parts: Parts<R, T, S, C>) -> Self {
        let workers = parts.seat.workers();
        Self {
            id: parts.id,
            ports: parts.ports.into_iter().take(MAX_PORTS).collect(),
            reader: parts.reader,
            state: WorkerState::new(parts.id, parts.flows, parts.flow_key, Arc::clone(&parts.meters))
                .among(parts.colleagues)
                .with_clock_of(parts.clock.hertz()),
            meters: parts.meters,
            source: parts.source,
            ticks_per_milli: (parts.clock.hertz() / 1000).max(1),
            started: None,
            now: Millis(0),
            next_milli: Cycles(0),
            clock: parts.clock,
            outputs: Outputs::new(workers),
            burst: Burst::new(),
            limit: parts.burst.clamp(1, MAX_BURST),
            rest: Rest::new(parts.idle),
            seat: parts.seat,
            desk: parts.desk,
            generation: None,
            turns: 0,
        }
    }

    /// Which worker it is.
    #[must_use]
    pub const fn id(&self) -> WorkerId {
        self.id
    }

    /// Polls until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool) {
        let mut from = self.clock.now();
        while !stop.load(Ordering::Relaxed) {
            let handled = self.turn(from);
            self.rest.after(handled);
            let to = self.clock.now();
            self.count_turn(to.since(from), handled);
            from = to;
        }
    }

    /// Gives up what it still holds. To be called when all workers have stopped, so that nothing is handed over any more.
    pub fn finish(&mut self) {
        self.take_handed_over_for_good();
        datapath::stop(&mut self.state, &mut self.outputs);
        self.transmit();
    }

    /// What it counts.
    #[must_use]
    pub fn meters(&self) -> &WorkerMeters {
        &self.meters
    }

    fn count_turn(&self, spent: Cycles, handled: usize) {
        self.meters.polls.add(1);
        if handled == 0 {
            self.meters.idle_polls.add(1);
            self.meters.idle_cycles.add(spent.0);
        } else {
            self.meters.busy_cycles.add(spent.0);
            self.meters.residence_cycles.record(spent.0);
        }
    }

    /// Milliseconds since the worker's first turn. Divides once a millisecond only.
    fn millis(&mut self, now: Cycles) -> Millis {
        let started = *self.started.get_or_insert(now);
        if now >= self.next_milli {
            self.now = Millis(now.since(started).0 / self.ticks_per_milli);
            self.next_milli = Cycles(started.0 + (self.now.0 + 1) * self.ticks_per_milli);
        }
        self.now
    }
}
