//! What a destination says of the way in which a packet's flow is looked for.

use flow::Way;
use model::Address;

/// Slots a destination has, at least: so many that nearly all are found where they are looked for first.
const SLOTS_EACH: usize = 4;
/// Slots of the smallest table.
const FEWEST: usize = 16;
/// Slots that are looked at. A destination that has its place further away is not known here, which costs time only.
const TRIES: usize = 8;
/// The bits of a slot that say what the address is.
const WAY: u64 = 7;
/// In [`WAY`]: clients send to it.
const SERVICE: u64 = 1;
/// In [`WAY`]: backends send replies to it.
const TRANSLATED: u64 = 2;
/// In [`WAY`]: it is ours.
const OURS: u64 = 4;

/// The gateway's addresses that packets of flows are sent to.
///
/// A guess suffices ([`Way`]), so a slot holds no more of an address than fits into a word; what is known of IPv4 addresses is
/// exact.
#[derive(Clone)]
pub(super) struct Ways {
    /// A power of two; 0 where there is nothing.
    slots: Vec<u64>,
    /// Bits of a product above which those lie that name a slot.
    shift: u32,
    taken: usize,
}

impl Default for Ways {
    fn default() -> Self {
        Self { slots: vec![0; FEWEST], shift: u64::BITS - FEWEST.ilog2(), taken: 0 }
    }
}

impl Ways {
    /// Clients send to this address.
    pub(super) fn add_service(&mut self, address: Address) {
        self.add(word(address), SERVICE | OURS);
    }

    /// Backends send replies to this address.
    pub(super) fn add_translated(&mut self, address: Address) {
        self.add(word(address), TRANSLATED | OURS);
    }

    /// The gateway answers for this address.
    pub(super) fn add_own(&mut self, address: Address) {
        self.add(word(address), OURS);
    }

    /// The same for an IPv4 address.
    #[inline(always)]
    pub(super) fn may_be_ours_v4(&self, address: [u8; 4]) -> bool {
        self.look(word_v4(address)) != Some(0)
    }

    /// Whether an address may be ours: false only when it is not.
    #[inline]
    pub(super) fn may_be_ours(&self, address: Address) -> bool {
        self.look(word(address)) != Some(0)
    }

    fn add(&mut self, word: u64, way: u64) {
        if (self.taken + 1) * SLOTS_EACH > self.slots.len() {
            let twice = vec![0; self.slots.len() * 2];
            let old = std::mem::replace(&mut self.slots, twice);
            self.shift -= 1;
            for slot in old.into_iter().filter(|slot| *slot != 0) {
                self.put(slot);
            }
        }
        self.taken += usize::from(self.put(word | way));
    }

    /// Whether it is new.
    fn put(&mut self, value: u64) -> bool {
        let (first, mask) = (self.first(value & !WAY), self.slots.len() - 1);
        for slot in first..=first + mask {
            let Some(slot) = self.slots.get_mut(slot & mask) else { break };
            if *slot == 0 || *slot & !WAY == value & !WAY {
                let is_new = *slot == 0;
                *slot |= value;
                return is_new;
            }
        }
        false
    }

    /// The way of packets that are sent to an IPv4 address.
    #[inline(always)]
    pub(super) fn of_v4(&self, destination: [u8; 4]) -> Way {
        self.of_word(word_v4(destination))
    }

    /// The way of packets that are sent to an address.
    #[inline]
    pub(super) fn of(&self, destination: Address) -> Way {
        self.of_word(word(destination))
    }

    #[inline(always)]
    fn of_word(&self, word: u64) -> Way {
        match self.look(word) {
            Some(way) if way & SERVICE != 0 => Way::Source,
            Some(way) if way & TRANSLATED != 0 => Way::Key,
            _ => Way::Destination,
        }
    }

    /// What is known of an address; `None` when it would have to be looked for further away.
    #[inline(always)]
    fn look(&self, word: u64) -> Option<u64> {
        let (first, mask) = (self.first(word), self.slots.len() - 1);
        for slot in first..first + TRIES {
            let found = self.slots.get(slot & mask).copied().unwrap_or(0);
            if found & !WAY == word {
                return Some(found & WAY);
            }
            if found == 0 {
                return Some(0);
            }
        }
        None
    }

    #[inline(always)]
    const fn first(&self, word: u64) -> usize {
        // The golden ratio's, Knuth 6.4: the highest bits depend on all others. Who sends packets cannot choose the addresses
        // that are in the table.
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}

/// An address as it is compared here, without the bits of [`WAY`].
#[inline]
fn word(address: Address) -> u64 {
    if address.is_v4() {
        return word_v4(address.v4());
    }
    let [high, low] = address.words();
    let product = u128::from(high ^ 0x9e37_79b9_7f4a_7c15) * u128::from(low ^ 0xd1b5_4a32_d192_ed03);
    // The highest bit keeps it from being an IPv4 address's.
    (product as u64 ^ (product >> 64) as u64) & !WAY | 1 << 63
}

#[inline(always)]
const fn word_v4(address: [u8; 4]) -> u64 {
    // The bit above the address keeps 0.0.0.0 from being nothing.
    (u32::from_ne_bytes(address) as u64 | 1 << 32) << 3
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn numbered(number: u32) -> [Address; 2] {
        let wide = 0x2001_0db8_u128 << 96 | u128::from(number);
        [Address::from_v4((0xc633_0000 + number).to_be_bytes()), Address::from_v6(wide.to_be_bytes())]
    }

    #[test]
    fn a_destination_says_whose_packets_come_to_it() {
        let mut ways = Ways::default();
        ways.add_service(address("198.51.100.1"));
        ways.add_translated(address("192.0.2.2"));
        ways.add_translated(address("2001:db8::2"));
        ways.add_service(address("2001:db8::1"));
        for (text, way) in [
            ("198.51.100.1", Way::Source),
            ("192.0.2.2", Way::Key),
            ("2001:db8::1", Way::Source),
            ("2001:db8::2", Way::Key),
            ("10.0.0.1", Way::Destination),
            ("0.0.0.0", Way::Destination),
            ("::", Way::Destination),
        ] {
            assert_eq!(ways.of(address(text)), way, "{text}");
        }
        assert_eq!(ways.of_v4([198, 51, 100, 1]), Way::Source);
        ways.add_own(address("10.0.0.2"));
        assert_eq!(ways.of(address("10.0.0.2")), Way::Destination);
        for (text, is_ours) in [("198.51.100.1", true), ("192.0.2.2", true), ("10.0.0.2", true), ("10.0.0.1", false)] {
            assert_eq!(ways.may_be_ours(address(text)), is_ours, "{text}");
        }
    }

    #[test]
    fn an_address_that_is_both_is_a_service() {
        let mut ways = Ways::default();
        ways.add_translated(address("192.0.2.2"));
        ways.add_service(address("192.0.2.2"));
        assert_eq!(ways.of(address("192.0.2.2")), Way::Source);
        assert_eq!(ways.taken, 1);
    }

    #[test]
    fn nearly_all_of_many_destinations_are_known() {
        let mut ways = Ways::default();
        let all = || (0..5000).flat_map(numbered);
        all().for_each(|address| ways.add_service(address));
        let known = all().filter(|&address| ways.of(address) == Way::Source).count();
        assert!(known >= 9990, "{known}");
        let others = (5000..10_000).flat_map(numbered).filter(|&address| ways.of(address) != Way::Destination);
        assert_eq!(others.count(), 0);
    }
}
