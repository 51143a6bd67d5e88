//! What changes in a packet: Ethernet addresses, and new addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Hit, Repair};
use model::{Address, MacAddress, Mode};
use wire::{
    U16,
    checksum::Delta,
    ethernet::Ethernet,
    ipv4::{Ends, Ipv4},
    ipv6::Ipv6,
    tcp::Tcp,
    udp::Udp,
};

use crate::{
    DropReason,
    neighbour::Link,
    packet::{Kind, Packet},
};

/// Writes all that changes in a packet of a flow: both Ethernet addresses, and unless the mode leaves the packet as it is,
/// addresses, ports and TTL, with the checksums over them repaired. A packet that is refused is unchanged.
pub(crate) fn rewrite(
    head: &mut [u8],
    packet: &Packet,
    flow: &Hit<'_>,
    link: &Link<'_>,
) -> Result<(), DropReason> {
    let Hit { hot, wide, side } = flow;
    if packet.length > link.mtu {
        return Err(DropReason::FrameOverMtu);
    }
    if hot.mode() != Mode::Dsr {
        let (ends, repair) = (hot.ends(side.opposite()), hot.repair(*side));
        translate_network(head, packet, hot.addresses(side.opposite(), *wide), repair)?;
        translate_transport(head, packet, ends, repair);
    }
    write_link(head, *link.to, *link.from);
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
pub(crate) fn translate_network(
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
        let [destination, source] = addresses;
        (header.source, header.destination) = (source.octets(), destination.octets());
        header.hop_limit = header.hop_limit.wrapping_sub(1);
    } else {
        let [destination, source] = addresses;
        let header = wire::header_mut::<Ipv4>(head, network).ok_or(DropReason::HeadersScattered)?;
        if header.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        (header.source, header.destination) = (source.v4(), destination.v4());
        header.ttl = header.ttl.wrapping_sub(1);
        header.checksum = U16::new(Delta(repair.network).apply(header.checksum.get()));
    }
    Ok(())
}

/// Writes ports; `ends` are those of the opposite direction.
fn translate_transport(head: &mut [u8], packet: &Packet, ends: &Ends, repair: Repair) {
    let transport = usize::from(packet.transport);
    if packet.flags != 0 {
        if let Some(header) = wire::header_mut::<Tcp>(head, transport) {
            (header.source_port, header.destination_port) = (ends.destination_port, ends.source_port);
            header.checksum = U16::new(Delta(repair.transport).apply(header.checksum.get()));
        }
    } else if packet.kind == Kind::Other {
        // Of what has no ports here nothing behind the IP header depends on it.
    } else if let Some(header) = wire::header_mut::<Udp>(head, transport) {
        (header.source_port, header.destination_port) = (ends.destination_port, ends.source_port);
        repair_udp(head, packet, repair);
    }
}

/// Repairs the checksum of a UDP datagram.
pub(crate) fn repair_udp(head: &mut [u8], packet: &Packet, repair: Repair) {
    if let Some(header) = wire::header_mut::<Udp>(head, usize::from(packet.transport)) {
        header.checksum = U16::new(Delta(repair.transport).apply_udp(header.checksum.get()));
    }
}
