//! Which addresses are ours, and which can be nobody's.

use std::{collections::HashSet, sync::Arc};

use flow::Way;
use foldhash::fast::FixedState;
use model::{Address, PortId};

use super::{Lookup, broad::Broad, way::Ways};
use crate::snat;

/// The addresses that the gateway answers for, and those it expects replies from.
#[derive(Clone, Default)]
pub struct Addresses {
    owned: Arc<Lookup<Address, Owned>>,
    nat_backends: Arc<HashSet<Address, FixedState>>,
    ways: Ways,
    /// Prefixes of virtual servers.
    prefixes: Arc<Broad>,
}

/// Why an address is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owned {
    /// A port's own address; `full_nat` may use it as a source with ports from `snat_first` to `snat_last` (an empty
    /// range, first > last, when it does not).
    Port {
        /// The port.
        port: PortId,
        /// The lowest SNAT port.
        snat_first: u16,
        /// The highest SNAT port.
        snat_last: u16,
    },
    /// A source address of `full_nat` that is no port's own.
    Snat,
    /// A virtual server's; echo is answered while one of the address's virtual servers has a usable backend.
    Virtual {
        /// Whether it has.
        available: bool,
    },
}

impl Addresses {
    /// Makes `address` ours. A virtual address stays available when one of its virtual servers is.
    pub fn own(&mut self, address: Address, owned: Owned) {
        match owned {
            Owned::Virtual { .. } => self.ways.add_service(address),
            Owned::Snat => self.ways.add_translated(address),
            Owned::Port { snat_first, snat_last, .. } if snat_first <= snat_last => {
                self.ways.add_translated(address);
            }
            Owned::Port { .. } => self.ways.add_own(address),
        }
        let entry = Arc::make_mut(&mut self.owned).entry(address).or_insert(owned);
        match (entry, owned) {
            (Owned::Virtual { available }, Owned::Virtual { available: another }) => *available |= another,
            (entry, Owned::Port { .. }) => *entry = owned,
            _ => {}
        }
    }

    /// Makes all addresses ours that begin with the first `length` bits of this one, of which more than one does, for a virtual server.
    pub fn own_prefix(&mut self, address: Address, length: u8, available: bool) {
        Arc::make_mut(&mut self.prefixes).own(address, length, available);
    }

    /// Says anew which virtual addresses are available, of all virtual servers.
    pub fn renew_availability(&mut self, servers: impl Iterator<Item = (Address, u8, bool)> + Clone) {
        let (owned, prefixes) = (Arc::make_mut(&mut self.owned), Arc::make_mut(&mut self.prefixes));
        // An address may be that of several virtual servers: first none, then all that are.
        let none = servers.clone().map(|(address, length, _)| (address, length, false));
        for (address, length, is_available) in none.chain(servers.filter(|(.., available)| *available)) {
            prefixes.renew(address, length, is_available);
            if let Some(Owned::Virtual { available }) = owned.get_mut(&address) {
                *available = is_available;
            }
        }
    }

    /// Expects replies of `nat` flows from `address`.
    pub fn expect_replies_from(&mut self, address: Address) {
        Arc::make_mut(&mut self.nat_backends).insert(address);
    }

    /// Why `address` is ours; `None` when it is not.
    #[must_use]
    pub fn owner(&self, address: Address) -> Option<Owned> {
        self.owned.get(&address).copied().or_else(|| self.owner_of_prefix(address))
    }

    /// The same for addresses that are ours because of a prefix.
    #[inline]
    fn owner_of_prefix(&self, address: Address) -> Option<Owned> {
        if self.prefixes.is_empty() {
            return None;
        }
        self.prefixes.availability(address).map(|available| Owned::Virtual { available })
    }

    /// Whether nothing speaks against this address as a client's.
    #[inline(always)]
    pub(crate) fn is_client_v4(&self, address: [u8; 4]) -> bool {
        !is_martian_source_v4(address)
            && !self.ways.may_be_ours_v4(address)
            && self.owner_of_prefix(Address::from_v4(address)).is_none()
    }

    /// Whether `address` is ours. Of most addresses that are not, this is known sooner than from [`Addresses::owner`].
    #[inline]
    pub(crate) fn is_ours(&self, address: Address) -> bool {
        self.ways.may_be_ours(address) && self.owned.contains_key(&address)
            || self.owner_of_prefix(address).is_some()
    }

    /// The way in which the flow of a packet to an address is looked for.
    #[inline]
    pub(crate) fn way(&self, destination: Address) -> Way {
        self.way_of_prefix(self.ways.of(destination), || destination)
    }

    /// The same for an IPv4 packet.
    #[inline(always)]
    pub(crate) fn way_v4(&self, destination: [u8; 4]) -> Way {
        self.way_of_prefix(self.ways.of_v4(destination), || Address::from_v4(destination))
    }

    /// What is nobody's as far as exact addresses go may be a prefix's.
    #[inline(always)]
    fn way_of_prefix(&self, exact: Way, destination: impl FnOnce() -> Address) -> Way {
        if exact != Way::Destination || self.prefixes.is_empty() {
            return exact;
        }
        let availability = self.prefixes.availability(destination());
        availability.map_or(exact, |_| Way::Source)
    }

    /// Whether `address` is a `nat` backend's.
    #[must_use]
    pub fn is_nat_backend(&self, address: Address) -> bool {
        self.nat_backends.contains(&address)
    }
}

impl Owned {
    /// Whether `port` of this address is a source port of `full_nat` for an L4 protocol.
    #[must_use]
    pub const fn is_snat_port(self, protocol: u8, port: u16) -> bool {
        match self {
            Self::Port { snat_first, snat_last, .. } => {
                snat_first <= port && port <= snat_last && !snat::is_left_to_host(protocol, port)
            }
            Self::Snat => true,
            Self::Virtual { .. } => false,
        }
    }
}

/// Whether a packet's source can be nobody's: RFC 1812, 5.3.7 and RFC 6890 for IPv4, RFC 4291, 2.5 and 2.7 for IPv6.
#[must_use]
pub fn is_martian_source(address: Address) -> bool {
    if address.is_v4() {
        return is_martian_source_v4(address.v4());
    }
    is_martian_v6(address.octets()) || address.octets().first() == Some(&0xff)
}

#[inline]
const fn is_martian_source_v4(address: [u8; 4]) -> bool {
    match address {
        [0 | 127 | 224..=255, ..] => true, // this network, loopback, multicast, reserved, broadcast
        [169, 254, ..] => true,            // link-local never crosses a router
        _ => false,
    }
}

/// Whether a unicast packet's destination can be nobody's.
#[must_use]
pub fn is_martian_destination(address: Address) -> bool {
    if address.is_v4() {
        return matches!(address.v4(), [0 | 127 | 240..=255, ..] | [169, 254, ..]);
    }
    is_martian_v6(address.octets())
}

/// `::`, `::1`, and IPv4 addresses in IPv6 form (RFC 4291, 2.5.2, 2.5.3, 2.5.5), none of which is seen on a link.
fn is_martian_v6(octets: [u8; 16]) -> bool {
    matches!(
        octets,
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..]
    )
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn sources_that_can_be_nobodys_are_martians() {
        for text in
            ["0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
        {
            assert!(is_martian_source(address(text)), "{text}");
        }
        for text in ["::", "::1", "ff02::1", "::192.0.2.1"] {
            assert!(is_martian_source(address(text)), "{text}");
        }
        assert!(is_martian_v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]));
    }

    #[test]
    fn ordinary_sources_are_not_martians() {
        for text in ["10.0.0.1", "192.0.2.1", "198.51.100.255", "2001:db8::1", "fe80::1"] {
            assert!(!is_martian_source(address(text)), "{text}");
        }
    }

    #[test]
    fn a_virtual_address_is_available_when_one_of_its_servers_is() {
        let mut addresses = Addresses::default();
        for available in [false, true, false] {
            addresses.own(address("192.0.2.1"), Owned::Virtual { available });
        }
        assert_eq!(addresses.owner(address("192.0.2.1")), Some(Owned::Virtual { available: true }));
    }
}
