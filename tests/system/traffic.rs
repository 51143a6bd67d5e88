//! The frames of the captures: clients' packets to virtual servers of all modes, protocols and families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use testkit::{
    netns::object,
    packets::{ACK, Link, tcp, udp},
};

/// The Ethernet address that net_pcap gives its first device.
pub(crate) const PORT_MAC: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];
const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xcc];
const LINK: Link = (CLIENT_MAC, PORT_MAC);
const PORT: u16 = 80;
const MODES: [&str; 3] = ["nat", "full_nat", "dsr"];

/// The frame of a number: a client, a virtual server and a length of its own.
pub(crate) fn frame(number: usize) -> Vec<u8> {
    let (v6, is_udp, mode) = (number % 2 == 1, number / 2 % 2 == 1, number / 4 % 3);
    let from = SocketAddr::new(client(number, v6), 1024 + number as u16);
    let to = SocketAddr::new(service(mode, v6), PORT);
    let payload = object(number as u64, number * 37 % 1400);
    if is_udp { udp(LINK, from, to, &payload) } else { tcp(LINK, from, to, ACK, &payload) }
}

fn client(number: usize, v6: bool) -> IpAddr {
    let [high, low] = (number as u16).to_be_bytes();
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number as u16).into()
    } else {
        Ipv4Addr::new(10, 0, 16 + high, low).into()
    }
}

fn service(mode: usize, v6: bool) -> IpAddr {
    let last = 1 + mode as u8;
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(198, 51, 100, last).into()
    }
}

/// The members of a configuration that make a gateway of these frames, besides `control` and `workers`. The port is
/// this device.
pub(crate) fn configuration(device: &str) -> String {
    let backend =
        |number: u8, v6: bool| if v6 { format!("fd00::{number}") } else { format!("10.0.0.{number}") };
    let neighbour = |number: u8, v6: bool| {
        format!("{{ address: \"{}\", mac: \"02:00:00:00:00:{number}\" }}", backend(number, v6))
    };
    let backends = 11..=13;
    let neighbours: Vec<_> =
        backends.clone().flat_map(|number| [neighbour(number, false), neighbour(number, true)]).collect();
    let mut text = format!(
        "ports:\n  - name: wire\n    device: \"{device}\"\n    addresses: [10.0.0.1/16, \"fd00::1/64\"]\n    \
         neighbours: [{}]\n    mtu: 1500\n\
         # The frames are from the middle of their conversations: the first of each opens the flow.\n\
         profiles: [{{ name: default, loose_initiation: true }}]\npools:\n",
        neighbours.join(", ")
    );
    let mut servers = String::from("virtual_servers:\n");
    for v6 in [false, true] {
        let family = if v6 { 6 } else { 4 };
        let of_pool: Vec<_> = backends
            .clone()
            .map(|number| {
                let endpoint = SocketAddr::new(backend(number, v6).parse().unwrap(), PORT);
                format!("{{ address: \"{endpoint}\" }}")
            })
            .collect();
        text += &format!("  - {{ name: pool{family}, backends: [{}] }}\n", of_pool.join(", "));
        for (number, mode) in MODES.iter().enumerate() {
            for protocol in ["tcp", "udp"] {
                servers += &format!(
                    "  - {{ name: {mode}-{protocol}-{family}, address: \"{}\", port: {PORT}, protocol: {protocol}, \
                     type: fastl4, mode: {mode}, pool: pool{family} }}\n",
                    service(number, v6)
                );
            }
        }
    }
    text + &servers
}
