//! The time stamp counter as `nic`'s clock.

use nic::{Clock, Cycles};

use crate::Eal;

/// The processor's time stamp counter; all cores share it (invariant TSC).
#[derive(Clone, Copy, Debug)]
pub struct TscClock {
    hertz: u64,
}

impl TscClock {
    /// The clock, with the frequency that DPDK measured when it started.
    #[must_use]
    pub fn new(_started: &Eal) -> Self {
        // SAFETY: EAL was started, which is when the frequency is measured.
        let hertz = unsafe { dpdk_sys::rte_get_tsc_hz() };
        Self { hertz: hertz.max(1) }
    }
}

impl Clock for TscClock {
    #[inline]
    fn now(&self) -> Cycles {
        // SAFETY: every x86-64 processor that DPDK runs on has this instruction.
        Cycles(unsafe { core::arch::x86_64::_rdtsc() })
    }

    fn hertz(&self) -> u64 {
        self.hertz
    }
}
