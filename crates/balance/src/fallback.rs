//! Who stands in for a backend that is not usable: weighted rendezvous.
//!
//! Each pair of slot and backend has a score that depends on nothing else; of the usable backends the one with the lowest
//! stands in. So a backend that goes takes only its own slots along, and one that comes takes only what it wins.
//!
//! The score is an exponentially distributed number divided by the weight: the lowest of several such numbers is each
//! one's in proportion to its weight.

use crate::mix::folded_multiply;

/// A usable backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StandIn {
    /// Its position in the configured list.
    pub(crate) position: u32,
    /// Two random numbers of its own.
    pub(crate) identity: [u64; 2],
    /// One divided by its weight.
    pub(crate) share: f64,
}

/// The position of the one that stands in at a slot with this random number; `None` if there is nobody.
pub(crate) fn stand_in<'a>(slot: u64, usable: impl Iterator<Item = &'a StandIn>) -> Option<u32> {
    let mut best = None;
    let mut lowest = f64::INFINITY;
    for candidate in usable {
        let [first, second] = candidate.identity;
        let chance = chance(folded_multiply(slot ^ first, slot.rotate_left(32) ^ second));
        // The logarithm costs more than all the rest, and nearly nobody is close enough to need it.
        let at_least = (1.0 - chance) * candidate.share;
        if at_least < lowest {
            let score = (negative_logarithm(chance) * candidate.share).max(at_least);
            if score < lowest {
                (best, lowest) = (Some(candidate.position), score);
            }
        }
    }
    best
}

/// A number above 0 and up to 1 from a random word.
fn chance(word: u64) -> f64 {
    ((word >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// −ln of a number above 0 and up to 1, to nine digits.
///
/// Not the library's, which may differ from one machine to the next in the last digit; these operations may not
/// (IEEE 754).
fn negative_logarithm(number: f64) -> f64 {
    // number = fraction × 2^exponent, the fraction between √½ and √2
    let bits = number.to_bits();
    let mut exponent = f64::from((bits >> 52) as u16) - 1023.0;
    let mut fraction = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if fraction > std::f64::consts::SQRT_2 {
        fraction /= 2.0;
        exponent += 1.0;
    }
    // ln x = 2 artanh((x − 1) / (x + 1)), of which the first five terms
    let t = (fraction - 1.0) / (fraction + 1.0);
    let square = t * t;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square / 9.0)));
    -(exponent * std::f64::consts::LN_2 + 2.0 * t * series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::keyed;

    fn candidate(position: u32, weight: u16) -> StandIn {
        let identity = [0, 1].map(|which| keyed([0; 16], &[u64::from(position), which]));
        StandIn { position, identity, share: 1.0 / f64::from(weight) }
    }

    #[test]
    fn the_logarithm_is_right_to_nine_digits() {
        for number in [1.0, 0.999_999_999, 0.75, 0.708, 0.706, 0.5, 0.1, 1e-9, chance(0)] {
            let (ours, exact) = (negative_logarithm(number), -f64::ln(number));
            assert!((ours - exact).abs() <= exact * 2e-9, "{number}: {ours} for {exact}");
        }
    }

    #[test]
    fn a_chance_is_above_zero_and_at_most_one() {
        assert!(chance(0) > 0.0);
        assert!((chance(u64::MAX) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn nobody_stands_in_where_nobody_is() {
        assert_eq!(stand_in(1, [].iter()), None);
    }

    #[test]
    fn stand_ins_share_by_weight() {
        let usable = [candidate(0, 1), candidate(1, 2), candidate(2, 5)];
        let mut counts = [0; 3];
        for slot in 0..80_000 {
            counts[stand_in(keyed([9; 16], &[slot]), usable.iter()).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([10_000_i32, 20_000, 50_000]) {
            assert!((count - expected).abs() < 500, "{counts:?}");
        }
    }
}
