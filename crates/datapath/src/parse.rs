//! What is this frame, and may it be here at all?
//!
//! After it no accessor can fail: offsets lie inside the frame's first segment, lengths inside the frame, and every
//! refusal has its reason. The checks follow RFC 1812, 5.2.2, and RFC 8200. What an address may be is checked when a packet
//! is admitted (`admit`): one that belongs to a flow has the addresses of a packet that was.

use flow::{FlowKey, FlowTable, Place, Way};
use model::Address;
use nic::{Frame, ReceivedChecksum};
use wire::{
    arp,
    ethernet::{self, Ethernet, Unicast, ether_type},
    icmpv6,
    ipv4::{self, EthernetIpv4Tcp},
    ipv6::{self, EthernetIpv6Tcp},
    protocol, tcp, udp, vlan,
};

use crate::{
    DropReason, host,
    packet::{Kind, Packet},
    snapshot::{self, DeviceTraits},
};

/// Headers are looked for in this many bytes; all of a chain that `wire` accepts fits.
const HEADERS: usize = 256;
/// EtherTypes below this are lengths (IEEE 802.3, 3.2.6).
pub(crate) const SMALLEST_ETHER_TYPE: u16 = 0x0600;

/// What packets are looked at with.
#[derive(Clone, Copy)]
pub(crate) struct Lens<'a> {
    /// The port that they came by.
    pub(crate) port: &'a snapshot::Port,
    pub(crate) addresses: &'a snapshot::Addresses,
    pub(crate) flows: &'a FlowTable,
}

/// What is kept from one packet of a burst to the next.
#[derive(Clone, Copy)]
pub(crate) struct Memo {
    to_us: Unicast,
    /// The last destination and what it says: most packets of a burst have the same.
    destination: ([u8; 4], Way),
}

impl Memo {
    pub(crate) fn new(lens: Lens<'_>) -> Self {
        let nowhere = [0; 4];
        // Other route domains take the long way, which looks at them: so this one has nothing to look at.
        let to_us = if lens.port.domain == 0 { Unicast::to(lens.port.mac.0) } else { Unicast::NONE };
        Self { to_us, destination: (nowhere, lens.addresses.way_v4(nowhere)) }
    }

    /// What a destination says.
    #[inline(always)]
    fn way(&mut self, lens: Lens<'_>, destination: [u8; 4]) -> Way {
        if self.destination.0 != destination {
            self.destination = (destination, way_v4(lens, destination));
        }
        self.destination.1
    }
}

/// Not within its caller, where nearly all packets have the destination of the one before: it would take registers from them.
#[cold]
#[inline(never)]
fn way_v4(lens: Lens<'_>, destination: [u8; 4]) -> Way {
    lens.addresses.way_v4(destination)
}

/// Parses one frame, and asks for the memory in which its flow is looked for first.
#[inline(always)]
pub(crate) fn parse_one<F: Frame>(
    lens: Lens<'_>,
    memo: &mut Memo,
    frame: &mut F,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    if parse_plain(lens, memo, frame, packet) {
        return Ok(());
    }
    parse_other(lens, memo.to_us, frame, packet)
}

/// Parses a frame that is not plain, or not right.
#[inline(never)]
fn parse_other<F: Frame>(
    lens: Lens<'_>,
    to_us: Unicast,
    frame: &mut F,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    let refusal = match wire::header::<EthernetIpv4Tcp>(frame.head(), 0) {
        Some(headers) if to_us.is(&headers.link) => refusal_v4(lens, frame, headers),
        // In other route domains nothing was looked at yet.
        Some(headers) if !to_us.is_none() => refusal_of_others(headers),
        _ => None,
    };
    refusal.map_or_else(|| parse(lens, frame, packet), Err)
}

/// Why an IPv4 packet without options that claims to be TCP and is for us is refused, as [`parse`] would say, only sooner: floods of
/// these are to cost little. `None` when it is another packet, or right.
#[inline(always)]
fn refusal_v4<F: Frame>(lens: Lens<'_>, frame: &F, headers: &EthernetIpv4Tcp) -> Option<DropReason> {
    let (head, length) = (frame.head(), frame.length());
    if !ipv4::claims_plain_tcp(headers) {
        return None;
    }
    let layout = match ipv4::check(head.get(ethernet::HEADER..)?, length - ethernet::HEADER) {
        Ok(layout) if layout.is_fragment => return None,
        Ok(layout) => layout,
        Err(refusal) => return Some(cut_or(lens.port.device, refusal)),
    };
    let segment = head.get(ethernet::HEADER + ipv4::HEADER..)?;
    tcp::check(segment, layout.total - layout.length).err().map(DropReason::from)
}

/// The same of a frame that is not for our MAC address, or comes from a group: it is for another node, or for a group and has an IPv4 packet for one
/// node (RFC 1812, 5.3.4).
#[inline(always)]
fn refusal_of_others(headers: &EthernetIpv4Tcp) -> Option<DropReason> {
    let EthernetIpv4Tcp { link, network, .. } = headers;
    let [is_for_group, is_from_group] = [link.destination, link.source].map(|[first, ..]| first & 1 == 1);
    if is_from_group {
        return None;
    }
    if !is_for_group {
        return Some(DropReason::DestinationMacNotOurs);
    }
    let is_for_one =
        link.ether_type.get() == ether_type::IPV4 && !is_group(Address::from_v4(network.destination));
    is_for_one.then_some(DropReason::GroupFrameUnicastPacket)
}

/// Parses a frame of the kinds that nearly all are: untagged, IP without options or extensions, TCP or over IPv4 UDP, to our MAC address. What
/// [`parse`] would say of it is the same but for the kind; false when it is of another kind, or something is wrong with it.
#[inline(always)]
fn parse_plain<F: Frame>(lens: Lens<'_>, memo: &mut Memo, frame: &mut F, packet: &mut Packet) -> bool {
    let length = frame.length();
    let Some(headers) = wire::header::<EthernetIpv4Tcp>(frame.head(), 0) else { return false };
    if !memo.to_us.is(&headers.link) || frame.checksum() == ReceivedChecksum::Bad {
        return false;
    }
    if !ipv4::is_plain(headers, length) {
        return match (headers.link.ether_type.get(), headers.network.protocol) {
            (ether_type::IPV4, protocol::UDP) => parse_plain_udp(lens, memo, frame, packet),
            (ether_type::IPV6, _) => parse_plain_v6(lens, frame, packet),
            _ => false,
        };
    }
    let total = usize::from(headers.network.total_length.get());
    lay_out_v4(lens, memo, headers, (protocol::TCP, headers.transport.flags), packet);
    trim(frame, length, ethernet::HEADER + total);
    true
}

/// The same for UDP over IPv4. Not within its caller, as is [`parse_plain_v6`]: nearly all packets are TCP's, and it would take registers
/// from them.
#[inline(never)]
fn parse_plain_udp<F: Frame>(lens: Lens<'_>, memo: &mut Memo, frame: &mut F, packet: &mut Packet) -> bool {
    let length = frame.length();
    let Some(headers) = wire::header::<EthernetIpv4Tcp>(frame.head(), 0) else { return false };
    if !ipv4::is_plain_udp(headers, length) {
        return false;
    }
    let total = usize::from(headers.network.total_length.get());
    lay_out_v4(lens, memo, headers, (protocol::UDP, 0), packet);
    trim(frame, length, ethernet::HEADER + total);
    true
}

/// What is known of a plain packet over IPv4.
#[inline(always)]
fn lay_out_v4(
    lens: Lens<'_>,
    memo: &mut Memo,
    headers: &EthernetIpv4Tcp,
    (protocol, flags): (u8, u8),
    packet: &mut Packet,
) {
    let way = memo.way(lens, headers.network.destination);
    // Before its flow's place, which takes all registers.
    packet.kind = Kind::PlainV4;
    packet.v6 = false;
    packet.network = ethernet::HEADER as u8;
    packet.flags = flags;
    packet.transport = (ethernet::HEADER + ipv4::HEADER) as u16;
    packet.length = headers.network.total_length.get();
    let place = lens.flows.place_v4(way, &headers.ends(), protocol, 0);
    lens.flows.prefetch(place);
    packet.place = place;
}

#[inline(never)]
fn parse_plain_v6<F: Frame>(lens: Lens<'_>, frame: &mut F, packet: &mut Packet) -> bool {
    let now = frame.length();
    let Some(headers) = wire::header::<EthernetIpv6Tcp>(frame.head(), 0) else { return false };
    if !ipv6::is_plain(headers, now) {
        return false;
    }
    let EthernetIpv6Tcp { network, transport, .. } = headers;
    let key = FlowKey {
        source: Address::from_v6(network.source),
        destination: Address::from_v6(network.destination),
        source_port: transport.source_port.get(),
        destination_port: transport.destination_port.get(),
        protocol: protocol::TCP,
        ..FlowKey::default()
    };
    let length = network.payload_length.get().checked_add(ipv6::HEADER as u16);
    let Some(length) = length.filter(|_| !key.source.is_v4() && !key.destination.is_v4()) else {
        return false;
    };
    let place = lens.flows.place(lens.addresses.way(key.destination), &key);
    lens.flows.prefetch(place);
    *packet = Packet {
        kind: Kind::PlainV6,
        v6: true,
        network: ethernet::HEADER as u8,
        flags: transport.flags,
        transport: (ethernet::HEADER + ipv6::HEADER) as u16,
        length,
        place,
    };
    trim(frame, now, ethernet::HEADER + usize::from(length));
    true
}

#[inline]
fn parse<F: Frame>(lens: Lens<'_>, frame: &mut F, packet: &mut Packet) -> Result<(), DropReason> {
    let (port, key) = (lens.port, &mut FlowKey::default());
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
            arp::check(bytes, link.source)?;
            *packet = Packet { kind: Kind::Arp, network: link.network as u8, ..Packet::NONE };
            return Ok(());
        }
        kind if port.host && host::is_of_link(frame.head(), kind) => {
            *packet = Packet { kind: Kind::Link, ..Packet::NONE };
            return Ok(());
        }
        below if below < SMALLEST_ETHER_TYPE => return Err(DropReason::EtherTypeIsLength),
        _ => return Err(DropReason::EtherTypeUnknown),
    };
    // In frames of IPv4 that are too short for `refusal_of_others`, or IPv6's.
    if link.is_group && !is_group(key.destination) {
        return Err(DropReason::GroupFrameUnicastPacket);
    }
    if packet.is_balanced() && frame.checksum() == ReceivedChecksum::Bad {
        return Err(DropReason::TransportChecksum);
    }
    trim(frame, length, link.network + usize::from(packet.length));
    if packet.has_flow() {
        key.domain = port.domain;
        packet.place = lens.flows.place(lens.addresses.way(key.destination), key);
        lens.flows.prefetch(packet.place);
    }
    Ok(())
}

/// What the link layer says of a frame.
struct Link {
    source: [u8; 6],
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
    let source = ethernet.source;
    if source[0] & 1 == 1 {
        return Err(DropReason::SourceMacGroup);
    }
    let outer = ethernet.ether_type.get();
    if outer != ether_type::VLAN && outer != ether_type::QINQ {
        return Ok(Link { source, network: ethernet::HEADER, ether_type: outer, is_group });
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
    Ok(Link { source, network: ethernet::HEADER + vlan::TAG, ether_type: inner, is_group })
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
    let payload = bytes.get(layout.length..).unwrap_or_default();
    let available = layout.total - layout.length;
    let transport = if layout.is_fragment {
        parse_fragment(ipv4::fragment(header), available)?
    } else {
        parse_transport(header.protocol, payload, available, false)?
    };
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
        flags: transport.flags,
        place: Place::NOWHERE,
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
    let payload = bytes.get(layout.transport..).unwrap_or_default();
    let available = layout.total - layout.transport;
    let transport = match layout.fragment {
        Some(fragment) => parse_fragment(fragment, available)?,
        None => parse_transport(layout.protocol, payload, available, true)?,
    };
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
        length: u16::try_from(layout.total).map_err(|_| DropReason::FrameOverMtu)?,
        flags: transport.flags,
        place: Place::NOWHERE,
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

/// What a fragment carries is looked at when it is served (`fragment`).
#[cold]
fn parse_fragment(fragment: wire::fragment::Fragment, length: usize) -> Result<Transport, DropReason> {
    fragment.check(length)?;
    Ok(Transport { kind: Kind::Fragment, source_port: 0, destination_port: 0, flags: 0 })
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
        gateway::{CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS_MAC},
        packets::{ACK, tcp, udp},
    };

    use super::*;
    use crate::snapshot::Senders;

    fn port() -> snapshot::Port {
        snapshot::Port {
            mac: MacAddress(CLIENTS_MAC),
            mtu: 1500,
            last_hop: true,
            host: false,
            host_limit: 0,
            device: DeviceTraits::default(),
            senders: Senders::default(),
            neighbours: Vec::new(),
            domain: 0,
            tag: None,
            vlans: Vec::new(),
            spread: None,
        }
    }

    /// What one way says of a frame, when it accepts it: the packet, and its key.
    type Said = Option<(Packet, FlowKey)>;

    /// What both ways say of the bytes: the plain one, and the long one.
    fn both(lens: Lens<'_>, bytes: &[u8]) -> (Said, Said) {
        let said = |say: fn(Lens<'_>, &mut MemoryFrame, &mut Packet) -> bool| {
            let (mut packet, mut frame) = (Packet::NONE, MemoryFrame::new(bytes));
            say(lens, &mut frame, &mut packet).then(|| (packet, packet.key(frame.head(), 0)))
        };
        let plain: fn(Lens<'_>, &mut MemoryFrame, &mut Packet) -> bool =
            |lens, frame, packet| parse_plain(lens, &mut Memo::new(lens), frame, packet);
        (said(plain), said(|lens, frame, packet| parse(lens, frame, packet).is_ok()))
    }

    fn but_for_the_kind((packet, key): (Packet, FlowKey)) -> (Packet, FlowKey) {
        (Packet { kind: Kind::Balanced, ..packet }, key)
    }

    /// Both ways must say the same of every change of one byte, and the short one must take all TCP whose header lies at
    /// `transport`. Returns how many frames that were.
    fn compare(good: &[u8], transport: u16, repair: impl Fn(&mut [u8])) -> usize {
        let (port, addresses) = (port(), snapshot::Addresses::default());
        let flows = FlowTable::with_capacity(0, flow::HashKey::from_seed([1; 16], 0));
        let lens = Lens { port: &port, addresses: &addresses, flows: &flows };
        let mut plain_ones = 0;
        for (offset, value) in
            (0..good.len()).flat_map(|offset| (0..=u8::MAX).map(move |value| (offset, value)))
        {
            let mut bytes = good.to_vec();
            bytes[offset] = value;
            repair(&mut bytes);
            let (plain, long) = both(lens, &bytes);
            let is_plain = long.is_some_and(|(packet, ..)| {
                packet.is_balanced() && packet.transport == transport && (packet.is_tcp() || !packet.v6)
            });
            assert_eq!(plain.is_some(), is_plain, "byte {offset} = {value}");
            if is_plain {
                assert_eq!(plain.map(but_for_the_kind), long, "byte {offset} = {value}");
                plain_ones += 1;
            }
        }
        plain_ones
    }

    /// Makes the IPv4 header's checksum right.
    fn repair_header(bytes: &mut [u8]) {
        bytes[24..26].copy_from_slice(&[0, 0]);
        let checksum = !wire::checksum::Sum::of(&bytes[14..34]).fold();
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
    }

    fn segment(from: &str) -> Vec<u8> {
        let end = |port| std::net::SocketAddr::new(from.parse().unwrap(), port);
        tcp((CLIENT_MAC, CLIENTS_MAC), end(40_001), end(80), ACK, b"hello")
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says() {
        let good = segment(CLIENT);
        let unrepaired = compare(&good, 34, |_| {});
        let repaired = compare(&good, 34, repair_header);
        assert!(unrepaired > 5_000 && repaired > unrepaired + 2_000, "{unrepaired}, {repaired}");
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says_of_udp() {
        let end = |port| std::net::SocketAddr::new(CLIENT.parse().unwrap(), port);
        let good = udp((CLIENT_MAC, CLIENTS_MAC), end(40_001), end(80), b"hello, collector");
        let unrepaired = compare(&good, 34, |_| {});
        let repaired = compare(&good, 34, repair_header);
        assert!(unrepaired > 5_000 && repaired > unrepaired + 2_000, "{unrepaired}, {repaired}");
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says_of_ipv6() {
        let good = segment(CLIENT_6);
        assert!(compare(&good, 54, |_| {}) > 10_000);
        let mapped =
            |bytes: &mut [u8]| bytes[22..34].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(compare(&good, 54, mapped), 0, "an IPv4 address in IPv6");
    }
}
