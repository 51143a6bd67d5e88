//! Sorted numbers that are found by few cache lines.

/// Sorted numbers in lines of `N`, which fill a cache line. Above them lie the last numbers of their lines, in lines again, up to a
/// single line: what is looked for is found with one line of each layer, of which all but the lowest are small enough to stay
/// in a cache.
#[derive(Clone, Debug)]
pub(super) struct Ladder<K, const N: usize> {
    /// The highest first; the last layer has all numbers.
    layers: Vec<Vec<Line<K, N>>>,
    count: usize,
}

/// Filled up with the greatest number there is.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line<K, const N: usize>([K; N]);

/// A number with a greatest one.
pub(super) trait Rung: Copy + Ord {
    const GREATEST: Self;
}

impl Rung for u32 {
    const GREATEST: Self = Self::MAX;
}

impl Rung for u64 {
    const GREATEST: Self = Self::MAX;
}

impl<K: Rung, const N: usize> Ladder<K, N> {
    /// Of sorted numbers.
    pub(super) fn new(numbers: &[K]) -> Self {
        let mut layers = vec![lines(numbers)];
        while let Some(below) = layers.first().filter(|below| below.len() > 1) {
            let lasts: Vec<K> = below.iter().filter_map(|line: &Line<K, N>| line.0.last().copied()).collect();
            layers.insert(0, lines(&lasts));
        }
        Self { layers, count: numbers.len() }
    }

    /// How many numbers are less than this one.
    #[inline]
    pub(super) fn less_than(&self, number: K) -> usize {
        let mut position = 0;
        for layer in &self.layers {
            // All numbers are less, and the last line is full.
            let Some(Line(line)) = layer.get(position) else { return self.count };
            position = position * N + line.iter().filter(|other| **other < number).count();
        }
        position
    }

    /// The number before which there are so many.
    #[inline]
    pub(super) fn get(&self, position: usize) -> Option<K> {
        let Line(line) = self.layers.last()?.get(position / N)?;
        line.get(position % N).copied().filter(|_| position < self.count)
    }
}

fn lines<K: Rung, const N: usize>(numbers: &[K]) -> Vec<Line<K, N>> {
    let mut lines = Vec::with_capacity(numbers.len().div_ceil(N));
    for chunk in numbers.chunks(N) {
        let mut line = Line([K::GREATEST; N]);
        line.0.iter_mut().zip(chunk).for_each(|(place, number)| *place = *number);
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_behind_all_that_are_less() {
        for count in [0, 1, 15, 16, 17, 255, 256, 257, 5000_u32] {
            let numbers: Vec<u32> = (0..count).map(|number| number * 3 + 1).collect();
            let ladder = Ladder::<u32, 16>::new(&numbers);
            for sought in (0..3 * count + 4).chain([u32::MAX]) {
                let less = numbers.partition_point(|number| *number < sought);
                assert_eq!(ladder.less_than(sought), less, "{sought} of {count}");
                assert_eq!(ladder.get(less), numbers.get(less).copied());
            }
        }
    }

    #[test]
    fn the_greatest_number_may_be_among_them() {
        let ladder = Ladder::<u64, 8>::new(&[1, u64::MAX, u64::MAX]);
        assert_eq!([ladder.less_than(2), ladder.less_than(u64::MAX)], [1, 1]);
        assert_eq!([ladder.get(2), ladder.get(3)], [Some(u64::MAX), None]);
    }
}
