//! Packets of steady flows: one look at the flow, one at the next hop, and the new headers.
//!
//! Whatever is not as in nearly all packets, even a TTL that expires, is left as it is, to be seen to by `serve` in its turn.

use flow::{Candidate, Hot, Identity, Side};
use model::{Address, Mode, PortId};
use wire::{
    U16,
    checksum::Delta,
    ipv4::EthernetIpv4Tcp,
    ipv6::{EthernetIpv6Tcp, Ipv6},
    protocol,
};

use crate::{
    neighbour::Neighbours, packet::Packet, resolve, rewrite, serve::Occasion, state::Memory, tally::Tallies,
    track,
};

/// The flows of plain IPv6 packets.
const V6: Identity = Identity::new(false, protocol::TCP, 0);

/// Passes a packet on that [`Kind::PlainV4`](crate::packet::Kind::PlainV4) describes; the port that it leaves by. `None`, with
/// the packet unchanged, when there is more to it.
#[inline(always)]
pub(crate) fn pass_v4<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    // Told apart here, so that each side and each protocol has code of its own.
    match candidate.side() {
        Side::Client => {
            pass_v4_from((Side::Client, protocol::TCP), memory, occasion, head, packet, candidate)
        }
        Side::Backend => {
            pass_v4_from((Side::Backend, protocol::TCP), memory, occasion, head, packet, candidate)
        }
    }
}

/// The same for UDP.
#[inline(never)]
pub(crate) fn pass_udp_v4<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let from = (candidate.side(), protocol::UDP);
    pass_v4_from(from, memory, occasion, head, packet, candidate)
}

#[inline(always)]
fn pass_v4_from<F>(
    (side, protocol): (Side, u8),
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let headers = wire::header::<EthernetIpv4Tcp>(head, 0)?;
    let Memory { flows, neighbours, tallies, .. } = memory;
    let hot = flows.confirm_v4((candidate, side), &headers.ends(), Identity::new(true, protocol, 0))?;
    if !is_ready(hot, packet, occasion) {
        return None;
    }
    send_v4((side, protocol), hot, (neighbours, tallies), occasion, head, packet)
}

/// Sends a packet from one side of a flow to the other.
#[inline(always)]
pub(crate) fn send_v4<F>(
    (side, protocol): (Side, u8),
    hot: &mut Hot,
    (neighbours, tallies): (&mut Neighbours<F>, &mut Tallies),
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
) -> Option<PortId> {
    let headers = wire::header_mut::<EthernetIpv4Tcp>(head, 0)?;
    hot.last_seen = occasion.flow_time();
    let link = resolve::known_link(neighbours, occasion.snapshot, hot, side)?;
    if packet.length > link.mtu {
        return None;
    }
    let is_rewritten = hot.mode() != Mode::Dsr;
    if is_rewritten {
        let network = &mut headers.network;
        if network.ttl <= 1 {
            return None;
        }
        let repair = hot.repair(side);
        network.ttl = network.ttl.wrapping_sub(1);
        network.checksum = repaired(network.checksum, repair.network);
        if protocol == protocol::TCP {
            headers.transport.checksum = repaired(headers.transport.checksum, repair.transport);
        }
        headers.set_ends(hot.ends(side.opposite()).reversed());
    }
    link.address(&mut headers.link);
    let port = link.port;
    tallies.count((hot.backend, hot.virtual_server()), side, packet.length);
    if protocol == protocol::UDP && is_rewritten {
        rewrite::repair_udp(head, packet, hot.repair(side));
    }
    Some(port)
}

/// The same for IPv6. Not within its caller, where nearly all packets are IPv4's: it would take registers from them.
#[inline(never)]
pub(crate) fn pass_v6<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    match candidate.side() {
        Side::Client => pass_v6_from(Side::Client, memory, occasion, head, packet, candidate),
        Side::Backend => pass_v6_from(Side::Backend, memory, occasion, head, packet, candidate),
    }
}

#[inline(always)]
fn pass_v6_from<F>(
    side: Side,
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let EthernetIpv6Tcp { link: ethernet, network, transport } = wire::header_mut(head, 0)?;
    let Memory { flows, neighbours, tallies, .. } = memory;
    let ports = [transport.source_port, transport.destination_port];
    let (hot, wide) = flows.confirm_v6((candidate, side), &addresses(network), ports, V6)?;
    if !is_ready(hot, packet, occasion) {
        return None;
    }
    hot.last_seen = occasion.flow_time();
    let link = resolve::known_link(neighbours, occasion.snapshot, hot, side)?;
    if packet.length > link.mtu {
        return None;
    }
    if hot.mode() != Mode::Dsr {
        if network.hop_limit <= 1 {
            return None;
        }
        let [destination, source] = wide.addresses(side.opposite());
        (network.source, network.destination) = (source.octets(), destination.octets());
        network.hop_limit = network.hop_limit.wrapping_sub(1);
        let ends = hot.ends(side.opposite());
        (transport.source_port, transport.destination_port) = (ends.destination_port, ends.source_port);
        transport.checksum = repaired(transport.checksum, hot.repair(side).transport);
    }
    link.address(ethernet);
    tallies.count((hot.backend, hot.virtual_server()), side, packet.length);
    Some(link.port)
}

/// The same for any other packet that may belong to a flow: UDP over IPv6, what has options, extension headers or a tag, and what has no ports.
#[inline(never)]
pub(crate) fn pass_other<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let Memory { flows, neighbours, tallies, .. } = memory;
    let flow = flows.confirm(candidate, &packet.key(head, occasion.domain))?;
    if !is_ready(flow.hot, packet, occasion) {
        return None;
    }
    flow.hot.last_seen = occasion.flow_time();
    let link = resolve::known_link(neighbours, occasion.snapshot, flow.hot, flow.side)?;
    rewrite::rewrite(head, packet, &flow, &link).ok()?;
    tallies.count((flow.hot.backend, flow.hot.virtual_server()), flow.side, packet.length);
    Some(link.port)
}

/// Whether a packet does no more to its flow than to pass.
#[inline(always)]
fn is_ready(hot: &Hot, packet: &Packet, occasion: &Occasion<'_>) -> bool {
    track::is_steady(hot, packet, occasion.flow_generation())
}

#[inline(always)]
fn repaired(checksum: U16, delta: u16) -> U16 {
    U16::new(Delta(delta).apply(checksum.get()))
}

#[inline(always)]
fn addresses(header: &Ipv6) -> [Address; 2] {
    [Address::from_v6(header.source), Address::from_v6(header.destination)]
}
