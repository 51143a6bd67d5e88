//! Which parts of a packet have come.

use arrayvec::ArrayVec;
use wire::fragment::{Fragment, UNIT};

use crate::DropReason;

/// Parts that are apart from one another, at most: those that follow each other are one.
const PIECES: usize = 8;

/// The parts of one packet that have come, in units of eight bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// First and end, in order, none touching the next.
    pieces: ArrayVec<(u16, u16), PIECES>,
    /// Where the packet ends, once its last part has come.
    end: Option<u16>,
}

impl Parts {
    /// Notes a part of `length` bytes; whether all of the packet has come with it.
    ///
    /// # Errors
    /// When it overlaps what has come, or contradicts where the packet ends: nothing of a packet is passed on twice, so that no
    /// backend has to choose (RFC 5722). Or when there are too many gaps.
    pub(super) fn add(&mut self, fragment: Fragment, length: usize) -> Result<bool, DropReason> {
        let start = usize::from(fragment.offset) / UNIT;
        let (start, end) = (start as u16, (start + length.div_ceil(UNIT)) as u16);
        let is_last = !fragment.has_more;
        let known_end = self.pieces.last().map_or(0, |&(_, end)| end);
        let contradicts = self.end.is_some_and(|known| end > known || is_last) || is_last && known_end > end;
        if contradicts || self.pieces.iter().any(|&(from, to)| start < to && from < end) {
            return Err(DropReason::FragmentOverlap);
        }
        self.insert(start, end)?;
        if is_last {
            self.end = Some(end);
        }
        Ok(self.end.is_some_and(|end| self.pieces.as_slice() == [(0, end)]))
    }

    fn insert(&mut self, start: u16, end: u16) -> Result<(), DropReason> {
        let at = self.pieces.iter().take_while(|&&(from, _)| from < start).count();
        let touches_next = self.pieces.get(at).is_some_and(|&(from, _)| from == end);
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before).copied());
        match before.filter(|&(_, to)| to == start) {
            Some((from, _)) if touches_next => {
                let next = self.pieces.remove(at);
                self.set(at - 1, (from, next.1));
            }
            Some((from, _)) => self.set(at - 1, (from, end)),
            None if touches_next => {
                let next = self.pieces.get(at).map_or(end, |&(_, to)| to);
                self.set(at, (start, next));
            }
            None => self.pieces.try_insert(at, (start, end)).map_err(|_| DropReason::FragmentsScattered)?,
        }
        Ok(())
    }

    fn set(&mut self, at: usize, piece: (u16, u16)) {
        if let Some(place) = self.pieces.get_mut(at) {
            *place = piece;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(offset: u16, has_more: bool) -> Fragment {
        Fragment { identification: 1, offset, has_more }
    }

    #[test]
    fn a_packet_is_whole_when_all_parts_have_come_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut parts = Parts::default();
            let came =
                order.map(|number| parts.add(part(number * 1480, number < 2), 1480 - usize::from(number)));
            assert_eq!(came, [Ok(false), Ok(false), Ok(true)], "{order:?}");
        }
    }

    #[test]
    fn what_overlaps_or_contradicts_is_refused() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(part(0, true), 1480), Ok(false));
        assert_eq!(parts.add(part(2960, false), 100), Ok(false));
        for (fragment, length) in [
            (part(0, true), 1480),    // once more
            (part(1472, true), 16),   // teardrop
            (part(1480, true), 2000), // over what follows
            (part(1480, false), 8),   // another end before what has come
            (part(3064, false), 8),   // another end behind it
            (part(3064, true), 8),    // more behind the end
        ] {
            assert_eq!(parts.add(fragment, length), Err(DropReason::FragmentOverlap), "{fragment:?}");
        }
        assert_eq!(parts.add(part(1480, true), 1480), Ok(true));
    }

    #[test]
    fn gaps_are_bounded() {
        let mut parts = Parts::default();
        for number in 0..8 {
            assert_eq!(parts.add(part(number * 64, true), 8), Ok(false));
        }
        assert_eq!(parts.add(part(8 * 64, true), 8), Err(DropReason::FragmentsScattered));
        assert_eq!(parts.add(part(8, true), 56), Ok(false), "what fills a gap is welcome");
        assert_eq!(parts.add(part(8 * 64, true), 8), Ok(false));
    }

    proptest! {
        /// A bit for each unit is the oracle.
        #[test]
        fn parts_are_refused_when_any_of_their_units_has_come(
            given in proptest::collection::vec((0_u16..64, 1_usize..16, any::<bool>()), 1..40)
        ) {
            let (mut parts, mut units, mut end) = (Parts::default(), [false; 128], None);
            for (start, count, is_last) in given {
                let range = usize::from(start)..usize::from(start) + count;
                let highest = units.iter().rposition(|unit| *unit).map_or(0, |at| at + 1);
                let contradicts = end.is_some_and(|end| range.end > end || is_last) || is_last && highest > range.end;
                let overlaps = units[range.clone()].iter().any(|unit| *unit);
                match parts.add(part(start * 8, !is_last), count * 8) {
                    Err(DropReason::FragmentOverlap) => prop_assert!(contradicts || overlaps),
                    Err(reason) => prop_assert_eq!(reason, DropReason::FragmentsScattered),
                    Ok(is_whole) => {
                        prop_assert!(!contradicts && !overlaps);
                        units[range.clone()].fill(true);
                        end = if is_last { Some(range.end) } else { end };
                        let all = end.is_some_and(|end| units[..end].iter().all(|unit| *unit));
                        prop_assert_eq!(is_whole, all);
                    }
                }
            }
        }
    }
}
