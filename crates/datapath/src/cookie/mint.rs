//! Making cookies, and telling those that were made here from others.
//!
//! A cookie is a keyed hash (SipHash-2-4) of the client's key, its initial sequence number and a coarse time, plus a number below
//! eight that says which MSS the client can take. All workers make and know the same ones: secrets follow from the gateway's seed and
//! the time, and nothing else.

use std::fmt;

use flow::FlowKey;
use model::Millis;
use siphasher::sip::SipHasher24;
use zerocopy::{Immutable, IntoBytes};

/// What the secrets of all workers are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieKey([u8; 16]);

impl CookieKey {
    /// From the gateway's seed.
    #[must_use]
    pub const fn from_seed(seed: [u8; 16]) -> Self {
        Self(seed)
    }
}

impl fmt::Debug for CookieKey {
    /// Says nothing of the key: it is a secret, and logs are not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

/// Milliseconds in which the time of cookies goes on by one.
const TICK: u64 = 64_000;
/// Ticks in which a cookie is taken, the one that it was made in included.
const VALID: u64 = 2;
/// Ticks more in which it is known to be an old one.
const KNOWN: u64 = 2;
/// Ticks that a secret lasts; the one before is taken as long as its cookies are.
const SECRET: u64 = 8;
/// Milliseconds from the last cookie on, after which none is taken.
pub(super) const LIFETIME: u64 = TICK * VALID;

/// The MSS that are told from one another; a client gets the largest that it can take (or the least).
pub(super) const SIZES: [u16; 8] = [216, 536, 1220, 1360, 1440, 1460, 4036, 8940];

/// The number of a MSS.
pub(super) fn number_of(mss: u16) -> u8 {
    SIZES.iter().skip(1).take_while(|&&size| size <= mss).count() as u8
}

/// What a client is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    /// The initial sequence number.
    pub(super) number: u32,
    /// Where the clock of timestamps is for this client.
    pub(super) moment: u32,
}

/// What a number turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A cookie for a client with this initial sequence number.
    Valid { isn: u32, mss: u8 },
    /// One that is too old.
    Expired,
    /// None.
    False,
}

/// Makes cookies, with the secrets of the present.
pub(super) struct Mint {
    even: Secret,
    odd: Secret,
}

#[derive(Clone, Copy)]
struct Secret {
    key: CookieKey,
    epoch: u64,
    hasher: SipHasher24,
}

impl Secret {
    fn new(key: CookieKey, epoch: u64) -> Self {
        /// Separates these from whatever else is made of the seed.
        const PURPOSE: u64 = u64::from_le_bytes(*b"cookies!");
        let root = SipHasher24::new_with_key(&key.0);
        let half = |number: u64| root.hash([PURPOSE, epoch, number].as_bytes());
        Self { key, epoch, hasher: SipHasher24::new_with_keys(half(0), half(1)) }
    }
}

/// What is hashed.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Subject {
    client: FlowKey,
    isn: u32,
    tick: u32,
}

impl Mint {
    pub(super) fn new() -> Self {
        let [even, odd] = [0, 1].map(|epoch| Secret::new(CookieKey([0; 16]), epoch));
        Self { even, odd }
    }

    fn hash(&mut self, key: CookieKey, (client, isn): (&FlowKey, u32), tick: u64) -> u64 {
        let epoch = tick / SECRET;
        let secret = if epoch.is_multiple_of(2) { &mut self.even } else { &mut self.odd };
        if secret.epoch != epoch || secret.key != key {
            *secret = Secret::new(key, epoch);
        }
        secret.hasher.hash(Subject { client: *client, isn, tick: tick as u32 }.as_bytes())
    }

    /// The cookie for the SYN of a client.
    pub(super) fn make(
        &mut self,
        key: CookieKey,
        (client, isn): (&FlowKey, u32),
        mss: u8,
        now: Millis,
    ) -> Cookie {
        let hash = self.hash(key, (client, isn), now.0 / TICK);
        Cookie {
            number: (hash as u32).wrapping_add(u32::from(mss)),
            moment: ((hash >> 32) as u32).wrapping_add(now.0 as u32),
        }
    }

    /// What the number is that a client acknowledges with a segment.
    pub(super) fn find(
        &mut self,
        key: CookieKey,
        (client, sequence): (&FlowKey, u32),
        number: u32,
        now: Millis,
    ) -> Found {
        let tick = now.0 / TICK;
        let mut mss_if_made = |isn: u32, age: u64| {
            let hash = self.hash(key, (client, isn), tick.checked_sub(age)?);
            let rest = number.wrapping_sub(hash as u32);
            ((rest as usize) < SIZES.len()).then_some(rest as u8)
        };
        // A host that finds a window of 0 asks with the number before (RFC 9293, 3.8.6.1, as it is done).
        for isn in [sequence.wrapping_sub(1), sequence] {
            for age in 0..VALID {
                if let Some(mss) = mss_if_made(isn, age) {
                    return Found::Valid { isn, mss };
                }
            }
        }
        let is_old = (VALID..VALID + KNOWN).any(|age| mss_if_made(sequence.wrapping_sub(1), age).is_some());
        if is_old { Found::Expired } else { Found::False }
    }
}

#[cfg(test)]
mod tests {
    use model::Address;
    use proptest::prelude::*;

    use super::*;

    const KEY: CookieKey = CookieKey::from_seed(*b"sixteen letters!");

    fn client(source: [u8; 4], source_port: u16) -> FlowKey {
        FlowKey {
            source: Address::from_v4(source),
            destination: Address::from_v4([198, 51, 100, 1]),
            source_port,
            destination_port: 80,
            protocol: 6,
            ..FlowKey::default()
        }
    }

    proptest! {
        /// Whoever makes a cookie, whoever gets it back, whenever, as long as it is valid.
        #[test]
        fn a_cookie_is_known_by_all_workers_until_its_lifetime_is_over(
            source: [u8; 4], port: u16, isn: u32, mss in 0..8_u8, now in 0..10_000_000_u64, later in 0..400_000_u64,
        ) {
            let client = client(source, port);
            let made = Mint::new().make(KEY, (&client, isn), mss, Millis(now));
            let mut other = Mint::new();
            let found = |other: &mut Mint, sequence: u32| {
                other.find(KEY, (&client, sequence), made.number, Millis(now + later))
            };
            let age = (now + later) / TICK - now / TICK;
            let expected = match age {
                0 | 1 => Found::Valid { isn, mss },
                2 | 3 => Found::Expired,
                _ => Found::False,
            };
            prop_assert_eq!(found(&mut other, isn.wrapping_add(1)), expected);
            if age < VALID {
                prop_assert_eq!(found(&mut other, isn), expected, "a probe of its window");
            }
        }

        /// It is worth nothing to another client, with another number, or with another seed.
        #[test]
        fn a_cookie_is_nobody_elses(
            source: [u8; 4], port: u16, isn: u32, mss in 0..8_u8, now in 0..10_000_000_u64, bit in 0..32_u32,
        ) {
            let mut mint = Mint::new();
            let (client, now) = (client(source, port), Millis(now));
            let number = mint.make(KEY, (&client, isn), mss, now).number;
            let sequence = isn.wrapping_add(1);
            let others = [
                FlowKey { source_port: port ^ 1 << (bit % 16), ..client },
                FlowKey { destination_port: 80 ^ 1 << (bit % 16), ..client },
                FlowKey { domain: 1, ..client },
                client.reversed(),
            ];
            for other in others {
                prop_assert_eq!(mint.find(KEY, (&other, sequence), number, now), Found::False);
            }
            let moved = sequence.wrapping_add(2 << (bit % 31));
            prop_assert_eq!(mint.find(KEY, (&client, moved), number, now), Found::False);
            let forged = number ^ (8 << (bit % 29));
            prop_assert_eq!(mint.find(KEY, (&client, sequence), forged, now), Found::False);
            let seed = CookieKey::from_seed([7; 16]);
            prop_assert_eq!(mint.find(seed, (&client, sequence), number, now), Found::False);
        }
    }

    #[test]
    fn guessing_costs_as_many_packets_as_it_should() {
        let (mut mint, client) = (Mint::new(), client([10, 0, 0, 1], 40_000));
        // Eight numbers of 2³² for each of two ticks and two places of the initial number: 1 in 2²⁷.
        let hits = (0..100_000_u32).map(|guess| guess.wrapping_mul(0x9e37_79b9)).filter(|&guess| {
            mint.find(KEY, (&client, guess), guess.rotate_left(7), Millis(1_000_000)) != Found::False
        });
        assert_eq!(hits.count(), 0);
    }

    #[test]
    fn a_client_gets_the_largest_mss_that_it_can_take() {
        let of = |mss| SIZES[usize::from(number_of(mss))];
        assert_eq!([0, 216, 535, 536, 1459, 1460, 65_535].map(of), [216, 216, 216, 536, 1440, 1460, 8940]);
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{KEY:?}"), "CookieKey(..)");
    }
}
