//! What is refused, and under which name; and that nothing that can be sent makes the datapath lose count.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::net::SocketAddr;

use datapath::{DropReason, Verdict};
use fixture::{BACKENDS, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, SELF, virtual_address};
use model::Mode;
use nic::{Burst, Frame, ReceivedChecksum};
use testkit::{
    MemoryFrame,
    packets::{self, Link, SYN},
};
use wire::Refusal;

const LINK: Link = (CLIENT_MAC, CLIENTS_MAC);

fn server(v6: bool) -> SocketAddr {
    SocketAddr::new(virtual_address(Mode::Nat, v6).parse().unwrap(), 80)
}

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 40_001)
}

fn good() -> Vec<u8> {
    packets::tcp(LINK, at(CLIENT), server(false), SYN, b"hello")
}

fn good_6() -> Vec<u8> {
    packets::udp(LINK, at(CLIENT_6), server(true), b"hello")
}

/// `good` with some bytes replaced.
fn with(frame: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    frame
}

fn from(source: &str) -> Vec<u8> {
    packets::tcp(LINK, at(source), server(false), SYN, b"")
}

fn to(destination: &str) -> Vec<u8> {
    packets::tcp(LINK, at(CLIENT), SocketAddr::new(destination.parse().unwrap(), 80), SYN, b"")
}

#[test]
fn frames_that_are_not_for_us_or_not_ip_are_refused() {
    let good = good();
    for (frame, reason) in [
        (good[..13].to_vec(), DropReason::Malformed(Refusal::EthernetTruncated)),
        (good[..14].to_vec(), DropReason::Malformed(Refusal::Ipv4Truncated)),
        (with(&good, 0, &[2, 9, 9, 9, 9, 9]), DropReason::DestinationMacNotOurs),
        (with(&good, 0, &[0xff; 6]), DropReason::GroupFrameUnicastPacket),
        (with(&good, 6, &[3]), DropReason::SourceMacGroup),
        (with(&good, 12, &[0x88, 0xcc]), DropReason::EtherTypeUnknown),
        (with(&good, 12, &[0, 46]), DropReason::EtherTypeIsLength),
        (with(&good, 12, &[0x81, 0, 0, 100, 8, 0]), DropReason::VlanUnknown),
        (with(&good, 12, &[0x81, 0, 0, 0, 0x81, 0]), DropReason::VlanStacked),
        (with(&good, 12, &[0x88, 0xa8, 0, 0, 8, 0]), DropReason::VlanUnknown),
        (with(&good, 12, &[0x81, 0])[..16].to_vec(), DropReason::Malformed(Refusal::VlanTruncated)),
    ] {
        Rig::new().dropped(CLIENTS, &frame, reason);
    }
}

#[test]
fn a_priority_tag_is_kept() {
    let good = good();
    let tagged = [&good[..12], &[0x81, 0, 0xa0, 0, 8, 0], &good[14..]].concat();
    let out = Rig::new().forwarded(CLIENTS, &tagged, BACKENDS);
    assert_eq!(out[12..18], [0x81, 0, 0xa0, 0, 8, 0]);
    let untagged = Rig::new().forwarded(CLIENTS, &good, BACKENDS);
    assert_eq!(out[18..], untagged[14..]);
}

#[test]
fn addresses_that_can_be_nobodys_are_refused() {
    for source in ["0.1.2.3", "127.0.0.1", "169.254.0.1", "224.0.0.1", "255.255.255.255"] {
        Rig::new().dropped(CLIENTS, &from(source), DropReason::SourceMartian);
    }
    for source in [SELF, virtual_address(Mode::Nat, false)] {
        Rig::new().dropped(CLIENTS, &from(source), DropReason::SourceIsOurs);
    }
    for (destination, reason) in [
        ("127.0.0.1", DropReason::DestinationMartian),
        ("240.0.0.1", DropReason::DestinationMartian),
        ("224.0.0.5", DropReason::DestinationGroup),
        ("255.255.255.255", DropReason::DestinationGroup),
        ("203.0.113.1", DropReason::NoVirtualServer),
        ("10.10.1.1", DropReason::NoListener),
    ] {
        Rig::new().dropped(CLIENTS, &to(destination), reason);
    }
}

/// An IPv6 address that says that it is IPv4.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

#[test]
fn an_ipv6_packet_with_a_mapped_address_belongs_to_no_ipv4_flow() {
    let mut rig = Rig::new();
    rig.forwarded(CLIENTS, &good(), BACKENDS);
    rig.dropped(CLIENTS, &with(&good_6(), 22, &MAPPED), DropReason::SourceMartian);
    rig.dropped(CLIENTS, &with(&good_6(), 38, &MAPPED), DropReason::DestinationMartian);
    rig.assert_conserved();
}

#[test]
fn what_no_virtual_server_takes_is_refused() {
    let mut rig = Rig::new();
    let closed = SocketAddr::new(virtual_address(Mode::Nat, false).parse().unwrap(), 81);
    rig.dropped(CLIENTS, &packets::tcp(LINK, at(CLIENT), closed, SYN, b""), DropReason::NoVirtualServer);
    let mut gre = good();
    gre[23] = 47;
    gre[24..26].copy_from_slice(&[0, 0]);
    let checksum = !wire::checksum::Sum::of(&gre[14..34]).fold();
    gre[24..26].copy_from_slice(&checksum.to_be_bytes());
    rig.dropped(CLIENTS, &gre, DropReason::ProtocolUnsupported);
}

#[test]
fn the_host_takes_what_is_for_a_ports_own_address() {
    let mut rig = Rig::new();
    rig.snapshot.ports[0].host = true;
    rig.snapshot.addresses = Default::default();
    let own = datapath::snapshot::Owned::Port { port: CLIENTS, snat_first: 1024, snat_last: 32_767 };
    rig.snapshot.addresses.own(fixture::address("10.10.1.1"), own);
    assert_eq!(rig.one(CLIENTS, &to("10.10.1.1")).0, Verdict::ToHost(CLIENTS));
    rig.assert_conserved();
}

#[test]
fn a_frame_over_the_mtu_is_refused() {
    let frame = packets::tcp(LINK, at(CLIENT), server(false), SYN, &[0; 2000]);
    Rig::new().dropped(CLIENTS, &frame, DropReason::FrameOverMtu);
}

#[test]
fn a_priority_tag_is_no_part_of_what_the_mtu_is_for() {
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0xa0, 0], &frame[12..]].concat();
    let segment = |length| tagged(&packets::tcp(LINK, at(CLIENT), server(false), SYN, &vec![0; length]));
    assert_eq!(Rig::new().forwarded(CLIENTS, &segment(1460), BACKENDS).len(), 18 + 1500);
    Rig::new().dropped(CLIENTS, &segment(1461), DropReason::FrameOverMtu);
    let ping = tagged(&packets::echo(LINK, at(CLIENT).ip(), server(false).ip(), &[0; 1472]));
    assert_eq!(Rig::new().forwarded(CLIENTS, &ping, CLIENTS).len(), 18 + 1500);
}

#[test]
fn a_cut_frame_is_told_from_a_lie_where_rings_cut() {
    let cut = &good()[..50];
    Rig::new().dropped(CLIENTS, cut, DropReason::Malformed(Refusal::Ipv4TotalLengthBeyondFrame));
    let mut rig = Rig::new();
    rig.snapshot.ports[0].device.cuts_frames = true;
    rig.dropped(CLIENTS, cut, DropReason::FrameCut);
}

#[test]
fn fragments_of_other_protocols_are_refused() {
    let mut frame = with(&good(), 20, &[0x20, 0, 64, 132, 0, 0]);
    frame.truncate(14 + 20 + 16);
    frame[16..18].copy_from_slice(&[0, 36]);
    let checksum = !wire::checksum::Sum::of(&frame[14..34]).fold();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    Rig::new().dropped(CLIENTS, &frame, DropReason::Fragment);
}

#[test]
fn a_checksum_that_the_card_found_wrong_is_refused() {
    let mut rig = Rig::new();
    let mut frame = MemoryFrame::new(&good());
    frame.checksum = ReceivedChecksum::Bad;
    let arrival = datapath::Arrival { port: CLIENTS, is_handed_over: false };
    assert_eq!(rig.arrive_as(arrival, [frame]), [Verdict::Drop(DropReason::TransportChecksum)]);
}

#[test]
fn padding_is_cut() {
    let mut padded = packets::udp(LINK, at(CLIENT), server(false), b"");
    let length = padded.len();
    padded.resize(60, 0xee);
    assert_eq!(Rig::new().forwarded(CLIENTS, &padded, BACKENDS).len(), length);
}

/// Headers in two segments, cut at every byte, are forwarded as those in one.
#[test]
fn headers_may_be_scattered_at_every_byte() {
    for frame in [good(), good_6()] {
        let whole = Rig::new().forwarded(CLIENTS, &frame, BACKENDS);
        for cut in 1..frame.len() {
            let mut rig = Rig::new();
            let scattered = MemoryFrame::scattered(&[&frame[..cut], &frame[cut..]]);
            let arrival = datapath::Arrival { port: CLIENTS, is_handed_over: false };
            rig.arrive_as(arrival, [scattered]);
            assert_eq!(rig.sent()[0].1, whole, "cut at {cut}");
        }
    }
}

/// Every single-byte change of the first bytes, and every truncation: one verdict, no panic, nothing lost.
#[test]
fn whatever_arrives_is_accounted_for() {
    let templates = [
        good(),
        good_6(),
        packets::echo(LINK, CLIENT.parse().unwrap(), "10.10.1.1".parse().unwrap(), b"x"),
        packets::echo(LINK, CLIENT_6.parse().unwrap(), "2001:db8:1::1".parse().unwrap(), b"x"),
    ];
    let mut rig = Rig::new();
    rig.snapshot.ports[0].device.partial_checksums = true;
    for template in &templates {
        for offset in 0..template.len().min(128) {
            for value in 0..=255 {
                let changed = with(template, offset, &[value]);
                let before = rig.meters.balance();
                assert_eq!(rig.burst(CLIENTS, &[&changed]).len(), 1);
                rig.sent();
                assert_eq!(rig.meters.balance().entered - before.entered, 1);
            }
        }
        for length in 0..template.len() {
            rig.burst(CLIENTS, &[&template[..length]]);
            rig.sent();
        }
        rig.assert_conserved();
    }
    let mut none = Burst::<MemoryFrame>::new();
    MemoryFrame::free(&mut none);
}
