//! Turning names into numbers that look random, the same on every machine.

/// A word whose bits all depend on all bits of the seed and of the words.
pub(crate) fn keyed(seed: [u8; 16], words: &[u64]) -> u64 {
    let seed = u128::from_le_bytes(seed);
    let begin = scramble(seed as u64 ^ scramble((seed >> 64) as u64));
    words.iter().fold(begin, |mixed, &word| scramble(mixed ^ scramble(word)))
}

/// One number from two random ones: the halves of their product, XORed. Much cheaper than [`keyed`].
#[inline]
pub(crate) fn folded_multiply(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

/// A bijection in which each bit of the result depends on each bit of the word (the finisher of SplitMix64).
fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_the_same_from_release_to_release() {
        // Gateways of two releases share traffic while they are being upgraded.
        assert_eq!(keyed(*b"sixteen letters!", &[1, 2, 3]), 12_436_296_723_169_882_834);
    }

    #[test]
    fn seed_words_and_their_order_all_count() {
        let numbers = [
            keyed([0; 16], &[1, 2]),
            keyed([0; 16], &[2, 1]),
            keyed([0; 16], &[1, 3]),
            keyed([1; 16], &[1, 2]),
            keyed([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[1, 2]),
        ];
        for (position, number) in numbers.iter().enumerate() {
            assert!(!numbers[position + 1..].contains(number));
        }
    }
}
