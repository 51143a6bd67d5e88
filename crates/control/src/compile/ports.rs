//! Ports.

use std::net::IpAddr;

use datapath::snapshot::{Port, Senders};
use model::Gateway;

use super::{Facts, PortFacts};

/// All ports, by id: devices, and behind them the VLANs on them.
pub(super) fn ports(gateway: &Gateway, facts: &Facts) -> Vec<Port> {
    let auto = host_limit(gateway);
    let devices = gateway.ports.iter().zip(&facts.ports);
    let mut ports: Vec<Port> = devices.map(|(port, facts)| self::port(port, facts, auto)).collect();
    let vlans = gateway.links().skip(gateway.ports.len()).zip(gateway.tags());
    for ((id, port), (parent, tag)) in vlans {
        let Some(facts) = facts.ports.get(parent.index()) else { continue };
        if let Some(parent) = ports.get_mut(parent.index()) {
            parent.vlans.push((tag, id));
        }
        ports.push(Port { tag: Some((parent, tag)), ..self::port(port, facts, auto) });
    }
    ports
}

/// What `host_limit: auto` is: enough for people and routing, and beside these for all probes, whichever port's twin they go by.
fn host_limit(gateway: &Gateway) -> u32 {
    /// A connection with a request: five segments from the backend, ARP now and then, and as much again.
    const PACKETS_OF_A_PROBE: f64 = 10.0;
    const BESIDES: u32 = 20_000;
    let probes = |pool: &model::Pool| {
        let of_each: f64 = pool.monitors.iter().map(|monitor| monitor.interval.as_secs_f64().recip()).sum();
        pool.backends.len() as f64 * of_each
    };
    let packets = gateway.pools.iter().map(probes).sum::<f64>() * PACKETS_OF_A_PROBE;
    // What is beyond its range becomes the greatest.
    BESIDES.saturating_add(packets.ceil() as u32)
}

fn port(port: &model::Port, facts: &PortFacts, auto: u32) -> Port {
    let own = || port.addresses.iter().map(ipnet::IpNet::addr);
    Port {
        mac: facts.mac,
        mtu: facts.mtu,
        last_hop: port.last_hop,
        host: port.host,
        host_limit: port.host_limit.unwrap_or(auto),
        device: facts.device,
        senders: Senders {
            v4: own().find_map(|address| match address {
                IpAddr::V4(v4) => Some(v4.octets()),
                IpAddr::V6(_) => None,
            }),
            v6: own().find_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(v6) => Some(v6.octets()),
            }),
        },
        neighbours: port.neighbours.iter().map(|n| (n.address.into(), n.mac)).collect(),
        domain: port.domain,
        tag: None,
        vlans: Vec::new(),
        spread: facts.spread.clone(),
    }
}

#[cfg(test)]
mod tests {
    use model::Address;

    use crate::{
        compile::Registry,
        fixture::{self, compiled},
    };

    #[test]
    fn a_host_twins_limit_leaves_room_for_all_probes() {
        let limit =
            |gateway: &model::Gateway| compiled(gateway, &mut Registry::default()).ports[0].host_limit;
        let mut gateway = fixture::gateway([fixture::pool("quiet", 3)]);
        assert_eq!(limit(&gateway), 20_000);
        // Each of three backends is asked fifty times a second.
        gateway.pools.push(fixture::monitored_pool("asked", 3));
        assert_eq!(limit(&gateway), 20_000 + 3 * 50 * 10);
        gateway.ports[0].host_limit = Some(7);
        assert_eq!(limit(&gateway), 7);
    }

    #[test]
    fn the_first_address_of_each_family_speaks_for_a_port() {
        let mut gateway = fixture::gateway([]);
        let more = ["10.0.0.200/24", "2001:db8::c8/64"].map(|net| net.parse::<ipnet::IpNet>().unwrap());
        gateway.ports[0].addresses.extend(more);
        let senders = compiled(&gateway, &mut Registry::default()).ports[0].senders;
        assert_eq!(senders.v4, Some([10, 0, 0, 254]));
        assert_eq!(
            senders.v6.map(Address::from_v6),
            "2001:db8::fe".parse::<std::net::IpAddr>().ok().map(Address::from)
        );
    }
}
