//! What all ports together own and reach, for the checks of what is balanced to where.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use crate::raw::{File, Given, Port};

use super::networks::Networks;

/// What all ports together own and reach.
#[derive(Default)]
pub(super) struct Site<'a> {
    /// Addresses of ports, with the port's name.
    own: HashMap<IpAddr, &'a str>,
    /// Addresses of routers and neighbours, with the port's name.
    others: HashMap<IpAddr, &'a str>,
    /// Addresses of virtual servers, with the server's name.
    virtual_servers: HashMap<IpAddr, &'a str>,
    /// The same of those with more than one address.
    prefixes: Vec<(IpNet, &'a str)>,
    on_link: Networks,
    routed: Networks,
    own_v4: bool,
    own_v6: bool,
    gateway_v4: bool,
    gateway_v6: bool,
    /// Whether something about ports is mistaken, so that more may be reached than is seen here.
    unsure: bool,
}

impl<'a> Site<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        let mut site = Self { unsure: file.ports.is_partly_mistaken(), ..Self::default() };
        for (_, port) in file.ports.items() {
            site.add_port(port);
        }
        for (_, server) in file.virtual_servers.items() {
            if let Some(address) = server.address.value() {
                let name = server.name.value().map_or("", |name| name.0.as_str());
                if address.0.prefix_len() == address.0.max_prefix_len() {
                    site.virtual_servers.entry(address.0.addr()).or_insert(name);
                } else {
                    site.prefixes.push((address.0, name));
                }
            }
        }
        site
    }

    fn add_port(&mut self, port: &'a Port) {
        let name = port.name.value().map_or("", |name| name.0.as_str());
        for (_, network) in port.addresses.items() {
            self.own.entry(network.0.addr()).or_insert(name);
            self.own_v4 |= network.0.addr().is_ipv4();
            self.own_v6 |= network.0.addr().is_ipv6();
            self.on_link.insert(network.0);
        }
        for (_, gateway) in port.gateway.items() {
            self.others.entry(gateway.0).or_insert(name);
            self.gateway_v4 |= gateway.0.is_ipv4();
            self.gateway_v6 |= gateway.0.is_ipv6();
        }
        for (_, neighbour) in port.neighbours.items() {
            if let Some(address) = neighbour.address.value() {
                self.others.entry(address.0).or_insert(name);
            }
        }
        for (_, route) in port.routes.items() {
            match route.to.value() {
                Some(network) => self.routed.insert(network.0),
                None => self.unsure = true,
            }
        }
        self.unsure |= port.addresses.is_partly_mistaken() || matches!(port.addresses, Given::Absent);
        self.unsure |= port.gateway.is_partly_mistaken() || port.routes.is_partly_mistaken();
    }

    /// The port that has `address`.
    pub(super) fn port_of(&self, address: IpAddr) -> Option<&'a str> {
        self.own.get(&address).copied()
    }

    /// An address of a port, of its routers or neighbours that lies in a network, with the port's name.
    pub(super) fn within(&self, network: IpNet) -> Option<(IpAddr, &'a str)> {
        let all = self.own.iter().chain(&self.others).filter(|(address, _)| network.contains(*address));
        all.map(|(address, name)| (*address, *name)).min()
    }

    /// The port that has a router or neighbour with `address`.
    pub(super) fn port_beside(&self, address: IpAddr) -> Option<&'a str> {
        self.others.get(&address).copied()
    }

    /// The virtual server that has `address`.
    pub(super) fn virtual_server_of(&self, address: IpAddr) -> Option<&'a str> {
        let of_prefix = || self.prefixes.iter().find(|(network, _)| network.contains(&address));
        self.virtual_servers.get(&address).copied().or_else(|| of_prefix().map(|(_, name)| *name))
    }

    /// Whether a port has an address of the same family, or may have.
    pub(super) fn may_speak_like(&self, address: IpAddr) -> bool {
        self.unsure || if address.is_ipv4() { self.own_v4 } else { self.own_v6 }
    }

    /// Whether `address` is on the network of a port, or may be.
    pub(super) fn may_be_on_link(&self, address: IpAddr) -> bool {
        self.unsure || self.on_link.contain(address)
    }

    /// Whether some port leads to `address`, or may.
    pub(super) fn may_reach(&self, address: IpAddr) -> bool {
        let gateway = if address.is_ipv4() { self.gateway_v4 } else { self.gateway_v6 };
        gateway || self.may_be_on_link(address) || self.routed.contain(address)
    }
}
