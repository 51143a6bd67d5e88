//! The Internet checksum: computed (RFC 1071), completed with a pseudo-header, and repaired after a change (RFC 1624).

/// A one's complement sum of 16-bit words in network order, not folded yet.
///
/// Bytes are added piece by piece; a piece of odd length may be followed by another, as segments of a frame are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    sum: u64,
    odd: bool,
}

impl Sum {
    /// The sum of some bytes; an odd last one counts as the high half of a word.
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }

    /// The sum of two words, in network byte order.
    #[inline]
    #[must_use]
    pub const fn of_two(words: [u8; 4]) -> Self {
        // A carry out of the low word counts as much as a 1 in the high one: 2¹⁶ ≡ 1.
        Self { sum: u32::from_be_bytes(words) as u64, odd: false }
    }

    /// Adds the bytes that follow.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let part = add_words(bytes);
        // A piece that begins in the middle of a word is summed with its bytes swapped (RFC 1071, 2 (B)).
        self.sum += if self.odd { u64::from(fold(part).swap_bytes()) } else { u64::from(fold(part)) };
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The sum with one more word.
    #[inline]
    #[must_use]
    pub const fn plus_word(self, word: u16) -> Self {
        Self { sum: self.sum + word as u64, odd: self.odd }
    }

    /// The sum of this and of what follows it. `self` must end with a whole word.
    #[inline]
    #[must_use]
    pub const fn plus(self, following: Self) -> Self {
        Self { sum: self.sum + following.sum, odd: following.odd }
    }

    /// The sum in 16 bits. A checksum field holds its complement; the sum over data with a right checksum is 0xffff.
    #[inline]
    #[must_use]
    pub const fn fold(self) -> u16 {
        fold(self.sum)
    }
}

/// Whether the sum over an IPv4 header without options is what it should be. For data that is not all zero, as no header is.
///
/// Neither the order of bytes nor folding matters for that (RFC 1071, 2 (B)): all ones in one's complement is a multiple of
/// 0xffff, and so is what a carry out of 64 bits loses but 1.
#[inline(always)]
#[must_use]
pub fn is_right(header: &[u8; 20]) -> bool {
    let &[a, b, c, d, e]: &[[u8; 4]; 5] = zerocopy::transmute_ref!(header);
    let [a, b, c, d, e] = [a, b, c, d, e].map(|word| u64::from(u32::from_ne_bytes(word)));
    let (sum, carry) = (a | b << 32).overflowing_add(c | d << 32);
    // Nothing is carried a third time: after the second carry little is left.
    let (sum, again) = sum.overflowing_add(e + u64::from(carry));
    (sum + u64::from(again)).is_multiple_of(0xffff)
}

/// The sum of words, in 32-bit steps: any carry is kept in the upper half.
#[inline]
fn add_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum += u64::from(u32::from_be_bytes(last));
    sum
}

#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The sum of the IPv4 pseudo-header (RFC 9293, 3.1); `length` counts L4 header and data.
#[must_use]
pub fn pseudo_v4(source: &[u8; 4], destination: &[u8; 4], protocol: u8, length: u16) -> Sum {
    Sum::of(source).plus(Sum::of(destination)).plus_word(protocol as u16).plus_word(length)
}

/// The sum of the IPv6 pseudo-header (RFC 8200, 8.1); `length` counts L4 header and data.
#[must_use]
pub fn pseudo_v6(source: &[u8; 16], destination: &[u8; 16], protocol: u8, length: u32) -> Sum {
    let length = Sum::of(&length.to_be_bytes());
    Sum::of(source).plus(Sum::of(destination)).plus(length).plus_word(protocol as u16)
}

/// How a change of some words changes the checksum over them: `~m + m'` of RFC 1624, equation 3.
///
/// It depends on the words only, not on the rest of the data, so it is computed once for a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(pub u16);

impl Delta {
    /// The change from `old` to `new`, which lie at the same even offset and have the same even length.
    #[must_use]
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        debug_assert!(old.len() == new.len() && old.len().is_multiple_of(2));
        Self::between(Sum::of(old), Sum::of(new))
    }

    /// The change of anything whose sum changes from `old` to `new`.
    #[inline]
    #[must_use]
    pub const fn between(old: Sum, new: Sum) -> Self {
        Self(new.plus_word(!old.fold()).fold())
    }

    /// Both changes together.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(fold(self.0 as u64 + other.0 as u64))
    }

    /// The change back.
    #[inline]
    #[must_use]
    pub const fn inverse(self) -> Self {
        Self(!self.0)
    }

    /// The checksum after the change: `HC' = ~(~HC + ~m + m')`.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        // The sum of two words carries once at most.
        let sum = !checksum as u32 + self.0 as u32;
        !(sum as u16 + (sum >> 16) as u16)
    }

    /// The checksum of a UDP datagram after the change: 0, no checksum, stays 0, and nothing else becomes it (RFC 768).
    #[inline]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            repaired => repaired,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
    #[test]
    fn the_example_of_rfc_1071_sums_right() {
        assert_eq!(Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(), 0xddf2);
    }

    /// RFC 1624, 4: 0x5555 becomes 0x3285 under the checksum 0xdd2f, which becomes 0x0000.
    #[test]
    fn the_example_of_rfc_1624_is_repaired_right() {
        assert_eq!(Delta::of(&[0x55, 0x55], &[0x32, 0x85]).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn no_change_keeps_the_checksum() {
        for checksum in [1, 0x1234, 0xfffe] {
            assert_eq!(Delta::of(&[1, 2], &[1, 2]).apply(checksum), checksum);
        }
    }

    #[test]
    fn a_datagram_without_checksum_stays_without() {
        assert_eq!(Delta::of(&[0, 1], &[0, 2]).apply_udp(0), 0);
    }

    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// 0 and 0xffff are the same number in one's complement.
    fn same(one: u16, other: u16) -> bool {
        one == other || (one ^ other == 0xffff && (one == 0 || one == 0xffff))
    }

    proptest! {
        #[test]
        fn the_sum_equals_the_slow_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(same(Sum::of(&bytes).fold(), slow(&bytes)));
        }

        #[test]
        fn what_is_right_sums_to_all_ones(mut header in any::<[u8; 20]>(), wrong in 1_u16..0xffff) {
            header[0] |= 1;
            header[10..12].copy_from_slice(&[0, 0]);
            let checksum = !Sum::of(&header).fold();
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(is_right(&header));
            header[10..12].copy_from_slice(&checksum.wrapping_add(wrong).to_be_bytes());
            prop_assert_eq!(is_right(&header), Sum::of(&header).fold() == 0xffff);
        }

        #[test]
        fn pieces_sum_as_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in any::<[u8; 3]>()) {
            let mut cuts = cuts.map(|cut| usize::from(cut) % (bytes.len() + 1));
            cuts.sort_unstable();
            let mut sum = Sum::of(&bytes[..cuts[0]]);
            for piece in [&bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..cuts[2]], &bytes[cuts[2]..]] {
                sum.add(piece);
            }
            prop_assert!(same(sum.fold(), slow(&bytes)));
        }

        /// Data never sums to 0 unless it is all zero, so a repaired checksum equals the recomputed one to the bit.
        #[test]
        fn a_repaired_checksum_equals_the_recomputed_one(
            mut data in proptest::collection::vec(any::<u8>(), 12..60), new in any::<[u8; 6]>(), at in 0_usize..3,
        ) {
            data[0] |= 1;
            let checksum = !Sum::of(&data).fold();
            let old: [u8; 6] = data[2 * at + 2..][..6].try_into().unwrap();
            data[2 * at + 2..][..6].copy_from_slice(&new);
            let recomputed = !Sum::of(&data).fold();
            prop_assert_eq!(Delta::of(&old, &new).apply(checksum), recomputed);
            prop_assert_eq!(Delta::of(&old, &new).inverse().apply(recomputed), checksum);
        }

        #[test]
        fn two_changes_are_repaired_as_one(data in any::<[u8; 8]>(), new in any::<[u8; 8]>()) {
            let two = |bytes: &[u8; 8]| Sum::of_two(*bytes.first_chunk().unwrap());
            prop_assert_eq!(Delta::between(two(&data), two(&new)), Delta::of(&data[..4], &new[..4]));
            let parts = Delta::of(&data[..4], &new[..4]).plus(Delta::of(&data[4..], &new[4..]));
            let checksum = !Sum::of(&data).plus_word(0x1234).fold();
            prop_assert_eq!(parts.apply(checksum), Delta::of(&data, &new).apply(checksum));
        }
    }
}
