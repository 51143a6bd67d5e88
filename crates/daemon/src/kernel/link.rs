//! Interfaces.

use std::io;

use model::MacAddress;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};

use super::netlink::Netlink;

/// An interface, as the kernel described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The kernel's number of it.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// Whether it was switched on.
    pub(crate) up: bool,
    /// Whether it takes all multicast frames.
    pub(crate) all_multicast: bool,
    /// Whether it takes all frames.
    pub(crate) promiscuous: bool,
    /// Bytes of the largest IP packet.
    pub(crate) mtu: u32,
    /// Its Ethernet address, if it has one.
    pub(crate) mac: Option<MacAddress>,
}

/// What to change about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Switch it on.
    Up,
    /// Take all multicast frames, or no longer.
    AllMulticast(bool),
    /// Take all frames, or no longer.
    Promiscuous(bool),
    /// The bytes of the largest IP packet.
    Mtu(u32),
    /// Its Ethernet address.
    Mac(MacAddress),
}

impl Link {
    /// The interface with this name; `None` when there is none.
    pub(crate) fn find(name: &str) -> io::Result<Option<Self>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match Netlink::route()?.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(from_message)),
            Err(error) if error.raw_os_error() == Some(NO_DEVICE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces of the network namespace.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        let answers = Netlink::route()?.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(from_message).collect())
    }

    /// Changes it.
    pub(crate) fn change(&self, change: Change) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        let mut flag = |flag: LinkFlags, on: bool| {
            message.header.change_mask = flag;
            message.header.flags = if on { flag } else { LinkFlags::empty() };
        };
        match change {
            Change::Up => flag(LinkFlags::Up, true),
            Change::AllMulticast(on) => flag(LinkFlags::Allmulti, on),
            Change::Promiscuous(on) => flag(LinkFlags::Promisc, on),
            Change::Mtu(mtu) => message.attributes.push(LinkAttribute::Mtu(mtu)),
            Change::Mac(mac) => message.attributes.push(LinkAttribute::Address(mac.0.to_vec())),
        }
        Netlink::route()?.order(RouteNetlinkMessage::SetLink(message), 0)
    }
}

const NO_DEVICE: i32 = 19;

fn from_message(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: flags.contains(LinkFlags::Up),
        all_multicast: flags.contains(LinkFlags::Allmulti),
        promiscuous: flags.contains(LinkFlags::Promisc),
        mtu: 0,
        mac: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(octets) => link.mac = octets.try_into().ok().map(MacAddress),
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_by_its_name() {
        let link = Link::find("lo").unwrap().unwrap();
        assert_eq!((link.name.as_str(), link.index), ("lo", 1));
        assert_eq!(link.mac, Some(MacAddress([0; 6])));
        assert!(link.mtu > 0);
    }

    #[test]
    fn an_interface_that_is_not_there_is_none() {
        assert_eq!(Link::find("no-such-iface").unwrap(), None);
    }
}
