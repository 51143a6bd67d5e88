//! Fragments follow the first of their packet: what comes out is put together again here, and read by `etherparse`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod fixture;

use std::net::SocketAddr;

use datapath::{Arrival, DropReason, Verdict};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, at, virtual_address,
};
use model::{Millis, Mode, PortId, WorkerId};
use proptest::prelude::*;
use testkit::packets::{self, Link, check_checksums, describe};
use wire::Refusal;

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_BACKEND: Link = (BACKEND_MAC, BACKENDS_MAC);
const MODES: [Mode; 3] = [Mode::Nat, Mode::FullNat, Mode::Dsr];

fn client(v6: bool) -> SocketAddr {
    at(if v6 { CLIENT_6 } else { CLIENT }, 40_001)
}

fn server(mode: Mode, v6: bool) -> SocketAddr {
    at(virtual_address(mode, v6), 80)
}

/// A datagram of a client in one frame.
fn datagram(mode: Mode, v6: bool, length: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
    packets::udp(TO_GATEWAY, client(v6), server(mode, v6), &payload)
}

/// Sets "do not fragment".
fn must_not_be_cut(frame: &mut [u8]) {
    frame[20] |= 0x40;
    frame[24..26].copy_from_slice(&[0, 0]);
    let checksum = !wire::checksum::Sum::of(&frame[14..34]).fold();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

/// Bytes `from..to` of a packet's payload as a fragment.
fn part(whole: &[u8], id: u16, from: usize, to: usize, has_more: bool) -> Vec<u8> {
    let field = from as u16 | u16::from(has_more);
    if whole[12] == 8 {
        let mut frame = whole[..34].to_vec();
        frame.extend(&whole[34 + from..34 + to]);
        frame[16..18].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        let field = (from as u16 / 8) | if has_more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        frame[24..26].copy_from_slice(&[0, 0]);
        let checksum = !wire::checksum::Sum::of(&frame[14..34]).fold();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        return frame;
    }
    let mut frame = whole[..54].to_vec();
    let protocol = std::mem::replace(&mut frame[20], 44);
    frame.extend([protocol, 0, (field >> 8) as u8, field as u8, 0, 0, (id >> 8) as u8, id as u8]);
    frame.extend(&whole[54 + from..54 + to]);
    frame[18..20].copy_from_slice(&((8 + to - from) as u16).to_be_bytes());
    frame
}

/// A packet in fragments of `size` bytes.
fn parts(whole: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
    let length = whole.len() - if whole[12] == 8 { 34 } else { 54 };
    (0..length)
        .step_by(size)
        .map(|from| part(whole, id, from, length.min(from + size), from + size < length))
        .collect()
}

/// Puts fragments together, as `etherparse` reads them; in any order.
fn together(frames: &[Vec<u8>]) -> Vec<u8> {
    let (mut payload, mut header, mut protocol) = (vec![0; 65_535], vec![], 0);
    let mut end = 0;
    for frame in frames {
        let packet = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
        let (offset, bytes, has_more) = match packet.net.unwrap() {
            etherparse::NetSlice::Ipv4(ip) => {
                let header = ip.header();
                assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
                (header.fragments_offset(), ip.payload().payload.to_vec(), header.more_fragments())
            }
            etherparse::NetSlice::Ipv6(ip) => {
                let mut extensions = ip.extensions().clone().into_iter();
                let etherparse::Ipv6ExtensionSlice::Fragment(part) = extensions.next().unwrap() else {
                    panic!("no fragment header first")
                };
                protocol = part.next_header().0;
                (part.fragment_offset(), ip.payload().payload.to_vec(), part.more_fragments())
            }
            etherparse::NetSlice::Arp(_) => panic!("ARP"),
        };
        let start = usize::from(offset.value()) * 8;
        payload[start..start + bytes.len()].copy_from_slice(&bytes);
        if !has_more {
            end = start + bytes.len();
        }
        let length = if frame[12] == 8 { 34 } else { 54 };
        if start == 0 {
            header = frame[..length].to_vec();
        }
    }
    if header[12] == 8 {
        header[16..18].copy_from_slice(&((20 + end) as u16).to_be_bytes());
        header[20..22].copy_from_slice(&[0, 0]);
        header[24..26].copy_from_slice(&[0, 0]);
        let checksum = !wire::checksum::Sum::of(&header[14..34]).fold();
        header[24..26].copy_from_slice(&checksum.to_be_bytes());
    } else {
        header[18..20].copy_from_slice(&(end as u16).to_be_bytes());
        header[20] = protocol;
    }
    [&header[..], &payload[..end]].concat()
}

fn bytes(sent: Vec<(PortId, Vec<u8>)>, port: PortId) -> Vec<Vec<u8>> {
    sent.into_iter()
        .map(|(by, bytes)| {
            assert_eq!(by, port);
            bytes
        })
        .collect()
}

fn burst(rig: &mut Rig, port: PortId, frames: &[Vec<u8>]) -> Vec<Verdict> {
    rig.burst(port, &frames.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[test]
fn a_packet_in_fragments_arrives_as_one_in_one_piece_would() {
    for (mode, v6) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let mut rig = Rig::new();
        let whole = datagram(mode, v6, 8192);
        let frames = parts(&whole, 7, 1400);
        assert_eq!(burst(&mut rig, CLIENTS, &frames), vec![Verdict::Transmit(BACKENDS); frames.len()]);
        let sent = together(&bytes(rig.sent(), BACKENDS));
        check_checksums(&sent).unwrap();
        rig.publish(|snapshot| snapshot.ports.iter_mut().for_each(|port| port.mtu = 9000));
        let mut in_one_piece = rig.forwarded(CLIENTS, &whole, BACKENDS);
        if !v6 {
            in_one_piece[18..26].copy_from_slice(&sent[18..26]); // identification, flags and checksum
        }
        assert_eq!(sent, in_one_piece, "{mode:?}");
        rig.assert_conserved();
        let counted = rig.meters.backend(model::BackendId(u32::from(v6))).unwrap();
        assert_eq!((counted.packets_in.read(), counted.flows_opened.read()), (frames.len() as u64 + 1, 1));
    }
}

#[test]
fn a_reply_in_fragments_arrives_too() {
    for (mode, v6) in [(Mode::Nat, false), (Mode::FullNat, false), (Mode::Nat, true), (Mode::FullNat, true)] {
        let mut rig = Rig::new();
        let request = rig.forwarded(CLIENTS, &datagram(mode, v6, 10), BACKENDS);
        let source: SocketAddr = describe(&request).split(' ').nth(1).unwrap().parse().unwrap();
        let backend = at(if v6 { BACKEND_6 } else { BACKEND }, 8080);
        let reply = packets::udp(FROM_BACKEND, backend, source, &[9; 5000]);
        let frames = parts(&reply, 9, 1448);
        assert_eq!(burst(&mut rig, BACKENDS, &frames), vec![Verdict::Transmit(CLIENTS); frames.len()]);
        let sent = together(&bytes(rig.sent(), CLIENTS));
        check_checksums(&sent).unwrap();
        assert_eq!(describe(&sent), format!("udp {} > {} ttl 63", server(mode, v6), client(v6)));
        rig.assert_conserved();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In whatever order they come, and in whatever bursts: they leave, all of them once.
    #[test]
    fn fragments_in_any_order_arrive_whole(
        v6 in any::<bool>(), mode in 0_usize..3, size in 4_usize..100, keys in proptest::collection::vec(any::<u32>(), 40),
        together_in_bursts in 1_usize..20,
    ) {
        let (mut rig, mode) = (Rig::new(), MODES[mode]);
        let whole = datagram(mode, v6, size * 8 * 8 + 3);
        let mut frames: Vec<(u32, Vec<u8>)> = keys.into_iter().zip(parts(&whole, 7, size * 8)).collect();
        frames.sort_by_key(|(key, _)| *key);
        let frames: Vec<Vec<u8>> = frames.into_iter().map(|(_, frame)| frame).collect();
        let mut sent = Vec::new();
        for some in frames.chunks(together_in_bursts) {
            let verdicts = burst(&mut rig, CLIENTS, some);
            prop_assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Held | Verdict::Transmit(_))));
            sent.extend(bytes(rig.sent(), BACKENDS));
        }
        prop_assert_eq!(sent.len(), frames.len());
        let sent = together(&sent);
        check_checksums(&sent).unwrap();
        prop_assert_eq!(&sent[sent.len() - size * 64 - 3..], &whole[whole.len() - size * 64 - 3..]);
        prop_assert_eq!(rig.meters.held_frames.read(), 0);
        rig.assert_conserved();
    }
}

#[test]
fn a_segment_in_fragments_opens_its_flow() {
    let mut rig = Rig::new();
    let whole = packets::tcp(TO_GATEWAY, client(false), server(Mode::Nat, false), packets::SYN, &[7; 100]);
    let frames = parts(&whole, 3, 64);
    assert_eq!(burst(&mut rig, CLIENTS, &frames), [Verdict::Transmit(BACKENDS); 2]);
    let sent = together(&bytes(rig.sent(), BACKENDS));
    check_checksums(&sent).unwrap();
    assert_eq!(describe(&sent), "tcp 10.10.1.2:40001 > 10.10.2.11:8080 ttl 63");
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let mut rig = Rig::new();
    let whole = datagram(Mode::FullNat, true, 100);
    let atomic = part(&whole, 5, 0, whole.len() - 54, false);
    let sent = rig.forwarded(CLIENTS, &atomic, BACKENDS);
    check_checksums(&together(&[sent])).unwrap();
    rig.forwarded(CLIENTS, &atomic, BACKENDS); // it is of no packet that others are of (RFC 6946)
    rig.assert_conserved();
}

#[test]
fn a_fragment_without_its_head_waits_and_is_dropped() {
    for v6 in [false, true] {
        let mut rig = Rig::new();
        let frames = parts(&datagram(Mode::Nat, v6, 4000), 7, 1400);
        assert_eq!(burst(&mut rig, CLIENTS, &frames[1..]), [Verdict::Held; 2]);
        assert_eq!(rig.meters.held_frames.read(), 2);
        rig.assert_conserved();
        let after = |rig: &mut Rig, millis| {
            rig.now = Millis(rig.now.0 + millis);
            for _ in 0..64 {
                rig.keep_house();
            }
        };
        after(&mut rig, 499);
        assert_eq!(rig.meters.held_frames.read(), 2);
        after(&mut rig, 1);
        assert_eq!(rig.meters.held_frames.read(), 0);
        assert_eq!(rig.meters.drops[DropReason::FragmentHeadLost.index()].read(), 2);
        rig.assert_conserved();
    }
}

#[test]
fn what_waits_is_given_up_when_the_worker_stops() {
    let mut rig = Rig::new();
    let frames = parts(&datagram(Mode::Nat, false, 4000), 7, 1400);
    burst(&mut rig, CLIENTS, &frames[1..]);
    datapath::stop(&mut rig.state, &mut rig.outputs);
    assert_eq!(rig.meters.drops[DropReason::Shutdown.index()].read(), 2);
    rig.assert_conserved();
}

#[test]
fn few_fragments_wait_for_one_head_and_few_in_all() {
    let mut rig = Rig::new();
    let tiny = parts(&datagram(Mode::Nat, false, 40 * 64), 7, 64);
    let dropped = |rig: &mut Rig, frames: &[Vec<u8>], kept: usize| {
        let verdicts = burst(rig, CLIENTS, frames);
        rig.sent();
        let before = rig.meters.held_frames.read();
        assert_eq!(before, kept as u64);
        verdicts.iter().filter(|verdict| **verdict == Verdict::Drop(DropReason::FragmentQueueFull)).count()
    };
    assert_eq!(dropped(&mut rig, &tiny[1..21], 16), 4);
    for id in 8..23 {
        let more = parts(&datagram(Mode::Nat, false, 40 * 64), id, 64);
        dropped(&mut rig, &more[1..17], 16 * (id as usize - 6));
    }
    // There is no room for others, whose verdict is known when all is full.
    let last = parts(&datagram(Mode::Nat, false, 4000), 20, 1400);
    dropped(&mut rig, &last[1..], 256);
    assert_eq!(rig.meters.drops[DropReason::FragmentQueueFull.index()].read(), 4 + 2);
    rig.assert_conserved();
    // Those that have a head still pass.
    let good = parts(&datagram(Mode::Nat, false, 4000), 30, 1400);
    assert_eq!(burst(&mut rig, CLIENTS, &good), [Verdict::Transmit(BACKENDS); 3]);
    rig.assert_conserved();
}

#[test]
fn overlapping_fragments_are_dropped_and_the_others_arrive() {
    for v6 in [false, true] {
        let mut rig = Rig::new();
        let whole = datagram(Mode::Nat, v6, 4000);
        let frames = parts(&whole, 7, 1400);
        rig.forwarded(CLIENTS, &frames[0], BACKENDS);
        rig.dropped(CLIENTS, &frames[0], DropReason::FragmentOverlap);
        rig.dropped(CLIENTS, &part(&whole, 7, 1392, 1408, true), DropReason::FragmentOverlap);
        rig.dropped(CLIENTS, &part(&whole, 7, 24, 40, false), DropReason::FragmentOverlap);
        rig.forwarded(CLIENTS, &frames[2], BACKENDS);
        rig.dropped(CLIENTS, &part(&whole, 7, 2800, 2808, true), DropReason::FragmentOverlap);
        rig.forwarded(CLIENTS, &frames[1], BACKENDS);
        // It is whole: another one may have its number.
        assert_eq!(burst(&mut rig, CLIENTS, &frames), [Verdict::Transmit(BACKENDS); 3]);
        rig.assert_conserved();
    }
}

#[test]
fn fragments_that_hide_the_l4_header_are_dropped() {
    let tiny = DropReason::Malformed(Refusal::FragmentTiny);
    for v6 in [false, true] {
        let mut rig = Rig::new();
        let segment = packets::tcp(TO_GATEWAY, client(v6), server(Mode::Nat, v6), packets::SYN, &[7; 100]);
        rig.dropped(CLIENTS, &part(&segment, 7, 0, 8, true), tiny);
        rig.dropped(CLIENTS, &part(&segment, 7, 0, 16, true), tiny);
        rig.dropped(CLIENTS, &part(&segment, 7, 8, 24, true), tiny);
        let odd = DropReason::Malformed(Refusal::FragmentLength);
        rig.dropped(CLIENTS, &part(&segment, 7, 0, 25, true), odd);
        let mut death = part(&segment, 7, 24, 40, false);
        if v6 {
            death[56..58].copy_from_slice(&0xfff8_u16.to_be_bytes());
        } else {
            death[20..22].copy_from_slice(&0x1fff_u16.to_be_bytes());
            death[24..26].copy_from_slice(&[0, 0]);
            let checksum = !wire::checksum::Sum::of(&death[14..34]).fold();
            death[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        rig.dropped(CLIENTS, &death, DropReason::Malformed(Refusal::FragmentBeyondPacket));
        rig.assert_conserved();
        assert_eq!(rig.meters.flows.read(), 0);
    }
}

#[test]
fn fragments_follow_a_head_that_was_dropped() {
    let mut rig = Rig::new();
    let nobody =
        packets::udp(TO_GATEWAY, client(false), at(virtual_address(Mode::Nat, false), 81), &[7; 4000]);
    let frames = parts(&nobody, 7, 1400);
    assert_eq!(burst(&mut rig, CLIENTS, &frames), [Verdict::Drop(DropReason::NoVirtualServer); 3]);
    // Also when they came before it.
    let frames = parts(&nobody, 8, 1400);
    burst(&mut rig, CLIENTS, &[frames[1].clone(), frames[2].clone(), frames[0].clone()]);
    assert_eq!(rig.meters.drops[DropReason::NoVirtualServer.index()].read(), 6);
    assert_eq!(rig.meters.held_frames.read(), 0);
    rig.assert_conserved();
}

#[test]
fn nothing_is_kept_of_fragments_for_others() {
    let mut rig = Rig::new();
    let other = packets::udp(TO_GATEWAY, client(false), at("203.0.113.7", 80), &[7; 4000]);
    rig.dropped(CLIENTS, &parts(&other, 7, 1400)[1], DropReason::NoVirtualServer);
    rig.assert_conserved();
}

#[test]
fn a_head_that_is_too_big_or_too_old_is_answered_and_the_rest_dropped() {
    let mut rig = Rig::new();
    rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].mtu = 1300);
    let mut frames = parts(&datagram(Mode::Nat, false, 4000), 7, 1400);
    for frame in &mut frames {
        must_not_be_cut(frame);
    }
    let verdicts = burst(&mut rig, CLIENTS, &frames);
    let too_big = Verdict::Drop(DropReason::FrameOverMtu);
    assert_eq!(verdicts, [Verdict::Transmit(CLIENTS), too_big, too_big]);
    check_checksums(&rig.sent()[0].1).unwrap();
    rig.assert_conserved();
}

#[test]
fn who_floods_pushes_out_the_oldest() {
    let mut rig = Rig::new();
    let frames = parts(&datagram(Mode::Nat, false, 4000), 7, 1400);
    assert_eq!(burst(&mut rig, CLIENTS, &frames[1..2]), [Verdict::Held]);
    for id in 0..20_000_u32 {
        let whole = packets::udp(
            TO_GATEWAY,
            at(&format!("10.11.{}.{}", id >> 8 & 0xff, id & 0xff), 1 + (id >> 16) as u16),
            server(Mode::Dsr, false),
            &[7; 100],
        );
        rig.now = Millis(1000 + u64::from(id) / 100);
        burst(&mut rig, CLIENTS, &[part(&whole, id as u16, 0, 64, true)]);
        rig.sent();
    }
    assert_eq!(rig.meters.held_frames.read(), 0, "what waited was pushed out");
    assert_eq!(rig.meters.drops[DropReason::FragmentTableFull.index()].read(), 1);
    let good = parts(&datagram(Mode::Dsr, false, 4000), 30, 1400);
    assert_eq!(burst(&mut rig, CLIENTS, &good), [Verdict::Transmit(BACKENDS); 3]);
    rig.assert_conserved();
}

#[test]
fn fragments_of_a_flow_that_has_ended_are_dropped_but_in_dsr() {
    for (mode, expected) in
        [(Mode::Nat, Verdict::Drop(DropReason::NoFlow)), (Mode::Dsr, Verdict::Transmit(BACKENDS))]
    {
        let mut rig = Rig::new();
        let frames = parts(&datagram(mode, false, 4000), 7, 1400);
        rig.forwarded(CLIENTS, &frames[0], BACKENDS);
        rig.publish(|snapshot| {
            std::sync::Arc::make_mut(&mut snapshot.backends)
                .iter_mut()
                .flatten()
                .for_each(|one| one.incarnation = 1);
        });
        rig.keep_house();
        assert_eq!(burst(&mut rig, CLIENTS, &frames[1..2]), [expected], "{mode:?}");
        rig.assert_conserved();
    }
}

/// Lets frames arrive at one worker after the other, and all that is handed over with them.
fn spread(rigs: &mut [Rig], frames: &[Vec<u8>]) -> Vec<(usize, Vec<u8>)> {
    let mut sent = Vec::new();
    let mut waiting: std::collections::VecDeque<(usize, PortId, bool, Vec<u8>)> = frames
        .iter()
        .enumerate()
        .map(|(number, frame)| (number % rigs.len(), CLIENTS, false, frame.clone()))
        .collect();
    for _ in 0..frames.len() * 3 {
        let Some((at, port, is_handed_over, frame)) = waiting.pop_front() else { break };
        rigs[at].arrive(Arrival { port, is_handed_over }, &[&frame]);
        for next in 0..rigs.len() {
            for (port, frame) in
                rigs[at].outputs.worker(WorkerId(next as u8)).unwrap().drain(..).collect::<Vec<_>>()
            {
                rigs[at].meters.handed_out_frames.add(1);
                waiting.push_back((next, port, true, frame.bytes()));
            }
        }
        sent.extend(rigs[at].sent().into_iter().map(|(_, bytes)| (at, bytes)));
    }
    assert!(waiting.is_empty(), "a fragment is handed over twice at most");
    sent
}

#[test]
fn fragments_that_come_to_different_workers_meet_at_the_owner_of_their_flow() {
    for mode in MODES {
        for id in 0..16 {
            let mut rigs: Vec<Rig> = (0..4).map(|id| Rig::with(fixture::snapshot(4), WorkerId(id))).collect();
            let mut frames = parts(&datagram(mode, false, 4000), id, 1000);
            frames.rotate_left(usize::from(id) % 4);
            let sent = spread(&mut rigs, &frames);
            assert_eq!(sent.len(), 5, "{mode:?} {id}");
            assert!(sent.iter().all(|(at, _)| *at == sent[0].0), "one worker sends them all");
            let frames: Vec<Vec<u8>> = sent.into_iter().map(|(_, bytes)| bytes).collect();
            check_checksums(&together(&frames)).unwrap();
            rigs.iter_mut().for_each(Rig::assert_conserved);
        }
    }
}
