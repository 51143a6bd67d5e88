//! Ports: each device and each network once, and neighbours where they can be reached.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    mistake::{Findings, Place},
    raw::{Auto, File, Given, List, Neighbour, Port, Route, default, domain},
    text::{Address, Mac, device_id, interface},
    words::quoted,
};

use super::{Firsts, at_most, family, is_somebodys, networks::Networks, unique_names};

pub(super) fn check(file: &File, links: &[Port], findings: &mut Findings) {
    number(file, links, findings);
    unique_names("port", links.iter().map(|port| &port.name), findings);
    devices(file, findings);
    addresses(links, findings);
    for (_, port) in file.ports.items() {
        mtu(port, findings);
        mac(&port.mac, findings);
        host_limit(port, findings);
        vlan_ids(port, findings);
    }
    for port in links {
        reachable(port, findings);
    }
}

/// A VLAN counts as a port.
fn number(file: &File, links: &[Port], findings: &mut Findings) {
    let Some((place, ports)) = file.ports.at() else { return };
    if ports.len() > model::MAX_PORTS {
        return at_most(&file.ports, model::MAX_PORTS, "ports", findings);
    }
    if links.len() > model::MAX_PORTS {
        let most = model::MAX_PORTS;
        let message =
            format!("{} ports and VLANs are more than the {most} that a gateway can have", links.len());
        findings.add_at(place, message, format!("remove {}", links.len() - most));
    }
}

fn vlan_ids(port: &Port, findings: &mut Findings) {
    let mut firsts = Firsts::new();
    for (place, &id) in port.vlans.items().filter_map(|(_, vlan)| vlan.id.at()) {
        if let Some(first) = firsts.before(id, place) {
            let message = format!("two VLANs of the port have the id {id}");
            findings.add_at(
                place,
                message,
                format!("write another id; the first is on line {}", findings.line(first)),
            );
        }
    }
}

fn devices(file: &File, findings: &mut Findings) {
    let mut devices = Firsts::new();
    let mut interfaces = Firsts::new();
    for (place, device) in file.ports.items().filter_map(|(_, port)| port.device.at()) {
        let id = device_id(&device.0);
        if let Some(first) = devices.before(id.clone(), place) {
            let message = format!("two ports have the device {}", quoted(&id));
            let first = findings.line(first);
            let remedy = if id.starts_with("net_") {
                format!(
                    "give it another number, such as `{}1`; the first is on line {first}",
                    without_number(&id)
                )
            } else {
                format!("remove one; the first is on line {first}")
            };
            findings.add_at(place, message, remedy);
        } else if let Some(name) = interface(&device.0)
            && let Some(first) = interfaces.before(name, place)
        {
            let message = format!("two ports have the kernel interface {}", quoted(name));
            let remedy =
                format!("name another after `iface=`; the first is on line {}", findings.line(first));
            findings.add_at(place, message, remedy);
        }
    }
}

fn without_number(vdev: &str) -> &str {
    vdev.trim_end_matches(|c: char| c.is_ascii_digit())
}

fn addresses(ports: &[Port], findings: &mut Findings) {
    let mut firsts = Firsts::new();
    let mut links: HashMap<&str, Vec<_>> = HashMap::new();
    for (number, port) in ports.iter().enumerate() {
        // What is in another route domain is another address.
        let Some(domain) = domain(&port.route_domain) else { continue };
        for (place, network) in port.addresses.items() {
            let address = network.0.addr();
            if !is_somebodys(address, place, findings) || !is_a_hosts(network.0, place, findings) {
                continue;
            }
            if let Some(first) = firsts.before((domain, address), place) {
                let message = format!("`{address}` is given twice as a port's address");
                let remedy = format!("write another address; the first is on line {}", findings.line(first));
                findings.add_at(place, message, remedy);
            } else if has_neighbours(network.0) {
                links.entry(domain).or_default().push((network.0.trunc(), number, place));
            }
        }
    }
    links.into_values().for_each(|links| on_one_port(links, findings));
}

/// Whether anybody else can be in the network, and only there: link-local addresses of IPv6 are on every link.
fn has_neighbours(network: IpNet) -> bool {
    let link_local = matches!(network, IpNet::V6(v6) if v6.addr().is_unicast_link_local());
    network.prefix_len() < network.max_prefix_len() && !link_local
}

/// Reports networks, each with the number of its port, that are on the link of another port as well.
fn on_one_port(mut links: Vec<(IpNet, usize, Place)>, findings: &mut Findings) {
    links.sort_by_key(|(network, ..)| network.prefix_len());
    let mut firsts = HashMap::new();
    for (network, port, place) in links {
        let around = (0..=network.prefix_len()).filter_map(|length| IpNet::new(network.addr(), length).ok());
        let first = around
            .filter_map(|wider| firsts.get_key_value(&wider.trunc()))
            .find(|&(_, &(other, _))| other != port);
        if let Some((&wider, &(_, first))) = first {
            let message = if wider == network {
                format!("network `{network}` is on two ports")
            } else {
                format!("network `{network}` lies in `{wider}`, which is another port's")
            };
            let line = findings.line(first);
            let remedy = format!("write an address of another network; the other port's is on line {line}");
            findings.add_at(place, message, remedy);
        } else {
            firsts.entry(network).or_insert((port, place));
        }
    }
}

/// Reports the first and the last address of an IPv4 network, which are no host's (RFC 3021 exempts /31).
fn is_a_hosts(network: IpNet, place: Place, findings: &mut Findings) -> bool {
    let IpNet::V4(v4) = network else {
        return true;
    };
    let reason = match v4.addr() {
        _ if v4.prefix_len() >= 31 => return true,
        address if address == v4.network() => "the address of the network itself",
        address if address == v4.broadcast() => "the broadcast address of its network",
        _ => return true,
    };
    let example = v4.hosts().nth(1).unwrap_or(v4.addr());
    let remedy = format!("write the port's own address, such as `{example}/{}`", v4.prefix_len());
    findings.add_at(place, format!("`{v4}` is {reason}"), remedy);
    false
}

fn mtu(port: &Port, findings: &mut Findings) {
    // RFC 8200, 5
    const LEAST: u16 = 1280;
    let v6 = port.addresses.items().any(|(_, network)| network.0.addr().is_ipv6());
    if let Some((place, &mtu)) = port.mtu.at()
        && v6
        && mtu < LEAST
    {
        let message = format!("`mtu: {mtu}` is too small for the IPv6 addresses of this port");
        let remedy = format!("write at least {LEAST}, or remove `mtu` for {}", default::MTU);
        findings.add_at(place, message, remedy);
    }
}

fn host_limit(port: &Port, findings: &mut Findings) {
    if let Some((place, Auto::Value(_))) = port.host_limit.at()
        && !matches!(port.host, Given::Mistaken)
        && port.host.value() != Some(&true)
    {
        findings.add_at(
            place,
            "`host_limit` limits a host twin, and this port has none",
            "add `host: true`, or remove it",
        );
    }
}

fn mac(mac: &Given<Auto<Mac>>, findings: &mut Findings) {
    if let Some((place, Auto::Value(mac))) = mac.at() {
        is_a_stations(mac, place, findings);
    }
}

/// Reports an Ethernet address that no device can have.
fn is_a_stations(mac: &Mac, place: Place, findings: &mut Findings) {
    let reason = match mac.0 {
        mac if mac.is_group() => "a group address",
        model::MacAddress([0, 0, 0, 0, 0, 0]) => "nobody's address",
        _ => return,
    };
    let remedy = "write the address of one device; its first byte is even, such as in `02:00:00:00:00:01`";
    findings.add_at(place, format!("`{}` is {reason}", mac.0), remedy);
}

/// Routers and neighbours are on a network of their port.
fn reachable(port: &Port, findings: &mut Findings) {
    let link = Link {
        networks: port.addresses.items().map(|(_, network)| network.0).collect(),
        own: port.addresses.items().map(|(_, network)| network.0.addr()).collect(),
        unsure: port.addresses.is_partly_mistaken() || matches!(port.addresses, Given::Absent),
    };
    link.routers("gateway", &port.gateway, findings);
    let mut firsts = Firsts::new();
    for (_, route) in port.routes.items() {
        link.route(route, &mut firsts, findings);
    }
    let mut firsts = Firsts::new();
    for (_, neighbour) in port.neighbours.items() {
        link.neighbour(neighbour, &mut firsts, findings);
    }
}

/// What is beside a port.
struct Link {
    networks: Networks,
    own: HashSet<IpAddr>,
    /// Whether an address of the port is mistaken.
    unsure: bool,
}

impl Link {
    fn routers(&self, noun: &str, routers: &List<Address>, findings: &mut Findings) {
        let mut firsts = Firsts::new();
        for (place, router) in routers.items() {
            if firsts.before(router.0, place).is_some() {
                findings.add_at(place, format!("{noun} `{}` is there twice", router.0), "remove one");
            } else {
                self.neighbouring(noun, router.0, place, findings);
            }
        }
    }

    fn route(&self, route: &Route, firsts: &mut Firsts<IpNet>, findings: &mut Findings) {
        self.routers("router", &route.via, findings);
        let Some((place, to)) = route.to.at() else {
            return;
        };
        let network = to.0.trunc();
        if network != to.0 {
            let message = format!("`{}` is an address in a network, not a network", to.0);
            findings.add_at(place, message, format!("write `{network}`"));
        }
        if let Some(first) = firsts.before(network, place) {
            let message = format!("there are two routes to `{network}`");
            let remedy = format!("list all routers in the `via` of line {}", findings.line(first));
            findings.add_at(place, message, remedy);
        }
        for (place, router) in
            route.via.items().filter(|(_, router)| router.0.is_ipv4() != network.addr().is_ipv4())
        {
            let (router, wanted) = (router.0, family(network.addr()));
            let message = format!("router `{router}` is {}, but `{network}` is {wanted}", family(router));
            findings.add_at(place, message, format!("write an {wanted} address"));
        }
    }

    fn neighbour(&self, neighbour: &Neighbour, firsts: &mut Firsts<IpAddr>, findings: &mut Findings) {
        if let Some((place, mac)) = neighbour.mac.at() {
            is_a_stations(mac, place, findings);
        }
        let Some((place, address)) = neighbour.address.at() else {
            return;
        };
        if let Some(first) = firsts.before(address.0, place) {
            let message = format!("neighbour `{}` is there twice", address.0);
            findings.add_at(
                place,
                message,
                format!("remove one; the first is on line {}", findings.line(first)),
            );
        } else {
            self.neighbouring("neighbour", address.0, place, findings);
        }
    }

    /// Reports an address that nobody beside the port can have.
    fn neighbouring(&self, noun: &str, address: IpAddr, place: Place, findings: &mut Findings) {
        if self.own.contains(&address) {
            let message = format!("{noun} `{address}` is the port's own address");
            findings.add_at(place, message, "write the other machine's address");
        } else if is_somebodys(address, place, findings) && !self.unsure && !self.networks.contain(address) {
            let message = format!("{noun} `{address}` is on no network of this port");
            let remedy = match self.networks.like(address) {
                Some(networks) => {
                    format!("write an address in {networks}, or add one of its network to `addresses`")
                }
                None => format!("add an {} address to `addresses`", family(address)),
            };
            findings.add_at(place, message, remedy);
        }
    }
}
