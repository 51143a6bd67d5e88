//! Routes of the ports' networks, of the configured routes, and of the gateways.

use std::net::IpAddr;

use datapath::snapshot::{Network, Route};
use ipnet::IpNet;
use model::{Address, Gateway, PortId};

/// All ways out with their route domains, in the order in which they win over others of the same length: a port's own networks, then configured
/// routes, then gateways.
pub(super) fn routes(gateway: &Gateway) -> Vec<(u8, Route)> {
    let ports = || gateway.links();
    let connected = ports().flat_map(|(id, port)| port.addresses.iter().map(move |net| connected(id, net)));
    let configured =
        ports().flat_map(|(id, port)| port.routes.iter().map(move |route| configured(id, route)));
    let default = ports().flat_map(|(id, port)| {
        [IpAddr::is_ipv4, IpAddr::is_ipv6].into_iter().filter_map(move |family| default(id, port, family))
    });
    let domains: Vec<u8> = ports().map(|(_, port)| port.domain).collect();
    let domain = |route: &Route| domains.get(route.port.index()).copied().unwrap_or_default();
    connected.chain(configured).chain(default).map(|route| (domain(&route), route)).collect()
}

fn network(net: &IpNet) -> Network {
    Network::new(net.addr().into(), net.prefix_len())
}

fn connected(port: PortId, net: &IpNet) -> Route {
    Route { to: network(net), port, via: Vec::new() }
}

fn configured(port: PortId, route: &model::Route) -> Route {
    Route { to: network(&route.to), port, via: route.via.iter().map(|&router| router.into()).collect() }
}

/// The way to everything else of a family, by those of the port's gateways that are of it.
fn default(port: PortId, of: &model::Port, family: fn(&IpAddr) -> bool) -> Option<Route> {
    let via: Vec<Address> = of.gateways.iter().filter(|router| family(router)).map(|&r| r.into()).collect();
    let to = Network::family_of(*via.first()?);
    Some(Route { to, port, via })
}
