//! A histogram in the form in which recording is cheapest.

use std::fmt;

use crate::Counter;

/// Buckets to each doubling of the value: 2 to the power of this.
const PRECISION_BITS: u32 = 5;
const STEPS: usize = 1 << PRECISION_BITS;
/// Values are told apart below 2 to the power of this.
const RANGE_BITS: u32 = 40;
const BUCKETS: usize = STEPS * (RANGE_BITS - PRECISION_BITS + 1) as usize;

/// How often which value occurred; one core records, others read.
///
/// Buckets are log-linear: each value below 64 has its own, and from there on each doubling is divided into 32 buckets,
/// so that a value is known to 1/32 of itself. Larger values than [`Histogram::MAX`] count as that. 9 KiB.
pub struct Histogram {
    buckets: Box<[Counter]>,
}

impl Histogram {
    /// The largest value that is told apart from larger ones: 2⁴⁰ − 1.
    pub const MAX: u64 = (1 << RANGE_BITS) - 1;

    /// Counts one occurrence of `value`. For the one writer.
    #[inline]
    pub fn record(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(position(value)) {
            bucket.add(1);
        }
    }

    /// How many values were recorded. For anybody.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::read).sum()
    }

    /// Adds what was recorded so far to `histogram`, each value as the middle of its bucket (off by 1/64 at most). For
    /// anybody. What `histogram` has no room for counts as its largest value.
    pub fn merge_into(&self, histogram: &mut hdrhistogram::Histogram<u64>) {
        for (position, bucket) in self.buckets.iter().enumerate() {
            let count = bucket.read();
            // Saturating is for what cannot grow: it would not even try.
            if count > 0 && histogram.record_n(middle(position), count).is_err() {
                histogram.saturating_record_n(middle(position), count);
            }
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::iter::repeat_with(Counter::default).take(BUCKETS).collect() }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// The bucket of a value.
#[inline]
fn position(value: u64) -> usize {
    let value = value.min(Histogram::MAX);
    // The bits below the leading one and its five followers do not count; small values have none of those.
    let ignored_bits = (value | STEPS as u64).ilog2() - PRECISION_BITS;
    ignored_bits as usize * STEPS + (value >> ignored_bits) as usize
}

/// The value in the middle of a bucket.
fn middle(position: usize) -> u64 {
    let ignored_bits = (position / STEPS).saturating_sub(1);
    let lowest = ((position - ignored_bits * STEPS) as u64) << ignored_bits;
    let width = 1_u64 << ignored_bits;
    lowest + width / 2
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn merged(histograms: &[Histogram]) -> hdrhistogram::Histogram<u64> {
        let mut sum = hdrhistogram::Histogram::new(3).unwrap();
        histograms.iter().for_each(|histogram| histogram.merge_into(&mut sum));
        sum
    }

    #[test]
    fn the_buckets_follow_each_other_without_a_gap_and_fill_the_range() {
        let mut next = 0;
        for value in (0..1 << 16).chain((16..RANGE_BITS).flat_map(|bit| {
            (0..STEPS as u64).flat_map(move |step| {
                let lowest = (1 << bit) + (step << (bit - PRECISION_BITS));
                [lowest, lowest + (1 << (bit - PRECISION_BITS)) - 1]
            })
        })) {
            assert!(position(value) == next || position(value) + 1 == next, "{value}");
            next = position(value) + 1;
        }
        assert_eq!(next, BUCKETS);
    }

    #[test]
    fn a_small_value_is_known_exactly() {
        for value in 0..64 {
            assert_eq!(middle(position(value)), value);
        }
    }

    #[test]
    fn a_value_beyond_the_range_counts_as_the_largest() {
        let histogram = Histogram::default();
        histogram.record(u64::MAX);
        histogram.record(Histogram::MAX);
        assert_eq!(histogram.count(), 2);
        assert_eq!(position(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_reader_with_less_room_takes_its_largest_value_instead() {
        let histogram = Histogram::default();
        histogram.record(1 << 30);
        let mut small = hdrhistogram::Histogram::new_with_max(1_000, 3).unwrap();
        histogram.merge_into(&mut small);
        assert_eq!(small.len(), 1);
    }

    proptest! {
        #[test]
        fn the_middle_of_its_bucket_is_within_a_64th_of_a_value(value in 0..=Histogram::MAX) {
            prop_assert!(middle(position(value)).abs_diff(value) <= value / 64);
        }

        #[test]
        fn percentiles_over_two_writers_are_within_the_precision(
            bits in vec((any::<u64>(), 0_u32..40), 1..100),
            split in any::<prop::sample::Index>(),
        ) {
            let mut values: Vec<u64> = bits.iter().map(|&(value, bit)| value & ((2 << bit) - 1)).collect();
            let (left, right) = values.split_at(split.index(values.len()));
            let both = [left, right].map(|values| {
                let histogram = Histogram::default();
                values.iter().for_each(|&value| histogram.record(value));
                histogram
            });
            let sum = merged(&both);
            prop_assert_eq!(sum.len(), values.len() as u64);
            values.sort_unstable();
            for (rank, &exact) in values.iter().enumerate() {
                // Half a rank further down, so that no rounding decides which rank is meant.
                let found = sum.value_at_quantile((rank as f64 + 0.5) / values.len() as f64);
                prop_assert!(found.abs_diff(exact) <= exact / 32 + 1, "{} for {}", found, exact);
            }
        }
    }
}
