//! Third pass: packets that belong to a flow move it on.
//!
//! The flow's clock is set back, its TCP state follows the flags, and the packet is counted. A flow whose backend is gone
//! ends here; one that begins anew (a SYN over an old flow, a datagram to a backend that is down) ends as well, and its
//! packet goes on to be admitted like the first of any flow.

use flow::{Flow, FlowIndex, FlowState, FlowTable, Found, Side};
use model::Millis;
use nic::Frame;
use wire::{protocol, tcp::flags};

use crate::{
    DropReason, Snapshot, Verdict, WorkerState,
    meters::WorkerMeters,
    packet::{Packet, Step},
    state::close,
};

/// Milliseconds that a flow may be silent until its handshake is complete.
pub(crate) const HANDSHAKE_TIMEOUT: u32 = 5_000;
/// Milliseconds that a flow may be silent when it is over.
const CLOSE_TIMEOUT: u32 = 5_000;
/// [`Flow::fins`]: the client has sent a FIN.
const CLIENT_FIN: u8 = 1;
/// [`Flow::fins`]: the backend has sent a FIN.
const BACKEND_FIN: u8 = 2;

/// Moves on the flows of a burst.
#[inline(never)]
pub(crate) fn track_all<F: Frame>(state: &mut WorkerState<F>, snapshot: &Snapshot, now: Millis) {
    let WorkerState { packets, flows, meters, .. } = state;
    let count = packets.count;
    let known = packets.steps.iter_mut().zip(&packets.packets).zip(&packets.found);
    for ((step, packet), found) in known.take(count) {
        if let (Some(found), Step::Parsed) = (found, *step) {
            *step = track(flows, meters, snapshot, *found, packet, now);
        }
    }
}

/// Moves one flow on. [`Step::Parsed`] sends the packet on to be admitted.
#[inline]
pub(crate) fn track(
    flows: &mut FlowTable,
    meters: &WorkerMeters,
    snapshot: &Snapshot,
    found: Found,
    packet: &Packet,
    now: Millis,
) -> Step {
    let Some(flow) = flows.flow_mut(found.index) else { return Step::Parsed };
    let backend = snapshot.backend(flow.backend).filter(|backend| backend.incarnation == flow.incarnation);
    let Some(backend) = backend else {
        end_flow(flows, meters, found.index);
        return Step::Done(Verdict::Drop(DropReason::BackendRemoved));
    };
    if begins_anew(flow, found.side, packet, backend.up) {
        end_flow(flows, meters, found.index);
        return Step::Parsed;
    }
    flow.last_seen = now.0 as u32;
    if packet.flags != 0 {
        follow_tcp(flow, found.side, packet.flags, snapshot);
    }
    count(meters, flow, found.side, packet.length);
    step(found.index, found.side)
}

/// Forgets a flow. Its position is reused only after the burst, because packets of the burst may still point at it.
#[cold]
fn end_flow(flows: &mut FlowTable, meters: &WorkerMeters, index: FlowIndex) {
    if let Some(flow) = flows.retire(index) {
        close(meters, &flow);
    }
}

pub(crate) const fn step(index: FlowIndex, side: Side) -> Step {
    match side {
        Side::Client => Step::ToBackend(index),
        Side::Backend => Step::ToClient(index),
    }
}

/// Whether a client's packet is the first of a new conversation with the addresses and ports of an old one.
fn begins_anew(flow: &Flow, side: Side, packet: &Packet, backend_up: bool) -> bool {
    if side == Side::Backend {
        return false;
    }
    if flow.client.protocol != protocol::TCP {
        return !backend_up; // collectors never fall silent
    }
    let is_syn = packet.flags & (flags::SYN | flags::ACK) == flags::SYN;
    is_syn && (flow.state == FlowState::Closing || flow.state == FlowState::Handshake && !backend_up)
}

/// RFC 9293, 3.3.2, as far as an observer in the middle can tell.
#[inline]
fn follow_tcp(flow: &mut Flow, side: Side, bits: u8, snapshot: &Snapshot) {
    if flow.state == FlowState::Established && bits & (flags::RST | flags::FIN) == 0 {
        return;
    }
    if bits & flags::RST != 0 {
        flow.state = FlowState::Closing;
        flow.lifetime = CLOSE_TIMEOUT;
        return;
    }
    if bits & flags::FIN != 0 {
        flow.fins |= if side == Side::Client { CLIENT_FIN } else { BACKEND_FIN };
        if flow.fins == CLIENT_FIN | BACKEND_FIN {
            flow.state = FlowState::Closing;
            flow.lifetime = CLOSE_TIMEOUT;
        }
        return;
    }
    // The client's first segment that is no SYN completes the handshake.
    if flow.state == FlowState::Handshake && side == Side::Client && bits & flags::SYN == 0 {
        flow.state = FlowState::Established;
        let server = snapshot.virtual_server(flow.virtual_server);
        flow.lifetime = server.map_or(flow.lifetime, |server| server.idle_timeout);
    }
}

/// Counts a packet for its virtual server and its backend.
#[inline]
pub(crate) fn count(meters: &WorkerMeters, flow: &Flow, side: Side, length: u16) {
    if let Some(backend) = meters.backend(flow.backend) {
        backend.count(side, length);
    }
    if let Some(virtual_server) = meters.virtual_server(flow.virtual_server) {
        virtual_server.count(side, length);
    }
}
