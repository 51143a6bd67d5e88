//! Queues and a clock in memory.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use nic::{Burst, Clock, Cycles, RxQueue, TxQueue};

use crate::MemoryFrame;

/// A queue in memory: what is put in at one end comes out at the other.
#[derive(Clone, Debug, Default)]
pub struct MemoryQueue {
    frames: Rc<RefCell<VecDeque<MemoryFrame>>>,
    /// Frames that it has room for when it transmits; `None`: any number.
    room: Option<usize>,
}

impl MemoryQueue {
    /// A queue that takes so many frames and no more.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self { room: Some(room), ..Self::default() }
    }

    /// Puts a frame in.
    pub fn push(&self, frame: MemoryFrame) {
        self.frames.borrow_mut().push_back(frame);
    }

    /// Takes a frame out.
    #[must_use]
    pub fn pop(&self) -> Option<MemoryFrame> {
        self.frames.borrow_mut().pop_front()
    }

    /// How many frames are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RxQueue for MemoryQueue {
    type Frame = MemoryFrame;

    fn receive(&mut self, burst: &mut Burst<MemoryFrame>, limit: usize) {
        for _ in 0..limit.min(burst.remaining_capacity()) {
            let Some(frame) = self.pop() else { return };
            burst.push(frame);
        }
    }
}

impl TxQueue for MemoryQueue {
    type Frame = MemoryFrame;

    fn transmit(&mut self, burst: &mut Burst<MemoryFrame>) {
        let room = self.room.map_or(usize::MAX, |room| room.saturating_sub(self.len()));
        for frame in burst.drain(..room.min(burst.len())) {
            self.push(frame);
        }
    }
}

/// A clock that a test sets, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct MemoryClock(pub Rc<Cell<u64>>);

impl Clock for MemoryClock {
    fn now(&self) -> Cycles {
        Cycles(self.0.get())
    }

    fn hertz(&self) -> u64 {
        1_000_000
    }
}
