//! ARP, neighbour discovery and echo: what is answered, what is learned, what waits.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::net::{IpAddr, SocketAddr};

use datapath::{DropReason, Verdict, snapshot::Owned};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, SELF, SELF_6, address, virtual_address,
};
use model::{Millis, Mode};
use testkit::packets::{self, Link, SYN, check_checksums, describe};
use wire::{
    Refusal,
    arp::{self, Arp},
    nd,
};
use zerocopy::IntoBytes;

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const BROADCAST: [u8; 6] = [0xff; 6];

fn v4(text: &str) -> [u8; 4] {
    address(text).v4()
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn arp_frame(to: [u8; 6], operation: u16, sender: ([u8; 6], &str), target: ([u8; 6], &str)) -> Vec<u8> {
    let message = Arp::new(operation, (sender.0, v4(sender.1)), (target.0, v4(target.1)));
    let mut frame = ethernet(to, sender.0, 0x0806, message.as_bytes());
    frame.resize(60, 0);
    frame
}

/// A neighbour discovery message in a frame, its checksum right.
fn nd_frame(link: Link, from: &str, to: &str, message: nd::Message) -> Vec<u8> {
    discovery_frame(link, from, to, message.as_bytes())
}

/// The same without its link-layer address option.
fn short_nd_frame(link: Link, from: &str, to: &str, message: nd::Message) -> Vec<u8> {
    discovery_frame(link, from, to, &message.as_bytes()[..nd::MESSAGE - 8])
}

fn discovery_frame(link: Link, from: &str, to: &str, message: &[u8]) -> Vec<u8> {
    let (from, to) = (address(from).octets(), address(to).octets());
    let length = message.len() as u8;
    let sum = wire::checksum::pseudo_v6(&from, &to, 58, length.into()).plus(wire::checksum::Sum::of(message));
    let header = [&[0x60, 0, 0, 0, 0, length, 58, 255], &from[..], &to].concat();
    let mut frame = ethernet(link.1, link.0, 0x86dd, &[&header, message].concat());
    frame[56..58].copy_from_slice(&(!sum.fold()).to_be_bytes());
    frame
}

fn syn(rig: &mut Rig, v6: bool, port: u16) -> Verdict {
    let client = SocketAddr::new(if v6 { CLIENT_6 } else { CLIENT }.parse().unwrap(), port);
    let server = SocketAddr::new(virtual_address(Mode::Nat, v6).parse().unwrap(), 80);
    rig.burst(CLIENTS, &[&packets::tcp(TO_GATEWAY, client, server, SYN, b"")])[0]
}

/// A gateway that has to ask for its backends.
fn ignorant() -> Rig {
    let mut snapshot = fixture::snapshot(1);
    snapshot.ports[1].neighbours.clear();
    Rig::with(snapshot, model::WorkerId(0))
}

#[test]
fn arp_is_answered_for_own_and_virtual_addresses() {
    for target in ["10.10.1.1", "198.51.100.1"] {
        let mut rig = Rig::new();
        let request = arp_frame(BROADCAST, arp::REQUEST, (CLIENT_MAC, CLIENT), ([0; 6], target));
        let reply = rig.forwarded(CLIENTS, &request, CLIENTS);
        let expected = Arp::new(arp::REPLY, (CLIENTS_MAC, v4(target)), (CLIENT_MAC, v4(CLIENT)));
        assert_eq!(reply, ethernet(CLIENT_MAC, CLIENTS_MAC, 0x0806, expected.as_bytes()));
        rig.assert_conserved();
    }
}

#[test]
fn arp_for_others_or_from_ourselves_is_dropped() {
    let mut rig = Rig::new();
    for target in ["10.10.1.77", SELF] {
        let request = arp_frame(BROADCAST, arp::REQUEST, (CLIENT_MAC, CLIENT), ([0; 6], target));
        rig.dropped(CLIENTS, &request, DropReason::ArpNotForUs);
    }
    let spoof = arp_frame(BROADCAST, arp::REQUEST, (CLIENT_MAC, "10.10.1.1"), ([0; 6], "10.10.1.1"));
    rig.dropped(CLIENTS, &spoof, DropReason::SourceIsOurs);
    let unasked = arp_frame(CLIENTS_MAC, arp::REPLY, (CLIENT_MAC, CLIENT), (CLIENTS_MAC, "10.10.1.1"));
    rig.dropped(CLIENTS, &unasked, DropReason::ArpNotForUs);
    let mut lie = unasked;
    lie[18] = 8;
    rig.dropped(CLIENTS, &lie, DropReason::Malformed(Refusal::ArpNotIpv4OverEthernet));
    rig.assert_conserved();
}

#[test]
fn a_solicitation_is_answered_for_own_and_virtual_addresses() {
    for target in ["2001:db8:1::1", "2001:db8:100::1"] {
        let mut rig = Rig::new();
        let octets = address(target).octets();
        let group = nd::solicited_node(octets);
        let to = IpAddr::from(group).to_string();
        let question = nd::Message::solicitation(octets, CLIENT_MAC);
        let frame = nd_frame((CLIENT_MAC, nd::multicast_mac(group)), CLIENT_6, &to, question);
        let reply = rig.forwarded(CLIENTS, &frame, CLIENTS);
        let flags = nd::flags::ROUTER | nd::flags::SOLICITED | nd::flags::OVERRIDE;
        let answer = nd::Message::advertisement(flags, octets, CLIENTS_MAC);
        assert_eq!(reply, nd_frame((CLIENTS_MAC, CLIENT_MAC), target, CLIENT_6, answer));
        check_checksums(&reply).unwrap();
        rig.assert_conserved();
    }
}

#[test]
fn an_address_of_ours_is_defended_against_who_wants_to_take_it() {
    let mut rig = Rig::new();
    let octets = address("2001:db8:1::1").octets();
    let group = nd::solicited_node(octets);
    let to = IpAddr::from(group).to_string();
    // Without a source there is no link-layer address option (RFC 4861, 4.3).
    let mut frame = nd_frame(
        (CLIENT_MAC, nd::multicast_mac(group)),
        "::",
        &to,
        nd::Message::solicitation(octets, CLIENT_MAC),
    );
    frame.truncate(frame.len() - 8);
    frame[19] = 24;
    frame[56..58].copy_from_slice(&[0, 0]);
    let sum = wire::checksum::pseudo_v6(&[0; 16], &group, 58, 24).plus(wire::checksum::Sum::of(&frame[54..]));
    frame[56..58].copy_from_slice(&(!sum.fold()).to_be_bytes());
    let reply = rig.forwarded(CLIENTS, &frame, CLIENTS);
    assert_eq!(&reply[..6], nd::multicast_mac(nd::ALL_NODES));
    assert_eq!(&reply[38..54], nd::ALL_NODES);
    check_checksums(&reply).unwrap();
    rig.assert_conserved();
}

#[test]
fn discovery_from_beyond_the_link_of_a_group_or_with_a_wrong_checksum_is_dropped() {
    let mut rig = Rig::new();
    let octets = address("2001:db8:1::1").octets();
    let question = nd::Message::solicitation(octets, CLIENT_MAC);
    let good = nd_frame(TO_GATEWAY, CLIENT_6, "2001:db8:1::1", question);
    let mut far = good.clone();
    far[21] = 254;
    rig.dropped(CLIENTS, &far, DropReason::Malformed(Refusal::NdHopLimit));
    let mut wrong = good;
    wrong[57] ^= 1;
    rig.dropped(CLIENTS, &wrong, DropReason::Malformed(Refusal::NdChecksum));
    let group = nd::Message::solicitation(octets, [0x33, 0x33, 0, 0, 0, 1]);
    let group = nd_frame(TO_GATEWAY, CLIENT_6, "2001:db8:1::1", group);
    rig.dropped(CLIENTS, &group, DropReason::Malformed(Refusal::NdOptionMalformed));
    let other = nd::Message::solicitation(address("2001:db8:1::77").octets(), CLIENT_MAC);
    rig.dropped(CLIENTS, &nd_frame(TO_GATEWAY, CLIENT_6, "2001:db8:1::1", other), DropReason::NdNotForUs);
    rig.assert_conserved();
}

#[test]
fn echo_is_answered_for_own_and_available_virtual_addresses() {
    for (client, target) in [
        (CLIENT, "10.10.1.1"),
        (CLIENT, SELF),
        (CLIENT, "198.51.100.1"),
        (CLIENT_6, SELF_6),
        (CLIENT_6, "2001:db8:100::1"),
    ] {
        let mut rig = Rig::new();
        let request = packets::echo(TO_GATEWAY, client.parse().unwrap(), target.parse().unwrap(), b"payload");
        let reply = rig.forwarded(CLIENTS, &request, CLIENTS);
        assert_eq!(describe(&reply), format!("icmp {target} > {client} ttl 64"));
        check_checksums(&reply).unwrap();
        assert_eq!(reply[reply.len() - 7..], *b"payload");
        rig.assert_conserved();
    }
}

#[test]
fn echo_to_a_virtual_address_without_backends_is_dropped() {
    let mut snapshot = fixture::snapshot(1);
    snapshot.addresses = Default::default();
    snapshot.addresses.own(address("198.51.100.1"), Owned::Virtual { available: false });
    let mut rig = Rig::with(snapshot, model::WorkerId(0));
    let request = |to: &str| packets::echo(TO_GATEWAY, CLIENT.parse().unwrap(), to.parse().unwrap(), b"");
    rig.dropped(CLIENTS, &request("198.51.100.1"), DropReason::NoBackend);
    rig.dropped(CLIENTS, &request("203.0.113.9"), DropReason::NoVirtualServer);
}

/// Repaired from 0xf7ff (type 8, all else 0) the checksum would be 0; receivers take that for wrong.
#[test]
fn an_echo_reply_of_zeros_has_a_checksum() {
    let mut rig = Rig::new();
    let mut request = packets::echo(TO_GATEWAY, CLIENT.parse().unwrap(), SELF.parse().unwrap(), &[0; 8]);
    request[36..42].copy_from_slice(&[0xf7, 0xff, 0, 0, 0, 0]);
    check_checksums(&request).unwrap();
    let reply = rig.forwarded(CLIENTS, &request, CLIENTS);
    assert_eq!(reply[36..38], [0xff, 0xff]);
    check_checksums(&reply).unwrap();
}

#[test]
fn an_echo_larger_than_the_mtu_is_not_answered() {
    let mut snapshot = fixture::snapshot(1);
    snapshot.ports[0].mtu = 100;
    let mut rig = Rig::with(snapshot, model::WorkerId(0));
    let request =
        |length| packets::echo(TO_GATEWAY, CLIENT.parse().unwrap(), SELF.parse().unwrap(), &vec![1; length]);
    rig.forwarded(CLIENTS, &request(72), CLIENTS);
    rig.dropped(CLIENTS, &request(73), DropReason::FrameOverMtu);
    rig.assert_conserved();
}

#[test]
fn packets_wait_for_their_hop_and_leave_in_order() {
    for v6 in [false, true] {
        let mut rig = ignorant();
        for port in 1..=3 {
            assert_eq!(syn(&mut rig, v6, port), Verdict::Held);
        }
        let asked = rig.sent();
        assert_eq!(asked.len(), 1, "one question for three packets");
        assert_eq!(asked[0].0, BACKENDS);
        rig.assert_conserved();

        let answer = if v6 {
            let told =
                nd::Message::advertisement(nd::flags::SOLICITED, address(BACKEND_6).octets(), BACKEND_MAC);
            nd_frame((BACKEND_MAC, BACKENDS_MAC), BACKEND_6, SELF_6, told)
        } else {
            arp_frame(BACKENDS_MAC, arp::REPLY, (BACKEND_MAC, BACKEND), (BACKENDS_MAC, SELF))
        };
        let (verdict, sent) = rig.one(BACKENDS, &answer);
        assert_eq!(verdict, Verdict::Absorbed);
        let ports: Vec<u16> =
            sent.iter().map(|(_, frame)| describe(frame)).map(|text| source_port(&text)).collect();
        assert_eq!(ports, [1, 2, 3]);
        for (_, frame) in &sent {
            assert_eq!(frame[..6], BACKEND_MAC);
            check_checksums(frame).unwrap();
        }
        assert_eq!(syn(&mut rig, v6, 4), Verdict::Transmit(BACKENDS), "the next one does not wait");
        rig.assert_conserved();
    }
}

#[test]
fn a_hop_that_is_asked_alone_need_not_repeat_its_address() {
    let mut rig = ignorant();
    syn(&mut rig, true, 1);
    rig.sent();
    let told = nd::Message::advertisement(nd::flags::SOLICITED, address(BACKEND_6).octets(), BACKEND_MAC);
    let link = (BACKEND_MAC, BACKENDS_MAC);
    let short = short_nd_frame(link, BACKEND_6, SELF_6, told);
    rig.dropped(BACKENDS, &short, DropReason::NdNotForUs);
    assert_eq!(rig.one(BACKENDS, &nd_frame(link, BACKEND_6, SELF_6, told)).0, Verdict::Absorbed);

    let mut questions = 0;
    for second in 1..120 {
        rig.now = Millis(1000 * second);
        let asked = rig.keep_house();
        for _ in asked.iter().filter(|(_, question)| question[..6] == BACKEND_MAC) {
            assert_eq!(rig.one(BACKENDS, &short).0, Verdict::Absorbed);
            questions += 1;
        }
        let verdict = syn(&mut rig, true, second as u16 + 1);
        assert_eq!(verdict, Verdict::Transmit(BACKENDS), "after {second} s");
        rig.sent();
    }
    assert_eq!(questions, 3, "one every 30 s");
    rig.assert_conserved();
}

fn source_port(text: &str) -> u16 {
    text.split(' ').nth(1).unwrap().parse::<SocketAddr>().unwrap().port()
}

#[test]
fn what_is_asked_is_what_rfc_826_and_rfc_4861_say() {
    let mut rig = ignorant();
    syn(&mut rig, false, 1);
    let request = Arp::new(arp::REQUEST, (BACKENDS_MAC, v4(SELF)), ([0; 6], v4(BACKEND)));
    assert_eq!(rig.sent()[0].1, ethernet(BROADCAST, BACKENDS_MAC, 0x0806, request.as_bytes()));
    syn(&mut rig, true, 1);
    let target = address(BACKEND_6).octets();
    let group = nd::solicited_node(target);
    let to = IpAddr::from(group).to_string();
    let question = nd::Message::solicitation(target, BACKENDS_MAC);
    assert_eq!(rig.sent()[0].1, nd_frame((BACKENDS_MAC, nd::multicast_mac(group)), SELF_6, &to, question));
    rig.assert_conserved();
}

#[test]
fn packets_for_a_silent_hop_are_dropped_in_the_end_and_at_once_afterwards() {
    let mut rig = ignorant();
    assert_eq!(syn(&mut rig, false, 1), Verdict::Held);
    for second in 2..=4 {
        rig.now = Millis(1000 * second);
        rig.keep_house();
    }
    let unreachable = DropReason::NeighbourUnreachable;
    assert_eq!(rig.meters.drops[unreachable.index()].read(), 1);
    assert_eq!(syn(&mut rig, false, 2), Verdict::Drop(unreachable));
    rig.assert_conserved();
}

#[test]
fn only_so_many_packets_wait() {
    let mut rig = ignorant();
    let verdicts: Vec<Verdict> = (1..=100).map(|port| syn(&mut rig, false, port)).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Held).count(), 100);
    assert_eq!(rig.meters.drops[DropReason::NeighbourQueueFull.index()].read(), 100 - 64);
    rig.assert_conserved();
}
