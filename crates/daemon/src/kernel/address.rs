//! Addresses of interfaces.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
};

use super::{link::Link, netlink::Netlink};

/// The addresses of an interface.
pub(crate) fn list(link: &Link) -> io::Result<Vec<IpNet>> {
    let answers = Netlink::route()?.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let of_link = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewAddress(message) if message.header.index == link.index => Some(message),
        _ => None,
    });
    Ok(of_link.filter_map(|message| address(&message)).collect())
}

/// The addresses of all interfaces, with the interfaces' names.
pub(crate) fn holders() -> io::Result<Vec<(String, IpNet)>> {
    let mut holders = Vec::new();
    for link in Link::all()? {
        holders.extend(list(&link)?.into_iter().map(|network| (link.name.clone(), network)));
    }
    Ok(holders)
}

/// Gives an interface an address. IPv6 uses it at once, without asking whether somebody else has it (RFC 4862, 5.4):
/// the gateway answers for it already.
pub(crate) fn add(link: &Link, network: IpNet) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = link.index;
    message.header.prefix_len = network.prefix_len();
    message.header.family = family(network.addr());
    message.attributes =
        vec![AddressAttribute::Local(network.addr()), AddressAttribute::Address(network.addr())];
    match network {
        IpNet::V4(v4) => message.attributes.push(AddressAttribute::Broadcast(v4.broadcast())),
        IpNet::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    Netlink::route()?.order(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// The number of an address's family.
pub(super) const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// IPv4 names its own address `Local` (`Address` is a tunnel's other end), IPv6 only has `Address`.
fn address(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let other = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(other)?, message.header.prefix_len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_the_loopback_address() {
        let link = Link::find("lo").unwrap().unwrap();
        let addresses = list(&link).unwrap();
        // In a new network namespace it has none yet.
        assert!(!link.up || addresses.contains(&"127.0.0.1/8".parse().unwrap()), "{addresses:?}");
    }
}
