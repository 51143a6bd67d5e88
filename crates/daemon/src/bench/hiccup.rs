//! What the machine itself keeps a thread waiting: for interrupts, other threads, other virtual machines.

/// Gaps that are remembered at most.
const GAPS: usize = 1 << 20;

/// Times at which an idle loop did not come round.
#[derive(Clone, Debug, Default)]
pub(super) struct Hiccups {
    /// In ticks.
    gaps: Vec<u64>,
    /// How long was looked, in ticks.
    looked: u64,
}

impl Hiccups {
    /// None yet, and room for some.
    pub(super) fn new() -> Self {
        Self { gaps: Vec::with_capacity(GAPS), looked: 0 }
    }

    /// Looks for gaps of `shortest` ticks and more between two readings of the time stamp counter.
    pub(super) fn look(&mut self, ticks: u64, shortest: u64) {
        let from = cpu::tsc();
        let mut last = from;
        while last.wrapping_sub(from) < ticks {
            let now = cpu::tsc();
            let gap = now.wrapping_sub(last);
            if gap >= shortest && self.gaps.len() < GAPS {
                self.gaps.push(gap);
            }
            last = now;
        }
        self.looked += last.wrapping_sub(from);
    }

    /// The longest gap, in ticks.
    pub(super) fn max(&self) -> u64 {
        self.gaps.iter().copied().max().unwrap_or_default()
    }

    /// The part of all time that lay in gaps.
    pub(super) fn share(&self) -> f64 {
        self.gaps.iter().sum::<u64>() as f64 / self.looked.max(1) as f64
    }

    /// How long somebody who comes at any time waits for a loop that does nothing else: ticks that this does not exceed with a
    /// probability.
    pub(super) fn wait(&self, probability: f64) -> f64 {
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable_by(|one, other| other.cmp(one));
        // Who comes in the first `gap - wait` ticks of a gap waits longer.
        let allowed = (1.0 - probability) * self.looked as f64;
        let mut sum = 0.0;
        for (position, &gap) in gaps.iter().enumerate() {
            sum += gap as f64;
            let wait = (sum - allowed) / (position + 1) as f64;
            let next = gaps.get(position + 1).copied().unwrap_or_default();
            if wait >= next as f64 {
                return wait;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_what_is_left_of_a_gap() {
        let hiccups = Hiccups { gaps: vec![100, 300, 200], looked: 10_000 };
        assert_eq!(hiccups.max(), 300);
        assert!((hiccups.share() - 0.06).abs() < 1e-9);
        // Longer than 250 wait those who come in the first 50 ticks of the longest gap.
        assert!((hiccups.wait(0.995) - 250.0).abs() < 1e-6);
        // Longer than 100: the first 200 of one and the first 100 of another.
        assert!((hiccups.wait(0.97) - 100.0).abs() < 1e-6);
        assert!(hiccups.wait(0.9) == 0.0 && hiccups.wait(1.0) == 300.0);
        assert!(Hiccups::default().wait(0.5) == 0.0 && Hiccups::default().share() == 0.0);
    }

    #[test]
    fn gaps_are_found_in_time() {
        let mut hiccups = Hiccups::new();
        hiccups.look(100_000, 1);
        assert!(hiccups.max() > 0 && hiccups.looked >= 100_000);
    }
}
