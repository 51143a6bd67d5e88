//! How often health may be published.

use std::time::Duration;

use tokio::time::Instant;

/// Allows some turns at once, and then one every so often.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    burst: u32,
    /// When the allowance is used up to its last turn; earlier than now by what was not used.
    used_until: Instant,
}

impl Pace {
    /// `burst` turns at once, then one `every` so often.
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self { every, burst: burst.max(1), used_until: Instant::now() }
    }

    /// Waits until it is time for another turn, and takes it.
    pub(super) async fn turn(&mut self) {
        let ahead = self.every.saturating_mul(self.burst - 1);
        tokio::time::sleep_until(self.used_until.checked_sub(ahead).unwrap_or(self.used_until)).await;
        self.used_until = self.used_until.max(Instant::now()) + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_turns_are_taken_at_once_and_the_others_one_by_one() {
        let mut pace = Pace::new(3, Duration::from_millis(500));
        let start = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..5 {
            pace.turn().await;
            taken.push(start.elapsed().as_millis());
        }
        assert_eq!(taken, [0, 0, 0, 500, 1_000]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let rested = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(rested.elapsed(), Duration::ZERO, "what was not used is allowed later, but no more of it");
    }
}
