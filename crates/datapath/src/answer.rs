//! What the gateway answers itself: ARP, neighbour discovery, echo, and packets that it cannot pass on. An answer is written over
//! its question, so it costs no memory, and nobody gets more bytes than they sent (but for eight of a neighbour advertisement, and
//! the few that ICMP errors add to short packets).

pub(crate) mod allowance;
mod arp;
mod echo;
pub(crate) mod error;
pub(crate) mod nd;

use flow::FlowKey;
use model::{Address, MacAddress};
use nic::Frame;
use wire::{icmpv4, icmpv6};

use crate::{
    DropReason, Verdict, host,
    neighbour::{Fact, Hop},
    packet::{Kind, Packet},
    resolve,
    serve::Occasion,
    snapshot::Owned,
    state::Memory,
    stray::{to_host, unanswered},
};

/// The TTL and hop limit of what we say ourselves (RFC 1340).
pub(crate) const TTL: u8 = 64;

/// Answers a packet, learns from it, or says where else it goes.
pub(crate) fn answer<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
) -> Verdict {
    let answered = match (packet.kind, packet.v6, message_kind(frame, packet)) {
        (Kind::Arp, ..) => arp::answer(memory, occasion, frame, packet),
        (_, true, icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT) => {
            nd::answer(memory, occasion, frame, packet, key)
        }
        (_, true, icmpv6::ECHO_REQUEST) | (_, false, icmpv4::ECHO_REQUEST) => {
            echo::answer(occasion, frame, packet, key)
        }
        _ if is_multicast(key.destination) => host::group(occasion, frame, packet, key),
        _ => Ok(unanswered(occasion, key, DropReason::IcmpUnsupported)),
    };
    answered.unwrap_or_else(Verdict::Drop)
}

fn message_kind<F: Frame>(frame: &F, packet: &Packet) -> u8 {
    frame.head().get(usize::from(packet.transport)).copied().unwrap_or_default()
}

pub(crate) const fn is_multicast(address: Address) -> bool {
    matches!(address.octets(), [0xff, ..])
}

/// Takes a neighbour's word for its MAC address, and remembers to tell the other workers.
fn learn<F: Frame>(memory: &mut Memory<F>, occasion: &Occasion<'_>, address: Address, mac: [u8; 6]) -> bool {
    let hop = Hop { port: occasion.arrival.port, address };
    let fact = Fact { hop, mac: MacAddress(mac), is_announced: false };
    let learned = memory.neighbours.learn(fact, false, occasion.now);
    if learned && occasion.snapshot.workers > 1 {
        // Without room the others ask for themselves.
        let _ = memory.facts.try_push(fact);
    }
    learned
}

/// Follows a neighbour that says without being asked where it is, and remembers to tell the other workers.
fn follow<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    address: Address,
    mac: [u8; 6],
    otherwise: DropReason,
) -> Verdict {
    let hop = Hop { port: occasion.arrival.port, address };
    let fact = Fact { hop, mac: MacAddress(mac), is_announced: true };
    let is_followed = memory.neighbours.announce(fact, occasion.now);
    if is_followed && occasion.snapshot.workers > 1 {
        // Without room the others find out when they ask.
        let _ = memory.facts.try_push(fact);
    }
    for_us(occasion, is_followed, otherwise)
}

/// Whether questions for an address are answered on the port that they came by.
fn is_answered(occasion: &Occasion<'_>, address: Address) -> bool {
    match occasion.addresses().owner(address) {
        Some(Owned::Port { port, .. }) => port == occasion.arrival.port,
        Some(Owned::Snat | Owned::Virtual { .. }) => true,
        None => host::is_own(occasion, address),
    }
}

/// Sends a frame back where it came from.
pub(crate) fn turn_round<F: Frame>(occasion: &Occasion<'_>, frame: &mut F, packet: &Packet) -> Verdict {
    let id = occasion.arrival.port;
    let Some(port) = occasion.snapshot.port(id) else { return Verdict::Drop(DropReason::NoRoute) };
    if frame.length() > usize::from(packet.network) + usize::from(port.mtu) {
        return Verdict::Drop(DropReason::FrameOverMtu);
    }
    let to = resolve::source_mac(frame);
    resolve::address_frame(frame, to, port.mac);
    Verdict::Transmit(id)
}

/// An answer to a question of ours, or of the host twin's.
fn for_us(occasion: &Occasion<'_>, learned: bool, otherwise: DropReason) -> Verdict {
    match to_host(occasion, occasion.arrival.port, otherwise) {
        Verdict::Drop(_) if learned => Verdict::Absorbed,
        verdict => verdict,
    }
}
