//! ICMP errors: those of others are translated and sent on to whom they concern, and those of our own are right. What
//! comes out is read by `etherparse`, which recomputes every checksum.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod fixture;

use std::net::{IpAddr, SocketAddr};

use datapath::{Arrival, DropReason, Verdict};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, at, virtual_address,
};
use model::{Millis, Mode, PortId, WorkerId};
use proptest::prelude::*;
use testkit::packets::{self, ACK, Link, SYN, SYN_ACK, check_checksums, describe};
use wire::Refusal;

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_BACKENDS: Link = (BACKEND_MAC, BACKENDS_MAC);
/// A router between the clients and the gateway, and one beside the backends.
const ROUTERS: [&str; 2] = ["10.10.1.254", "10.10.2.254"];
const ROUTERS_6: [&str; 2] = ["2001:db8:1::fe", "2001:db8:2::fe"];

fn router(port: PortId, v6: bool) -> IpAddr {
    let routers = if v6 { ROUTERS_6 } else { ROUTERS };
    routers[port.index()].parse().unwrap()
}

fn link(port: PortId) -> Link {
    if port == CLIENTS { TO_GATEWAY } else { FROM_BACKENDS }
}

/// Source and destination of a frame's packet.
fn addresses(frame: &[u8]) -> (IpAddr, IpAddr) {
    let packet = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    match packet.net.unwrap() {
        etherparse::NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        etherparse::NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        etherparse::NetSlice::Arp(_) => panic!("ARP"),
    }
}

/// Where the packet that an error quotes begins.
const fn quote_at(v6: bool) -> usize {
    if v6 { 14 + 40 + 8 } else { 14 + 20 + 8 }
}

/// Says that a packet, of which so many bytes are quoted, was too big for the next link.
fn too_big(port: PortId, frame: &[u8], length: usize) -> Vec<u8> {
    let (to, v6) = (addresses(frame).0, frame[12] == 0x86);
    error(link(port), (router(port, v6), to), &frame[14..][..length.min(frame.len() - 14)])
}

fn error(link: Link, (from, to): (IpAddr, IpAddr), quote: &[u8]) -> Vec<u8> {
    let ethernet = etherparse::PacketBuilder::ethernet2(link.0, link.1);
    let mut frame = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet
            .ipv4(from.octets(), to.octets(), 60)
            .icmpv4_raw(3, 4, [0, 0, 5, 0x14])
            .write(&mut frame, quote),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet
            .ipv6(from.octets(), to.octets(), 60)
            .icmpv6_raw(2, 0, [0, 0, 5, 0x14])
            .write(&mut frame, quote),
        _ => panic!("different families"),
    }
    .unwrap();
    frame
}

/// A gateway with a flow, and the two packets that it was opened with: as they came, and as they left.
struct Conversation {
    rig: Rig,
    came: [Vec<u8>; 2],
    left: [Vec<u8>; 2],
}

fn conversation(mode: Mode, v6: bool, is_tcp: bool, payload: &[u8]) -> Conversation {
    let mut rig = Rig::new();
    let client = at(if v6 { CLIENT_6 } else { CLIENT }, 40_001);
    let server = at(virtual_address(mode, v6), 80);
    let backend = at(if v6 { BACKEND_6 } else { BACKEND }, 8080);
    let packet = |link, from, to, flags| match is_tcp {
        true => packets::tcp(link, from, to, flags, payload),
        false => packets::udp(link, from, to, payload),
    };
    let request = packet(TO_GATEWAY, client, server, SYN);
    let to_backend = rig.forwarded(CLIENTS, &request, BACKENDS);
    if mode == Mode::Dsr {
        // The backend answers past the gateway.
        let reply = packet(FROM_BACKENDS, server, client, SYN_ACK);
        return Conversation { rig, came: [request, reply.clone()], left: [to_backend, reply] };
    }
    let text = describe(&to_backend);
    let source: SocketAddr = text.split(' ').nth(1).unwrap().parse().unwrap();
    let reply = packet(FROM_BACKENDS, backend, source, SYN_ACK);
    let to_client = rig.forwarded(BACKENDS, &reply, CLIENTS);
    Conversation { rig, came: [request, reply], left: [to_backend, to_client] }
}

/// The quoted packets are the same but for the TTL and with it the header's checksum, which nobody turns back.
fn assert_quotes(error: &[u8], original: &[u8], v6: bool) {
    let mut quoted = error[quote_at(v6)..].to_vec();
    let (protocol, header) = if v6 { (quoted[6], 40) } else { (quoted[9], 20) };
    if protocol == 6 && quoted.len() == header + 17 {
        quoted.pop(); // half of a checksum says nothing
    }
    let mut expected = original[14..][..quoted.len()].to_vec();
    if v6 {
        assert_eq!(quoted[7] + 1, expected[7]);
        (quoted[7], expected[7]) = (0, 0);
    } else {
        assert_eq!(wire::checksum::Sum::of(&quoted[..20]).fold(), 0xffff, "the quoted header's checksum");
        assert_eq!(quoted[8] + 1, expected[8]);
        for packet in [&mut quoted, &mut expected] {
            (packet[8], packet[10], packet[11]) = (0, 0, 0);
        }
    }
    assert_eq!(quoted, expected);
}

/// Lets routers on both sides quote `length` bytes, in all of the modes that rewrite.
fn check(mode: Mode, v6: bool, is_tcp: bool, length: usize, payload: &[u8]) {
    let Conversation { mut rig, came, left } = conversation(mode, v6, is_tcp, payload);
    for (port, other, came, left) in
        [(BACKENDS, CLIENTS, &came[0], &left[0]), (CLIENTS, BACKENDS, &came[1], &left[1])]
    {
        let error = rig.forwarded(port, &too_big(port, left, length), other);
        check_checksums(&error).unwrap();
        assert_quotes(&error, came, v6);
        let (source, destination) = addresses(came);
        let shows_router = mode == Mode::Nat && port == CLIENTS;
        let from = if shows_router { router(port, v6) } else { destination };
        assert_eq!(addresses(&error), (from, source));
        assert!(describe(&error).ends_with("ttl 59"));
        let (to, from) =
            if other == CLIENTS { (CLIENT_MAC, CLIENTS_MAC) } else { (BACKEND_MAC, BACKENDS_MAC) };
        assert_eq!((&error[..6], &error[6..12]), (&to[..], &from[..]));
    }
    rig.assert_conserved();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// There and back is the identity: what is quoted of a packet that was rewritten is, once it is sent on, what it was before.
    #[test]
    fn a_quote_is_what_its_sender_has_sent(
        full in any::<bool>(), v6 in any::<bool>(), is_tcp in any::<bool>(), length in 0_usize..600,
        payload in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let least = if v6 { 48 } else { 28 };
        let mode = if full { Mode::FullNat } else { Mode::Nat };
        check(mode, v6, is_tcp, least + length, &payload);
    }
}

#[test]
fn quotes_that_end_anywhere_in_the_l4_header_are_translated() {
    for length in 28..60 {
        check(Mode::FullNat, false, true, length, b"hello");
        check(Mode::Nat, true, true, length + 20, b"hello");
    }
}

#[test]
fn in_dsr_an_error_goes_to_the_backend_as_it_is() {
    for (v6, is_tracked) in [(false, true), (true, true), (false, false), (true, false)] {
        let Conversation { mut rig, left, .. } = conversation(Mode::Dsr, v6, true, b"hello");
        if !is_tracked {
            rig = Rig::new(); // after a restart
        }
        let error = too_big(CLIENTS, &left[1], 200);
        let sent = rig.forwarded(CLIENTS, &error, BACKENDS);
        assert_eq!((&sent[..6], &sent[6..12]), (&BACKEND_MAC[..], &BACKENDS_MAC[..]));
        assert_eq!(sent[12..], error[12..]);
        rig.assert_conserved();
    }
}

#[test]
fn an_error_about_no_flow_is_dropped() {
    for (mode, v6) in [(Mode::Nat, false), (Mode::FullNat, false), (Mode::Nat, true), (Mode::FullNat, true)] {
        let Conversation { left, .. } = conversation(mode, v6, true, b"hello");
        for (port, left) in [(BACKENDS, &left[0]), (CLIENTS, &left[1])] {
            let mut rig = Rig::new();
            rig.dropped(port, &too_big(port, left, 200), DropReason::QuoteUnknown);
            rig.assert_conserved();
        }
    }
}

#[test]
fn an_error_for_another_than_the_sender_is_dropped() {
    let Conversation { mut rig, left, .. } = conversation(Mode::Nat, false, true, b"hello");
    let to = virtual_address(Mode::FullNat, false).parse().unwrap();
    let stray = error(TO_GATEWAY, (router(CLIENTS, false), to), &left[1][14..]);
    rig.dropped(CLIENTS, &stray, DropReason::QuoteUnknown);
}

#[test]
fn an_error_whose_quote_cannot_be_read_is_dropped() {
    let Conversation { mut rig, left, .. } = conversation(Mode::Nat, false, true, b"hello");
    let mut said = |quote: &[u8], refusal| {
        let to = virtual_address(Mode::Nat, false).parse().unwrap();
        let frame = error(TO_GATEWAY, (router(CLIENTS, false), to), quote);
        rig.dropped(CLIENTS, &frame, DropReason::Malformed(refusal));
    };
    said(&left[1][14..41], Refusal::QuoteTruncated);
    said(&[], Refusal::QuoteTruncated);
    said(&left[1][15..55], Refusal::QuoteMalformed);
    let mut wrong = left[1][14..].to_vec();
    wrong[10] ^= 1;
    said(&wrong, Refusal::QuoteMalformed);
    let echo = packets::echo(TO_GATEWAY, at(CLIENT, 0).ip(), at(BACKEND, 0).ip(), b"");
    said(&echo[14..], Refusal::QuoteOfIcmp);
    let mut damaged = too_big(CLIENTS, &left[1], 200);
    *damaged.last_mut().unwrap() ^= 1;
    rig.dropped(CLIENTS, &damaged, DropReason::Malformed(Refusal::IcmpChecksum));
    rig.assert_conserved();
}

#[test]
fn an_error_is_not_answered_when_it_is_too_old_or_too_large() {
    let Conversation { mut rig, left, .. } = conversation(Mode::Nat, false, true, &[7; 1400]);
    let mut old = too_big(CLIENTS, &left[1], 200);
    (old[22], old[24]) = (1, old[24].wrapping_add(59)); // the TTL was 60
    rig.dropped(CLIENTS, &old, DropReason::TtlExpired);
    rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].mtu = 600);
    rig.dropped(CLIENTS, &too_big(CLIENTS, &left[1], 1000), DropReason::FrameOverMtu);
    rig.assert_conserved();
}

#[test]
fn an_error_in_two_segments_is_translated_as_one_in_one() {
    let Conversation { mut rig, left, .. } = conversation(Mode::FullNat, true, true, &[7; 1100]);
    let error = too_big(CLIENTS, &left[1], 1200);
    let expected = rig.forwarded(CLIENTS, &error, BACKENDS);
    for cut in [1, 54, 100, 255, 256, 257, 901] {
        let frame = testkit::MemoryFrame::scattered(&[&error[..cut], &error[cut..]]);
        rig.arrive_as(Arrival { port: CLIENTS, is_handed_over: false }, [frame]);
        assert_eq!(rig.sent(), [(BACKENDS, expected.clone())], "{cut}");
    }
}

/// A packet of the flow is sent again with another TTL, or longer; what the gateway says to that.
fn answered(rig: &mut Rig, port: PortId, frame: &[u8]) -> Vec<u8> {
    let answer = rig.forwarded(port, frame, port);
    check_checksums(&answer).unwrap();
    assert_eq!((&answer[..6], &answer[6..12]), (&frame[6..12], &frame[..6]), "back where it came from");
    answer
}

#[test]
fn who_sends_a_packet_whose_ttl_ends_here_is_told() {
    for (mode, v6) in [(Mode::Nat, false), (Mode::FullNat, false), (Mode::Nat, true), (Mode::FullNat, true)] {
        let Conversation { mut rig, came, .. } = conversation(mode, v6, true, b"hello");
        for (port, own, frame) in [
            (CLIENTS, if v6 { "2001:db8:1::1" } else { "10.10.1.1" }, &came[0]),
            (BACKENDS, if v6 { fixture::SELF_6 } else { fixture::SELF }, &came[1]),
        ] {
            let mut last = frame.clone();
            if v6 {
                last[21] = 1;
            } else {
                last[22] = 1;
                last[24..26].copy_from_slice(&[0, 0]);
                let checksum = !wire::checksum::Sum::of(&last[14..34]).fold();
                last[24..26].copy_from_slice(&checksum.to_be_bytes());
            }
            let answer = answered(&mut rig, port, &last);
            assert_eq!(addresses(&answer), (own.parse().unwrap(), addresses(frame).0));
            let kind = answer[quote_at(v6) - 8];
            assert_eq!((kind, answer[quote_at(v6) - 7]), (if v6 { 3 } else { 11 }, 0));
            assert_eq!(answer[quote_at(v6)..], last[14..], "all of a short packet is quoted");
        }
        assert_eq!(rig.meters.icmp_errors.read(), 2);
        rig.assert_conserved();
    }
}

#[test]
fn who_sends_a_packet_that_is_too_big_for_the_other_side_is_told_what_fits() {
    for (mode, v6) in
        [(Mode::Nat, false), (Mode::FullNat, true), (Mode::Dsr, false), (Mode::Dsr, true), (Mode::Nat, true)]
    {
        let Conversation { mut rig, .. } = conversation(mode, v6, true, b"hello");
        rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].mtu = 1400);
        let (client, server) =
            (at(if v6 { CLIENT_6 } else { CLIENT }, 40_001), at(virtual_address(mode, v6), 80));
        let header = if v6 { 60 } else { 40 };
        let long = packets::tcp(TO_GATEWAY, client, server, ACK, &vec![7; 1401 - header]);
        let answer = answered(&mut rig, CLIENTS, &long);
        let at = quote_at(v6);
        let (kind, most) = if v6 { ((2, 0), 1280) } else { ((3, 4), 576) };
        assert_eq!((answer[at - 8], answer[at - 7]), kind);
        assert_eq!(answer[at - 4..at], [0, 0, 5, 120], "1,400");
        assert_eq!(answer.len(), 14 + most);
        assert_eq!(answer[at..], long[14..14 + answer.len() - at]);
        let fits = packets::tcp(TO_GATEWAY, client, server, ACK, &vec![7; 1400 - header]);
        rig.forwarded(CLIENTS, &fits, BACKENDS);
        rig.assert_conserved();
    }
}

#[test]
fn a_reply_that_is_too_big_for_the_client_is_answered_to_the_backend() {
    let Conversation { mut rig, came, .. } = conversation(Mode::FullNat, false, false, &[7; 1000]);
    rig.publish(|snapshot| snapshot.ports[CLIENTS.index()].mtu = 900);
    let answer = answered(&mut rig, BACKENDS, &came[1]);
    assert_eq!(answer[38..42], [0, 0, 3, 132], "900");
    assert_eq!(answer[42..], came[1][14..14 + 548]);
}

#[test]
fn a_frame_in_segments_is_quoted_from_all_of_them() {
    let narrow = || {
        let Conversation { mut rig, .. } = conversation(Mode::Nat, true, true, b"hello");
        rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].mtu = 1300);
        rig
    };
    let (client, server) = (at(CLIENT_6, 40_001), at(virtual_address(Mode::Nat, true), 80));
    let long = packets::tcp(TO_GATEWAY, client, server, ACK, &[7; 1300]);
    let expected = answered(&mut narrow(), CLIENTS, &long);
    for cut in [20, 300, 1240, 1250, 1300] {
        let mut rig = narrow();
        let frame = testkit::MemoryFrame::scattered(&[&long[..cut], &long[cut..]]);
        rig.arrive_as(Arrival { port: CLIENTS, is_handed_over: false }, [frame]);
        assert_eq!(rig.sent(), [(CLIENTS, expected.clone())], "{cut}");
    }
}

#[test]
fn errors_are_few() {
    let Conversation { mut rig, .. } = conversation(Mode::Nat, false, true, b"");
    let (client, server) = (at(CLIENT, 40_001), at(virtual_address(Mode::Nat, false), 80));
    let last = packets::tcp_with_ttl(TO_GATEWAY, client, server, ACK, b"", 1);
    for _ in 0..50 {
        answered(&mut rig, CLIENTS, &last);
    }
    rig.dropped(CLIENTS, &last, DropReason::IcmpLimited);
    rig.now = Millis(rig.now.0 + 2);
    answered(&mut rig, CLIENTS, &last);
    answered(&mut rig, CLIENTS, &last);
    rig.dropped(CLIENTS, &last, DropReason::IcmpLimited);
    assert_eq!(rig.meters.icmp_errors.read(), 52);
    rig.assert_conserved();
}

#[test]
fn nobody_is_told_where_the_port_has_no_address_of_the_family() {
    let Conversation { mut rig, .. } = conversation(Mode::Nat, false, true, b"");
    rig.publish(|snapshot| snapshot.ports[CLIENTS.index()].senders.v4 = None);
    let (client, server) = (at(CLIENT, 40_001), at(virtual_address(Mode::Nat, false), 80));
    let last = packets::tcp_with_ttl(TO_GATEWAY, client, server, ACK, b"", 1);
    rig.dropped(CLIENTS, &last, DropReason::TtlExpired);
}

/// Workers that hand over to one another.
fn workers(count: u8) -> Vec<Rig> {
    (0..count).map(|id| Rig::with(fixture::snapshot(count), WorkerId(id))).collect()
}

/// Lets a frame arrive at a worker, and follows it from worker to worker; which one sent it, and what.
fn follow(
    rigs: &mut [Rig],
    mut at: usize,
    port: PortId,
    frame: &[u8],
) -> (usize, Verdict, Vec<(PortId, Vec<u8>)>) {
    let (mut frame, mut is_handed_over) = (frame.to_vec(), false);
    for _ in 0..=rigs.len() {
        let verdict = rigs[at].arrive(Arrival { port, is_handed_over }, &[&frame])[0];
        let Verdict::HandOver(next) = verdict else { return (at, verdict, rigs[at].sent()) };
        let handed = rigs[at].outputs.worker(next).unwrap().drain(..).next().unwrap();
        rigs[at].meters.handed_out_frames.add(1);
        (frame, is_handed_over, at) = (handed.1.bytes(), true, next.index());
    }
    panic!("it goes round in circles");
}

#[test]
fn an_error_reaches_the_worker_that_has_the_flow() {
    for (mode, v6) in [(Mode::Nat, false), (Mode::FullNat, false), (Mode::Dsr, false), (Mode::Nat, true)] {
        let (client, server) =
            (at(if v6 { CLIENT_6 } else { CLIENT }, 40_003), at(virtual_address(mode, v6), 80));
        let mut rigs = workers(4);
        let request = packets::tcp(TO_GATEWAY, client, server, SYN, b"");
        let (owner, _, sent) = follow(&mut rigs, 2, CLIENTS, &request);
        // What the client gets has the same ends in all modes.
        let reply = packets::tcp(link(CLIENTS), server, client, SYN_ACK, b"");
        for first in 0..4 {
            let (at, verdict, _) = follow(&mut rigs, first, CLIENTS, &too_big(CLIENTS, &reply, 100));
            assert_eq!((at, verdict), (owner, Verdict::Transmit(BACKENDS)), "{mode:?} from {first}");
            if mode != Mode::Dsr {
                let error = too_big(BACKENDS, &sent[0].1, 100);
                let (at, verdict, _) = follow(&mut rigs, first, BACKENDS, &error);
                assert_eq!((at, verdict), (owner, Verdict::Transmit(CLIENTS)), "{mode:?} from {first}");
            }
        }
        rigs.iter_mut().for_each(Rig::assert_conserved);
    }
}

#[test]
fn an_error_about_no_flow_ends_when_all_workers_were_asked() {
    let (client, server) = (at(CLIENT, 40_003), at(virtual_address(Mode::FullNat, false), 80));
    let reply = packets::tcp(link(CLIENTS), server, client, SYN_ACK, b"");
    for count in 1..=5 {
        let mut rigs = workers(count);
        let (at, verdict, _) = follow(&mut rigs, 0, CLIENTS, &too_big(CLIENTS, &reply, 100));
        assert_eq!((at, verdict), (usize::from(count) - 1, Verdict::Drop(DropReason::QuoteUnknown)));
        rigs.iter_mut().for_each(Rig::assert_conserved);
    }
}
