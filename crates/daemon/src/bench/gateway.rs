//! The gateway that is measured: virtual servers that share backends whose MAC addresses are known, and one port. Of clients'
//! flows each goes to the virtual server that its number leaves when it is divided by how many there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use control::{Facts, Health, PortFacts, Registry, compile};
use datapath::{Snapshot, snapshot::DeviceTraits};
use model::{Generation, MacAddress, Mode};

use super::{Case, Family, Size, case::mode_name};
use crate::failure::Failure;

/// The port's.
pub(super) const PORT_MAC: MacAddress = MacAddress([2, 0x70, 0x63, 0x61, 0x70, 0]);
/// The router's that clients are behind.
pub(super) const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xcc]);
/// Backends at most: a worker remembers the MAC addresses of 8,192 neighbours, and each backend is one.
pub(crate) const MOST_BACKENDS: u16 = 8000;
/// Virtual servers at most: their addresses differ in the last two bytes.
pub(crate) const MOST_SERVICES: u16 = model::MAX_VIRTUAL_SERVERS as u16;
/// The virtual servers' port.
const SERVICE_PORT: u16 = 80;
/// The port of backends that packets are translated to.
const BACKEND_PORT: u16 = 8080;
/// Flows of a backend for which there is another SNAT address: a third of what its ports can tell apart, as free ports are
/// found at once only while most are free.
const FLOWS_PER_SNAT: u32 = (1 << 16) / 3;
/// Backends that are counted on to have an equal share of the flows.
const SHARING: u16 = 3;
const SEED: [u8; 16] = *b"tidegate bench..";
const MTU: u16 = 1500;

/// What clients of a virtual server send to. Of the addresses only the last two bytes differ, by the number.
pub(super) const fn service(family: Family, number: u16) -> SocketAddr {
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(SERVICE_V4 + number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10 + number)),
    };
    SocketAddr::new(address, SERVICE_PORT)
}

/// The first virtual server's, 198.51.100.10.
const SERVICE_V4: u32 = 0xc633_640a;

/// Which virtual server a flow goes to.
#[inline(always)]
pub(super) const fn service_of(flow: u32, services: u16) -> u16 {
    (flow % services as u32) as u16
}

/// What packets for a backend are translated to, where they are.
pub(super) const fn backend(family: Family, number: u16) -> SocketAddr {
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(BACKEND_V4 + number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 11 + number)),
    };
    SocketAddr::new(address, BACKEND_PORT)
}

/// The first backend's, 10.0.0.11.
const BACKEND_V4: u32 = 0x0a00_000b;

/// A backend's MAC address.
pub(super) const fn backend_mac(number: u16) -> MacAddress {
    let [high, low] = number.to_be_bytes();
    MacAddress([2, 0, 0, 1, high, low])
}

/// The backend with a MAC address.
pub(super) const fn backend_of(mac: MacAddress) -> Option<u16> {
    match mac.0 {
        [2, 0, 0, 1, high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
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

/// Whether an address is one of so many SNAT addresses.
pub(super) fn is_snat(addresses: u32, address: IpAddr) -> bool {
    let number = match address {
        IpAddr::V4(address) => u128::from(address.to_bits().wrapping_sub(SNAT_V4)),
        IpAddr::V6(address) => address.to_bits().wrapping_sub(SNAT_V6),
    };
    number < u128::from(addresses)
}

/// How many SNAT addresses there are.
pub(super) fn snat_addresses(case: &Case) -> u32 {
    case.flows / (FLOWS_PER_SNAT * u32::from(case.size.backends.min(SHARING))) + 1
}

/// What a worker reads for a case.
pub(super) fn snapshot(case: &Case) -> Result<Snapshot, Failure> {
    let text = text(case);
    let configuration =
        config::parse(&text, "bench.yaml").map_err(|mistakes| Failure::mistakes(mistakes.render(false)))?;
    let port = PortFacts {
        mac: PORT_MAC,
        mtu: MTU,
        device: DeviceTraits::default(),
        offloads: vec![],
        spread: None,
    };
    let facts = Facts { generation: Generation(1), workers: 1, seed: SEED, ports: vec![port] };
    Ok(compile(&configuration.gateway, &mut Registry::default(), &Health::optimistic(), &facts))
}

/// The configuration. Packets from the middle of a conversation open flows, and those do not end while they are measured.
fn text(case: &Case) -> String {
    let Size { backends, services } = case.size;
    let backends: Vec<[String; 2]> = (0..backends).map(|number| backend_lines(case, number)).collect();
    let [neighbours, backends] = [0, 1].map(|which| -> String {
        backends.iter().filter_map(|lines| lines.get(which)).map(String::as_str).collect()
    });
    let servers: String = (0..services).map(|number| server_lines(case, number)).collect();
    format!(
        "version: 1
ports:
  - name: wire
    device: net_null0
    addresses: [10.0.0.1/16, \"2001:db8:1::1/64\"]
    neighbours: [{neighbours}]
profiles: [{{ name: bench, loose_initiation: true, idle_timeout: 1h, syn_cookies: off }}]
pools: [{{ name: all, backends: [{backends}] }}]
virtual_servers:
{servers}"
    )
}

/// A backend as a neighbour, and as what it is.
fn backend_lines(case: &Case, number: u16) -> [String; 2] {
    let (mut address, mac) = (backend(case.family, number), backend_mac(number));
    let neighbour = format!("{{ address: \"{}\", mac: \"{mac}\" }}, ", address.ip());
    if case.mode.is_direct() {
        address.set_port(SERVICE_PORT);
    }
    [neighbour, format!("{{ address: \"{address}\" }}, ")]
}

fn server_lines(case: &Case, number: u16) -> String {
    let service = service(case.family, number);
    let snat = if case.mode == Mode::FullNat { snat_line(case) } else { String::new() };
    format!(
        "  - name: bench-{number}
    address: \"{}\"
    port: {}
    protocol: tcp
    mode: {}
    profile: bench
    pool: all
{snat}",
        service.ip(),
        service.port(),
        mode_name(case.mode),
    )
}

fn snat_line(case: &Case) -> String {
    let addresses: Vec<String> =
        (0..snat_addresses(case)).map(|number| format!("\"{}\"", snat(case.family, number))).collect();
    format!("    snat: [{}]\n", addresses.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Scenario, Size};

    #[test]
    fn each_case_has_a_gateway() {
        for (mode, family) in [Mode::Nat, Mode::FullNat, Mode::Dsr, Mode::Ipip, Mode::Gue]
            .into_iter()
            .flat_map(|mode| [(mode, Family::V4), (mode, Family::V6)])
        {
            for size in
                [Size::default(), Size { backends: 1, services: 2 }, Size { backends: 300, services: 40 }]
            {
                let case = Case { scenario: Scenario::New, drop: None, mode, family, flows: 1 << 20, size };
                let snapshot = snapshot(&case).unwrap_or_else(|failure| panic!("{failure}\n{}", text(&case)));
                assert_eq!(snapshot.virtual_servers.iter().flatten().count(), usize::from(size.services));
                assert_eq!(snapshot.backends.iter().flatten().count(), usize::from(size.backends));
            }
        }
    }

    #[test]
    fn numbers_of_backends_are_in_their_mac_addresses_and_nobody_elses() {
        for number in [0, 1, 0xcc, 7999] {
            assert_eq!(backend_of(backend_mac(number)), Some(number));
        }
        assert!(backend_of(CLIENT_MAC).is_none() && backend_of(PORT_MAC).is_none());
        assert_eq!(backend(Family::V4, MOST_BACKENDS - 1).ip().to_string(), "10.0.31.74");
        assert_eq!(service(Family::V4, MOST_SERVICES - 1).ip().to_string(), "198.51.164.9");
        assert_eq!((service_of(9, 1), service_of(25, 10)), (0, 5));
    }

    #[test]
    fn snat_addresses_are_known_again() {
        for family in [Family::V4, Family::V6] {
            assert!(is_snat(17, snat(family, 16)) && !is_snat(17, snat(family, 17)));
            assert!(!is_snat(1 << 20, service(family, 0).ip()));
        }
    }
}
