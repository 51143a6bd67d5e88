//! New addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Flow, FlowKey, Repair, Side};
use model::Address;
use nic::Frame;
use wire::{
    U16,
    checksum::Delta,
    ipv4::{self, Ipv4, Ipv4Tcp},
    ipv6::Ipv6,
    tcp::Tcp,
    udp::Udp,
};

use crate::packet::Packet;

/// Writes what the flow's packets carry on the other side.
#[inline(always)]
pub(crate) fn rewrite<F: Frame>(frame: &mut F, packet: &Packet, flow: &Flow, side: Side) {
    let ends = match side {
        Side::Client => Ends::opposite(&flow.reply, flow.to_backend),
        Side::Backend => Ends::opposite(&flow.client, flow.to_client),
    };
    translate(frame.head_mut(), packet, &ends);
}

/// New ends of a packet and what they do to its checksums.
struct Ends<'a> {
    source: (&'a Address, u16),
    destination: (&'a Address, u16),
    repair: Repair,
}

impl<'a> Ends<'a> {
    /// The ends of a packet in the opposite direction of `key`.
    fn opposite(key: &'a FlowKey, repair: Repair) -> Self {
        let source = (&key.destination, key.destination_port);
        Self { source, destination: (&key.source, key.source_port), repair }
    }
}

/// Writes addresses, ports and TTL, and repairs the checksums over them.
#[inline]
fn translate(head: &mut [u8], packet: &Packet, ends: &Ends<'_>) {
    if packet.v6 {
        translate_v6(head, packet, ends);
    } else if packet.flags != 0 && usize::from(packet.transport - u16::from(packet.network)) == ipv4::HEADER {
        // Nearly all packets: both headers at once.
        if let Some(headers) = wire::header_mut::<Ipv4Tcp>(head, usize::from(packet.network)) {
            translate_v4(&mut headers.network, ends);
            translate_tcp(&mut headers.transport, ends);
        }
        return;
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

#[inline]
fn translate_v4(header: &mut Ipv4, ends: &Ends<'_>) {
    header.source = ends.source.0.v4();
    header.destination = ends.destination.0.v4();
    header.ttl = header.ttl.wrapping_sub(1); // above 1: `serve` has looked
    header.checksum = U16::new(Delta(ends.repair.network).apply(header.checksum.get()));
}

#[inline]
fn translate_v6(head: &mut [u8], packet: &Packet, ends: &Ends<'_>) {
    if let Some(header) = wire::header_mut::<Ipv6>(head, usize::from(packet.network)) {
        header.source = ends.source.0.octets();
        header.destination = ends.destination.0.octets();
        header.hop_limit = header.hop_limit.wrapping_sub(1); // above 1: `serve` has looked
    }
}

#[inline]
fn translate_tcp(header: &mut Tcp, ends: &Ends<'_>) {
    header.source_port = U16::new(ends.source.1);
    header.destination_port = U16::new(ends.destination.1);
    header.checksum = U16::new(Delta(ends.repair.transport).apply(header.checksum.get()));
}
