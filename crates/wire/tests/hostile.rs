//! Frames that lie: every byte of the first 128 set to every value, and every length. Whatever the bytes, nothing panics,
//! layouts lie inside the frame, and `etherparse`, which shares no code with `wire`, makes the same of it.
//!
//! Where the two differ, and why:
//!
//! - `wire` refuses what could be read but must not pass: [`is_policy`] lists it, and etherparse is not asked then.
//! - etherparse reads what `wire` leaves to others, or reads more of it: [`is_read_further`] lists that.
//! - etherparse follows any number of VLAN tags, and MACsec; this walk one tag, as the datapath does.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::collections::HashSet;

use etherparse::{
    IpFragOffset, IpNumber, IpPayloadSlice, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice, VlanId,
};
use wire::{
    Refusal, arp, checksum,
    ethernet::{self, ether_type},
    icmpv4, icmpv6, ipv4, ipv6, nd, protocol, tcp, udp, vlan,
};

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 0, 1]);
const CLIENT: [u8; 4] = [10, 10, 1, 2];
const SERVER: [u8; 4] = [198, 51, 100, 1];
const CLIENT_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SERVER_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const AUTHENTICATION: u8 = 51;
const IGMP: u8 = 2;
const PAYLOAD: [u8; 70] = [0x5a; 70];
/// Bytes that are changed.
const CHANGED: usize = 128;

macro_rules! written {
    ($step:expr, $payload:expr) => {{
        let mut frame = Vec::new();
        $step.write(&mut frame, $payload).unwrap();
        frame
    }};
}

fn tcp_v4() -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4(CLIENT, SERVER, 64);
    let options = [2, 4, 5, 0xb4, 1, 1, 4, 2];
    written!(step.tcp(40_000, 80, 1, 64_000).syn().options_raw(&options).unwrap(), &PAYLOAD)
}

fn tcp_v4_tagged() -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1).single_vlan(VlanId::try_new(100).unwrap());
    written!(step.ipv4(CLIENT, SERVER, 64).tcp(40_000, 80, 1, 64_000).ack(2).psh(), &PAYLOAD)
}

fn ipv4_header(protocol: IpNumber) -> Ipv4Header {
    Ipv4Header::new(0, 64, protocol, CLIENT, SERVER).unwrap()
}

fn udp_v4_with_options() -> Vec<u8> {
    let mut header = ipv4_header(IpNumber::UDP);
    header.options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0].into(); // record route, no operation, router alert
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1);
    let step = step.ip(etherparse::IpHeaders::Ipv4(header, Ipv4Extensions::default()));
    written!(step.udp(40_000, 53), &PAYLOAD)
}

fn fragment_v4() -> Vec<u8> {
    let mut header = ipv4_header(IpNumber::UDP);
    header.fragment_offset = IpFragOffset::try_new(20).unwrap();
    header.more_fragments = true;
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1);
    let step = step.ip(etherparse::IpHeaders::Ipv4(header, Ipv4Extensions::default()));
    written!(step.udp(40_000, 53), &PAYLOAD)
}

fn echo_v4() -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4(CLIENT, SERVER, 64);
    written!(step.icmpv4_echo_request(1, 2), &PAYLOAD)
}

fn tcp_v6() -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6(CLIENT_6, SERVER_6, 64);
    written!(step.tcp(40_000, 443, 1, 64_000).fin().ack(2), &PAYLOAD)
}

fn udp_v6() -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6(CLIENT_6, SERVER_6, 64);
    written!(step.udp(40_000, 443), &PAYLOAD)
}

/// A UDP datagram behind extension headers.
fn udp_v6_behind(extensions: Ipv6Extensions) -> Vec<u8> {
    let header =
        Ipv6Header { hop_limit: 64, source: CLIENT_6, destination: SERVER_6, ..Ipv6Header::default() };
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1);
    written!(step.ip(etherparse::IpHeaders::Ipv6(header, extensions)).udp(40_000, 443), &PAYLOAD)
}

fn chain_v6() -> Vec<u8> {
    let extension = || Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[1, 4, 0, 0, 0, 0]).unwrap();
    let routing = Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[3, 0, 0, 0, 0, 0]).unwrap();
    udp_v6_behind(Ipv6Extensions {
        hop_by_hop_options: Some(extension()),
        destination_options: Some(extension()),
        routing: Some(Ipv6RoutingExtensions { routing, final_destination_options: None }),
        ..Ipv6Extensions::default()
    })
}

fn fragment_v6() -> Vec<u8> {
    let fragment = Ipv6FragmentHeader::new(IpNumber::UDP, IpFragOffset::try_new(20).unwrap(), true, 7);
    udp_v6_behind(Ipv6Extensions { fragment: Some(fragment), ..Ipv6Extensions::default() })
}

fn solicitation() -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6(CLIENT_6, SERVER_6, 255);
    let mut message = SERVER_6.to_vec();
    message.extend([1, 1, 2, 0, 0, 0, 1, 1]); // the source's link-layer address
    written!(step.icmpv6_raw(icmpv6::NEIGHBOUR_SOLICITATION, 0, [0; 4]), &message)
}

fn arp_request() -> Vec<u8> {
    let mut frame = [MACS.1, MACS.0].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([&MACS.0[..], &CLIENT, &[0; 6], &SERVER].concat());
    frame.extend([0; 18]); // padding
    frame
}

fn templates() -> [(&'static str, Vec<u8>); 12] {
    [
        ("TCP over IPv4", tcp_v4()),
        ("TCP over IPv4, tagged", tcp_v4_tagged()),
        ("UDP over IPv4 with options", udp_v4_with_options()),
        ("a fragment of IPv4", fragment_v4()),
        ("an echo request over IPv4", echo_v4()),
        ("TCP over IPv6", tcp_v6()),
        ("UDP over IPv6", udp_v6()),
        ("UDP over IPv6 behind extension headers", chain_v6()),
        ("a fragment of IPv6", fragment_v6()),
        ("a neighbour solicitation", solicitation()),
        ("an ARP request", arp_request()),
        ("nothing that is known", [&MACS.0[..], &MACS.1, &[0x88, 0xcc], &PAYLOAD].concat()),
    ]
}

/// Where the parts of a frame are; offsets count from its first byte.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    /// Source and destination address of the network layer.
    addresses: Option<(Vec<u8>, Vec<u8>)>,
    /// The payload of IP: its protocol, where it begins, and where it ends.
    payload: Option<(u8, usize, usize)>,
    /// The ports of TCP or UDP.
    ports: Option<(u16, u16)>,
    /// The type of an ICMP message.
    kind: Option<u8>,
}

/// What `wire` makes of a frame of `length` bytes of which `head` lie in one piece: the way of the datapath's parser.
/// Also whether it is a fragment.
fn ours(head: &[u8], length: usize) -> Result<(Parts, bool), Refusal> {
    let ethernet = ethernet::check(head)?;
    let mut network = ethernet::HEADER;
    let mut ether_type = ethernet.ether_type.get();
    if matches!(ether_type, ether_type::VLAN | ether_type::QINQ) {
        ether_type = vlan::check(&head[network..])?.ether_type.get();
        network += vlan::TAG;
    }
    match ether_type {
        ether_type::IPV4 => ours_v4(head, network, length),
        ether_type::IPV6 => ours_v6(head, network, length),
        ether_type::ARP => {
            let message = arp::check(&head[network..], ethernet.source)?;
            let addresses = (message.sender_address.to_vec(), message.target_address.to_vec());
            Ok((Parts { addresses: Some(addresses), ..Parts::default() }, false))
        }
        _ => Ok((Parts::default(), false)),
    }
}

fn ours_v4(head: &[u8], network: usize, length: usize) -> Result<(Parts, bool), Refusal> {
    let bytes = &head[network..];
    let ipv4::Layout { header, length: start, total, is_fragment } = ipv4::check(bytes, length - network)?;
    assert!((ipv4::HEADER..=60).contains(&start) && start <= bytes.len());
    assert!(start <= total && total <= length - network);
    let mut parts = Parts {
        addresses: Some((header.source.to_vec(), header.destination.to_vec())),
        payload: Some((header.protocol, network + start, network + total)),
        ..Parts::default()
    };
    let payload = &bytes[start..];
    match header.protocol {
        _ if is_fragment => {}
        protocol::ICMP => parts.kind = Some(icmpv4::check(payload, total - start)?.kind),
        protocol => parts.ports = ours_ports(protocol, payload, total - start, false)?,
    }
    Ok((parts, is_fragment))
}

fn ours_v6(head: &[u8], network: usize, length: usize) -> Result<(Parts, bool), Refusal> {
    let bytes = &head[network..];
    let ipv6::Layout { header, transport, protocol, total, fragment } = ipv6::check(bytes, length - network)?;
    let is_fragment = fragment.is_some();
    assert!(ipv6::HEADER <= transport && transport <= bytes.len());
    assert!(transport <= total && total <= length - network);
    let mut parts = Parts {
        addresses: Some((header.source.to_vec(), header.destination.to_vec())),
        payload: Some((protocol, network + transport, network + total)),
        ..Parts::default()
    };
    let payload = &bytes[transport..];
    match protocol {
        _ if is_fragment => {}
        protocol::ICMPV6 => {
            let kind = icmpv6::check(payload, total - transport)?.kind;
            if matches!(kind, icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT) {
                nd::check(&payload[..payload.len().min(total - transport)], header.hop_limit)?;
            }
            parts.kind = Some(kind);
        }
        protocol => parts.ports = ours_ports(protocol, payload, total - transport, true)?,
    }
    Ok((parts, is_fragment))
}

fn ours_ports(protocol: u8, bytes: &[u8], available: usize, v6: bool) -> Result<Option<(u16, u16)>, Refusal> {
    Ok(match protocol {
        protocol::TCP => {
            let header = tcp::check(bytes, available)?;
            Some((header.source_port.get(), header.destination_port.get()))
        }
        protocol::UDP => {
            let header = udp::check(bytes, available, v6)?;
            assert!(usize::from(header.length.get()) <= available);
            Some((header.source_port.get(), header.destination_port.get()))
        }
        _ => None,
    })
}

/// What etherparse makes of a frame; `None` when it refuses it.
fn theirs(frame: &[u8]) -> Option<Parts> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let payload = |payload: &IpPayloadSlice<'_>| {
        let start = payload.payload.as_ptr() as usize - frame.as_ptr() as usize;
        Some((payload.ip_number.0, start, start + payload.payload.len()))
    };
    let mut parts = Parts::default();
    match &packet.net {
        Some(NetSlice::Ipv4(slice)) => {
            let header = slice.header();
            parts.addresses = Some((header.source().to_vec(), header.destination().to_vec()));
            parts.payload = payload(slice.payload());
        }
        Some(NetSlice::Ipv6(slice)) => {
            let header = slice.header();
            parts.addresses = Some((header.source().to_vec(), header.destination().to_vec()));
            parts.payload = payload(slice.payload());
        }
        Some(NetSlice::Arp(message)) => {
            let addresses = (message.sender_protocol_addr(), message.target_protocol_addr());
            parts.addresses = Some((addresses.0.to_vec(), addresses.1.to_vec()));
        }
        None => {}
    }
    match packet.transport {
        Some(TransportSlice::Tcp(segment)) => {
            parts.ports = Some((segment.source_port(), segment.destination_port()));
        }
        Some(TransportSlice::Udp(datagram)) => {
            parts.ports = Some((datagram.source_port(), datagram.destination_port()));
        }
        Some(TransportSlice::Icmpv4(message)) => parts.kind = Some(message.type_u8()),
        Some(TransportSlice::Icmpv6(message)) => parts.kind = Some(message.type_u8()),
        _ => {}
    }
    Some(parts)
}

/// Whether a refusal is of something that can be read, but must not pass.
fn is_policy(refusal: Refusal) -> bool {
    use Refusal::*;
    matches!(
        refusal,
        Ipv4HeaderChecksum
            | Ipv4TtlZero
            | Ipv4ReservedFlag
            | Ipv4OptionMalformed
            | Ipv4SourceRoute
            | Ipv6PayloadLengthZero // etherparse: as long as the frame
            | Ipv6HopLimitZero
            | Ipv6ChainTooLong
            | Ipv6ChainTruncated // also: nothing follows the chain
            | Ipv6RoutingHeaderZero
            | Ipv6NoNextHeader
            | TcpPortZero
            | TcpFlagsNone
            | TcpFlagsContradict
            | UdpLengthTooSmall // etherparse: 0 is as long as the packet
            | UdpPortZero
            | UdpChecksumMissing
            | ArpNotIpv4OverEthernet
            | ArpOperation
            | ArpSender
            | NdTruncated
            | NdHopLimit
            | NdCode
            | NdOptionMalformed
            | NdTarget
            | NdChecksum
    )
}

/// Whether etherparse reads more of a packet than `wire`, and may find fault with it or see other things in it.
fn is_read_further(parts: &Parts, is_fragment: bool) -> bool {
    let Some((protocol, start, end)) = parts.payload else { return false };
    let is_v6 = parts.addresses.as_ref().is_some_and(|(source, _)| source.len() == 16);
    if is_v6 {
        // The chain behind a later fragment's header is followed.
        let is_message_short = protocol == protocol::ICMPV6 && end - start < 8;
        // An authentication header is an extension there.
        is_fragment || is_message_short || matches!(protocol, AUTHENTICATION | protocol::ICMP | IGMP)
    } else {
        // Here too; timestamps (RFC 792) must be 20 bytes long.
        matches!(protocol, AUTHENTICATION | protocol::ICMPV6 | IGMP) || matches!(parts.kind, Some(13 | 14))
    }
}

/// Whether what etherparse follows behind the Ethernet header is what `wire` follows.
fn is_link_known(frame: &[u8]) -> bool {
    const MACSEC: u16 = 0x88e5;
    const OLD_QINQ: u16 = 0x9100;
    let ether_type = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let is_tag = |ether_type| matches!(ether_type, Some(ether_type::VLAN | ether_type::QINQ));
    let is_beyond = |ether_type| matches!(ether_type, Some(MACSEC | OLD_QINQ));
    let (outer, inner) = (ether_type(12), ether_type(16));
    !is_beyond(outer) && !(is_tag(outer) && (is_tag(inner) || is_beyond(inner)))
}

fn compare(frame: &[u8], what: &dyn Fn() -> String) {
    let (ours, theirs) = (ours(frame, frame.len()), theirs(frame));
    if !is_link_known(frame) {
        return;
    }
    match (ours, theirs) {
        (Ok((parts, is_fragment)), _) if is_read_further(&parts, is_fragment) => {}
        (Ok((ours, _)), Some(theirs)) => assert_eq!(ours, theirs, "{}", what()),
        (Ok((ours, _)), None) => panic!("{}: only etherparse refuses {ours:?}", what()),
        (Err(refusal), Some(theirs)) if !is_policy(refusal) => {
            panic!("{}: only wire refuses it, for {refusal}: {theirs:?}", what())
        }
        (Err(_), _) => {}
    }
}

/// Makes the checksum of an IPv4 header right, if that is what is there; what is behind it would never be reached else.
fn repair(frame: &mut [u8]) {
    let network = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    if frame[network - 2..network] != [8, 0] {
        return;
    }
    let length = usize::from(frame[network] & 0x0f) * 4;
    let Some(header) = frame.get_mut(network..network + length) else { return };
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&[0, 0]);
        let checksum = !checksum::Sum::of(header).fold();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// All frames with one byte changed, as they are and with the IPv4 header's checksum made right.
fn change_all(mut visit: impl FnMut(&[u8], &dyn Fn() -> String)) {
    for (name, template) in templates() {
        for offset in 0..template.len().min(CHANGED) {
            let mut frame = template.clone();
            for value in 0..=255 {
                let what = |how: &str| format!("{name}, byte {offset} set to {value:#04x}{how}");
                frame[offset] = value;
                visit(&frame, &|| what(""));
                if (14..78).contains(&offset) {
                    let mut repaired = frame.clone();
                    repair(&mut repaired);
                    visit(&repaired, &|| what(", checksum repaired"));
                }
            }
        }
    }
}

/// All frames cut at all lengths.
fn cut_all(mut visit: impl FnMut(&[u8], usize, &dyn Fn() -> String)) {
    for (name, template) in templates() {
        for length in 0..=template.len() {
            visit(&template[..length], template.len(), &|| format!("{name}, cut to {length} bytes"));
        }
    }
}

#[test]
fn the_templates_are_accepted() {
    for (name, template) in templates() {
        assert!(ours(&template, template.len()).is_ok(), "{name}");
        compare(&template, &|| name.to_owned());
    }
}

#[test]
fn whatever_one_byte_says_etherparse_makes_the_same_of_it() {
    change_all(compare);
}

#[test]
fn wherever_a_frame_ends_etherparse_makes_the_same_of_it() {
    cut_all(|frame, _, what| compare(frame, what));
}

#[test]
fn layouts_lie_inside_a_frame_whose_first_segment_ends_anywhere() {
    let mut accepted = 0;
    cut_all(|head, length, _| accepted += u32::from(ours(head, length).is_ok()));
    assert!(accepted > 500, "{accepted}");
}

#[test]
fn one_wrong_byte_or_length_is_enough_to_meet_nearly_every_refusal() {
    let mut met = HashSet::new();
    change_all(|frame, _| met.extend(ours(frame, frame.len()).err()));
    cut_all(|frame, _, _| met.extend(ours(frame, frame.len()).err()));
    let not_met: Vec<&Refusal> = Refusal::ALL.iter().filter(|refusal| !met.contains(refusal)).collect();
    // The first two need nine headers, and two bytes of zero; the others are told by what is looked at later.
    use Refusal::{
        FragmentBeyondPacket, FragmentLength, FragmentTiny, IcmpChecksum, IcmpMtuTooSmall, Ipv6ChainTooLong,
        NdChecksum, QuoteMalformed, QuoteOfIcmp, QuoteOfLaterFragment, QuoteTruncated, UdpChecksumMissing,
    };
    let expected = [
        Ipv6ChainTooLong,
        UdpChecksumMissing,
        IcmpChecksum,
        IcmpMtuTooSmall,
        QuoteTruncated,
        QuoteMalformed,
        QuoteOfLaterFragment,
        QuoteOfIcmp,
        FragmentLength,
        FragmentBeyondPacket,
        FragmentTiny,
        NdChecksum,
    ];
    assert_eq!(not_met, expected.iter().collect::<Vec<_>>());
}
