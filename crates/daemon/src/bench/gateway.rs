//! The gateway that is measured: one virtual server, three backends whose MAC addresses are known, one port.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use control::{Facts, Health, PortFacts, Registry, compile};
use datapath::{Snapshot, snapshot::DeviceTraits};
use model::{Generation, MacAddress, Mode};

use super::{Case, Family, case::mode_name};
use crate::failure::Failure;

/// The port's.
pub(super) const PORT_MAC: MacAddress = MacAddress([2, 0x70, 0x63, 0x61, 0x70, 0]);
/// The router's that clients are behind.
pub(super) const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xcc]);
/// Backends.
pub(super) const BACKENDS: u8 = 3;
/// The virtual server's port.
const SERVICE_PORT: u16 = 80;
/// The port of backends that packets are translated to.
const BACKEND_PORT: u16 = 8080;
/// Flows for which there is another SNAT address: a third of what its ports can tell apart for three backends, as free
/// ports are found at once only while most are free.
const FLOWS_PER_SNAT: u32 = 1 << 16;
const SEED: [u8; 16] = *b"tidegate bench..";
const MTU: u16 = 1500;

/// What clients send to.
pub(super) const fn service(family: Family) -> SocketAddr {
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10)),
    };
    SocketAddr::new(address, SERVICE_PORT)
}

/// What packets for a backend are translated to, where they are.
pub(super) const fn backend(family: Family, number: u8) -> SocketAddr {
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11 + number)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 11 + number as u16)),
    };
    SocketAddr::new(address, BACKEND_PORT)
}

/// A backend's MAC address.
pub(super) const fn backend_mac(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, 1 + number])
}

/// The SNAT address with a number.
fn snat(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(SNAT_V4 + number)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(SNAT_V6 + u128::from(number))),
    }
}

/// The first IPv4 one, of 198.18.0.0/15 (RFC 2544).
const SNAT_V4: u32 = 0xc612_0001;
/// The first IPv6 one, of 2001:db8:5::/64.
const SNAT_V6: u128 = (0x2001_0db8_0005 << 80) + 1;

/// Whether an address is one of the SNAT addresses for so many flows.
pub(super) fn is_snat(flows: u32, address: IpAddr) -> bool {
    let number = match address {
        IpAddr::V4(address) => u128::from(address.to_bits().wrapping_sub(SNAT_V4)),
        IpAddr::V6(address) => address.to_bits().wrapping_sub(SNAT_V6),
    };
    number < u128::from(snat_addresses(flows))
}

const fn snat_addresses(flows: u32) -> u32 {
    flows / FLOWS_PER_SNAT + 1
}

/// What a worker reads for a case.
pub(super) fn snapshot(case: &Case) -> Result<Snapshot, Failure> {
    let text = text(case);
    let configuration =
        config::parse(&text, "bench.yaml").map_err(|mistakes| Failure::mistakes(mistakes.render(false)))?;
    let port = PortFacts { mac: PORT_MAC, mtu: MTU, device: DeviceTraits::default() };
    let facts = Facts { generation: Generation(1), workers: 1, seed: SEED, ports: vec![port] };
    Ok(compile(&configuration.gateway, &mut Registry::default(), &Health::optimistic(), &facts))
}

/// The configuration. Packets from the middle of a conversation open flows, and those do not end while they are measured.
fn text(case: &Case) -> String {
    let (mode, family) = (case.mode, case.family);
    let service = service(family);
    let (mut neighbours, mut backends) = (String::new(), String::new());
    for number in 0..BACKENDS {
        let mut address = backend(family, number);
        let mac = backend_mac(number);
        // Writing to a string does not fail.
        let _ = write!(neighbours, "{{ address: \"{}\", mac: \"{mac}\" }}, ", address.ip());
        if mode == Mode::Dsr {
            address.set_port(service.port());
        }
        let _ = write!(backends, "{{ address: \"{address}\" }}, ");
    }
    let snat = if mode == Mode::FullNat { snat_line(family, case.flows) } else { String::new() };
    format!(
        "version: 1
ports:
  - name: wire
    device: net_null0
    addresses: [10.0.0.1/16, \"2001:db8:1::1/64\"]
    neighbours: [{neighbours}]
profiles: [{{ name: bench, loose_initiation: true, idle_timeout: 1h }}]
pools: [{{ name: all, backends: [{backends}] }}]
virtual_servers:
  - name: bench
    address: \"{}\"
    port: {}
    protocol: tcp
    mode: {}
    profile: bench
    pool: all
{snat}",
        service.ip(),
        service.port(),
        mode_name(mode),
    )
}

fn snat_line(family: Family, flows: u32) -> String {
    let addresses: Vec<String> =
        (0..snat_addresses(flows)).map(|number| format!("\"{}\"", snat(family, number))).collect();
    format!("    snat: [{}]\n", addresses.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Scenario;

    #[test]
    fn each_case_has_a_gateway() {
        for (mode, family) in [Mode::Nat, Mode::FullNat, Mode::Dsr]
            .into_iter()
            .flat_map(|mode| [(mode, Family::V4), (mode, Family::V6)])
        {
            let case = Case { scenario: Scenario::New, drop: None, mode, family, flows: 1 << 20 };
            let snapshot = snapshot(&case).unwrap_or_else(|failure| panic!("{failure}\n{}", text(&case)));
            assert_eq!(snapshot.virtual_servers.iter().flatten().count(), 1);
        }
    }

    #[test]
    fn snat_addresses_are_known_again() {
        for family in [Family::V4, Family::V6] {
            assert!(is_snat(1 << 20, snat(family, 16)) && !is_snat(1 << 20, snat(family, 17)));
            assert!(!is_snat(1 << 20, service(family).ip()));
        }
    }
}
