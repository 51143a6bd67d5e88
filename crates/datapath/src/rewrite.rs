//! What changes in a packet: Ethernet addresses, and new addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Flow, FlowKey, Repair, Side};
use model::{Address, MacAddress, Mode};
use nic::Frame;
use wire::{
    U16,
    checksum::Delta,
    ethernet::Ethernet,
    ipv4::{EthernetIpv4Tcp, Ipv4},
    ipv6::Ipv6,
    tcp::Tcp,
    udp::Udp,
};

use crate::packet::Packet;

/// The Ethernet addresses of a frame that leaves.
pub(crate) struct Link {
    pub(crate) destination: MacAddress,
    pub(crate) source: MacAddress,
}

/// Writes all that changes in a packet of a flow: both Ethernet addresses, and unless the mode leaves the packet as it is,
/// addresses, ports and TTL, with the checksums over them repaired.
#[inline(always)]
pub(crate) fn rewrite<F: Frame>(frame: &mut F, packet: &Packet, (flow, side): (&Flow, Side), link: &Link) {
    let head = frame.head_mut();
    if flow.mode == Mode::Dsr {
        return write_link(head, link);
    }
    if packet.is_plain() {
        // Nearly all packets: all headers at once.
        if let Some(headers) = wire::header_mut::<EthernetIpv4Tcp>(head, 0) {
            let ends = Ends::of(flow, side);
            headers.link.destination = link.destination.0;
            headers.link.source = link.source.0;
            translate_v4(&mut headers.network, &ends);
            translate_tcp(&mut headers.transport, &ends);
        }
    } else {
        write_link(head, link);
        translate(head, packet, flow, side);
    }
}

/// Writes both Ethernet addresses.
#[inline]
pub(crate) fn write_link(head: &mut [u8], link: &Link) {
    if let Some(header) = wire::header_mut::<Ethernet>(head, 0) {
        header.destination = link.destination.0;
        header.source = link.source.0;
    }
}

/// New ends of a packet and what they do to its checksums.
struct Ends<'a> {
    source: (&'a Address, u16),
    destination: (&'a Address, u16),
    repair: Repair,
}

impl<'a> Ends<'a> {
    /// The ends of a flow's packet that came from one side, when it leaves on the other.
    #[inline(always)]
    fn of(flow: &'a Flow, side: Side) -> Self {
        match side {
            Side::Client => Self::opposite(&flow.reply, flow.to_backend),
            Side::Backend => Self::opposite(&flow.client, flow.to_client),
        }
    }

    /// The ends of a packet in the opposite direction of `key`.
    fn opposite(key: &'a FlowKey, repair: Repair) -> Self {
        let source = (&key.destination, key.destination_port);
        Self { source, destination: (&key.source, key.source_port), repair }
    }
}

/// Writes addresses, ports and TTL of a packet of any kind, and repairs the checksums over them.
#[inline(never)]
fn translate(head: &mut [u8], packet: &Packet, flow: &Flow, side: Side) {
    let ends = &Ends::of(flow, side);
    if packet.v6 {
        translate_v6(head, packet, ends);
    } else if let Some(header) = wire::header_mut::<Ipv4>(head, usize::from(packet.network)) {
        translate_v4(header, ends);
    }
    let transport = usize::from(packet.transport);
    if packet.flags != 0 {
        if let Some(header) = wire::header_mut::<Tcp>(head, transport) {
            translate_tcp(header, ends);
        }
    } else if let Some(header) = wire::header_mut::<Udp>(head, transport) {
        header.source_port = U16::new(ends.source.1);
        header.destination_port = U16::new(ends.destination.1);
        header.checksum = U16::new(Delta(ends.repair.transport).apply_udp(header.checksum.get()));
    }
}

#[inline(always)]
fn translate_v4(header: &mut Ipv4, ends: &Ends<'_>) {
    header.source = ends.source.0.v4();
    header.destination = ends.destination.0.v4();
    header.ttl = header.ttl.wrapping_sub(1); // above 1: `serve` has looked
    header.checksum = U16::new(Delta(ends.repair.network).apply(header.checksum.get()));
}

#[inline(always)]
fn translate_v6(head: &mut [u8], packet: &Packet, ends: &Ends<'_>) {
    if let Some(header) = wire::header_mut::<Ipv6>(head, usize::from(packet.network)) {
        header.source = ends.source.0.octets();
        header.destination = ends.destination.0.octets();
        header.hop_limit = header.hop_limit.wrapping_sub(1); // above 1: `serve` has looked
    }
}

#[inline(always)]
fn translate_tcp(header: &mut Tcp, ends: &Ends<'_>) {
    header.source_port = U16::new(ends.source.1);
    header.destination_port = U16::new(ends.destination.1);
    header.checksum = U16::new(Delta(ends.repair.transport).apply(header.checksum.get()));
}
