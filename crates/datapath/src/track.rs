//! How a packet moves its flow on.
//!
//! Most packets of an established flow change nothing ([`is_steady`]) and are only counted. With the others its
//! TCP state follows the flags. A flow whose backend is gone
//! ends; one that begins anew (a SYN over an old flow, a datagram to a backend that is down) ends as well, and its packet
//! is admitted like the first of any flow.

use flow::{FlowState, Hot, Side, Tracked};
use model::{Mode, OnBackendDown};
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
    /// It is over, but the packet goes on to another backend.
    Reselects,
    /// It is over: its backend is no longer in the configuration.
    BackendRemoved,
    /// It is over: its backend is down.
    BackendDown,
}

/// What a packet means for the flow whose key it has.
pub(crate) fn course(flow: &Tracked<'_>, side: Side, packet: &Packet, snapshot: &Snapshot) -> Course {
    let Some(backend) = snapshot.backend(flow.hot.backend) else { return Course::BackendRemoved };
    if backend.incarnation as u8 != flow.hot.incarnation {
        return Course::BackendRemoved;
    }
    let is_up = snapshot.up.is_up(flow.hot.backend);
    if begins_anew(flow.hot, side, packet, is_up) {
        return Course::BeginsAnew;
    }
    let is_tcp = flow.hot.protocol() == protocol::TCP;
    match backend.on_down {
        OnBackendDown::Drop if is_tcp && !is_up => Course::BackendDown,
        OnBackendDown::Reselect if is_tcp && !is_up && side == Side::Client => Course::Reselects,
        _ => Course::GoesOn,
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
        let is = (flow.hot.state(), flow.hot.mode());
        flow.hot.checked = checked(is, snapshot.generation.0 as u32, has_bandwidth);
    }
}

/// What a flow remembers of being looked at under a generation: that one if it is established, since only then nothing more is
/// to be seen to, and otherwise another one, as if it has a bandwidth. A flow whose packets travel within others has another one too, of its
/// own, so that those who send packets of steady flows leave its packets to those who encapsulate: [`is_steady_in_tunnel`].
pub(crate) const fn checked((state, mode): (FlowState, Mode), generation: u32, has_bandwidth: bool) -> u32 {
    match state {
        FlowState::Established if has_bandwidth => !generation,
        FlowState::Established if mode.is_tunnel() => generation ^ IN_TUNNEL,
        FlowState::Established => generation,
        FlowState::Handshake | FlowState::Closing => !generation,
    }
}

/// What makes a generation another one: none is so far away.
const IN_TUNNEL: u32 = 1 << 31;

/// The same as [`is_steady`] for a flow whose packets travel within others; false for all other flows.
#[inline(always)]
pub(crate) fn is_steady_in_tunnel(flow: &Hot, packet: &Packet, generation: u32) -> bool {
    is_steady(flow, packet, generation ^ IN_TUNNEL)
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
