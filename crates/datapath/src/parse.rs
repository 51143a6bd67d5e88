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
    icmpv6,
    ipv4::{self, EthernetIpv4Tcp},
    ipv6, protocol, tcp, udp, vlan,
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
#[inline(never)]
pub(crate) fn parse_all<F: Frame>(port: &snapshot::Port, burst: &mut Burst<F>, packets: &mut Packets) {
    for frame in burst.iter() {
        if let Some(line) = frame.head().first_chunk::<64>() {
            cpu::prefetch(line);
        }
    }
    packets.count = burst.len();
    let known = packets.packets.iter_mut().zip(&mut packets.keys).zip(&mut packets.steps);
    for (frame, ((packet, key), step)) in burst.iter_mut().zip(known) {
        *step = Step::Parsed;
        if !parse_plain(port, frame, packet, key)
            && let Err(reason) = parse(port, frame, packet, key)
        {
            *step = Step::Done(Verdict::Drop(reason));
        }
    }
}

/// Parses a frame of the kind that nearly all are: IPv4 without options, TCP, to our MAC address. What [`parse`] would say of
/// it is the same; false when it is of another kind, or something is wrong with it.
#[inline]
fn parse_plain<F: Frame>(
    port: &snapshot::Port,
    frame: &mut F,
    packet: &mut Packet,
    key: &mut FlowKey,
) -> bool {
    let length = frame.length();
    let Some(headers) = wire::header::<EthernetIpv4Tcp>(frame.head(), 0) else { return false };
    let EthernetIpv4Tcp { link, network, transport } = headers;
    let is_ours = (link.destination == port.mac.0) & (link.source[0] & 1 == 0);
    if !is_ours || !ipv4::is_plain(headers, length) || frame.checksum() == ReceivedChecksum::Bad {
        return false;
    }
    *key = FlowKey {
        source: Address::from_v4(network.source),
        destination: Address::from_v4(network.destination),
        source_port: transport.source_port.get(),
        destination_port: transport.destination_port.get(),
        protocol: protocol::TCP,
        ..FlowKey::default()
    };
    let total = network.total_length.get();
    *packet = Packet {
        kind: Kind::Balanced,
        v6: false,
        network: ethernet::HEADER as u8,
        transport: (ethernet::HEADER + ipv4::HEADER) as u16,
        length: total,
        ttl: network.ttl,
        flags: transport.flags,
    };
    trim(frame, length, ethernet::HEADER + usize::from(total));
    true
}

#[inline(never)]
fn parse<F: Frame>(
    port: &snapshot::Port,
    frame: &mut F,
    packet: &mut Packet,
    key: &mut FlowKey,
) -> Result<(), DropReason> {
    let length = frame.length();
    if frame.head().len() < HEADERS.min(length) && !frame.pull(HEADERS.min(length)) {
        return Err(DropReason::HeadersScattered);
    }
    let link = link(frame.head(), port)?;
    let bytes = frame.head().get(link.network..).unwrap_or_default();
    let available = length.saturating_sub(link.network);
    *packet = match link.ether_type {
        ether_type::IPV4 => parse_v4(bytes, available, link.network, port.device, key)?,
        ether_type::IPV6 => parse_v6(bytes, available, link.network, port.device, key)?,
        ether_type::ARP => {
            *packet = Packet { kind: Kind::Arp, network: link.network as u8, ..Packet::NONE };
            *key = FlowKey::default(); // no flow has it
            return Ok(());
        }
        below if below < SMALLEST_ETHER_TYPE => return Err(DropReason::EtherTypeIsLength),
        _ => return Err(DropReason::EtherTypeUnknown),
    };
    if link.is_group && !is_group(key.destination) {
        return Err(DropReason::GroupFrameUnicastPacket);
    }
    if packet.kind == Kind::Balanced && frame.checksum() == ReceivedChecksum::Bad {
        return Err(DropReason::TransportChecksum);
    }
    trim(frame, length, link.network + usize::from(packet.length));
    Ok(())
}

/// What the link layer says of a frame.
struct Link {
    network: usize,
    ether_type: u16,
    is_group: bool,
}

#[inline]
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

#[inline]
fn parse_v4(
    bytes: &[u8],
    available: usize,
    network: usize,
    device: DeviceTraits,
    key: &mut FlowKey,
) -> Result<Packet, DropReason> {
    let layout = ipv4::check(bytes, available).map_err(|refusal| cut_or(device, refusal))?;
    let header = layout.header;
    if layout.is_fragment {
        return Err(DropReason::Fragment);
    }
    let payload = bytes.get(layout.length..).unwrap_or_default();
    let transport = parse_transport(header.protocol, payload, layout.total - layout.length, false)?;
    *key = FlowKey {
        source: Address::from_v4(header.source),
        destination: Address::from_v4(header.destination),
        source_port: transport.source_port,
        destination_port: transport.destination_port,
        protocol: header.protocol,
        ..FlowKey::default()
    };
    Ok(Packet {
        kind: transport.kind,
        v6: false,
        network: network as u8,
        transport: (network + layout.length) as u16,
        length: layout.total as u16,
        ttl: header.ttl,
        flags: transport.flags,
    })
}

#[inline]
fn parse_v6(
    bytes: &[u8],
    available: usize,
    network: usize,
    device: DeviceTraits,
    key: &mut FlowKey,
) -> Result<Packet, DropReason> {
    let layout = ipv6::check(bytes, available).map_err(|refusal| cut_or(device, refusal))?;
    let header = layout.header;
    if layout.is_fragment {
        return Err(DropReason::Fragment);
    }
    let payload = bytes.get(layout.transport..).unwrap_or_default();
    let transport = parse_transport(layout.protocol, payload, layout.total - layout.transport, true)?;
    *key = FlowKey {
        source: Address::from_v6(header.source),
        destination: Address::from_v6(header.destination),
        source_port: transport.source_port,
        destination_port: transport.destination_port,
        protocol: layout.protocol,
        ..FlowKey::default()
    };
    // To all that follows a mapped address is IPv4's; on a link there is none (RFC 4291, 2.5.5.2).
    if key.source.is_v4() {
        return Err(DropReason::SourceMartian);
    }
    if key.destination.is_v4() {
        return Err(DropReason::DestinationMartian);
    }
    Ok(Packet {
        kind: transport.kind,
        v6: true,
        network: network as u8,
        transport: (network + layout.transport) as u16,
        length: layout.total as u16,
        ttl: header.hop_limit,
        flags: transport.flags,
    })
}

/// A packet longer than its frame was cut by the device's ring, where a device does that.
#[cold]
fn cut_or(device: DeviceTraits, refusal: wire::Refusal) -> DropReason {
    use wire::Refusal::{Ipv4TotalLengthBeyondFrame, Ipv6PayloadLengthBeyondFrame};
    match refusal {
        Ipv4TotalLengthBeyondFrame | Ipv6PayloadLengthBeyondFrame if device.cuts_frames => {
            DropReason::FrameCut
        }
        refusal => refusal.into(),
    }
}

/// What the L4 header says.
struct Transport {
    kind: Kind,
    source_port: u16,
    destination_port: u16,
    flags: u8,
}

#[inline]
fn parse_transport(number: u8, bytes: &[u8], available: usize, v6: bool) -> Result<Transport, DropReason> {
    let portless = |kind| Transport { kind, source_port: 0, destination_port: 0, flags: 0 };
    match number {
        protocol::TCP => {
            let header = tcp::check(bytes, available)?;
            let (source_port, destination_port) = (header.source_port.get(), header.destination_port.get());
            Ok(Transport { kind: Kind::Balanced, source_port, destination_port, flags: header.flags })
        }
        protocol::UDP => {
            let header = udp::check(bytes, available, v6)?;
            let (source_port, destination_port) = (header.source_port.get(), header.destination_port.get());
            Ok(Transport { kind: Kind::Balanced, source_port, destination_port, flags: 0 })
        }
        protocol::ICMP if !v6 => {
            wire::icmpv4::check(bytes, available)?;
            Ok(portless(Kind::Icmp))
        }
        protocol::ICMPV6 if v6 => {
            icmpv6::check(bytes, available)?;
            Ok(portless(Kind::Icmp))
        }
        _ => Ok(portless(Kind::Other)),
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
#[inline]
fn trim<F: Frame>(frame: &mut F, now: usize, length: usize) {
    if now > length {
        // Cutting the tail cannot fail.
        let _ = frame.resize(length);
    }
}

#[cfg(test)]
mod tests {
    use model::MacAddress;
    use testkit::{
        MemoryFrame,
        gateway::{CLIENT, CLIENT_MAC, CLIENTS_MAC},
        packets::{ACK, tcp},
    };

    use super::*;
    use crate::snapshot::Senders;

    fn port() -> snapshot::Port {
        snapshot::Port {
            mac: MacAddress(CLIENTS_MAC),
            mtu: 1500,
            last_hop: true,
            host: false,
            device: DeviceTraits::default(),
            senders: Senders::default(),
            neighbours: Vec::new(),
        }
    }

    /// What one way says of a frame, when it accepts it.
    type Said = Option<(Packet, FlowKey)>;

    /// What both ways say of the bytes: the plain one, and the long one.
    fn both(bytes: &[u8]) -> (Said, Said) {
        let (mut packet, mut key) = (Packet::NONE, FlowKey::default());
        let is_plain = parse_plain(&port(), &mut MemoryFrame::new(bytes), &mut packet, &mut key);
        let plain = is_plain.then_some((packet, key));
        let (mut packet, mut key) = (Packet::NONE, FlowKey::default());
        let is_right = parse(&port(), &mut MemoryFrame::new(bytes), &mut packet, &mut key).is_ok();
        (plain, is_right.then_some((packet, key)))
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says() {
        let end = |port| std::net::SocketAddr::new(CLIENT.parse().unwrap(), port);
        let good = tcp((CLIENT_MAC, CLIENTS_MAC), end(40_001), end(80), ACK, b"hello");
        let mut plain_ones = 0;
        for offset in 0..good.len() {
            for value in 0..=u8::MAX {
                let mut bytes = good.clone();
                bytes[offset] = value;
                // The header's checksum is made right again, or every change would stop there.
                bytes[24..26].copy_from_slice(&[0, 0]);
                let checksum = !wire::checksum::Sum::of(&bytes[14..34]).fold();
                bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
                let (plain, long) = both(&bytes);
                if plain.is_some() {
                    assert_eq!(plain, long, "byte {offset} = {value}");
                    plain_ones += 1;
                }
                let is_tcp = long.is_some_and(|(packet, _)| packet.flags != 0 && packet.transport == 34);
                assert_eq!(plain.is_some(), is_tcp, "byte {offset} = {value}");
            }
        }
        assert!(plain_ones > 1000);
    }
}
