//! What stands in for a device: a script on the receiving side, a pool of frames on the sending one.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use nic::{Burst, Clock, Cycles, Frame, MAX_BURST, RxQueue, TxQueue};

use super::{
    frame::{Pool, PoolFrame},
    script::Script,
    tap::Tap,
    watch::Watch,
};

/// Frames of a link: more than a worker holds in one turn.
const FRAMES: usize = 8 * MAX_BURST;

/// Both ends of a link, which whoever measures looks into.
#[derive(Clone)]
pub(super) struct Link {
    pool: Rc<Pool>,
    ends: Rc<RefCell<Ends>>,
}

struct Ends {
    script: Option<Script>,
    watch: Option<Watch>,
    tap: Option<Tap>,
}

/// The end that frames come out of.
pub(super) struct Receiver(Link);

/// The end that frames go into.
pub(super) struct Transmitter(Link);

impl Link {
    /// A link on which nothing is sent.
    pub(super) fn new() -> Self {
        let ends = Ends { script: None, watch: None, tap: None };
        Self { pool: Pool::new(FRAMES), ends: Rc::new(RefCell::new(ends)) }
    }

    /// Both of its queues.
    pub(super) fn queues(&self) -> (Receiver, Transmitter) {
        (Receiver(self.clone()), Transmitter(self.clone()))
    }

    /// Lets a script be sent from its beginning, and what comes out be watched.
    pub(super) fn play(&self, script: Option<Script>, watch: Option<Watch>) {
        *self.ends.borrow_mut() = Ends { script, watch, tap: None };
    }

    /// Lets packets pass as a tap says, until something else is played.
    pub(super) fn tap(&self, tap: Option<Tap>) {
        self.ends.borrow_mut().tap = tap;
    }

    /// The tap, with what it has seen.
    pub(super) fn take_tap(&self) -> Option<Tap> {
        self.ends.borrow_mut().tap.take()
    }

    /// Lets nothing be sent for some time; what was sent is to be sent on afterwards.
    pub(super) fn pause(&self) -> Option<Script> {
        self.ends.borrow_mut().script.take()
    }

    /// Lets a script be sent on.
    pub(super) fn resume(&self, script: Option<Script>) {
        self.ends.borrow_mut().script = script;
    }

    /// What was seen of what came out.
    pub(super) fn take_watch(&self) -> Option<Watch> {
        self.ends.borrow_mut().watch.take()
    }
}

impl RxQueue for Receiver {
    type Frame = PoolFrame;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<PoolFrame>, limit: usize) {
        let Ends { script, tap, .. } = &mut *self.0.ends.borrow_mut();
        let limit = tap.as_ref().map_or(limit, |tap| tap.due(limit));
        if let Some(script) = script {
            script.receive(&self.0.pool, burst, limit);
        }
        if let Some(tap) = tap {
            tap.received(burst.len());
        }
    }
}

impl TxQueue for Transmitter {
    type Frame = PoolFrame;

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<PoolFrame>) {
        let Ends { watch, tap, .. } = &mut *self.0.ends.borrow_mut();
        if let Some(watch) = watch {
            burst.iter().for_each(|frame| watch.see(frame.head()));
        }
        self.0.pool.take_back(burst);
        if let Some(tap) = tap {
            tap.sent();
        }
    }
}

/// The time stamp counter, which can be set ahead.
#[derive(Clone)]
pub(super) struct BenchClock {
    hertz: u64,
    ahead: Rc<Cell<u64>>,
}

impl BenchClock {
    /// A clock that goes right.
    pub(super) fn new(hertz: u64) -> Self {
        Self { hertz, ahead: Rc::default() }
    }

    /// Lets seconds have passed.
    pub(super) fn advance(&self, seconds: u64) {
        self.ahead.set(self.ahead.get() + seconds * self.hertz);
    }
}

impl Clock for BenchClock {
    #[inline]
    fn now(&self) -> Cycles {
        Cycles(cpu::tsc() + self.ahead.get())
    }

    fn hertz(&self) -> u64 {
        self.hertz
    }
}
