//! First pass: what is this frame, and may it be here at all?
//!
//! After it no accessor can fail: offsets lie inside the frame's first segment, lengths inside the frame, and every
//! refusal has its reason. The checks follow RFC 1812, 5.2.2, and RFC 8200. What an address may be is checked when a packet
//! is admitted (`admit`): one that belongs to a flow has the addresses of a packet that was.

use flow::FlowKey;
use model::Address;
use nic::{Burst, Frame, ReceivedChecksum};
use wire::{
    ethernet::{self, Ethernet, ether_type},
    icmpv6, ipv4, ipv6, protocol, tcp, udp, vlan,
};

use crate::{
    DropReason, Verdict,
    packet::{Kind, Packet, Packets, Step},
    snapshot::{self, DeviceTraits},
};

/// Headers are looked for in this many bytes; all of a chain that `wire` accepts fits.
const HEADERS: usize = 256;
/// EtherTypes below this are lengths (IEEE 802.3, 3.2.6).
const SMALLEST_ETHER_TYPE: u16 = 0x0600;

/// Parses all frames of a burst.
pub(crate) fn parse_all<F: Frame>(port: &snapshot::Port, burst: &mut Burst<F>, packets: &mut Packets) {
    packets.clear();
    for frame in burst.iter() {
        if let Some(line) = frame.head().first_chunk::<64>() {
            cpu::prefetch(line);
        }
    }
    for frame in burst.iter_mut() {
        let mut key = FlowKey::default();
        let step = match parse(port, frame, &mut key) {
            Ok(packet) => {
                packets.packets.push(packet);
                Step::Parsed
            }
            Err(reason) => {
                packets.packets.push(NOTHING);
                Step::Done(Verdict::Drop(reason))
            }
        };
        packets.steps.push(step);
        packets.keys.push(key);
    }
}

const NOTHING: Packet =
    Packet { kind: Kind::Other, v6: false, network: 0, transport: 0, length: 0, ttl: 0, flags: 0 };

fn parse<F: Frame>(port: &snapshot::Port, frame: &mut F, key: &mut FlowKey) -> Result<Packet, DropReason> {
    let length = frame.length();
    if frame.head().len() < HEADERS.min(length) && !frame.pull(HEADERS.min(length)) {
        return Err(DropReason::HeadersScattered);
    }
    let link = link(frame.head(), port)?;
    let bytes = frame.head().get(link.network..).unwrap_or_default();
    let available = length.saturating_sub(link.network);
    let network = link.network as u8;
    let packet = match link.ether_type {
        ether_type::IPV4 => parse_v4(bytes, available, network, port.device, key)?,
        ether_type::IPV6 => parse_v6(bytes, available, network, port.device, key)?,
        ether_type::ARP => Packet { kind: Kind::Arp, network, ..NOTHING },
        below if below < SMALLEST_ETHER_TYPE => return Err(DropReason::EtherTypeIsLength),
        _ => return Err(DropReason::EtherTypeUnknown),
    };
    if packet.kind == Kind::Arp {
        return Ok(packet);
    }
    if link.is_group && !is_group(key.destination) {
        return Err(DropReason::GroupFrameUnicastPacket);
    }
    if packet.kind == Kind::Balanced && frame.checksum() == ReceivedChecksum::Bad {
        return Err(DropReason::TransportChecksum);
    }
    trim(frame, link.network + usize::from(packet.length));
    Ok(packet)
}

/// What the link layer says of a frame.
struct Link {
    network: usize,
    ether_type: u16,
    is_group: bool,
}

fn link(head: &[u8], port: &snapshot::Port) -> Result<Link, DropReason> {
    let ethernet: &Ethernet = ethernet::check(head)?;
    let is_group = ethernet.destination[0] & 1 == 1;
    if !is_group && ethernet.destination != port.mac.0 {
        return Err(DropReason::DestinationMacNotOurs);
    }
    if ethernet.source[0] & 1 == 1 {
        return Err(DropReason::SourceMacGroup);
    }
    let outer = ethernet.ether_type.get();
    if outer != ether_type::VLAN && outer != ether_type::QINQ {
        return Ok(Link { network: ethernet::HEADER, ether_type: outer, is_group });
    }
    let tag = vlan::check(head.get(ethernet::HEADER..).unwrap_or_default())?;
    let inner = tag.ether_type.get();
    if inner == ether_type::VLAN || inner == ether_type::QINQ {
        return Err(DropReason::VlanStacked);
    }
    // A priority tag, id 0, says nothing of a VLAN (IEEE 802.1Q, 9.6).
    if outer == ether_type::QINQ || tag.id() != 0 {
        return Err(DropReason::VlanUnknown);
    }
    Ok(Link { network: ethernet::HEADER + vlan::TAG, ether_type: inner, is_group })
}

fn parse_v4(
    bytes: &[u8],
    available: usize,
    network: u8,
    device: DeviceTraits,
    key: &mut FlowKey,
) -> Result<Packet, DropReason> {
    let layout = ipv4::check(bytes, available).map_err(|refusal| cut_or(device, refusal))?;
    let header = layout.header;
    key.source = Address::from_v4(header.source);
    key.destination = Address::from_v4(header.destination);
    let packet = Packet {
        network,
        transport: u16::from(network) + layout.length as u16,
        length: layout.total as u16,
        ttl: header.ttl,
        ..NOTHING
    };
    if layout.is_fragment {
        return Err(DropReason::Fragment);
    }
    let payload = bytes.get(layout.length..).unwrap_or_default();
    parse_transport(packet, header.protocol, payload, layout.total - layout.length, key)
}

fn parse_v6(
    bytes: &[u8],
    available: usize,
    network: u8,
    device: DeviceTraits,
    key: &mut FlowKey,
) -> Result<Packet, DropReason> {
    let layout = ipv6::check(bytes, available).map_err(|refusal| cut_or(device, refusal))?;
    let header = layout.header;
    key.source = Address::from_v6(header.source);
    key.destination = Address::from_v6(header.destination);
    let packet = Packet {
        v6: true,
        network,
        transport: u16::from(network) + layout.transport as u16,
        length: layout.total as u16,
        ttl: header.hop_limit,
        ..NOTHING
    };
    if layout.is_fragment {
        return Err(DropReason::Fragment);
    }
    let payload = bytes.get(layout.transport..).unwrap_or_default();
    parse_transport(packet, layout.protocol, payload, layout.total - layout.transport, key)
}

/// A packet longer than its frame was cut by the device's ring, where a device does that.
fn cut_or(device: DeviceTraits, refusal: wire::Refusal) -> DropReason {
    use wire::Refusal::{Ipv4TotalLengthBeyondFrame, Ipv6PayloadLengthBeyondFrame};
    match refusal {
        Ipv4TotalLengthBeyondFrame | Ipv6PayloadLengthBeyondFrame if device.cuts_frames => {
            DropReason::FrameCut
        }
        refusal => refusal.into(),
    }
}

fn parse_transport(
    packet: Packet,
    number: u8,
    bytes: &[u8],
    available: usize,
    key: &mut FlowKey,
) -> Result<Packet, DropReason> {
    key.protocol = number;
    match number {
        protocol::TCP => {
            let header = tcp::check(bytes, available)?;
            (key.source_port, key.destination_port) =
                (header.source_port.get(), header.destination_port.get());
            Ok(Packet { kind: Kind::Balanced, flags: header.flags, ..packet })
        }
        protocol::UDP => {
            let header = udp::check(bytes, available, packet.v6)?;
            (key.source_port, key.destination_port) =
                (header.source_port.get(), header.destination_port.get());
            Ok(Packet { kind: Kind::Balanced, ..packet })
        }
        protocol::ICMP if !packet.v6 => {
            wire::icmpv4::check(bytes, available)?;
            Ok(Packet { kind: Kind::Icmp, ..packet })
        }
        protocol::ICMPV6 if packet.v6 => {
            icmpv6::check(bytes, available)?;
            Ok(Packet { kind: Kind::Icmp, ..packet })
        }
        _ => Ok(Packet { kind: Kind::Other, ..packet }),
    }
}

/// Whether an address is a multicast or the limited broadcast address.
pub(crate) fn is_group(address: Address) -> bool {
    if address.is_v4() {
        matches!(address.v4(), [224..=239, ..] | [255, 255, 255, 255])
    } else {
        matches!(address.octets(), [0xff, ..])
    }
}

/// Cuts the padding that short frames have behind the packet.
fn trim<F: Frame>(frame: &mut F, length: usize) {
    if frame.length() > length {
        // Cutting the tail cannot fail.
        let _ = frame.resize(length);
    }
}
