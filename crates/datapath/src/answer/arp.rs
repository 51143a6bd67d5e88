//! ARP, RFC 826.

use model::Address;
use nic::Frame;
use wire::arp::{self, Arp};

use super::{follow, for_us, is_answered, learn, turn_round};
use crate::{DropReason, Verdict, packet::Packet, serve::Occasion, state::Memory};

/// Answers a request for one of our addresses; takes a reply to one of our requests, and follows who
/// tells everybody of itself.
pub(super) fn answer<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
) -> Result<Verdict, DropReason> {
    let offset = usize::from(packet.network);
    let message: Arp = *wire::header(frame.head(), offset).ok_or(DropReason::HeadersScattered)?;
    let (sender, target) =
        (Address::from_v4(message.sender_address), Address::from_v4(message.target_address));
    if occasion.addresses().owner(sender).is_some() {
        return Err(DropReason::SourceIsOurs);
    }
    if sender == target {
        return Ok(follow(memory, occasion, sender, message.sender_mac, DropReason::ArpNotForUs));
    }
    if !is_answered(occasion, target) {
        return Err(DropReason::ArpNotForUs);
    }
    let learned = learn(memory, occasion, sender, message.sender_mac);
    if message.operation.get() == arp::REPLY {
        return Ok(for_us(occasion, learned, DropReason::ArpNotForUs));
    }
    reply(occasion, frame, packet, &message)
}

fn reply<F: Frame>(
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    request: &Arp,
) -> Result<Verdict, DropReason> {
    let offset = usize::from(packet.network);
    let port = occasion.snapshot.port(occasion.arrival.port).ok_or(DropReason::NoRoute)?;
    let message: &mut Arp = wire::header_mut(frame.head_mut(), offset).ok_or(DropReason::NoRoomForAnswer)?;
    let (us, them) = ((port.mac.0, request.target_address), (request.sender_mac, request.sender_address));
    *message = Arp::new(arp::REPLY, us, them);
    if frame.length() > offset + arp::MESSAGE && !frame.resize(offset + arp::MESSAGE) {
        return Err(DropReason::NoRoomForAnswer);
    }
    Ok(turn_round(occasion, frame, packet))
}
