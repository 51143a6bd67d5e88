//! Where a destination is reached: by a network of a port, by a route, by a gateway.

use std::sync::Arc;

use model::{Address, PortId};

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
    length: u8,
}

impl Network {
    /// The network of `address` with `length` leading bits: 0 to 32 for an IPv4 address, 0 to 128 for an IPv6 address.
    #[must_use]
    pub fn new(address: Address, length: u8) -> Self {
        let length = if address.is_v4() { length.saturating_add(96) } else { length }.min(128);
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self { address: u128::from_be_bytes(address.octets()) & mask, mask, length }
    }

    /// The same with a length that counts all 128 bits, also of an IPv4-mapped address.
    pub(super) fn mapped(address: Address, length: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
        Self { address: u128::from_be_bytes(address.octets()) & mask, mask, length }
    }

    /// The first of its addresses.
    pub(super) fn first(&self) -> Address {
        Address::from_v6(self.address.to_be_bytes())
    }

    /// Leading bits that its addresses share, of 128.
    pub(super) const fn length(&self) -> u8 {
        self.length
    }

    /// All addresses of `address`'s family.
    #[must_use]
    pub fn family_of(address: Address) -> Self {
        Self::new(address, 0)
    }

    /// Whether `address` lies in it. IPv4 and IPv6 never meet: the whole of IPv6 excludes IPv4-mapped addresses.
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        let same_family = self.length >= 96 || !address.is_v4();
        same_family && u128::from_be_bytes(address.octets()) & self.mask == self.address
    }
}

/// One way to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it leads to.
    pub to: Network,
    /// The port by which packets leave.
    pub port: PortId,
    /// Its routers, of which a flow takes one; empty when destinations are on the link.
    pub via: Vec<Address>,
}

/// The position of a route, for as long as the snapshot lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteIndex(u32);

/// All routes, the longest prefixes first.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<[Route]>);

impl Routes {
    /// Orders routes by the length of their prefix; of two alike, the one given first wins.
    #[must_use]
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.to.length));
        Self(routes.into())
    }

    /// The best route to `destination`; `None` when nothing leads there.
    #[must_use]
    pub fn best(&self, destination: Address) -> Option<RouteIndex> {
        self.0
            .iter()
            .position(|route| route.to.contains(destination))
            .map(|position| RouteIndex(position as u32))
    }

    /// The route at a position.
    #[must_use]
    pub fn route(&self, index: RouteIndex) -> Option<&Route> {
        self.0.get(index.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn route(to: &str, length: u8, port: u8) -> Route {
        Route { to: Network::new(address(to), length), port: PortId(port), via: Vec::new() }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let routes =
            Routes::new(vec![route("0.0.0.0", 0, 0), route("10.0.0.0", 8, 1), route("10.1.0.0", 16, 2)]);
        let port =
            |text| routes.best(address(text)).and_then(|index| routes.route(index)).map(|route| route.port);
        assert_eq!(port("10.1.2.3"), Some(PortId(2)));
        assert_eq!(port("10.2.2.3"), Some(PortId(1)));
        assert_eq!(port("192.0.2.1"), Some(PortId(0)));
        assert_eq!(port("2001:db8::1"), None);
    }

    #[test]
    fn the_families_never_meet() {
        assert!(!Network::family_of(address("::")).contains(address("192.0.2.1")));
        assert!(!Network::family_of(address("0.0.0.0")).contains(address("2001:db8::1")));
        assert!(Network::family_of(address("::")).contains(address("2001:db8::1")));
    }

    #[test]
    fn a_host_route_contains_one_address() {
        let host = Network::new(address("2001:db8::1"), 128);
        assert!(host.contains(address("2001:db8::1")) && !host.contains(address("2001:db8::2")));
    }
}
