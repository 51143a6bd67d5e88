//! The keyed hash of a flow key.
//!
//! Words are XORed with secret ones and multiplied 64 × 64 → 128 bits; the two halves of the product are XORed (a *folded*
//! multiplication, as in wyhash and foldhash). Why not what processors have an instruction for: CRC32C is linear, so two
//! keys that collide under one seed collide under every seed, and who has the code can make as many of them as he likes.
//! Here a collision depends on the secret words, which nobody outside sees the effect of.
//!
//! It is not a cryptographic hash: whoever could read hashes, or time single look-ups precisely, might in the end learn
//! the key. Nothing that leaves the gateway is computed from it without further mixing.

use std::fmt;

use model::Address;
use wire::{U16, ipv4::Ends};

use crate::FlowKey;

/// What makes hashes unpredictable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u64; 4]);

impl HashKey {
    /// The key for one purpose (flow tables, choosing backends, choosing owners, ...) from the gateway's seed.
    ///
    /// Different purposes have independent hashes, so that flows which met in one choice do not meet in the next.
    #[must_use]
    pub const fn from_seed(seed: [u8; 16], purpose: u64) -> Self {
        let seed = u128::from_le_bytes(seed);
        let (low, high) = (seed as u64, (seed >> 64) as u64);
        let first = scramble(low ^ scramble(purpose));
        let second = scramble(high ^ first);
        let third = scramble(low.wrapping_add(second));
        let fourth = scramble(high.wrapping_add(third));
        Self([scramble(first ^ fourth), second, third, fourth])
    }

    /// The hash of one end of an IPv4 key: an address and a port, both as they lie in a packet, and what else tells keys apart.
    /// All its bits are good.
    #[inline(always)]
    #[must_use]
    pub fn hash_end_v4(&self, address: [u8; 4], port: U16, protocol: u8, domain: u8) -> u64 {
        let [k0, k1, k2, k3] = self.0;
        let address = u64::from(u32::from_ne_bytes(address));
        let word = address << 32 | rest_of_end(port, protocol, domain);
        folded_multiply(folded_multiply(word ^ k0, k1) ^ k2, k3)
    }

    /// The hash of one end of a key of any family.
    #[inline]
    #[must_use]
    pub fn hash_end(&self, address: Address, port: U16, protocol: u8, domain: u8) -> u64 {
        if address.is_v4() {
            return self.hash_end_v4(address.v4(), port, protocol, domain);
        }
        let ([high, low], [k0, k1, k2, k3]) = (address.words(), self.0);
        let mixed = folded_multiply(high ^ k0, low ^ k1);
        folded_multiply(mixed ^ k2, rest_of_end(port, protocol, domain) ^ k3)
    }

    /// The hash of an IPv4 packet's key: what [`HashKey::hash`] says of it.
    #[inline(always)]
    #[must_use]
    pub fn hash_v4(&self, ends: &Ends, protocol: u8, domain: u8) -> u64 {
        let [source, destination] =
            [ends.source, ends.destination].map(|end| u64::from(u32::from_ne_bytes(end)));
        let ports = u64::from(ends.source_port.get()) | u64::from(ends.destination_port.get()) << 16;
        let rest = ports | u64::from(protocol) << 32 | u64::from(domain) << 40;
        self.hash_v4_words([source | destination << 32, rest])
    }

    #[inline(always)]
    fn hash_v4_words(&self, [addresses, rest]: [u64; 2]) -> u64 {
        let [k0, k1, k2, k3] = self.0;
        // Once more: ports that follow each other are still a fixed distance apart in the first product.
        folded_multiply(folded_multiply(addresses ^ k0, rest ^ k1) ^ k2, k3)
    }

    /// The hash of `key`. All its bits are good: callers may take low ones, high ones, or multiply.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        if let Some(words) = key.v4_words() {
            return self.hash_v4_words(words);
        }
        let [k0, k1, k2, k3] = self.0;
        let &[source_high, source_low, destination_high, destination_low, rest] = key.words();
        let source = folded_multiply(source_high ^ k0, source_low ^ k1);
        let destination = folded_multiply(destination_high ^ k2, destination_low ^ k3);
        folded_multiply(folded_multiply(source ^ rest, destination ^ k0) ^ k2, k3)
    }
}

impl fmt::Debug for HashKey {
    /// Says nothing of the key: it is a secret, and logs are not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// What an end has besides its address.
#[inline(always)]
fn rest_of_end(port: U16, protocol: u8, domain: u8) -> u64 {
    let [high, low] = port.to_bytes();
    u64::from(u32::from_le_bytes([high, low, protocol, domain]))
}

#[inline]
const fn folded_multiply(left: u64, right: u64) -> u64 {
    let product = left as u128 * right as u128;
    product as u64 ^ (product >> 64) as u64
}

/// A bijection in which each bit of the result depends on each bit of the word (the finisher of SplitMix64).
const fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 16] = *b"sixteen letters!";
    const BUCKETS: usize = 1 << 12;

    fn hash_key(purpose: u64) -> HashKey {
        HashKey::from_seed(SEED, purpose)
    }

    fn v4(source: u32, destination: u32, source_port: u16, destination_port: u16) -> FlowKey {
        FlowKey {
            source: Address::from_v4(source.to_be_bytes()),
            destination: Address::from_v4(destination.to_be_bytes()),
            source_port,
            destination_port,
            protocol: 6,
            ..FlowKey::default()
        }
    }

    fn v6(source: u128, destination: u128, source_port: u16) -> FlowKey {
        FlowKey {
            source: Address::from_v6(source.to_be_bytes()),
            destination: Address::from_v6(destination.to_be_bytes()),
            source_port,
            destination_port: 443,
            protocol: 17,
            ..FlowKey::default()
        }
    }

    /// Sequences such as load generators, port scanners, address sweeps and people with bad intentions produce.
    fn sequences() -> Vec<(&'static str, Vec<FlowKey>)> {
        let n = 1_u32 << 16;
        let vip = 0xc633_6401;
        let net = 0x2001_0db8_u128 << 96;
        vec![
            ("source ports", (0..n).map(|i| v4(0x0a00_0001, vip, i as u16, 80)).collect()),
            ("destination ports", (0..n).map(|i| v4(0x0a00_0001, vip, 40_000, i as u16)).collect()),
            ("equal ports", (0..n).map(|i| v4(0x0a00_0001, vip, i as u16, i as u16)).collect()),
            ("addresses", (0..n).map(|i| v4(0x0a00_0000 + i, vip, 40_000, 80)).collect()),
            ("address steps", (0..n).map(|i| v4(i << 16, vip, 40_000, 80)).collect()),
            ("both addresses", (0..n).map(|i| v4(0x0a00_0000 + i, vip + i, 40_000, 80)).collect()),
            ("reversed roles", (0..n).map(|i| v4(vip, 0x0a00_0000 + i, 80, 40_000)).collect()),
            (
                "addresses and ports",
                (0..n).map(|i| v4(0x0a00_0000 + i / 256, vip, (i % 256) as u16 + 1024, 80)).collect(),
            ),
            ("a port's cancelling address", (0..n).map(|i| v4(i, i, i as u16, !i as u16)).collect()),
            ("even ports", (0..n).map(|i| v4(0x0a00_0000 + i / 32_768, vip, (i * 2) as u16, 80)).collect()),
            ("v6 interfaces", (0..n).map(|i| v6(net + u128::from(i), net, 40_000)).collect()),
            ("v6 networks", (0..n).map(|i| v6(net + (u128::from(i) << 64), net, 40_000)).collect()),
            ("v6 ports", (0..n).map(|i| v6(net + 1, net + 2, i as u16)).collect()),
        ]
    }

    /// The mean of the squares of the loads and the highest load, over `BUCKETS` buckets.
    fn load(buckets: impl Iterator<Item = usize>) -> (f64, u32) {
        let mut loads = vec![0_u32; BUCKETS];
        buckets.for_each(|bucket| loads[bucket] += 1);
        let squares: f64 = loads.iter().map(|&load| f64::from(load).powi(2)).sum();
        (squares / BUCKETS as f64, loads.into_iter().max().unwrap())
    }

    #[test]
    fn sequences_fill_buckets_as_evenly_as_chance_would() {
        // 16 a bucket: by chance the mean square is 16² + 16 and the highest load 34 or so, once in a long while 45.
        for (name, keys) in sequences() {
            for purpose in 0..8 {
                let hashes: Vec<u64> = keys.iter().map(|key| hash_key(purpose).hash(key)).collect();
                for (end, shift) in [("low", 0), ("middle", 20), ("high", 52)] {
                    let (square, highest) =
                        load(hashes.iter().map(|hash| (hash >> shift) as usize % BUCKETS));
                    assert!(square <= 272.0 * 1.05, "{name}, {end} bits, purpose {purpose}: {square}");
                    assert!(highest <= 48, "{name}, {end} bits, purpose {purpose}: {highest}");
                }
            }
        }
    }

    #[test]
    fn ends_are_hashed_as_evenly_as_keys() {
        for (name, keys) in sequences() {
            let hash = |key: &FlowKey| {
                hash_key(1).hash_end(key.source, key.source_port.into(), key.protocol, key.domain)
            };
            let ends: std::collections::HashSet<u64> = keys.iter().map(hash).collect();
            if ends.len() < keys.len() {
                continue; // of one end
            }
            for (end, shift) in [("low", 0), ("high", 52)] {
                let (square, highest) = load(ends.iter().map(|hash| (hash >> shift) as usize % BUCKETS));
                assert!(square <= 272.0 * 1.05 && highest <= 48, "{name}, {end} bits: {square}, {highest}");
            }
        }
    }

    #[test]
    fn what_is_hashed_in_a_packet_is_what_its_key_is_hashed_to() {
        let key = FlowKey { domain: 3, ..v4(0x0a00_0001, 0xc633_6401, 40_000, 80) };
        let ends = Ends {
            source: key.source.v4(),
            destination: key.destination.v4(),
            source_port: key.source_port.into(),
            destination_port: key.destination_port.into(),
        };
        assert_eq!(hash_key(1).hash_v4(&ends, 6, 3), hash_key(1).hash(&key));
        let by_end = hash_key(1).hash_end_v4(ends.source, ends.source_port, 6, 3);
        assert_eq!(by_end, hash_key(1).hash_end(key.source, key.source_port.into(), 6, 3));
    }

    #[test]
    fn a_flipped_bit_of_the_key_flips_half_of_the_hash() {
        let mut flips = [0_u32; 64];
        let mut samples = 0;
        for seed in 0..512_u32 {
            let before = v6(u128::from(seed) << 100, 0x2001_0db8 << 96 | u128::from(seed), seed as u16);
            for bit in 0..128 {
                let source = u128::from_be_bytes(before.source.octets()) ^ 1 << bit;
                let after = FlowKey { source: Address::from_v6(source.to_be_bytes()), ..before };
                let other_port = FlowKey { source_port: before.source_port ^ 1 << (bit % 16), ..before };
                for after in [after, other_port, before.reversed()] {
                    let difference = hash_key(7).hash(&before) ^ hash_key(7).hash(&after);
                    flips
                        .iter_mut()
                        .enumerate()
                        .for_each(|(bit, count)| *count += (difference >> bit & 1) as u32);
                    samples += 1;
                }
            }
        }
        for (bit, &count) in flips.iter().enumerate() {
            let share = f64::from(count) / f64::from(samples);
            assert!((0.45..0.55).contains(&share), "bit {bit} flips in {share} of all cases");
        }
    }

    #[test]
    fn keys_that_collide_under_one_seed_do_not_under_another() {
        let keys: Vec<FlowKey> = (0..1 << 18).map(|i| v4(0x0a00_0000 + (i >> 16), 1, i as u16, 80)).collect();
        let collided: Vec<_> =
            keys.iter().filter(|key| (hash_key(1).hash(key) as usize).is_multiple_of(256)).collect();
        assert!(collided.len() > 900);
        let (_, highest) = load(collided.iter().map(|key| hash_key(2).hash(key) as usize % BUCKETS));
        assert!(highest <= 8, "{highest} of {} in one bucket", collided.len());
    }

    #[test]
    fn purposes_and_seeds_have_hashes_of_their_own() {
        let key = v4(1, 2, 3, 4);
        assert_eq!(hash_key(1).hash(&key), hash_key(1).hash(&key));
        assert_ne!(hash_key(1).hash(&key), hash_key(2).hash(&key));
        assert_ne!(HashKey::from_seed([0; 16], 1).hash(&key), HashKey::from_seed([1; 16], 1).hash(&key));
    }

    #[test]
    fn a_hash_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", hash_key(1)), "HashKey(..)");
    }
}
