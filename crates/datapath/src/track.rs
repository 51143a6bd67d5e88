//! How a packet moves its flow on.
//!
//! The flow's clock is set back, its TCP state follows the flags, and the packet is counted. A flow whose backend is gone
//! ends; one that begins anew (a SYN over an old flow, a datagram to a backend that is down) ends as well, and its packet
//! is admitted like the first of any flow.

use flow::{Flow, FlowState, Side};
use model::{BackendId, Millis, VirtualServerId};
use wire::{protocol, tcp::flags};

use crate::{Snapshot, meters::WorkerMeters, packet::Packet};

/// Milliseconds that a flow may be silent until its handshake is complete.
pub(crate) const HANDSHAKE_TIMEOUT: u32 = 5_000;
/// Milliseconds that a flow may be silent when it is over.
const CLOSE_TIMEOUT: u32 = 5_000;
/// [`Flow::fins`]: the client has sent a FIN.
const CLIENT_FIN: u8 = 1;
/// [`Flow::fins`]: the backend has sent a FIN.
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
#[inline(always)]
pub(crate) fn course(flow: &Flow, side: Side, packet: &Packet, snapshot: &Snapshot) -> Course {
    match snapshot.backend(flow.backend) {
        Some(backend) if backend.incarnation != flow.incarnation => Course::BackendRemoved,
        Some(backend) if begins_anew(flow, side, packet, backend.up) => Course::BeginsAnew,
        Some(_) => Course::GoesOn,
        None => Course::BackendRemoved,
    }
}

/// Moves a flow on: its clock is set back, and its TCP state follows the flags.
#[inline(always)]
pub(crate) fn track(flow: &mut Flow, side: Side, packet: &Packet, snapshot: &Snapshot, now: Millis) {
    flow.last_seen = now.0 as u32;
    if packet.flags != 0 {
        follow_tcp(flow, side, packet.flags, snapshot);
    }
}

/// Whether a client's packet is the first of a new conversation with the addresses and ports of an old one.
#[inline]
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

/// Packets of one virtual server, backend and direction that follow one another, to be counted together.
#[derive(Default)]
pub(crate) struct Tally {
    backend: BackendId,
    virtual_server: VirtualServerId,
    is_reply: bool,
    packets: u64,
    bytes: u64,
}

impl Tally {
    /// Counts a packet of a flow with an IP length of so many bytes.
    #[inline]
    pub(crate) fn count(&mut self, meters: &WorkerMeters, flow: &Flow, side: Side, length: u16) {
        let is_reply = side == Side::Backend;
        let of = (flow.backend, flow.virtual_server, is_reply);
        if of != (self.backend, self.virtual_server, self.is_reply) {
            self.write(meters);
            (self.backend, self.virtual_server, self.is_reply) = of;
        }
        self.packets += 1;
        self.bytes += u64::from(length);
    }

    /// Adds what was counted to the meters.
    pub(crate) fn write(&mut self, meters: &WorkerMeters) {
        if self.packets == 0 {
            return;
        }
        let of_both = [meters.backend(self.backend), meters.virtual_server(self.virtual_server)];
        for traffic in of_both.into_iter().flatten() {
            traffic.count(self.is_reply, self.packets, self.bytes);
        }
        (self.packets, self.bytes) = (0, 0);
    }
}
