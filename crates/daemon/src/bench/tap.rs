//! What is done at a link while packets pass: count them, or say when they are due.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Packets of a tick are counted in parts of 2 to the power of this.
const RATE_BITS: u32 = 32;

/// Looks at a link's packets, and stops whoever polls.
pub(super) enum Tap {
    /// Stops after some packets.
    Quota(Quota),
    /// Lets packets come when they are due.
    Pace(Pace),
}

/// Stops after some packets.
pub(super) struct Quota {
    pub(super) left: u64,
    pub(super) stop: Arc<AtomicBool>,
}

/// An open loop: packets become due at a rate, whether anybody takes them or not. Stops when time is over.
pub(super) struct Pace {
    /// Packets a tick, in parts; `None` when they are always due.
    rate: Option<u64>,
    from: u64,
    ticks: u64,
    handed_out: u64,
    stop: Arc<AtomicBool>,
    /// When the last burst was received, and how many packets it has.
    pending: (u64, u32),
    /// All bursts that have left.
    passages: Vec<Passage>,
}

/// A burst that has left. Packets leave in the order in which they were due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    /// Ticks from the beginning to its receipt.
    received: u64,
    /// From then until it was transmitted.
    pub(super) residence: u32,
    pub(super) packets: u32,
}

impl Tap {
    /// Of `limit` packets, how many may be received.
    #[inline]
    pub(super) fn due(&self, limit: usize) -> usize {
        match self {
            Self::Quota(_) => limit,
            Self::Pace(pace) => pace.due(limit),
        }
    }

    /// Learns of a receipt.
    #[inline]
    pub(super) fn received(&mut self, packets: usize) {
        match self {
            Self::Quota(quota) => {
                quota.left = quota.left.saturating_sub(packets as u64);
                if quota.left == 0 {
                    quota.stop.store(true, Ordering::Relaxed);
                }
            }
            Self::Pace(pace) if packets > 0 => {
                pace.handed_out += packets as u64;
                pace.pending = (cpu::tsc().wrapping_sub(pace.from), packets as u32);
            }
            Self::Pace(_) => {}
        }
    }

    /// Learns that what was received has been transmitted.
    #[inline]
    pub(super) fn sent(&mut self) {
        let Self::Pace(pace) = self else { return };
        let (received, packets) = pace.pending;
        let residence = cpu::tsc().wrapping_sub(pace.from).saturating_sub(received);
        if packets > 0 && pace.passages.len() < pace.passages.capacity() {
            let residence = u32::try_from(residence).unwrap_or(u32::MAX);
            pace.passages.push(Passage { received, residence, packets });
        }
        pace.pending.1 = 0;
    }
}

impl Pace {
    /// Begins now. `interval` is the ticks between two packets; with 0 they are always due. Room for so many bursts is made,
    /// and it ends when that is used up.
    pub(super) fn begin(interval: f64, ticks: u64, bursts: usize, stop: Arc<AtomicBool>) -> Self {
        let none = Passage { received: 0, residence: 0, packets: 0 };
        let mut passages = vec![none; bursts]; // touched, so that the system need not give it later
        passages.clear();
        let rate = (interval > 0.0).then(|| ((1_u64 << RATE_BITS) as f64 / interval) as u64);
        Self { rate, from: cpu::tsc(), ticks, handed_out: 0, stop, pending: (0, 0), passages }
    }

    #[inline]
    fn due(&self, limit: usize) -> usize {
        let now = cpu::tsc().wrapping_sub(self.from);
        if now >= self.ticks || self.passages.len() == self.passages.capacity() {
            self.stop.store(true, Ordering::Relaxed);
            return 0;
        }
        let Some(rate) = self.rate else { return limit };
        let due = (u128::from(now) * u128::from(rate)) >> RATE_BITS;
        (due as u64).saturating_sub(self.handed_out).min(limit as u64) as usize
    }

    /// Packets that were handed out.
    pub(super) const fn handed_out(&self) -> u64 {
        self.handed_out
    }

    /// Bursts that have left.
    pub(super) fn passages(&self) -> &[Passage] {
        &self.passages
    }

    /// From when each packet was due until it was transmitted, in ticks.
    pub(super) fn sojourns(&self) -> impl Iterator<Item = u64> {
        let interval = self.rate.map_or(0.0, |rate| (1_u64 << RATE_BITS) as f64 / rate as f64);
        let mut number = 0_u64;
        self.passages.iter().flat_map(move |passage| {
            let first = number;
            number += u64::from(passage.packets);
            let sent = passage.received + u64::from(passage.residence);
            (first..number).map(move |number| sent.saturating_sub(((number + 1) as f64 * interval) as u64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_stops_when_it_is_used_up() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tap = Tap::Quota(Quota { left: 40, stop: Arc::clone(&stop) });
        assert_eq!(tap.due(32), 32);
        tap.received(32);
        assert!(!stop.load(Ordering::Relaxed));
        tap.received(32);
        tap.sent();
        assert!(stop.load(Ordering::Relaxed));
    }

    #[test]
    fn no_packet_comes_before_it_is_due_and_none_is_forgotten() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tap = Tap::Pace(Pace::begin(1e6, u64::MAX, 8, Arc::clone(&stop)));
        let mut handed_out = 0;
        while handed_out < 5 {
            let due = tap.due(2);
            assert!(due <= 2);
            tap.received(due);
            tap.sent();
            handed_out += due;
        }
        let Tap::Pace(pace) = &tap else { panic!() };
        assert_eq!(pace.handed_out(), handed_out as u64);
        assert_eq!(pace.passages().iter().map(|passage| passage.packets as usize).sum::<usize>(), handed_out);
        assert_eq!(pace.sojourns().count(), handed_out);
        let last = pace.passages().last().unwrap();
        assert!(last.received >= 5_000_000 && pace.sojourns().all(|sojourn| sojourn < last.received));
    }

    #[test]
    fn it_ends_with_time_or_with_its_room() {
        for (ticks, bursts) in [(0, 8), (u64::MAX, 0)] {
            let stop = Arc::new(AtomicBool::new(false));
            let tap = Tap::Pace(Pace::begin(0.0, ticks, bursts, Arc::clone(&stop)));
            assert_eq!(tap.due(32), 0);
            assert!(stop.load(Ordering::Relaxed));
        }
        let endless = Tap::Pace(Pace::begin(0.0, u64::MAX, 1, Arc::default()));
        assert_eq!(endless.due(32), 32);
    }

    #[test]
    fn a_packet_sojourns_from_when_it_was_due() {
        let mut pace = Pace::begin(100.0, u64::MAX, 2, Arc::default());
        pace.passages.push(Passage { received: 250, residence: 50, packets: 2 });
        pace.passages.push(Passage { received: 310, residence: 40, packets: 1 });
        let sojourns: Vec<u64> = pace.sojourns().collect();
        for (sojourn, expected) in sojourns.into_iter().zip([200_u64, 100, 50]) {
            assert!(sojourn.abs_diff(expected) <= 1, "{sojourn} instead of {expected}");
        }
    }
}
