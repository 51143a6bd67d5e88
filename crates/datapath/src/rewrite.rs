//! What changes in a packet: Ethernet addresses, and new addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Flow, FlowKey, Repair, Side};
use model::{Address, MacAddress, Mode, PortId};
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

use crate::{
    DropReason, Snapshot,
    packet::{Kind, Packet},
};

/// Writes all that changes in a packet of a flow that leaves by a port: both Ethernet addresses, and unless the mode leaves the
/// packet as it is, addresses, ports and TTL, with the checksums over them repaired.
#[inline(always)]
pub(crate) fn rewrite<F: Frame>(
    snapshot: &Snapshot,
    (frame, packet): (&mut F, &Packet),
    (flow, side): (&Flow, Side),
    (port, mac): (PortId, MacAddress),
) -> Result<(), DropReason> {
    let port = snapshot.port(port).ok_or(DropReason::NoRoute)?;
    if packet.length > port.mtu {
        return Err(DropReason::FrameOverMtu);
    }
    let head = frame.head_mut();
    if packet.kind == Kind::PlainV4
        && flow.mode != Mode::Dsr
        && let Some(headers) = wire::header_mut::<EthernetIpv4Tcp>(head, 0)
    {
        // Nearly all packets: all headers at once.
        if headers.network.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        let ends = Ends::of(flow, side);
        (headers.link.destination, headers.link.source) = (mac.0, port.mac.0);
        translate_v4(&mut headers.network, &ends);
        translate_tcp(&mut headers.transport, &ends);
        return Ok(());
    }
    rewrite_other(head, packet, (flow, side), (mac, port.mac))
}

/// Rewrites a packet of any kind.
#[inline(never)]
fn rewrite_other(
    head: &mut [u8],
    packet: &Packet,
    (flow, side): (&Flow, Side),
    (to, from): (MacAddress, MacAddress),
) -> Result<(), DropReason> {
    if flow.mode != Mode::Dsr {
        let ends = Ends::of(flow, side);
        translate_network(head, packet, &ends)?;
        translate_transport(head, packet, &ends);
    }
    write_link(head, to, from);
    Ok(())
}

/// Writes both Ethernet addresses.
#[inline]
pub(crate) fn write_link(head: &mut [u8], to: MacAddress, from: MacAddress) {
    if let Some(header) = wire::header_mut::<Ethernet>(head, 0) {
        (header.destination, header.source) = (to.0, from.0);
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

/// Writes addresses and TTL, unless that has expired.
#[inline]
fn translate_network(head: &mut [u8], packet: &Packet, ends: &Ends<'_>) -> Result<(), DropReason> {
    let network = usize::from(packet.network);
    if packet.v6 {
        let header = wire::header_mut::<Ipv6>(head, network).ok_or(DropReason::HeadersScattered)?;
        header.hop_limit = header.hop_limit.checked_sub(2).ok_or(DropReason::TtlExpired)? + 1;
        header.source = ends.source.0.octets();
        header.destination = ends.destination.0.octets();
    } else {
        let header = wire::header_mut::<Ipv4>(head, network).ok_or(DropReason::HeadersScattered)?;
        if header.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        translate_v4(header, ends);
    }
    Ok(())
}

/// Writes ports.
#[inline]
fn translate_transport(head: &mut [u8], packet: &Packet, ends: &Ends<'_>) {
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
    header.ttl = header.ttl.wrapping_sub(1); // above 1: the callers have looked
    header.checksum = U16::new(Delta(ends.repair.network).apply(header.checksum.get()));
}

#[inline(always)]
fn translate_tcp(header: &mut Tcp, ends: &Ends<'_>) {
    header.source_port = U16::new(ends.source.1);
    header.destination_port = U16::new(ends.destination.1);
    header.checksum = U16::new(Delta(ends.repair.transport).apply(header.checksum.get()));
}
