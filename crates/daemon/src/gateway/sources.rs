//! The address that a monitor connects from: that of the port with a host twin by which its target is reached.

use std::net::IpAddr;

use model::{Gateway, Port};

/// The source for `target`; `None` where no port with a host twin leads there, which leaves it to the kernel.
pub(crate) fn source(gateway: &Gateway, target: IpAddr) -> Option<IpAddr> {
    let ports = || gateway.ports.iter().filter(|port| port.host);
    let on_link = ports().find_map(|port| on_network(port, target));
    let routed = || {
        let routes = ports().flat_map(|port| port.routes.iter().map(move |route| (port, route)));
        let best = routes
            .filter(|(_, route)| route.to.contains(&target))
            .max_by_key(|(_, route)| route.to.prefix_len());
        best.and_then(|(port, route)| route.via.iter().find_map(|router| on_network(port, *router)))
    };
    let by_gateway = || {
        ports().find_map(|port| {
            let same_family = port.gateways.iter().filter(|router| router.is_ipv4() == target.is_ipv4());
            same_family.into_iter().find_map(|router| on_network(port, *router))
        })
    };
    on_link.or_else(routed).or_else(by_gateway)
}

/// The port's own address on the network that `other` is on.
fn on_network(port: &Port, other: IpAddr) -> Option<IpAddr> {
    port.addresses.iter().find(|network| network.contains(&other)).map(ipnet::IpNet::addr)
}

#[cfg(test)]
mod tests {
    use model::Route;

    use super::*;
    use crate::gateway::device::tests::port;

    fn gateway(host: bool) -> Gateway {
        let route = Route { to: "10.1.0.0/16".parse().unwrap(), via: vec!["192.0.2.9".parse().unwrap()] };
        Gateway { ports: vec![Port { host, routes: vec![route], ..port("net_null0") }], ..Gateway::default() }
    }

    #[test]
    fn the_source_is_the_ports_address_on_the_way_to_the_target() {
        for (target, expected) in [
            ("192.0.2.77", Some("192.0.2.2")),
            ("2001:db8::77", Some("2001:db8::2")),
            ("10.1.2.3", Some("192.0.2.2")),
            ("203.0.113.1", Some("192.0.2.2")),
            ("2001:db8:1::1", None),
        ] {
            let source = source(&gateway(true), target.parse().unwrap());
            assert_eq!(source, expected.map(|text| text.parse().unwrap()), "{target}");
        }
    }

    #[test]
    fn a_port_without_a_twin_is_no_source() {
        assert_eq!(source(&gateway(false), "192.0.2.77".parse().unwrap()), None);
    }
}
