//! What goes to the host twins, against what is said of it elsewhere: packets to everybody who is somebody here, of all kinds, among the
//! conversations of virtual servers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod fixture;

use std::net::{IpAddr, SocketAddr};

use datapath::{Verdict, snapshot::Owned};
use etherparse::{IpNumber, PacketBuilder};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, SELF, SELF_6, address, snapshot, virtual_address,
};
use model::{MacAddress, Mode, PortId, WorkerId};
use proptest::{collection::vec, prelude::*, sample::select};
use testkit::packets::{self, ACK, RST, SYN, SYN_ACK};

/// The sources of `full_nat` end here where there is a host twin.
const LAST_SOURCE: u16 = 32_767;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp(packets::Flags),
    Udp,
    Echo,
    Other(u8),
    /// About a segment from the destination, with these ports.
    Error,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    by: PortId,
    v6: bool,
    kind: Kind,
    /// Which of the addresses of its family.
    destination: usize,
    ports: [u16; 2],
}

const DESTINATIONS: [[&str; 2]; 12] = [
    ["198.51.100.1", "2001:db8:100::1"],
    ["198.51.100.2", "2001:db8:100::2"],
    ["198.51.100.3", "2001:db8:100::3"],
    ["198.51.100.4", "2001:db8:100::4"],
    ["10.10.1.1", "2001:db8:1::1"],
    [SELF, SELF_6],
    [CLIENT, CLIENT_6],
    [BACKEND, BACKEND_6],
    ["224.0.0.5", "ff02::5"],
    ["224.0.0.9", "ff02::9"],
    ["239.1.2.3", "ff05::3"],
    ["10.10.9.9", "fe80::1234"],
];

impl Packet {
    fn to(self) -> IpAddr {
        DESTINATIONS[self.destination][usize::from(self.v6)].parse().unwrap()
    }

    fn from(self) -> IpAddr {
        let [v4, v6] = if self.by == CLIENTS { [CLIENT, CLIENT_6] } else { [BACKEND, BACKEND_6] };
        if self.v6 { v6 } else { v4 }.parse().unwrap()
    }

    fn frame(self) -> Vec<u8> {
        let link = if self.by == CLIENTS { (CLIENT_MAC, CLIENTS_MAC) } else { (BACKEND_MAC, BACKENDS_MAC) };
        let ends = [(self.from(), self.ports[0]), (self.to(), self.ports[1])].map(SocketAddr::from);
        let mut frame = match self.kind {
            Kind::Tcp(flags) => packets::tcp(link, ends[0], ends[1], flags, b""),
            Kind::Udp => packets::udp(link, ends[0], ends[1], b"12345678"),
            Kind::Echo => packets::echo(link, self.from(), self.to(), b""),
            Kind::Other(number) => self.other(link, number),
            Kind::Error => self.error(link),
        };
        let (to, at) = (self.to(), if self.v6 { 24 + 14 } else { 16 + 14 });
        if to.is_multicast() {
            let group: [u8; 6] = if self.v6 {
                [0x33, 0x33, frame[at + 12], frame[at + 13], frame[at + 14], frame[at + 15]]
            } else {
                [1, 0, 0x5e, frame[at + 1] & 0x7f, frame[at + 2], frame[at + 3]]
            };
            frame[..6].copy_from_slice(&group);
        }
        frame
    }

    fn other(self, (from, to): packets::Link, number: u8) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(from, to);
        let mut frame = Vec::new();
        let written = match (self.from(), self.to()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                ethernet.ipv4(from.octets(), to.octets(), 1).write(&mut frame, IpNumber(number), &[0; 24])
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                ethernet.ipv6(from.octets(), to.octets(), 1).write(&mut frame, IpNumber(number), &[0; 24])
            }
            _ => panic!("of different families"),
        };
        written.unwrap();
        frame
    }

    /// Destination unreachable, about a segment that its receiver has sent to this sender.
    fn error(self, (from, to): packets::Link) -> Vec<u8> {
        let ends = [(self.to(), self.ports[1]), (self.from(), self.ports[0])].map(SocketAddr::from);
        let quoted = packets::tcp((from, to), ends[0], ends[1], ACK, b"");
        let ethernet = PacketBuilder::ethernet2(from, to);
        let mut frame = Vec::new();
        let written = match (self.from(), self.to()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet
                .ipv4(from.octets(), to.octets(), 64)
                .icmpv4_raw(3, 1, [0; 4])
                .write(&mut frame, &quoted[14..]),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet
                .ipv6(from.octets(), to.octets(), 64)
                .icmpv6_raw(1, 0, [0; 4])
                .write(&mut frame, &quoted[14..]),
            _ => panic!("of different families"),
        };
        written.unwrap();
        frame
    }

    /// The port whose host it is for, as the documentation has it.
    fn is_for(self) -> Option<PortId> {
        let bfd = [3784, 3785, 4784];
        let (is_udp, port) = (matches!(self.kind, Kind::Udp), self.ports[1]);
        let is_source = (1024..=LAST_SOURCE).contains(&port) && !(is_udp && bfd.contains(&port));
        let host = match self.destination {
            4 => CLIENTS,
            5 => BACKENDS,
            8 | 9 => {
                let says_routes = match self.kind {
                    Kind::Other(number) => [2, 88, 89, 103, 112].contains(&number),
                    Kind::Udp => [520, 521, 646, 6696].contains(&port),
                    _ => false,
                };
                return says_routes.then_some(self.by);
            }
            // Those who are in a group say so to the group itself.
            10 => return (matches!(self.kind, Kind::Other(2)) && !self.v6).then_some(self.by),
            _ => return None,
        };
        let is_hosts = match self.kind {
            Kind::Tcp(_) | Kind::Udp | Kind::Error => !is_source,
            Kind::Other(_) => true,
            Kind::Echo => false,
        };
        is_hosts.then_some(host)
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let kinds = vec![
        Kind::Tcp(SYN),
        Kind::Tcp(SYN_ACK),
        Kind::Tcp(ACK),
        Kind::Tcp(RST),
        Kind::Udp,
        Kind::Udp,
        Kind::Echo,
        Kind::Error,
        Kind::Error,
        Kind::Other(2),
        Kind::Other(47),
        Kind::Other(89),
        Kind::Other(112),
    ];
    let ports = vec![22, 80, 179, 520, 646, 1024, 3784, 4784, 6696, 8080, 32_767, 32_768, 50_000];
    let ports = [select(ports.clone()), select(ports)];
    let ends = (select(vec![CLIENTS, BACKENDS]), any::<bool>(), 0..DESTINATIONS.len());
    (ends, select(kinds), ports).prop_map(|((by, v6, destination), kind, ports)| Packet {
        by,
        v6,
        kind,
        destination,
        ports,
    })
}

/// Two ports with host twins and no limit.
fn rig() -> Rig {
    let mut snapshot = snapshot(1);
    snapshot.ports.iter_mut().for_each(|port| port.host = true);
    for (port, text) in
        [(CLIENTS, "10.10.1.1"), (CLIENTS, "2001:db8:1::1"), (BACKENDS, SELF), (BACKENDS, SELF_6)]
    {
        let owned = Owned::Port { port, snat_first: 1024, snat_last: LAST_SOURCE };
        snapshot.addresses.own(address(text), owned);
    }
    let mut servers = snapshot.virtual_servers.to_vec();
    for range in servers.iter_mut().flatten().flat_map(|server| &mut server.snat) {
        range.last = LAST_SOURCE;
    }
    snapshot.virtual_servers = servers.into();
    Rig::with(snapshot, WorkerId(0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever else goes on, hosts get what is theirs, and never what is a virtual server's.
    #[test]
    fn hosts_get_what_is_theirs_and_nothing_of_virtual_servers(packets in vec(packet(), 1..200)) {
        let mut rig = rig();
        for packet in packets {
            let (verdict, sent) = rig.one(packet.by, &packet.frame());
            let host = match verdict {
                Verdict::ToHost(port) => Some(port),
                _ => None,
            };
            prop_assert_eq!(host, packet.is_for(), "{:?} to {}: {:?}", packet, packet.to(), verdict);
            prop_assert!(host.is_none() || sent.is_empty());
        }
        rig.assert_conserved();
    }
}

#[test]
fn a_twin_has_a_link_local_address_where_its_port_has_ipv6() {
    let mut rig = rig();
    let own = IpAddr::from(MacAddress(CLIENTS_MAC).link_local());
    let peer: SocketAddr = "[fe80::7]:50000".parse().unwrap();
    let bgp = packets::tcp((CLIENT_MAC, CLIENTS_MAC), peer, (own, 179).into(), SYN, b"");
    assert_eq!(rig.one(CLIENTS, &bgp).0, Verdict::ToHost(CLIENTS));
    rig.publish(|snapshot| snapshot.ports[CLIENTS.index()].senders.v6 = None);
    assert!(matches!(rig.one(CLIENTS, &bgp).0, Verdict::Drop(_)));
    rig.publish(|snapshot| snapshot.ports[CLIENTS.index()].host = false);
    assert!(matches!(rig.one(CLIENTS, &bgp).0, Verdict::Drop(_)));
}

#[test]
fn all_workers_together_keep_to_a_twins_limit() {
    let mut rigs = [0, 1].map(|id| {
        let mut snapshot = snapshot(2);
        (snapshot.ports[0].host, snapshot.ports[0].host_limit) = (true, 400);
        Rig::with(snapshot, WorkerId(id))
    });
    let workers = rigs.iter().map(|rig| rig.meters.clone()).collect::<Vec<_>>();
    for rig in &mut rigs {
        rig.join(datapath::Colleagues { workers: workers.clone(), ..Default::default() });
    }
    let hello =
        Packet { by: CLIENTS, v6: false, kind: Kind::Other(89), destination: 8, ports: [0; 2] }.frame();
    let mut passed = 0;
    for turn in 0..1000 {
        for rig in &mut rigs {
            rig.now = model::Millis(1000 + turn);
            rig.keep_house();
            let frames = [hello.as_slice(); 8];
            let verdicts = rig.burst(CLIENTS, &frames);
            passed += verdicts.iter().filter(|verdict| matches!(verdict, Verdict::ToHost(_))).count();
        }
    }
    // A second's, what may go at once, and a burst of each worker's before it has looked at the limit for the first time.
    assert!((400..=456).contains(&passed), "{passed}");
    for rig in &mut rigs {
        rig.assert_conserved();
    }
}

#[test]
fn the_addresses_are_as_the_fixture_has_them() {
    for (mode, destination) in [(Mode::Nat, 0), (Mode::FullNat, 1), (Mode::Dsr, 2), (Mode::Ipip, 3)] {
        let of_both = [virtual_address(mode, false), virtual_address(mode, true)];
        assert_eq!(DESTINATIONS[destination], of_both);
    }
}
