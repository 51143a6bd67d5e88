//! The three modes, both families, both protocols, both ways: what comes out is right to the checksum.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use datapath::{DropReason, Verdict};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, SELF, SELF_6, at, virtual_address,
};
use model::Mode;
use testkit::packets::{self, ACK, Flags, Link, SYN, SYN_ACK, check_checksums, describe};

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_BACKEND: Link = (BACKEND_MAC, BACKENDS_MAC);

/// The client's and the virtual server's end of a conversation.
fn ends(mode: Mode, v6: bool) -> (SocketAddr, SocketAddr) {
    (at(if v6 { CLIENT_6 } else { CLIENT }, 40_001), at(virtual_address(mode, v6), 80))
}

fn packet(is_tcp: bool, link: Link, from: SocketAddr, to: SocketAddr, flags: Flags) -> Vec<u8> {
    if is_tcp {
        packets::tcp(link, from, to, flags, b"hello")
    } else {
        packets::udp(link, from, to, b"hello")
    }
}

fn all() -> impl Iterator<Item = (bool, bool)> {
    [false, true].into_iter().flat_map(|v6| [false, true].map(|is_tcp| (v6, is_tcp)))
}

fn macs(frame: &[u8]) -> (&[u8], &[u8]) {
    (&frame[..6], &frame[6..12])
}

#[test]
fn nat_changes_the_destination_and_back() {
    for (v6, is_tcp) in all() {
        let mut rig = Rig::new();
        let (client, server) = ends(Mode::Nat, v6);
        let backend = at(if v6 { BACKEND_6 } else { BACKEND }, 8080);
        let name = if is_tcp { "tcp" } else { "udp" };

        let out = rig.forwarded(CLIENTS, &packet(is_tcp, TO_GATEWAY, client, server, SYN), BACKENDS);
        assert_eq!(describe(&out), format!("{name} {client} > {backend} ttl 63"));
        assert_eq!(macs(&out), (&BACKEND_MAC[..], &BACKENDS_MAC[..]));
        check_checksums(&out).unwrap();

        let back = rig.forwarded(BACKENDS, &packet(is_tcp, FROM_BACKEND, backend, client, SYN_ACK), CLIENTS);
        assert_eq!(describe(&back), format!("{name} {server} > {client} ttl 63"));
        assert_eq!(macs(&back), (&CLIENT_MAC[..], &CLIENTS_MAC[..]), "it leaves by the MAC it came from");
        check_checksums(&back).unwrap();
        rig.assert_conserved();
    }
}

#[test]
fn full_nat_changes_both_ends_and_back() {
    for (v6, is_tcp) in all() {
        let mut rig = Rig::new();
        let (client, server) = ends(Mode::FullNat, v6);
        let backend = at(if v6 { BACKEND_6 } else { BACKEND }, 8080);

        let out = rig.forwarded(CLIENTS, &packet(is_tcp, TO_GATEWAY, client, server, SYN), BACKENDS);
        check_checksums(&out).unwrap();
        let text = describe(&out);
        let (source, rest) = text.split_once(' ').unwrap().1.split_once(" > ").unwrap();
        assert_eq!(rest, format!("{backend} ttl 63"));
        let source: SocketAddr = source.parse().unwrap();
        assert_eq!(source.ip(), at(if v6 { SELF_6 } else { SELF }, 0).ip());
        assert!(source.port() >= 1024);

        let back = rig.forwarded(BACKENDS, &packet(is_tcp, FROM_BACKEND, backend, source, SYN_ACK), CLIENTS);
        assert!(describe(&back).contains(&format!("{server} > {client} ttl 63")));
        check_checksums(&back).unwrap();
        rig.assert_conserved();
    }
}

#[test]
fn dsr_changes_the_mac_addresses_only() {
    for (v6, is_tcp) in all() {
        let mut rig = Rig::new();
        let (client, server) = ends(Mode::Dsr, v6);
        let frame = packet(is_tcp, TO_GATEWAY, client, server, SYN);
        let out = rig.forwarded(CLIENTS, &frame, BACKENDS);
        assert_eq!(macs(&out), (&BACKEND_MAC[..], &BACKENDS_MAC[..]));
        assert_eq!(out[12..], frame[12..]);
        rig.assert_conserved();
    }
}

#[test]
fn different_clients_get_different_snat_ports_and_one_client_keeps_its_own() {
    let mut rig = Rig::new();
    let (_, server) = ends(Mode::FullNat, false);
    let mut seen = std::collections::HashMap::new();
    for port in (1000..2000).chain(1000..2000) {
        let client = at(CLIENT, port);
        let out = rig.forwarded(CLIENTS, &packet(true, TO_GATEWAY, client, server, SYN), BACKENDS);
        let text = describe(&out);
        let source = text.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(*seen.entry(port).or_insert_with(|| source.clone()), source);
    }
    let different: std::collections::HashSet<_> = seen.values().collect();
    assert_eq!(different.len(), 1000);
    rig.assert_conserved();
}

#[test]
fn a_segment_in_mid_stream_without_a_flow_is_dropped() {
    let mut rig = Rig::new();
    let (client, server) = ends(Mode::Nat, false);
    rig.dropped(CLIENTS, &packet(true, TO_GATEWAY, client, server, ACK), DropReason::NoFlow);
    rig.assert_conserved();
}

#[test]
fn loose_initiation_adopts_a_segment_in_mid_stream() {
    let mut rig = Rig::new();
    for server in Arc::make_mut(&mut rig.snapshot.virtual_servers).iter_mut().flatten() {
        server.loose_initiation = true;
    }
    let (client, server) = ends(Mode::Nat, false);
    let out = rig.forwarded(CLIENTS, &packet(true, TO_GATEWAY, client, server, ACK), BACKENDS);
    check_checksums(&out).unwrap();
    rig.dropped(CLIENTS, &packet(true, TO_GATEWAY, at(CLIENT, 5), server, packets::RST), DropReason::NoFlow);
}

#[test]
fn a_backend_that_speaks_first_is_no_flow() {
    let mut rig = Rig::new();
    let frame = packet(true, FROM_BACKEND, at(BACKEND, 5000), at(CLIENT, 80), SYN);
    rig.dropped(BACKENDS, &frame, DropReason::NoFlow);
    let frame = packet(true, FROM_BACKEND, at(BACKEND, 8080), at(SELF, 2000), SYN_ACK);
    rig.dropped(BACKENDS, &frame, DropReason::NoFlow);
    rig.assert_conserved();
}

#[test]
fn a_packet_whose_time_to_live_ends_here_goes_no_further_but_in_dsr() {
    for (mode, expected) in
        [(Mode::Nat, Verdict::Transmit(CLIENTS)), (Mode::Dsr, Verdict::Transmit(BACKENDS))]
    {
        let mut rig = Rig::new();
        let (client, server) = ends(mode, false);
        let frame = packets::tcp_with_ttl(TO_GATEWAY, client, server, SYN, b"", 1);
        assert_eq!(rig.one(CLIENTS, &frame).0, expected);
        rig.assert_conserved();
    }
}

#[test]
fn both_packets_of_a_new_flow_in_one_burst_go_the_same_way() {
    let mut rig = Rig::new();
    let (client, server) = ends(Mode::Nat, false);
    let (first, second) =
        (packet(true, TO_GATEWAY, client, server, SYN), packet(true, TO_GATEWAY, client, server, ACK));
    let verdicts = rig.burst(CLIENTS, &[&first, &second]);
    assert_eq!(verdicts, [Verdict::Transmit(BACKENDS); 2]);
    let sent = rig.sent();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].1[47] & 2 != 0 && sent[1].1[47] & 2 == 0, "in the order of arrival");
    rig.assert_conserved();
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let mut rig = Rig::new();
    let (client, server) = ends(Mode::FullNat, false);
    let mut frame = packet(false, TO_GATEWAY, client, server, SYN);
    frame[40..42].copy_from_slice(&[0, 0]);
    let out = rig.forwarded(CLIENTS, &frame, BACKENDS);
    assert_eq!(out[40..42], [0, 0]);
    check_checksums(&out).unwrap();
}

#[test]
fn a_checksum_that_arrives_wrong_leaves_wrong() {
    let mut rig = Rig::new();
    let (client, server) = ends(Mode::Nat, false);
    let mut frame = packet(true, TO_GATEWAY, client, server, SYN);
    frame[51] ^= 0x40;
    let out = rig.forwarded(CLIENTS, &frame, BACKENDS);
    assert!(check_checksums(&out).unwrap_err().starts_with("TCP"));
}

#[test]
fn a_partial_checksum_is_completed_where_senders_leave_it_to_the_card() {
    for mode in [Mode::Nat, Mode::FullNat, Mode::Dsr] {
        for (v6, is_tcp) in all() {
            for partial_checksums in [false, true] {
                let mut rig = Rig::new();
                rig.snapshot.ports[0].device.partial_checksums = partial_checksums;
                let (client, server) = ends(mode, v6);
                let whole = packet(is_tcp, TO_GATEWAY, client, server, SYN);
                let partial = packets::with_partial_checksum(&whole);
                assert_ne!(whole, partial);
                let out = rig.forwarded(CLIENTS, &partial, BACKENDS);
                assert_eq!(check_checksums(&out).is_ok(), partial_checksums);
                assert_eq!(rig.meters.completed_checksums.read(), u64::from(partial_checksums));
                let out = rig.forwarded(CLIENTS, &whole, BACKENDS);
                check_checksums(&out).unwrap();
            }
        }
    }
}
