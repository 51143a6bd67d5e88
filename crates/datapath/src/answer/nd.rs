//! Neighbour discovery, RFC 4861, 7.2.

use flow::FlowKey;
use model::Address;
use nic::Frame;
use wire::{
    Refusal, U16,
    checksum::{Sum, pseudo_v6},
    ipv6::{self, Ipv6},
    nd::{self, Discovery, Message},
    protocol,
};
use zerocopy::IntoBytes;

use super::{follow, for_us, is_answered, learn};
use crate::{DropReason, Verdict, neighbour::Hop, packet::Packet, resolve, serve::Occasion, state::Memory};
use model::MacAddress;

/// Answers a solicitation for one of our addresses; takes an advertisement that answers one of our solicitations.
pub(super) fn answer<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
) -> Result<Verdict, DropReason> {
    let (start, end) =
        (usize::from(packet.transport), usize::from(packet.network) + usize::from(packet.length));
    let bytes = frame.head().get(start..end).ok_or(Refusal::NdTruncated)?;
    let discovery = nd::check(bytes, hop_limit(frame.head(), packet))?;
    let pseudo =
        pseudo_v6(&key.source.octets(), &key.destination.octets(), protocol::ICMPV6, bytes.len() as u32);
    if pseudo.plus(Sum::of(bytes)).fold() != 0xffff {
        return Err(Refusal::NdChecksum.into());
    }
    if discovery.is_advertisement {
        return advertised(memory, occasion, &discovery, key);
    }
    if !is_answered(occasion, Address::from_v6(discovery.target)) {
        return Err(DropReason::NdNotForUs);
    }
    let is_unspecified = key.source == Address::UNSPECIFIED;
    if let Some(mac) = discovery.mac.filter(|_| !is_unspecified) {
        learn(memory, occasion, key.source, mac);
    }
    advertise(occasion, frame, packet, key, &discovery)
}

fn hop_limit(head: &[u8], packet: &Packet) -> u8 {
    wire::header::<Ipv6>(head, usize::from(packet.network)).map_or(0, |header| header.hop_limit)
}

fn advertised<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    discovery: &Discovery,
    key: &FlowKey,
) -> Result<Verdict, DropReason> {
    let target = Address::from_v6(discovery.target);
    let hop = Hop { port: occasion.arrival.port, address: target };
    // Who was asked alone may leave out the address that it was asked at (RFC 4861, 7.2.4): it is still there.
    let is_solicited = discovery.flags & nd::flags::SOLICITED != 0;
    if !is_solicited
        && discovery.flags & nd::flags::OVERRIDE != 0
        && let Some(mac) = discovery.mac
        && (key.destination.octets() == nd::ALL_NODES || is_answered(occasion, key.destination))
    {
        return Ok(follow(memory, occasion, target, mac, DropReason::NdNotForUs));
    }
    if !is_answered(occasion, key.destination) {
        return Err(DropReason::NdNotForUs);
    }
    let known = || memory.neighbours.known_mac(hop).filter(|_| is_solicited).map(|mac| mac.0);
    let learned = discovery.mac.or_else(known).is_some_and(|mac| learn(memory, occasion, target, mac));
    Ok(for_us(occasion, learned, DropReason::NdNotForUs))
}

/// Writes an advertisement over a solicitation. Who asks from `::` wants to take our address, so all nodes are told
/// (RFC 4861, 7.2.4).
fn advertise<F: Frame>(
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
    asked: &Discovery,
) -> Result<Verdict, DropReason> {
    let id = occasion.arrival.port;
    let mac = occasion.snapshot.port(id).ok_or(DropReason::NoRoute)?.mac;
    let (destination, to, solicited) = if key.source == Address::UNSPECIFIED {
        (nd::ALL_NODES, MacAddress(nd::multicast_mac(nd::ALL_NODES)), 0)
    } else {
        (key.source.octets(), resolve::source_mac(frame), nd::flags::SOLICITED)
    };
    let network = usize::from(packet.network);
    if !frame.resize(network + ipv6::HEADER + nd::MESSAGE) {
        return Err(DropReason::NoRoomForAnswer);
    }
    let flags = nd::flags::ROUTER | nd::flags::OVERRIDE | solicited;
    let message = Message::advertisement(flags, asked.target, mac.0);
    write(frame.head_mut(), network, asked.target, destination, message)
        .ok_or(DropReason::NoRoomForAnswer)?;
    resolve::address_frame(frame, to, mac);
    Ok(Verdict::Transmit(id))
}

/// Writes a message and the header before it. What the header said of traffic class and flow is not ours to repeat.
pub(crate) fn write(
    head: &mut [u8],
    network: usize,
    source: [u8; 16],
    destination: [u8; 16],
    mut message: Message,
) -> Option<()> {
    let pseudo = pseudo_v6(&source, &destination, protocol::ICMPV6, nd::MESSAGE as u32);
    message.checksum = U16::new(!pseudo.plus(Sum::of(message.as_bytes())).fold());
    *wire::header_mut::<Message>(head, network + ipv6::HEADER)? = message;
    *wire::header_mut::<Ipv6>(head, network)? = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_length: U16::new(nd::MESSAGE as u16),
        next_header: protocol::ICMPV6,
        hop_limit: nd::HOP_LIMIT,
        source,
        destination,
    };
    Some(())
}
