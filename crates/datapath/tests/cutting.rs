//! What is too big leaves in pieces: those are put together again here, and read by `etherparse`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use datapath::{DropReason, Verdict};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, at, virtual_address,
};
use model::{Mode, PortId};
use proptest::prelude::*;
use testkit::packets::{self, ACK, FIN, Link, SYN, SYN_ACK, check_checksums};
use wire::checksum::Sum;

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_BACKEND: Link = (BACKEND_MAC, BACKENDS_MAC);
const MODES: [Mode; 3] = [Mode::Nat, Mode::FullNat, Mode::Dsr];

fn client(v6: bool) -> SocketAddr {
    at(if v6 { CLIENT_6 } else { CLIENT }, 40_001)
}

fn server(mode: Mode, v6: bool) -> SocketAddr {
    at(virtual_address(mode, v6), 80)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

/// Changes the words behind the IPv4 header's first, and makes its checksum right again.
fn with_fragment(mut frame: Vec<u8>, identification: u16, field: u16) -> Vec<u8> {
    frame[18..20].copy_from_slice(&identification.to_be_bytes());
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    repaired(frame)
}

fn repaired(mut frame: Vec<u8>) -> Vec<u8> {
    let end = 14 + usize::from(frame[14] & 15) * 4;
    frame[24..26].copy_from_slice(&[0, 0]);
    let checksum = !Sum::of(&frame[14..end]).fold();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// A client's datagram that may be fragmented.
fn datagram(mode: Mode, length: usize) -> Vec<u8> {
    with_fragment(packets::udp(TO_GATEWAY, client(false), server(mode, false), &bytes(length)), 0x1234, 0)
}

fn rig(mtu: u16) -> Rig {
    let mut rig = Rig::new();
    rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].mtu = mtu);
    rig
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// Puts fragments together that may come in any order, as RFC 791 says: the packet, as if it had never been fragmented.
fn assembled(frames: &[Vec<u8>], field: u16) -> Vec<u8> {
    let mut parts: Vec<(usize, bool, &Vec<u8>)> = frames
        .iter()
        .map(|frame| (usize::from(word(frame, 20) & 0x1fff) * 8, word(frame, 20) & 0x2000 != 0, frame))
        .collect();
    parts.sort_by_key(|(offset, ..)| *offset);
    let start = parts[0].0;
    let mut whole = parts[0].2[..14 + usize::from(parts[0].2[14] & 15) * 4].to_vec();
    let headers = whole.len();
    let last = parts.len() - 1;
    for (number, (offset, more, frame)) in parts.into_iter().enumerate() {
        assert_eq!(offset - start, whole.len() - headers, "they follow each other");
        assert_eq!(more, number < last || field & 0x2000 != 0);
        assert_eq!(word(frame, 18), word(&whole, 18), "all have one number");
        whole.extend(&frame[14 + usize::from(frame[14] & 15) * 4..]);
    }
    let length = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&length.to_be_bytes());
    whole[20..22].copy_from_slice(&field.to_be_bytes());
    repaired(whole)
}

/// The frames that one becomes by a port.
fn pieces(rig: &mut Rig, from: PortId, frame: &[u8], to: PortId) -> Vec<Vec<u8>> {
    let before = rig.meters.originated_frames.read();
    let (verdict, sent) = rig.one(from, frame);
    assert_eq!(verdict, Verdict::Transmit(to));
    assert!(sent.iter().all(|(port, _)| *port == to));
    assert_eq!(rig.meters.originated_frames.read() - before, sent.len() as u64 - 1, "n are n - 1 more");
    rig.assert_conserved();
    sent.into_iter().map(|(_, frame)| frame).collect()
}

fn fits(frame: &[u8], mtu: u16) -> bool {
    frame.len() <= 14 + usize::from(mtu)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_fragmented_and_put_together_is_what_it_was(
        mode in 0_usize..3, length in 0_usize..20_000, mtu in 68_u16..2000,
    ) {
        let mode = MODES[mode];
        let frame = datagram(mode, length);
        let expected = rig(u16::MAX).forwarded(CLIENTS, &frame, BACKENDS);
        let sent = pieces(&mut rig(mtu), CLIENTS, &frame, BACKENDS);
        prop_assert!(sent.iter().all(|frame| fits(frame, mtu)));
        prop_assert_eq!(sent.len() == 1, fits(&frame, mtu));
        let mut whole = assembled(&sent, 0);
        if mode == Mode::FullNat && sent.len() > 1 {
            // Many clients have one address there, and so it is not the client's own number.
            prop_assert_ne!(word(&whole, 18), 0x1234);
            whole = with_fragment(whole, 0x1234, 0);
        }
        prop_assert!(whole == expected);
        prop_assert_eq!(check_checksums(&whole), Ok(()));
    }

    #[test]
    fn what_is_segmented_says_what_it_said(
        (mode, v6) in (0_usize..3, any::<bool>()), length in 1_usize..40_000, mtu in 1280_u16..3000,
        options in 0_usize..3, first in any::<u32>(), is_wrong in any::<bool>(),
    ) {
        let mode = MODES[mode];
        let (from, to) = (client(v6), server(mode, v6));
        let options = &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..options * 4 / 8 * 12];
        let data = bytes(length);
        let numbers = [first, 7];
        let mut frame = packets::tcp_with_options(TO_GATEWAY, from, to, FIN, (numbers, options), &data);
        let header = if v6 { 54 } else { 34 };
        frame[header + 13] |= 0x80 | 8;
        let sum = word(&frame, header + 16);
        // Two more flags.
        let right = !Sum::default().plus_word(!sum).plus_word(0x88).fold();
        frame[header + 16..header + 18].copy_from_slice(&right.to_be_bytes());
        if is_wrong {
            frame[header + 16] ^= 1;
        }
        let mut rig = rig(mtu);
        rig.forwarded(CLIENTS, &packets::tcp(TO_GATEWAY, from, to, SYN, b""), BACKENDS);
        let is_whole = fits(&frame, mtu);
        if !is_whole && fits(&frame, 1500) {
            // It may be one segment: its sender is told.
            let (verdict, sent) = rig.one(CLIENTS, &frame);
            prop_assert_eq!((verdict, sent.len()), (Verdict::Transmit(CLIENTS), 1));
        }
        let sent = pieces(&mut rig, CLIENTS, &frame, BACKENDS);
        prop_assert_eq!(sent.len() == 1, is_whole);
        let (mut said, last) = (Vec::<u8>::new(), sent.len() - 1);
        for (number, segment) in sent.iter().enumerate() {
            prop_assert!(fits(segment, mtu));
            let sequence = u32::from_be_bytes(segment[header + 4..header + 8].try_into().unwrap());
            prop_assert_eq!(sequence, first.wrapping_add(said.len() as u32));
            let flags = segment[header + 13];
            prop_assert_eq!((flags & 9 == 9, flags & 9 == 0), (number == last, number != last), "FIN and PSH");
            prop_assert_eq!(flags & 0x80 != 0, number == 0, "CWR");
            let data = header + usize::from(segment[header + 12] >> 4) * 4;
            prop_assert_eq!(&segment[header + 20..data], options);
            prop_assert_eq!(check_checksums(segment).is_err(), is_wrong, "{:?}", check_checksums(segment));
            said.extend(&segment[data..]);
        }
        prop_assert!(said == data);
    }
}

#[test]
fn fragments_are_fragmented_again() {
    for field in [0x2000, 0x2000 | 185, 185] {
        let whole = datagram(Mode::Nat, 1472);
        let mut rig = rig(600);
        // The first tells where the others go.
        let first = with_fragment(whole.clone(), 0x1234, 0x2000);
        let mut sent = pieces(&mut rig, CLIENTS, &first, BACKENDS);
        if field != 0x2000 {
            let mut part = whole;
            part.truncate(14 + 20 + 1480);
            sent = pieces(&mut rig, CLIENTS, &with_fragment(part, 0x1234, field), BACKENDS);
        }
        assert_eq!(sent.len(), 3);
        let assembled = assembled(&sent, field & 0x2000);
        assert_eq!((assembled.len(), word(&sent[0], 20) & 0x1fff), (1514, field & 0x1fff));
    }
}

#[test]
fn options_are_copied_to_the_fragments_that_are_to_have_them() {
    let mut frame = datagram(Mode::Nat, 2000);
    // A router alert, which is copied, and a recorded route, which is not.
    frame.splice(34..34, [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]);
    (frame[14], frame[16], frame[17]) = (0x48, 0x07, 0xf8);
    let sent = pieces(&mut rig(1000), CLIENTS, &repaired(frame), BACKENDS);
    let options = |frame: &Vec<u8>| frame[34..14 + usize::from(frame[14] & 15) * 4].to_vec();
    assert_eq!(options(&sent[0]), [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]);
    assert!(sent[1..].iter().all(|frame| options(frame) == [0x94, 4, 0, 0]));
    assert_eq!(assembled(&sent, 0).len(), 14 + 32 + 2008);
}

#[test]
fn a_packet_that_must_not_be_fragmented_is_answered_and_one_over_ipv6_as_well() {
    for v6 in [false, true] {
        let frame = packets::udp(TO_GATEWAY, client(v6), server(Mode::Nat, v6), &bytes(1400));
        let (verdict, sent) = rig(1300).one(CLIENTS, &frame);
        assert_eq!((verdict, sent.len()), (Verdict::Transmit(CLIENTS), 1));
    }
}

#[test]
fn datagrams_larger_than_their_own_link_takes_are_not_cut_if_they_must_not() {
    for v6 in [false, true] {
        let frame = packets::udp(TO_GATEWAY, client(v6), server(Mode::Nat, v6), &bytes(4000));
        Rig::new().dropped(CLIENTS, &frame, DropReason::FrameOverMtu);
    }
}

#[test]
fn what_there_is_no_frame_for_is_dropped_and_counted() {
    for left in 0..3 {
        let mut rig = rig(1500);
        rig.source.left = left;
        let (_, sent) = rig.one(CLIENTS, &datagram(Mode::Nat, 4000));
        assert_eq!(sent.len(), left);
        assert_eq!(rig.meters.drops[DropReason::FramesExhausted.index()].read(), 1);
        rig.assert_conserved();
    }
}

#[test]
fn pieces_wait_for_a_next_hop_that_is_not_known() {
    let mut snapshot = fixture::snapshot(1);
    snapshot.ports[BACKENDS.index()].neighbours.clear();
    let mut rig = Rig::with(snapshot, model::WorkerId(0));
    let (verdict, sent) = rig.one(CLIENTS, &datagram(Mode::Nat, 4000));
    assert_eq!((verdict, sent.len()), (Verdict::Held, 1), "the question");
    assert_eq!(rig.meters.held_frames.read(), 3);
    rig.assert_conserved();
}

#[test]
fn who_is_told_of_a_narrow_path_and_leaves_cutting_to_us_gets_it_cut_for_the_path() {
    let mut rig = Rig::new();
    let (from, to) = (client(false), server(Mode::Nat, false));
    rig.forwarded(CLIENTS, &packets::tcp(TO_GATEWAY, from, to, SYN, b""), BACKENDS);
    let backend = at(BACKEND, 8080);
    rig.forwarded(BACKENDS, &packets::tcp(FROM_BACKEND, backend, from, SYN_ACK, b""), CLIENTS);
    rig.forwarded(CLIENTS, &packets::tcp(TO_GATEWAY, from, to, ACK, b""), BACKENDS);
    let long = packets::tcp(FROM_BACKEND, backend, from, ACK, &bytes(5000));
    let longest = |sent: &[Vec<u8>]| sent.iter().map(Vec::len).max().unwrap();
    let sent = pieces(&mut rig, BACKENDS, &long, CLIENTS);
    assert_eq!((sent.len(), longest(&sent)), (4, 1514));
    let told = too_big(&sent[0], 1280);
    rig.forwarded(CLIENTS, &told, BACKENDS);
    let sent = pieces(&mut rig, BACKENDS, &long, CLIENTS);
    assert_eq!((sent.len(), longest(&sent)), (5, 1294));
    let told = too_big(&sent[0], 100);
    rig.forwarded(CLIENTS, &told, BACKENDS);
    let sent = pieces(&mut rig, BACKENDS, &long, CLIENTS);
    assert_eq!(longest(&sent), 590, "no smaller than every network takes");
}

/// What a router between the gateway and the client says of a frame that does not fit its next link.
fn too_big(frame: &[u8], mtu: u16) -> Vec<u8> {
    let to = frame[26..30].try_into().unwrap();
    let message = etherparse::Icmpv4Type::DestinationUnreachable(
        etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu },
    );
    let builder =
        etherparse::PacketBuilder::ethernet2(TO_GATEWAY.0, TO_GATEWAY.1).ipv4([10, 10, 1, 254], to, 64);
    let mut written = Vec::new();
    builder.icmpv4(message).write(&mut written, &frame[14..14 + 60]).unwrap();
    written
}

/// A gateway whose virtual servers put packets together.
fn joining() -> Rig {
    let mut rig = Rig::new();
    rig.publish(|snapshot| {
        let servers = snapshot.virtual_servers.iter().cloned();
        snapshot.virtual_servers = servers
            .map(|server| {
                server.map(|server| datapath::snapshot::VirtualServer { reassembles: true, ..server })
            })
            .collect::<Arc<[_]>>();
    });
    rig
}

/// A packet in fragments, over either family.
fn parts(whole: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
    let headers = if whole[12] == 8 { 34 } else { 54 };
    let count = (whole.len() - headers).div_ceil(size);
    let part = |number: usize| {
        let (from, to) = (number * size, (whole.len() - headers).min((number + 1) * size));
        let more = number + 1 < count;
        let mut frame = whole[..headers].to_vec();
        if headers == 34 {
            frame.extend(&whole[headers + from..headers + to]);
            frame[16..18].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
            return with_fragment(frame, id, (from as u16 / 8) | if more { 0x2000 } else { 0 });
        }
        let protocol = std::mem::replace(&mut frame[20], 44);
        let field = (from as u16 | u16::from(more)).to_be_bytes();
        frame.extend([protocol, 0, field[0], field[1], 0, 0, (id >> 8) as u8, id as u8]);
        frame.extend(&whole[headers + from..headers + to]);
        frame[18..20].copy_from_slice(&((8 + to - from) as u16).to_be_bytes());
        frame
    };
    (0..count).map(part).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_put_together_is_as_if_it_had_come_whole(
        (mode, v6, is_tcp) in (0_usize..3, any::<bool>(), any::<bool>()),
        length in 500_usize..1400, size in 3_usize..30, order in any::<u64>(), pieces in 1_usize..4,
    ) {
        let mode = MODES[mode];
        let (from, to) = (client(v6), server(mode, v6));
        let whole = match is_tcp {
            true => packets::tcp(TO_GATEWAY, from, to, ACK, &bytes(length)),
            false => packets::udp(TO_GATEWAY, from, to, &bytes(length)),
        };
        let whole = if v6 { whole } else { with_fragment(whole, 7, 0) };
        let mut frames = parts(&whole, 7, size.max(length / 64 + 2) * 8);
        let syn = packets::tcp(TO_GATEWAY, from, to, SYN, b"");
        let mut other = Rig::new();
        other.one(CLIENTS, &syn);
        let expected = other.forwarded(CLIENTS, &whole, BACKENDS);
        let mut rig = joining();
        rig.one(CLIENTS, &syn);
        // Any order in which few enough come before the first.
        let places = frames.len();
        for place in 0..places.min(8) {
            frames.swap(place, (order >> (place * 8)) as usize % places.min(8));
        }
        let mut sent = Vec::new();
        let count = frames.len();
        for burst in frames.chunks(pieces) {
            let burst: Vec<&[u8]> = burst.iter().map(Vec::as_slice).collect();
            let verdicts = rig.burst(CLIENTS, &burst);
            prop_assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Held));
            sent.extend(rig.sent());
        }
        prop_assert_eq!(sent.len(), 1);
        prop_assert!(sent[0].1 == expected);
        prop_assert_eq!(rig.meters.absorbed_frames.read(), count as u64 - 1);
        rig.assert_conserved();
    }
}

#[test]
fn replies_are_put_together_as_well_and_leave_in_fragments_again() {
    for v6 in [false, true] {
        let mut rig = joining();
        let backend = at(if v6 { BACKEND_6 } else { BACKEND }, 8080);
        rig.one(CLIENTS, &packets::udp(TO_GATEWAY, client(v6), server(Mode::Nat, v6), b"question"));
        let reply = packets::udp(FROM_BACKEND, backend, client(v6), &bytes(3000));
        let reply = if v6 { reply } else { with_fragment(reply, 9, 0) };
        let frames = parts(&reply, 9, 1400);
        for frame in &frames[..2] {
            assert_eq!(rig.one(BACKENDS, frame), (Verdict::Held, vec![]));
        }
        let (_, sent) = rig.one(BACKENDS, &frames[2]);
        // Over IPv6 nobody but the sender cuts a packet.
        assert_eq!(sent.len(), if v6 { 0 } else { 3 });
        assert_eq!(rig.meters.drops[DropReason::FrameOverMtu.index()].read(), u64::from(v6));
        rig.assert_conserved();
    }
}

#[test]
fn of_a_packet_with_an_overlap_nothing_passes() {
    for v6 in [false, true] {
        let whole = packets::udp(TO_GATEWAY, client(v6), server(Mode::Nat, v6), &bytes(1000));
        let whole = if v6 { whole } else { with_fragment(whole, 7, 0) };
        let (frames, others) = (parts(&whole, 7, 400), parts(&whole, 7, 600));
        for order in [[&frames[0], &frames[1], &others[1]], [&frames[1], &others[1], &frames[0]]] {
            let mut rig = joining();
            for frame in order {
                rig.one(CLIENTS, frame);
            }
            let (_, sent) = rig.one(CLIENTS, &frames[2]);
            assert!(sent.is_empty());
            assert_eq!(rig.meters.drops[DropReason::FragmentOverlap.index()].read(), 4);
            assert_eq!(rig.meters.held_frames.read(), 0);
            rig.assert_conserved();
        }
    }
}

#[test]
fn a_packet_of_which_a_part_is_lost_is_given_up() {
    let mut rig = joining();
    let whole =
        with_fragment(packets::udp(TO_GATEWAY, client(false), server(Mode::Nat, false), &bytes(1000)), 7, 0);
    let frames = parts(&whole, 7, 400);
    for frame in [&frames[0], &frames[2]] {
        assert_eq!(rig.one(CLIENTS, frame).0, Verdict::Held);
    }
    rig.now.0 += 5001;
    for _ in 0..100 {
        rig.keep_house();
    }
    assert_eq!(rig.meters.drops[DropReason::FragmentMissing.index()].read(), 2);
    assert_eq!(rig.meters.held_frames.read(), 0);
    rig.assert_conserved();
}

#[test]
fn who_fills_the_room_with_parts_does_not_keep_others_out() {
    let mut rig = joining();
    let of = |number: u16| {
        let from = at(&format!("10.11.{}.{}", number >> 8, number & 0xff), 1000);
        with_fragment(packets::udp(TO_GATEWAY, from, server(Mode::Nat, false), &bytes(1000)), number, 0)
    };
    for number in 0..400 {
        rig.one(CLIENTS, &parts(&of(number), number, 400)[0]);
        assert!(rig.meters.held_frames.read() <= 256);
    }
    assert_eq!(rig.meters.drops[DropReason::FragmentQueueFull.index()].read(), 400 - 256, "the oldest");
    let sent = parts(&of(500), 500, 400).iter().map(|frame| rig.one(CLIENTS, frame).1.len()).sum::<usize>();
    assert_eq!(sent, 1);
    rig.assert_conserved();
}

#[test]
fn what_is_longer_than_any_packet_is_not_put_together() {
    let mut rig = joining();
    let whole = packets::udp(TO_GATEWAY, client(false), server(Mode::Nat, false), &bytes(65_507 - 8));
    let mut frames = parts(&with_fragment(whole, 7, 0), 7, 1480);
    // The last one reaches to where a payload may, but no packet with a header does.
    let last = frames.last_mut().unwrap();
    let more = 65_535 - 20 - (usize::from(word(last, 20)) * 8 + last.len() - 34) + 8;
    last.extend(vec![0; more]);
    let length = (last.len() - 14) as u16;
    last[16..18].copy_from_slice(&length.to_be_bytes());
    *last = repaired(last.clone());
    let count = frames.len() as u64;
    for frame in &frames {
        rig.one(CLIENTS, frame);
    }
    assert_eq!(rig.meters.drops[DropReason::FragmentsTooLong.index()].read(), count);
    rig.assert_conserved();
}
