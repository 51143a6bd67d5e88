//! One backend after the other.

use std::sync::Arc;

use crate::turn::{Share, TURN, each_turn};

/// Turns in a round at most: what takes more is rounded.
const LONGEST: u32 = 65_536;

/// A round in which each backend has as many turns as it has weight, spread as evenly as they go.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// Whose turn it is, by position in the pool's list.
    order: Arc<[u32]>,
}

impl Rotation {
    /// The round of backends at these positions with these weights; a weight of 0 has no turn.
    #[must_use]
    pub fn of(weights: impl Iterator<Item = (u32, u32)>) -> Self {
        let (positions, mut weights): (Vec<u32>, Vec<u32>) =
            weights.filter(|(_, weight)| *weight > 0).unzip();
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        weights.iter_mut().for_each(|weight| *weight /= divisor);
        let round: u64 = weights.iter().copied().map(u64::from).sum();
        // The middle of what lies between two turns, so that equal weights take turns in the list's order.
        let share = |&weight| Share { weight: u64::from(weight), phase: TURN / 2 };
        let shares: Vec<Share> = weights.iter().map(share).collect();
        let mut order = Vec::new();
        each_turn(&shares, round.min(u64::from(LONGEST)) as usize, |index| {
            order.extend(positions.get(index));
        });
        Self { order: order.into() }
    }

    /// Whose turn it is; the next one's afterwards.
    #[must_use]
    pub fn next(&self, turn: &mut u32) -> Option<u32> {
        let last = self.order.len().checked_sub(1)?;
        let now = *turn as usize;
        // A turn of a round that was longer begins anew.
        let now = if now > last { 0 } else { now };
        *turn = if now < last { now as u32 + 1 } else { 0 };
        self.order.get(now).copied()
    }

    /// Whether it is anybody's turn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if one == 0 { other } else { greatest_common_divisor(other % one, one) }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn round(weights: &[u32], turns: usize) -> Vec<u32> {
        let (rotation, mut turn) = (Rotation::of((0..).zip(weights.iter().copied())), 0);
        (0..turns).map_while(|_| rotation.next(&mut turn)).collect()
    }

    #[test]
    fn equal_weights_take_turns_in_the_order_of_the_list() {
        assert_eq!(round(&[7, 7, 7], 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn turns_of_a_heavy_one_are_spread() {
        assert_eq!(round(&[40, 10, 10], 6), [0, 0, 1, 2, 0, 0]);
        assert_eq!(round(&[1, 0, 2], 3), [2, 0, 2]);
    }

    #[test]
    fn nobody_has_no_turn() {
        assert!(round(&[], 1).is_empty() && round(&[0, 0], 1).is_empty());
    }

    #[test]
    fn a_turn_that_a_shorter_round_has_not_begins_it_anew() {
        let (rotation, mut turn) = (Rotation::of([(3, 1), (4, 1)].into_iter()), 99);
        assert_eq!((rotation.next(&mut turn), turn), (Some(3), 1));
    }

    proptest! {
        #[test]
        fn in_a_round_everybody_has_as_many_turns_as_it_has_weight(weights in vec(0..50_u32, 1..30)) {
            let all: u32 = weights.iter().sum();
            let turns = round(&weights, all as usize);
            let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
            for (position, weight) in (0..).zip(&weights) {
                let count = turns.iter().filter(|turn| **turn == position).count();
                prop_assert_eq!(count, *weight as usize, "in {} rounds", divisor);
            }
        }
    }
}
