//! What changes in a packet: Ethernet addresses, and new addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Ends, Hit, Hot, Repair, Side, Wide};
use model::{Address, MacAddress, Mode, PortId};
use nic::Frame;
use wire::{
    U16,
    checksum::Delta,
    ethernet::Ethernet,
    ipv4::{EthernetIpv4Tcp, Ipv4},
    ipv6::{EthernetIpv6Tcp, Ipv6},
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
    flow: &Hit<'_>,
    (port, mac): (PortId, &MacAddress),
) -> Result<(), DropReason> {
    let port = snapshot.port(port).ok_or(DropReason::NoRoute)?;
    if packet.length > port.mtu {
        return Err(DropReason::FrameOverMtu);
    }
    let head = frame.head_mut();
    // Nearly all packets: all headers at once.
    if flow.hot.mode() != Mode::Dsr {
        let (ends, repair) = (flow.hot.ends(flow.side.opposite()), flow.hot.repair(flow.side));
        if packet.kind == Kind::PlainV4
            && let Some(headers) = wire::header_mut::<EthernetIpv4Tcp>(head, 0)
        {
            if headers.network.ttl <= 1 {
                return Err(DropReason::TtlExpired);
            }
            (headers.link.destination, headers.link.source) = (mac.0, port.mac.0);
            translate_v4(&mut headers.network, (ends.destination, ends.source), repair);
            translate_tcp(&mut headers.transport, ends, repair);
            return Ok(());
        }
        if packet.kind == Kind::PlainV6
            && let Some(wide) = flow.wide
        {
            let addresses = wide.addresses(flow.side.opposite());
            return rewrite_plain_v6(head, addresses, (ends, repair), (mac, &port.mac));
        }
    }
    rewrite_other(head, packet, (flow.hot, flow.wide, flow.side), (mac, &port.mac))
}

/// Not within its caller, where nearly all packets are IPv4's: it would take registers from them.
#[inline(never)]
fn rewrite_plain_v6(
    head: &mut [u8],
    addresses: &[Address; 2],
    (ends, repair): (&Ends, Repair),
    (to, from): (&MacAddress, &MacAddress),
) -> Result<(), DropReason> {
    let headers = wire::header_mut::<EthernetIpv6Tcp>(head, 0).ok_or(DropReason::HeadersScattered)?;
    if headers.network.hop_limit <= 1 {
        return Err(DropReason::TtlExpired);
    }
    (headers.link.destination, headers.link.source) = (to.0, from.0);
    translate_v6(&mut headers.network, addresses);
    translate_tcp(&mut headers.transport, ends, repair);
    Ok(())
}

/// Rewrites a packet of any kind. All by value, so that the caller's can stay in registers.
#[inline(never)]
fn rewrite_other(
    head: &mut [u8],
    packet: &Packet,
    (hot, wide, side): (&Hot, Option<&Wide>, Side),
    (to, from): (&MacAddress, &MacAddress),
) -> Result<(), DropReason> {
    if hot.mode() != Mode::Dsr {
        let (ends, repair) = (hot.ends(side.opposite()), hot.repair(side));
        translate_network(head, packet, hot.addresses(side.opposite(), wide), repair)?;
        translate_transport(head, packet, ends, repair);
    }
    write_link(head, *to, *from);
    Ok(())
}

/// Writes both Ethernet addresses.
#[inline]
pub(crate) fn write_link(head: &mut [u8], to: MacAddress, from: MacAddress) {
    if let Some(header) = wire::header_mut::<Ethernet>(head, 0) {
        (header.destination, header.source) = (to.0, from.0);
    }
}

/// Writes addresses and TTL, unless that has expired. Source and destination are those of the opposite direction.
#[inline]
fn translate_network(
    head: &mut [u8],
    packet: &Packet,
    addresses: [Address; 2],
    repair: Repair,
) -> Result<(), DropReason> {
    let network = usize::from(packet.network);
    if packet.v6 {
        let header = wire::header_mut::<Ipv6>(head, network).ok_or(DropReason::HeadersScattered)?;
        if header.hop_limit <= 1 {
            return Err(DropReason::TtlExpired);
        }
        translate_v6(header, &addresses);
    } else {
        let [destination, source] = addresses;
        let header = wire::header_mut::<Ipv4>(head, network).ok_or(DropReason::HeadersScattered)?;
        if header.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        translate_v4(header, (source.v4(), destination.v4()), repair);
    }
    Ok(())
}

/// Writes ports; `ends` are those of the opposite direction.
#[inline]
fn translate_transport(head: &mut [u8], packet: &Packet, ends: &Ends, repair: Repair) {
    let transport = usize::from(packet.transport);
    if packet.flags != 0 {
        if let Some(header) = wire::header_mut::<Tcp>(head, transport) {
            translate_tcp(header, ends, repair);
        }
    } else if let Some(header) = wire::header_mut::<Udp>(head, transport) {
        header.source_port = U16::new(ends.destination_port);
        header.destination_port = U16::new(ends.source_port);
        header.checksum = U16::new(Delta(repair.transport).apply_udp(header.checksum.get()));
    }
}

#[inline(always)]
fn translate_v4(header: &mut Ipv4, (source, destination): ([u8; 4], [u8; 4]), repair: Repair) {
    header.source = source;
    header.destination = destination;
    header.ttl = header.ttl.wrapping_sub(1); // above 1: the callers have looked
    header.checksum = U16::new(Delta(repair.network).apply(header.checksum.get()));
}

/// Source and destination are those of the opposite direction.
#[inline(always)]
const fn translate_v6(header: &mut Ipv6, [destination, source]: &[Address; 2]) {
    header.source = source.octets();
    header.destination = destination.octets();
    header.hop_limit = header.hop_limit.wrapping_sub(1); // above 1: the callers have looked
}

#[inline(always)]
fn translate_tcp(header: &mut Tcp, ends: &Ends, repair: Repair) {
    header.source_port = U16::new(ends.destination_port);
    header.destination_port = U16::new(ends.source_port);
    header.checksum = U16::new(Delta(repair.transport).apply(header.checksum.get()));
}
