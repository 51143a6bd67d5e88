//! Virtual servers that more than one address or port leads to.

use model::{Address, Protocol, VirtualServerId};

use super::{Lookup, Service, route::Network};

/// Virtual servers of prefixes, and of any port. Looked at only when no virtual server has exactly what a packet is sent to.
#[derive(Clone, Debug, Default)]
pub struct Broad {
    /// The lengths of prefixes that there are, the longest first; those of IPv4 as of IPv4-mapped addresses.
    lengths: Vec<u8>,
    /// By the first address of a prefix, a port (0: any), a protocol (0: any, and then any port), and the length.
    services: Lookup<(Service, u8), VirtualServerId>,
    /// By the first address of a prefix and its length: whether one of its virtual servers is available.
    prefixes: Lookup<(Address, u8), bool>,
}

impl Broad {
    /// Adds a virtual server for all addresses that share their first bits with the service's, and for all ports if its port is 0.
    pub fn add(&mut self, service: Service, length: u8, id: VirtualServerId) {
        let network = Network::new(service.address, length);
        self.remember(network.length());
        let service = Service { address: network.first_address(), ..service };
        self.services.insert((service, network.length()), id);
    }

    /// Makes all addresses of a prefix ours. One stays available when one of its virtual servers is.
    pub(super) fn own(&mut self, address: Address, length: u8, available: bool) {
        let network = Network::new(address, length);
        self.remember(network.length());
        *self.prefixes.entry((network.first_address(), network.length())).or_default() |= available;
    }

    /// Says anew whether a prefix is available.
    pub(super) fn renew(&mut self, address: Address, length: u8, available: bool) {
        let network = Network::new(address, length);
        if let Some(entry) = self.prefixes.get_mut(&(network.first_address(), network.length())) {
            *entry = available;
        }
    }

    fn remember(&mut self, length: u8) {
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
            self.lengths.sort_unstable_by(|one, other| other.cmp(one));
        }
    }

    /// Whether there is none.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The virtual server of the longest prefix that a destination lies in; of several with the same the one that names the port, and of those
    /// that do not the one that names the protocol.
    #[cold]
    pub(super) fn service(&self, sought: &Service) -> Option<VirtualServerId> {
        self.lengths.iter().find_map(|&length| {
            let service = Service { address: masked(sought.address, length)?, ..*sought };
            let any_port = Service { port: 0, ..service };
            let any_protocol = Service { protocol: Protocol::Any.number(), ..any_port };
            [service, any_port, any_protocol]
                .iter()
                .find_map(|one| self.services.get(&(*one, length)))
                .copied()
        })
    }

    /// Whether a prefix that an address lies in is available; `None` when it lies in none.
    pub(super) fn availability(&self, address: Address) -> Option<bool> {
        let found = |&length: &u8| self.prefixes.get(&(masked(address, length)?, length)).copied();
        self.lengths.iter().filter_map(found).reduce(|one, other| one | other)
    }
}

/// The first address of the prefix that an address lies in; `None` for an IPv4 address in one that is not IPv4's.
fn masked(address: Address, length: u8) -> Option<Address> {
    let network = Network::mapped(address, length);
    network.contains(address).then(|| network.first_address())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn service(address: &str, port: u16) -> Service {
        Service::new(address.parse::<IpAddr>().unwrap().into(), port, Protocol::Tcp)
    }

    #[test]
    fn the_most_specific_virtual_server_wins() {
        let mut broad = Broad::default();
        for (number, (address, length, port)) in [
            ("198.51.100.0", 24, 80),
            ("198.51.100.0", 24, 0),
            ("198.51.0.0", 16, 443),
            ("198.51.100.7", 32, 0),
            ("2001:db8:100::", 64, 0),
            ("0.0.0.0", 0, 25),
            ("::", 0, 25),
        ]
        .into_iter()
        .enumerate()
        {
            broad.add(service(address, port), length, VirtualServerId(number as u32));
        }
        for (address, port, expected) in [
            ("198.51.100.1", 80, Some(0)),
            ("198.51.100.1", 443, Some(1)),
            ("198.51.101.1", 443, Some(2)),
            ("198.51.101.1", 80, None),
            ("198.51.100.7", 80, Some(3)),
            ("2001:db8:100::1", 5, Some(4)),
            ("2001:db8:100:1::1", 5, None),
            ("10.0.0.1", 25, Some(5)),
            ("2001:db8::1", 25, Some(6)),
        ] {
            let found = broad.service(&service(address, port)).map(|id| id.0);
            assert_eq!(found, expected, "{address} {port}");
        }
        let udp = Service::new(service("198.51.100.1", 80).address, 80, Protocol::Udp);
        assert_eq!(broad.service(&udp), None);
    }

    #[test]
    fn any_protocol_is_what_is_left_by_those_that_name_one() {
        let mut broad = Broad::default();
        let any = |address: &str| Service::new(service(address, 0).address, 0, Protocol::Any);
        broad.add(service("198.51.100.0", 0), 24, VirtualServerId(0));
        broad.add(any("198.51.100.0"), 24, VirtualServerId(1));
        broad.add(any("198.51.0.0"), 16, VirtualServerId(2));
        broad.add(service("198.51.0.0", 80), 16, VirtualServerId(3));
        let found = |address: &str, port, protocol| {
            broad.service(&Service { protocol, ..service(address, port) }).map(|id| id.0)
        };
        assert_eq!(found("198.51.100.1", 80, 6), Some(0));
        assert_eq!(found("198.51.100.1", 80, 17), Some(1), "the longest prefix first");
        assert_eq!(found("198.51.100.1", 0, 50), Some(1));
        assert_eq!(found("198.51.101.1", 80, 6), Some(3));
        assert_eq!(found("198.51.101.1", 81, 6), Some(2));
        assert_eq!(found("198.51.101.1", 0, 132), Some(2));
        assert_eq!(found("198.52.0.1", 0, 132), None);
    }

    #[test]
    fn an_address_is_available_when_one_of_its_prefixes_is() {
        let mut broad = Broad::default();
        let address = |text: &str| service(text, 0).address;
        broad.own(address("198.51.100.0"), 24, false);
        broad.own(address("198.51.100.0"), 24, false);
        assert_eq!(broad.availability(address("198.51.100.1")), Some(false));
        broad.own(address("198.51.0.0"), 16, true);
        assert_eq!(broad.availability(address("198.51.100.1")), Some(true));
        assert_eq!(broad.availability(address("198.52.100.1")), None);
        broad.renew(address("198.51.0.0"), 16, false);
        assert_eq!(broad.availability(address("198.51.0.1")), Some(false));
    }
}
