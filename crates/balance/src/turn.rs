//! Whose turn it is to take a slot.
//!
//! The k-th turn of a backend with weight w is due at (k − phase)/w. Turns are sorted by when they are due, a stretch of
//! time after the other, in linear time: as they come evenly, each of as many drawers as there are turns has about one.

/// One turn, of which phases are fractions.
pub(crate) const TURN: u64 = 1 << 32;
/// Turns in a stretch of time, about: few enough to stay in the processor's nearest cache.
const STRETCH: usize = 1 << 11;

/// How often a backend has a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Not 0.
    pub(crate) weight: u64,
    /// What is taken off when a turn is due, less than [`TURN`].
    pub(crate) phase: u64,
}

/// A turn: when it is due, and whose it is, by position. Of two due at once the lower position is first.
type Turn = (u64, u32);

/// Calls `take` for each of the first `number` turns in their order, with the position of whose turn it is; never if there
/// is nobody.
pub(crate) fn each_turn(shares: &[Share], number: usize, mut take: impl FnMut(usize)) {
    let total: u64 = shares.iter().map(|share| share.weight).sum();
    if total == 0 {
        return;
    }
    let turns = STRETCH.max(2 * shares.len());
    let length = (TURN * turns as u64).div_ceil(total);
    let mut courses: Vec<Course> = shares.iter().map(Course::of).collect();
    let mut stretch = Stretch::new(length, turns);
    let mut left = number;
    while left > 0 {
        for (course, position) in courses.iter_mut().zip(0..) {
            while course.due < stretch.end {
                stretch.add((course.due, position));
                course.advance();
            }
        }
        let sorted = stretch.sort();
        sorted.iter().take(left).for_each(|&(_, position)| take(position as usize));
        left -= sorted.len().min(left);
        stretch.pass(length);
    }
}

/// When the turns of one are due: (TURN · k − phase) / weight, without a division for each k.
struct Course {
    due: u64,
    rest: u64,
    weight: u64,
    step: u64,
    step_rest: u64,
}

impl Course {
    /// At the first turn.
    const fn of(share: &Share) -> Self {
        let (first, weight) = (TURN - share.phase, share.weight);
        Self {
            due: first / weight,
            rest: first % weight,
            weight,
            step: TURN / weight,
            step_rest: TURN % weight,
        }
    }

    #[inline]
    fn advance(&mut self) {
        self.due += self.step;
        self.rest += self.step_rest;
        if self.rest >= self.weight {
            self.due += 1;
            self.rest -= self.weight;
        }
    }
}

/// A stretch of time and the turns in it.
struct Stretch {
    begin: u64,
    end: u64,
    /// A turn's drawer is its time from the beginning, shifted right by this.
    shift: u32,
    /// By drawer: how many turns it has, later where the next one goes.
    drawers: Vec<u32>,
    added: Vec<Turn>,
    sorted: Vec<Turn>,
}

impl Stretch {
    /// The first one, with about so many turns.
    fn new(length: u64, turns: usize) -> Self {
        let shift = (u64::BITS - length.leading_zeros()).saturating_sub(turns.ilog2());
        let drawers = vec![0; (length >> shift) as usize + 1];
        Self { begin: 0, end: length, shift, drawers, added: Vec::new(), sorted: Vec::new() }
    }

    /// Goes on to the next one.
    fn pass(&mut self, length: u64) {
        (self.begin, self.end) = (self.end, self.end + length);
        self.added.clear();
        self.drawers.fill(0);
    }

    #[inline]
    fn add(&mut self, turn: Turn) {
        self.added.push(turn);
        if let Some(count) = self.drawers.get_mut(((turn.0 - self.begin) >> self.shift) as usize) {
            *count += 1;
        }
    }

    /// All turns in their order.
    fn sort(&mut self) -> &[Turn] {
        let mut place = 0;
        for drawer in &mut self.drawers {
            place += std::mem::replace(drawer, place);
        }
        self.sorted.resize(self.added.len(), (0, 0));
        for &turn in &self.added {
            let Some(next) = self.drawers.get_mut(((turn.0 - self.begin) >> self.shift) as usize) else {
                continue;
            };
            if let Some(place) = self.sorted.get_mut(*next as usize) {
                *place = turn;
            }
            *next += 1;
        }
        // Only turns of one drawer can be in the wrong order still.
        for end in 1..self.sorted.len() {
            let mut at = end;
            while let Some([before, turn]) = self.sorted.get_mut(at - 1..=at)
                && before > turn
            {
                std::mem::swap(before, turn);
                at -= 1;
                if at == 0 {
                    break;
                }
            }
        }
        &self.sorted
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn turns(shares: &[Share], number: usize) -> Vec<usize> {
        let mut turns = Vec::new();
        each_turn(shares, number, |position| turns.push(position));
        turns
    }

    /// By the definition.
    fn oracle(shares: &[Share], number: usize) -> Vec<usize> {
        let due = |share: &Share, count| (TURN * count - share.phase) / share.weight;
        let of = |(position, share): (usize, &Share)| {
            (1..=number as u64).map(|count| (due(share, count), position, count)).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = (0..).zip(shares).flat_map(of).collect();
        all.sort_unstable();
        all.into_iter().take(number).map(|(_, position, _)| position).collect()
    }

    #[test]
    fn nobody_has_no_turn() {
        assert!(turns(&[], 100).is_empty());
    }

    #[test]
    fn one_alone_has_all_turns() {
        for weight in [1, 65_535] {
            assert_eq!(turns(&[Share { weight, phase: TURN - 1 }], 5000), [0; 5000]);
        }
    }

    proptest! {
        #[test]
        fn turns_come_when_they_are_due(
            shares in vec((prop_oneof![1..4_u64, 1..65_536_u64], 0..TURN), 1..40),
            number in prop_oneof![1..10_usize, 1..6000_usize],
        ) {
            let shares: Vec<Share> =
                shares.into_iter().map(|(weight, phase)| Share { weight, phase }).collect();
            prop_assert_eq!(turns(&shares, number), oracle(&shares, number));
        }

        #[test]
        fn turns_due_at_once_come_in_order(weight in 1..9_u64, all in 1..30_usize, number in 1..3000_usize) {
            let shares = vec![Share { weight, phase: 7 }; all];
            prop_assert_eq!(turns(&shares, number), oracle(&shares, number));
        }
    }
}
