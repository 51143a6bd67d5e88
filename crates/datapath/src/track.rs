//! How a packet moves its flow on.
//!
//! Most packets of an established flow change nothing ([`is_steady`]) and are only counted. With the others its
//! TCP state follows the flags. A flow whose backend is gone
//! ends; one that begins anew (a SYN over an old flow, a datagram to a backend that is down) ends as well, and its packet
//! is admitted like the first of any flow.

use flow::{FlowState, Hot, Side, Tracked};
use wire::{protocol, tcp::flags};

use crate::{Snapshot, packet::Packet, snapshot::VirtualServer};

/// Milliseconds that a flow may be silent until its handshake is complete.
const HANDSHAKE_TIMEOUT: u32 = 5_000;
/// Milliseconds that a flow may be silent when it is over.
const CLOSE_TIMEOUT: u32 = 5_000;
/// Milliseconds that an established flow may be silent whose virtual server is gone.
const ORPHAN_TIMEOUT: u32 = 300_000;
/// [`flow::Flow::fins`]: the client has sent a FIN.
const CLIENT_FIN: u8 = 1;
/// [`flow::Flow::fins`]: the backend has sent a FIN.
const BACKEND_FIN: u8 = 2;

/// What a packet means for the flow whose key it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// The packet continues it.
    GoesOn,
    /// It is over: the packet is the first of a new one.
    BeginsAnew,
    /// It is over: its backend is no longer in the configuration.
    BackendRemoved,
}

/// What a packet means for the flow whose key it has.
pub(crate) fn course(flow: &Tracked<'_>, side: Side, packet: &Packet, snapshot: &Snapshot) -> Course {
    match snapshot.backend(flow.hot.backend) {
        Some(backend) if backend.incarnation as u8 != flow.hot.incarnation => Course::BackendRemoved,
        Some(_) if begins_anew(flow.hot, side, packet, snapshot.up.is_up(flow.hot.backend)) => {
            Course::BeginsAnew
        }
        Some(_) => Course::GoesOn,
        None => Course::BackendRemoved,
    }
}

/// Whether a flow is established, and a packet does nothing to change that: it is passed on without looking further.
///
/// A new generation is the only thing that makes its backend another one, so that is looked at once a generation.
#[inline(always)]
pub(crate) fn is_steady(flow: &Hot, packet: &Packet, generation: u32) -> bool {
    flow.checked == generation && packet.flags & (flags::SYN | flags::RST | flags::FIN) == 0
}

/// Moves a flow on that goes on under a snapshot: its TCP state follows the packet's flags.
///
/// Packets of flows that have a bandwidth are all looked at.
pub(crate) fn track(
    flow: &mut Tracked<'_>,
    side: Side,
    packet: &Packet,
    snapshot: &Snapshot,
    has_bandwidth: bool,
) {
    if packet.flags != 0 {
        follow_tcp(flow.hot, side, packet.flags);
    }
    // A backend's datagram does not speak for the client's: those are looked at for whether they begin anew.
    if side == Side::Client || packet.flags != 0 {
        flow.hot.checked = checked(flow.hot.state(), snapshot.generation.0 as u32, has_bandwidth);
    }
}

/// What a flow remembers of being looked at under a generation: that one if it is established, since only then nothing more is
/// to be seen to, and otherwise another one.
pub(crate) fn checked(state: FlowState, generation: u32, has_bandwidth: bool) -> u32 {
    if state == FlowState::Established && !has_bandwidth { generation } else { !generation }
}

/// Whether a client's packet is the first of a new conversation with the addresses and ports of an old one.
fn begins_anew(flow: &Hot, side: Side, packet: &Packet, backend_up: bool) -> bool {
    if side == Side::Backend {
        return false;
    }
    if flow.protocol() != protocol::TCP {
        return !backend_up; // collectors never fall silent
    }
    let is_syn = packet.flags & (flags::SYN | flags::ACK) == flags::SYN;
    is_syn && (flow.state() == FlowState::Closing || flow.state() == FlowState::Handshake && !backend_up)
}

/// RFC 9293, 3.3.2, as far as an observer in the middle can tell.
fn follow_tcp(flow: &mut Hot, side: Side, bits: u8) {
    if bits & flags::RST != 0 {
        return flow.set_state(FlowState::Closing);
    }
    if bits & flags::FIN != 0 {
        flow.add_fins(if side == Side::Client { CLIENT_FIN } else { BACKEND_FIN });
        if flow.fins() == CLIENT_FIN | BACKEND_FIN {
            flow.set_state(FlowState::Closing);
        }
        return;
    }
    // The client's first segment that is no SYN completes the handshake.
    if flow.state() == FlowState::Handshake && side == Side::Client && bits & flags::SYN == 0 {
        flow.set_state(FlowState::Established);
    }
}

/// Milliseconds that a flow may be silent.
pub(crate) fn lifetime(state: FlowState, server: Option<&VirtualServer>) -> u32 {
    match (state, server) {
        (FlowState::Handshake, _) => HANDSHAKE_TIMEOUT,
        (FlowState::Closing, _) => CLOSE_TIMEOUT,
        (FlowState::Established, Some(server)) => server.idle_timeout,
        // Its virtual server is no longer configured; its backend is.
        (FlowState::Established, None) => ORPHAN_TIMEOUT,
    }
}
