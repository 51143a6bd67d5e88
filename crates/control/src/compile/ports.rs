//! Ports.

use std::net::IpAddr;

use datapath::snapshot::{Port, Senders};
use model::Gateway;

use super::{Facts, PortFacts};

/// All ports, by id: devices, and behind them the VLANs on them.
pub(super) fn ports(gateway: &Gateway, facts: &Facts) -> Vec<Port> {
    let mut ports: Vec<Port> =
        gateway.ports.iter().zip(&facts.ports).map(|(port, facts)| self::port(port, facts)).collect();
    let vlans = gateway.links().skip(gateway.ports.len()).zip(gateway.tags());
    for ((id, port), (parent, tag)) in vlans {
        let Some(facts) = facts.ports.get(parent.index()) else { continue };
        if let Some(parent) = ports.get_mut(parent.index()) {
            parent.vlans.push((tag, id));
        }
        ports.push(Port { tag: Some((parent, tag)), ..self::port(port, facts) });
    }
    ports
}

fn port(port: &model::Port, facts: &PortFacts) -> Port {
    let own = || port.addresses.iter().map(ipnet::IpNet::addr);
    Port {
        mac: facts.mac,
        mtu: facts.mtu,
        last_hop: port.last_hop,
        host: port.host,
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
