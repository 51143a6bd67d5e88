//! Histograms of many subjects, which take memory only where something was recorded.

use std::fmt;

use zerocopy::FromZeros;

use crate::Counter;

/// Buckets to each doubling of the value: 2 to the power of this.
const PRECISION_BITS: u32 = 3;
const STEPS: usize = 1 << PRECISION_BITS;
/// Values are told apart below 2 to the power of this.
const RANGE_BITS: u32 = 24;

/// How often which value occurred to each subject; one core records, others read.
///
/// As in a [`Histogram`](crate::Histogram) buckets are log-linear, but each doubling is divided into eight: a value is known to an eighth of
/// itself. Larger values than [`Histograms::MAX`] count as that. 1.4 KiB a subject, once something of it was recorded.
pub struct Histograms(Box<[Counter]>);

impl Histograms {
    /// The largest value that is told apart from larger ones: 2²⁴ − 1.
    pub const MAX: u64 = (1 << RANGE_BITS) - 1;
    /// How many buckets each of them has.
    pub const BUCKETS: usize = STEPS * (RANGE_BITS - PRECISION_BITS + 1) as usize;

    /// Empty ones of so many subjects; of none where there is no memory.
    #[must_use]
    pub fn new(subjects: usize) -> Self {
        // The kernel makes memory of zeros when they are written.
        Self(<[Counter]>::new_box_zeroed_with_elems(subjects * Self::BUCKETS).unwrap_or_default())
    }

    /// Counts one occurrence of `value` to a subject. For the one writer.
    pub fn record(&self, subject: usize, value: u64) {
        if let Some(bucket) = self.0.get(subject * Self::BUCKETS + position(value)) {
            bucket.add(1);
        }
    }

    /// How often a value of each bucket has occurred to a subject. For anybody.
    pub fn read(&self, subject: usize) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().skip(subject * Self::BUCKETS).take(Self::BUCKETS).map(Counter::read)
    }

    /// The value in the middle of a bucket.
    #[must_use]
    pub const fn middle(bucket: usize) -> u64 {
        let ignored_bits = (bucket / STEPS).saturating_sub(1);
        let lowest = ((bucket - ignored_bits * STEPS) as u64) << ignored_bits;
        let width = 1_u64 << ignored_bits;
        lowest + width / 2
    }
}

impl fmt::Debug for Histograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histograms")
            .field("subjects", &(self.0.len() / Self::BUCKETS))
            .finish_non_exhaustive()
    }
}

/// The bucket of a value.
fn position(value: u64) -> usize {
    let value = value.min(Histograms::MAX);
    // The bits below the leading one and its three followers do not count; small values have none of those.
    let ignored_bits = (value | STEPS as u64).ilog2() - PRECISION_BITS;
    ignored_bits as usize * STEPS + (value >> ignored_bits) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_subject_has_a_histogram_of_its_own() {
        let all = Histograms::new(3);
        all.record(1, 7);
        all.record(1, u64::MAX);
        all.record(3, 7);
        let counts: Vec<u64> = (0..4).map(|subject| all.read(subject).sum()).collect();
        assert_eq!(counts, [0, 2, 0, 0]);
        let found: Vec<u64> = all
            .read(1)
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .map(|(at, _)| Histograms::middle(at))
            .collect();
        assert_eq!(found, [7, (15 << 20) + (1 << 19)]);
    }

    proptest! {
        #[test]
        fn the_middle_of_its_bucket_is_within_a_16th_of_a_value(value in 0..=Histograms::MAX) {
            prop_assert!(position(value) < Histograms::BUCKETS);
            prop_assert!(Histograms::middle(position(value)).abs_diff(value) <= value / 16);
        }
    }
}
