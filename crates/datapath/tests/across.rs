//! `full_nat` between families: whatever a packet carries and in however many segments it lies, another decoder finds in what leaves the
//! same in the other family, with right checksums; and an error about that is one about what was sent.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use datapath::{Arrival, Verdict};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, SELF, SELF_6, address, at, virtual_address,
};
use model::{Mode, PoolId, PortId};
use proptest::{collection::vec, prelude::*};
use testkit::{
    MemoryFrame,
    packets::{self, ACK, SYN, check_checksums},
};

/// A gateway whose `full_nat` virtual servers have backends of the other family.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.publish(|snapshot| {
        for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
            if server.mode == Mode::FullNat {
                let v6 = server.pool == PoolId(0);
                server.pool = PoolId(v6.into());
                let source = address(if v6 { SELF_6 } else { SELF });
                server.snat.iter_mut().for_each(|range| range.address = source);
            }
        }
    });
    rig
}

/// What a frame says whatever its family: ends, class, hops, and what it carries; `None` when its checksums are wrong.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    ends: [SocketAddr; 2],
    class: u8,
    hops: u8,
    payload: Vec<u8>,
    has_checksum: bool,
}

fn read(frame: &[u8]) -> Read {
    check_checksums(frame).unwrap();
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (addresses, class, hops) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let class = header.dcp().value() << 2 | header.ecn().value();
            ([header.source_addr().into(), header.destination_addr().into()], class, header.ttl())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let addresses = [header.source_addr().into(), header.destination_addr().into()];
            (addresses, header.traffic_class(), header.hop_limit())
        }
        NetSlice::Arp(_) => unreachable!("no ARP was sent"),
    };
    let (ports, payload, has_checksum) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => {
            ([tcp.source_port(), tcp.destination_port()], tcp.payload().to_vec(), tcp.checksum() != 0)
        }
        TransportSlice::Udp(udp) => {
            ([udp.source_port(), udp.destination_port()], udp.payload().to_vec(), udp.checksum() != 0)
        }
        _ => unreachable!("neither was sent"),
    };
    let [from, to] = [0, 1].map(|number| SocketAddr::new(addresses[number], ports[number]));
    Read { ends: [from, to], class, hops, payload, has_checksum }
}

/// Writes the class of service.
fn classify(frame: &mut [u8], class: u8) {
    if frame[14] >> 4 == 6 {
        frame[14] = 0x60 | class >> 4;
        frame[15] = class << 4 | frame[15] & 0x0f;
        return;
    }
    frame[15] = class;
    frame[24..26].copy_from_slice(&[0, 0]);
    let words = frame[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Sends a frame in, in segments cut there; what leaves.
fn forwarded(rig: &mut Rig, from: PortId, frame: &[u8], cut: Option<usize>, to: PortId) -> Vec<u8> {
    let frame = match cut.filter(|cut| *cut < frame.len()) {
        Some(cut) => MemoryFrame::scattered(&[&frame[..cut], &frame[cut..]]),
        None => MemoryFrame::new(frame),
    };
    let verdicts = rig.arrive_as(Arrival { port: from, is_handed_over: false }, [frame]);
    let mut sent = rig.sent();
    assert_eq!((verdicts[0], sent.len()), (Verdict::Transmit(to), 1));
    sent.remove(0).1
}

fn ends(v6: bool) -> [SocketAddr; 2] {
    let client = at(if v6 { CLIENT_6 } else { CLIENT }, 40_000);
    [client, at(virtual_address(Mode::FullNat, v6), 80)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_leaves_is_what_came_in_the_other_family(
        v6 in any::<bool>(),
        is_udp in any::<bool>(),
        lacks_checksum in any::<bool>(),
        class in any::<u8>(),
        payload in vec(any::<u8>(), 0..300),
        cut in proptest::option::of(54_usize..200),
    ) {
        let mut rig = rig();
        let [client, server] = ends(v6);
        let there = (CLIENT_MAC, CLIENTS_MAC);
        let mut frame = match is_udp {
            true => packets::udp(there, client, server, &payload),
            false => {
                forwarded(&mut rig, CLIENTS, &packets::tcp(there, client, server, SYN, b""), None, BACKENDS);
                packets::tcp(there, client, server, ACK, &payload)
            }
        };
        classify(&mut frame, class);
        if is_udp && lacks_checksum && !v6 {
            frame[40..42].copy_from_slice(&[0, 0]);
        }
        let came = read(&frame);
        let left = read(&forwarded(&mut rig, CLIENTS, &frame, cut, BACKENDS));
        let [source, backend] = left.ends;
        prop_assert_eq!(backend, at(if v6 { BACKEND } else { BACKEND_6 }, 8080));
        prop_assert_eq!(source.ip(), at(if v6 { SELF } else { SELF_6 }, 0).ip());
        prop_assert_eq!(left.hops, came.hops - 1);
        prop_assert!(left.has_checksum);
        prop_assert_eq!((left.class, &left.payload), (class, &payload));

        // And back.
        let there = (BACKEND_MAC, BACKENDS_MAC);
        let mut frame = match is_udp {
            true => packets::udp(there, backend, source, &payload),
            false => packets::tcp(there, backend, source, ACK, &payload),
        };
        classify(&mut frame, class);
        let left = read(&forwarded(&mut rig, BACKENDS, &frame, cut, CLIENTS));
        let expected = Read { ends: [server, client], class, hops: 63, payload, has_checksum: true };
        prop_assert_eq!(left, expected);
        rig.assert_conserved();
    }

    #[test]
    fn no_damage_to_a_packet_or_an_error_makes_trouble(
        v6 in any::<bool>(),
        (at_byte, value) in (0_usize..140, any::<u8>()),
        length in 0_usize..140,
        is_cut in any::<bool>(),
    ) {
        let mut rig = rig();
        let [client, server] = ends(v6);
        let there = (CLIENT_MAC, CLIENTS_MAC);
        let syn = packets::tcp(there, client, server, SYN, &[7; 60]);
        let left = forwarded(&mut rig, CLIENTS, &syn, None, BACKENDS);
        let error = error_about(&left);
        for mut frame in [syn, error] {
            if is_cut {
                frame.truncate(length);
            } else if let Some(byte) = frame.get_mut(at_byte) {
                *byte = value;
            }
            for port in [CLIENTS, BACKENDS] {
                rig.burst(port, &[&frame]);
            }
        }
        rig.assert_conserved();
    }
}

/// "Time exceeded" about a frame that went to a backend, from that backend.
fn error_about(frame: &[u8]) -> Vec<u8> {
    let quoted = &frame[14..];
    let (from, to) = (read(frame).ends[1].ip(), read(frame).ends[0].ip());
    let builder = etherparse::PacketBuilder::ethernet2(BACKEND_MAC, BACKENDS_MAC);
    let mut error = Vec::new();
    match (from, to) {
        (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
            let step = builder.ipv4(from.octets(), to.octets(), 64).icmpv4_raw(11, 0, [0; 4]);
            step.write(&mut error, quoted).unwrap();
        }
        (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
            let step = builder.ipv6(from.octets(), to.octets(), 64).icmpv6_raw(3, 0, [0; 4]);
            step.write(&mut error, quoted).unwrap();
        }
        _ => unreachable!("both are of one family"),
    }
    error
}

#[test]
fn an_error_is_one_about_what_the_client_has_sent() {
    for v6 in [false, true] {
        let mut rig = rig();
        let [client, server] = ends(v6);
        let syn = packets::tcp((CLIENT_MAC, CLIENTS_MAC), client, server, SYN, b"");
        let left = forwarded(&mut rig, CLIENTS, &syn, None, BACKENDS);
        let error = forwarded(&mut rig, BACKENDS, &error_about(&left), None, CLIENTS);
        check_checksums(&error).unwrap();
        let quoted = if v6 { &error[14 + 48..] } else { &error[14 + 28..] };
        let kind: &[u8] = if v6 { &[0x86, 0xdd] } else { &[8, 0] };
        let quoted = read(&[&[0; 12], kind, quoted].concat());
        assert_eq!((quoted.ends, quoted.hops), ([client, server], 63));
        rig.assert_conserved();
    }
}
