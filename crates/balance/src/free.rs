//! The slots that nobody has taken yet.

/// A power of two of slots, some of them free.
///
/// They are a bit each, since filling a table looks at each slot several times; the last ones are a list.
pub(crate) struct Free {
    words: Vec<u64>,
    mask: usize,
    left: usize,
    /// With so few left it is quicker to ask of each when it would be met than to walk until one is met.
    few: usize,
    /// Once they are few.
    last: Vec<u32>,
}

impl Free {
    /// All of these slots, a power of two up to 2³².
    pub(crate) fn all(slots: usize) -> Self {
        let word = u64::MAX >> (64 - slots.min(64));
        let words = vec![word; slots.div_ceil(64)];
        // A walk takes slots / left steps on average.
        Self { words, mask: slots - 1, left: slots, few: slots.isqrt(), last: Vec::new() }
    }

    /// Takes the first free slot from `next` on, always `skip` further, which is odd. There must be one.
    #[inline]
    pub(crate) fn take(&mut self, next: usize, skip: usize) -> usize {
        if self.left <= self.few {
            return self.take_last(next as u32, skip as u32);
        }
        self.left -= 1;
        let mut slot = next & self.mask;
        loop {
            // There is a word for each slot; without one the walk would not end.
            let Some(word) = self.words.get_mut(slot / 64) else { return slot };
            let bit = 1 << (slot % 64);
            if *word & bit != 0 {
                *word ^= bit;
                return slot;
            }
            slot = slot.wrapping_add(skip) & self.mask;
        }
    }

    #[cold]
    fn list(&mut self) {
        let is_free =
            |slot: &usize| self.words.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 != 0);
        self.last = (0..=self.mask).filter(is_free).map(|slot| slot as u32).collect();
    }

    /// A slot is met after (slot − next) / skip steps, modulo the number of slots.
    fn take_last(&mut self, next: u32, skip: u32) -> usize {
        if self.last.is_empty() {
            self.list();
        }
        let (mask, per_skip) = (self.mask as u32, inverse(skip));
        let steps = |slot: u32| slot.wrapping_sub(next).wrapping_mul(per_skip) & mask;
        let fewest = self.last.iter().map(|&slot| steps(slot)).min().unwrap_or(0);
        let slot = fewest.wrapping_mul(skip).wrapping_add(next) & mask;
        if let Some(position) = self.last.iter().position(|&free| free == slot) {
            self.last.swap_remove(position);
        }
        slot as usize
    }
}

/// What an odd number is to be multiplied with to give 1, modulo 2³². Newton's method, right bits doubling: 3, 6, … 48.
fn inverse(odd: u32) -> u32 {
    (0..4).fold(odd, |inverse, _| inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_odd_number_times_its_inverse_is_one(number in any::<u32>()) {
            let odd = number | 1;
            prop_assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
        }

        #[test]
        fn the_first_free_slot_on_the_way_is_taken_to_the_last_one(
            bits in 0..12_u32,
            walks in proptest::collection::vec((any::<usize>(), any::<usize>()), 1..20),
        ) {
            let slots = 1 << bits;
            let (mut free, mut oracle) = (Free::all(slots), vec![true; slots]);
            for (start, skip) in walks.iter().map(|&(start, skip)| (start, skip | 1)).cycle().take(slots) {
                let mut expected = start % slots;
                while !oracle[expected] {
                    expected = expected.wrapping_add(skip) % slots;
                }
                oracle[expected] = false;
                prop_assert_eq!(free.take(start, skip), expected);
            }
        }
    }
}
