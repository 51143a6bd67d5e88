//! Packets of steady flows: one look at the flow, one at the next hop, and the new headers.
//!
//! Whatever is not as in nearly all packets, even a TTL that expires, is left as it is, to be seen to by `serve` in its turn.

use flow::{Candidate, Hit, Hot, Identity, Side};
use model::{Address, Mode, PortId};
use wire::{
    U16,
    checksum::Delta,
    ipv4::EthernetIpv4Tcp,
    ipv6::{EthernetIpv6Tcp, Ipv6},
    protocol,
    tcp::Tcp,
};

use crate::{packet::Packet, resolve, rewrite, serve::Occasion, state::Memory, track};

/// The flows of plain IPv4 packets.
const V4: Identity = Identity::new(true, protocol::TCP, 0);
/// The flows of plain IPv6 packets.
const V6: Identity = Identity::new(false, protocol::TCP, 0);

/// Passes a packet on that [`Kind::PlainV4`](crate::packet::Kind::PlainV4) describes; the port that it leaves by. `None`, with
/// nothing changed, when there is more to it.
#[inline(always)]
pub(crate) fn pass_v4<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let headers = wire::header_mut::<EthernetIpv4Tcp>(head, 0)?;
    let Memory { flows, neighbours, tallies, .. } = memory;
    let Hit { hot, side, .. } = flows.confirm_v4(candidate, &headers.ends(), V4)?;
    let link = ready(hot, packet, occasion)
        .then(|| resolve::known_link(neighbours, occasion.snapshot, hot, side))
        .flatten()
        .filter(|link| packet.length <= link.mtu)?;
    if hot.mode() != Mode::Dsr {
        let network = &mut headers.network;
        if network.ttl <= 1 {
            return None;
        }
        let repair = hot.repair(side);
        network.ttl = network.ttl.wrapping_sub(1);
        network.checksum = repaired(network.checksum, repair.network);
        headers.transport.checksum = repaired(headers.transport.checksum, repair.transport);
        headers.set_ends(hot.ends(side.opposite()).reversed());
    }
    link.address(&mut headers.link);
    hot.last_seen = occasion.flow_time();
    tallies.count((hot.backend, hot.virtual_server()), side, packet.length);
    Some(link.port)
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
    let EthernetIpv6Tcp { link: ethernet, network, transport } = wire::header_mut(head, 0)?;
    let Memory { flows, neighbours, tallies, .. } = memory;
    let ports = [transport.source_port, transport.destination_port];
    let Hit { hot, wide, side } = flows.confirm_v6(candidate, &addresses(network), ports, V6)?;
    let link = ready(hot, packet, occasion)
        .then(|| resolve::known_link(neighbours, occasion.snapshot, hot, side))
        .flatten()
        .filter(|link| packet.length <= link.mtu)?;
    if hot.mode() != Mode::Dsr {
        if network.hop_limit <= 1 {
            return None;
        }
        let [destination, source] = *wide?.addresses(side.opposite());
        (network.source, network.destination) = (source.octets(), destination.octets());
        network.hop_limit = network.hop_limit.wrapping_sub(1);
        translate_tcp(transport, hot, side);
    }
    link.address(ethernet);
    hot.last_seen = occasion.flow_time();
    tallies.count((hot.backend, hot.virtual_server()), side, packet.length);
    Some(link.port)
}

/// The same for any packet that may belong to a flow: UDP, and what has options, extension headers or a tag.
#[inline(never)]
pub(crate) fn pass_other<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &mut [u8],
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let Memory { flows, neighbours, tallies, .. } = memory;
    let flow = flows.confirm(candidate, &packet.key(head))?;
    if !ready(flow.hot, packet, occasion) {
        return None;
    }
    let link = resolve::known_link(neighbours, occasion.snapshot, flow.hot, flow.side)?;
    rewrite::rewrite(head, packet, &flow, &link).ok()?;
    flow.hot.last_seen = occasion.flow_time();
    tallies.count((flow.hot.backend, flow.hot.virtual_server()), flow.side, packet.length);
    Some(link.port)
}

/// Whether a packet does no more to its flow than to pass.
#[inline(always)]
fn ready(hot: &Hot, packet: &Packet, occasion: &Occasion<'_>) -> bool {
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

#[inline(always)]
fn translate_tcp(header: &mut Tcp, hot: &Hot, side: Side) {
    let ends = hot.ends(side.opposite());
    (header.source_port, header.destination_port) = (ends.destination_port, ends.source_port);
    header.checksum = repaired(header.checksum, hot.repair(side).transport);
}
