//! Counters, gauges and histograms that one core writes and any other reads.
//!
//! What must stay true:
//!
//! - **One writer each.** Writing is a load, an addition and a store, not a locked instruction. A second writer would not
//!   be unsound, but additions would get lost; so each worker has its own set, and a reader adds them up.
//! - **A reader is never wrong by more than the moment.** Each number by itself only moves as its writer moved it, and no
//!   half-written number is seen. Two numbers read one after the other are of two moments: they agree with each other
//!   only when the writer rests.
//! - Nothing here allocates, waits or fails after it was made.
//!
//! What it leaves to others: what is counted and what it is called; that the numbers of two writers do not share a cache
//! line (give each writer an allocation of its own, or align what it owns to 64 bytes).
#![forbid(unsafe_code)]

mod histogram;
mod histograms;

use std::sync::atomic::{AtomicU64, Ordering};

pub use histogram::Histogram;
pub use histograms::Histograms;
use zerocopy::FromZeros;

/// A number of events or bytes, which only grows.
#[derive(Debug, Default, FromZeros)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. For the one writer.
    #[inline]
    pub fn add(&self, amount: u64) {
        // Relaxed, as all here: a number stands for itself and publishes nothing else.
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.wrapping_add(amount), Ordering::Relaxed);
    }

    /// The sum so far. For anybody.
    #[inline]
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the number. For the one writer.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number. For anybody.
    #[inline]
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_counter_is_the_sum_of_what_was_added() {
        let counter = Counter::default();
        counter.add(3);
        counter.add(4);
        assert_eq!(counter.read(), 7);
    }

    #[test]
    fn a_counter_at_its_end_starts_again() {
        let counter = Counter::default();
        counter.add(u64::MAX);
        counter.add(2);
        assert_eq!(counter.read(), 1);
    }

    #[test]
    fn a_gauge_is_what_was_set_last() {
        let gauge = Gauge::default();
        gauge.set(9);
        gauge.set(2);
        assert_eq!(gauge.read(), 2);
    }

    #[test]
    fn a_reader_sees_a_counter_only_grow() {
        let counter = Counter::default();
        thread::scope(|scope| {
            scope.spawn(|| (0..100_000).for_each(|_| counter.add(1)));
            let mut seen = 0;
            while seen < 100_000 {
                let now = counter.read();
                assert!(now >= seen);
                seen = now;
            }
        });
    }
}
