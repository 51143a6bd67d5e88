//! What a worker does when there is nothing to do.

use std::{thread, time::Duration};

/// Empty turns after which an adaptive worker yields its core.
const YIELD_AFTER: u32 = 64;
/// Empty turns after which it naps.
const NAP_AFTER: u32 = 512;
/// How long it naps: short against what a connection notices, long against a turn.
const NAP: Duration = Duration::from_micros(50);

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It polls on: the core is its own.
    Busy,
    /// After a run of empty turns it yields the core, later it naps: the core is shared.
    Adaptive,
}

/// How long there has been nothing to do.
pub(crate) struct Rest {
    idle: Idle,
    empty_turns: u32,
}

impl Rest {
    pub(crate) const fn new(idle: Idle) -> Self {
        Self { idle, empty_turns: 0 }
    }

    /// Rests after a turn that handled so many frames: not at all after one that handled any.
    #[inline]
    pub(crate) fn after(&mut self, handled: usize) {
        if handled > 0 {
            self.empty_turns = 0;
        } else if self.idle == Idle::Adaptive {
            self.empty_turns = self.empty_turns.saturating_add(1);
            if self.empty_turns > NAP_AFTER {
                thread::sleep(NAP);
            } else if self.empty_turns > YIELD_AFTER {
                thread::yield_now();
            }
        }
    }
}
