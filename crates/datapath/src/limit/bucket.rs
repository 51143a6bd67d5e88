//! A bucket of tokens that all workers take from.

use model::Millis;

/// Tokens come at a rate, and go when any worker counts something. Each worker has the whole bucket rather than a share of it: what all
/// workers have counted says how much is gone, whoever took it, so the rate goes where the work is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// Thousandths of tokens that are gone.
    gone: u64,
    /// What was counted when this was looked at last.
    counted: u64,
    /// When that was.
    looked: Option<Millis>,
}

/// Thousandths.
const PARTS: u64 = 1000;

impl Bucket {
    /// Whether a token is left when so much was counted over all time. At first all of `at_once` are.
    pub(super) fn is_left(&mut self, counted: u64, (rate, at_once): (u64, u64), now: Millis) -> bool {
        let Some(looked) = self.looked else {
            (self.counted, self.looked) = (counted, Some(now));
            return true;
        };
        let taken = counted.wrapping_sub(self.counted).saturating_mul(PARTS);
        // As many a second are as many thousandths a millisecond.
        let come = now.since(looked).saturating_mul(rate);
        // What is taken beyond what is there has to come again, but for what was counted before there was a limit.
        let most = at_once.saturating_add(rate).saturating_mul(PARTS);
        self.gone = self.gone.saturating_add(taken).saturating_sub(come).min(most);
        (self.counted, self.looked) = (counted, Some(now));
        self.gone <= at_once.saturating_sub(1).saturating_mul(PARTS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn what_was_not_taken_is_there_at_once_and_then_comes_at_the_rate() {
        let mut bucket = Bucket::default();
        let mut counted = 7;
        let mut take = |now| {
            let is_left = bucket.is_left(counted, (4, 4), Millis(now));
            counted += u64::from(is_left);
            is_left
        };
        assert_eq!([0; 5].map(&mut take), [true, true, true, true, false]);
        assert_eq!([249, 250, 250, 500].map(&mut take), [false, true, false, true]);
        assert_eq!([60_000; 6].map(&mut take), [true, true, true, true, false, false]);
    }

    #[test]
    fn what_was_counted_while_there_was_no_limit_is_forgiven() {
        let mut bucket = Bucket::default();
        assert!(bucket.is_left(1_000_000, (10, 10), Millis(5)));
        assert!(!bucket.is_left(9_000_000, (10, 10), Millis(5)));
        assert!(bucket.is_left(9_000_000, (10, 10), Millis(5 + 1100)));
    }

    proptest! {
        /// However the work is spread over workers, over any time no more goes than came, but for what was there at once.
        #[test]
        fn all_workers_together_keep_to_the_rate(
            rate in 1..50_u64,
            turns in vec((0..4_usize, 0..40_u64), 1..600),
        ) {
            let mut buckets = [Bucket::default(); 4];
            let (mut counted, mut now) = (0, 0);
            for (worker, pause) in turns {
                now += pause;
                // All look now and then, as in housekeeping.
                for bucket in &mut buckets {
                    bucket.is_left(counted, (rate, rate), Millis(now));
                }
                counted += u64::from(buckets[worker].is_left(counted, (rate, rate), Millis(now)));
                prop_assert!(counted * 1000 <= rate * 1000 + rate * now, "{} in {} ms", counted, now);
            }
        }
    }
}
