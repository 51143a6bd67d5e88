//! What the gateway answers itself: ARP, neighbour discovery, echo. An answer is written over its question, so it costs no
//! memory, and nobody gets more bytes than they sent (but for eight of a neighbour advertisement).

mod arp;
mod echo;
pub(crate) mod nd;

use flow::FlowKey;
use model::{Address, MacAddress};
use nic::Frame;
use wire::{icmpv4, icmpv6};

use crate::{
    DropReason, Verdict, WorkerState,
    admit::{Admission, to_host, unanswered},
    neighbour::{Fact, Hop},
    packet::{Kind, Packet},
    resolve,
    snapshot::Owned,
};

/// The TTL and hop limit of what we say ourselves (RFC 1340).
const TTL: u8 = 64;

/// Answers a packet, learns from it, or says where else it goes.
pub(crate) fn answer<F: Frame>(
    state: &mut WorkerState<F>,
    admission: &Admission<'_>,
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
) -> Verdict {
    let answered = match (packet.kind, packet.v6, message_kind(frame, packet)) {
        (Kind::Arp, ..) => arp::answer(state, admission, frame, packet),
        (_, true, icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT) => {
            nd::answer(state, admission, frame, packet, key)
        }
        (_, true, icmpv6::ECHO_REQUEST) | (_, false, icmpv4::ECHO_REQUEST) => {
            echo::answer(admission, frame, packet, key)
        }
        _ if is_multicast(key.destination) => Err(DropReason::DestinationGroup),
        _ => Ok(unanswered(admission, key, DropReason::IcmpUnsupported)),
    };
    answered.unwrap_or_else(Verdict::Drop)
}

fn message_kind<F: Frame>(frame: &F, packet: &Packet) -> u8 {
    frame.head().get(usize::from(packet.transport)).copied().unwrap_or_default()
}

const fn is_multicast(address: Address) -> bool {
    matches!(address.octets(), [0xff, ..])
}

/// Takes a neighbour's word for its MAC address, and remembers to tell the other workers.
fn learn<F: Frame>(
    state: &mut WorkerState<F>,
    admission: &Admission<'_>,
    address: Address,
    mac: [u8; 6],
) -> bool {
    let hop = Hop { port: admission.arrival.port, address };
    let fact = Fact { hop, mac: MacAddress(mac) };
    let learned = state.neighbours.learn(fact, false, admission.now);
    if learned && admission.snapshot.workers > 1 {
        // Without room the others ask for themselves.
        let _ = state.facts.try_push(fact);
    }
    learned
}

/// Whether questions for an address are answered on the port that they came by.
fn is_answered(admission: &Admission<'_>, address: Address) -> bool {
    match admission.snapshot.addresses.owner(address) {
        Some(Owned::Port { port, .. }) => port == admission.arrival.port,
        Some(Owned::Snat | Owned::Virtual { .. }) => true,
        None => false,
    }
}

/// Sends a frame back where it came from.
fn turn_round<F: Frame>(admission: &Admission<'_>, frame: &mut F) -> Verdict {
    let id = admission.arrival.port;
    let Some(port) = admission.snapshot.port(id) else { return Verdict::Drop(DropReason::NoRoute) };
    if resolve::is_over_mtu(frame, port) {
        return Verdict::Drop(DropReason::FrameOverMtu);
    }
    let to = resolve::source_mac(frame);
    resolve::address_frame(frame, to, port.mac);
    Verdict::Transmit(id)
}

/// An answer to a question of ours, or of the host twin's.
fn for_us(admission: &Admission<'_>, learned: bool, otherwise: DropReason) -> Verdict {
    match to_host(admission, admission.arrival.port, otherwise) {
        Verdict::Drop(_) if learned => Verdict::Absorbed,
        verdict => verdict,
    }
}
