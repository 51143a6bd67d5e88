//! Echo, RFC 792 and RFC 4443, 4.

use flow::FlowKey;
use nic::Frame;
use wire::{
    U16,
    checksum::Delta,
    icmpv4::{self, Icmpv4},
    icmpv6::{self, Icmpv6},
    ipv4::Ipv4,
    ipv6::Ipv6,
};

use super::{TTL, is_multicast, turn_round};
use crate::{DropReason, Verdict, packet::Packet, serve::Occasion, snapshot::Owned, stray::unanswered};

/// Answers an echo request to one of our addresses; for a virtual server's, while it is available.
pub(super) fn answer<F: Frame>(
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
) -> Result<Verdict, DropReason> {
    if is_multicast(key.destination) {
        return Err(DropReason::DestinationGroup);
    }
    match occasion.addresses().owner(key.destination) {
        Some(Owned::Virtual { available: false }) => return Err(DropReason::NoBackend),
        Some(_) => {}
        None => return Ok(unanswered(occasion, key, DropReason::NoVirtualServer)),
    }
    let written =
        if packet.v6 { reply_v6(frame.head_mut(), packet) } else { reply_v4(frame.head_mut(), packet) };
    written.ok_or(DropReason::NoRoomForAnswer)?;
    Ok(turn_round(occasion, frame, packet))
}

/// Swapping addresses changes no checksum; the TTL and the message's kind do.
fn reply_v4(head: &mut [u8], packet: &Packet) -> Option<()> {
    let header: &mut Ipv4 = wire::header_mut(head, usize::from(packet.network))?;
    std::mem::swap(&mut header.source, &mut header.destination);
    let ttl = Delta::of(&[header.ttl, 0], &[TTL, 0]);
    header.ttl = TTL;
    header.checksum = U16::new(ttl.apply(header.checksum.get()));
    let message: &mut Icmpv4 = wire::header_mut(head, usize::from(packet.transport))?;
    let kind = Delta::of(&[message.kind, 0], &[icmpv4::ECHO_REPLY, 0]);
    message.kind = icmpv4::ECHO_REPLY;
    // A reply may be all zeros, which sum to 0 and not to its other form, 0xffff; 0xffff is right for either.
    let checksum = Some(kind.apply(message.checksum.get())).filter(|&checksum| checksum != 0);
    message.checksum = U16::new(checksum.unwrap_or(0xffff));
    Some(())
}

fn reply_v6(head: &mut [u8], packet: &Packet) -> Option<()> {
    let header: &mut Ipv6 = wire::header_mut(head, usize::from(packet.network))?;
    std::mem::swap(&mut header.source, &mut header.destination);
    header.hop_limit = TTL;
    let message: &mut Icmpv6 = wire::header_mut(head, usize::from(packet.transport))?;
    let kind = Delta::of(&[message.kind, 0], &[icmpv6::ECHO_REPLY, 0]);
    message.kind = icmpv6::ECHO_REPLY;
    message.checksum = U16::new(kind.apply(message.checksum.get()));
    Some(())
}
