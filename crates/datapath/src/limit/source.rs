//! How many flows each source has opened in this second.

use meter::Gauge;
use model::Millis;

/// Sets of cells; a power of two.
const SETS: usize = 16_384;
/// Cells of a set: half a cache line.
const WAYS: usize = 4;
/// Bits of a cell that say how many flows; behind them the second, then the source.
const COUNT_BITS: u32 = 20;
/// Bits of a cell that say in which second.
const SECOND_BITS: u32 = 12;
/// The greatest count.
const MOST: u32 = (1 << COUNT_BITS) - 1;

/// How many flows each source has opened with one worker in this second of its clock. That worker writes, all others read.
///
/// There is room for 65,536 sources a second. Of more, those that have opened the fewest are forgotten: who floods with sources that
/// nobody has makes the limit hold for fewer, and never for one who has not reached it.
pub struct SourceRates(Box<[[Gauge; WAYS]]>);

impl Default for SourceRates {
    fn default() -> Self {
        Self(std::iter::repeat_with(Default::default).take(SETS).collect())
    }
}

/// What is in a cell.
#[derive(Clone, Copy)]
struct Cell {
    source: u32,
    second: u32,
    count: u32,
}

impl Cell {
    const fn from_word(word: u64) -> Self {
        Self {
            source: (word >> (COUNT_BITS + SECOND_BITS)) as u32,
            second: (word >> COUNT_BITS) as u32 & ((1 << SECOND_BITS) - 1),
            count: word as u32 & MOST,
        }
    }

    const fn word(self) -> u64 {
        (self.source as u64) << (COUNT_BITS + SECOND_BITS)
            | (self.second as u64) << COUNT_BITS
            | self.count as u64
    }
}

/// The second as cells have it. It comes again after an hour, in which a cell that nobody used says too much.
const fn second_of(now: Millis) -> u32 {
    (now.0 / 1000) as u32 & ((1 << SECOND_BITS) - 1)
}

impl SourceRates {
    fn set(&self, source: u64) -> Option<&[Gauge; WAYS]> {
        self.0.get(source as usize & (SETS - 1))
    }

    /// How many flows a source, of which this is a hash, has opened in this second.
    pub(super) fn read(&self, source: u64, now: Millis) -> u32 {
        let (tag, second) = ((source >> 32) as u32, second_of(now));
        let cells = self.set(source).into_iter().flatten().map(|cell| Cell::from_word(cell.read()));
        cells.filter(|cell| cell.source == tag && cell.second == second).map(|cell| cell.count).sum()
    }

    /// Notes that a source has opened a flow. For the one writer.
    pub(crate) fn add(&self, source: u64, now: Millis) {
        let (tag, second) = ((source >> 32) as u32, second_of(now));
        // Its own cell, or else one of another second, or the one that says the least.
        let worth = |cell: &&Gauge| match Cell::from_word(cell.read()) {
            cell if cell.source == tag => 0,
            cell if cell.second != second => 1,
            cell => 1 + cell.count,
        };
        let Some(place) = self.set(source).and_then(|set| set.iter().min_by_key(worth)) else { return };
        let cell = Cell::from_word(place.read());
        let before = if cell.source == tag && cell.second == second { cell.count } else { 0 };
        place.set(Cell { source: tag, second, count: (before + 1).min(MOST) }.word());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash in the set of all others whose low bits are 5.
    const fn source(number: u64) -> u64 {
        number << 32 | 5
    }

    #[test]
    fn a_source_is_counted_by_the_second() {
        let rates = SourceRates::default();
        for _ in 0..3 {
            rates.add(source(1), Millis(1500));
        }
        rates.add(source(2), Millis(1999));
        assert_eq!(
            [source(1), source(2), source(3)].map(|source| rates.read(source, Millis(1000))),
            [3, 1, 0]
        );
        assert_eq!(rates.read(source(1), Millis(2000)), 0);
        rates.add(source(1), Millis(2000));
        assert_eq!(rates.read(source(1), Millis(2001)), 1);
    }

    #[test]
    fn who_opens_many_is_remembered_among_any_number_who_open_few() {
        let rates = SourceRates::default();
        let busy = source(77_777);
        rates.add(busy, Millis(1));
        for number in 0..10_000 {
            if number % 3 == 0 {
                rates.add(busy, Millis(1));
            }
            rates.add(source(number), Millis(1));
        }
        assert_eq!(rates.read(busy, Millis(1)), 3335);
        assert_eq!(rates.read(source(9_999), Millis(1)), 1);
    }
}
