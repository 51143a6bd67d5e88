//! Fifth pass: new addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Flow, FlowIndex, FlowKey, Repair, Side};
use model::{Millis, Mode};
use nic::{Burst, Frame};
use wire::{U16, checksum::Delta, ipv4::Ipv4, ipv6::Ipv6, protocol, tcp::Tcp, udp::Udp};

use crate::{
    DropReason, Snapshot, Verdict, WorkerState,
    neighbour::NeighbourIndex,
    packet::{Packet, Step},
    resolve,
};

/// Rewrites the packets of a burst that belong to flows.
pub(crate) fn rewrite_all<F: Frame>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    burst: &mut Burst<F>,
    now: Millis,
) {
    for (position, frame) in burst.iter_mut().enumerate() {
        let (Some(&step), Some(&packet)) =
            (state.packets.steps.get(position), state.packets.packets.get(position))
        else {
            continue;
        };
        let (index, side) = match step {
            Step::ToBackend(index) => (index, Side::Client),
            Step::ToClient(index) => (index, Side::Backend),
            _ => continue,
        };
        let next = rewrite(state, snapshot, frame, &packet, (index, side), now);
        if let Some(slot) = state.packets.steps.get_mut(position) {
            *slot = next.unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)));
        }
    }
}

fn rewrite<F: Frame>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    frame: &mut F,
    packet: &Packet,
    (index, side): (FlowIndex, Side),
    now: Millis,
) -> Result<Step, DropReason> {
    let flow = *state.flows.flow(index).ok_or(DropReason::NoFlow)?;
    if flow.mode != Mode::Dsr {
        if packet.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        match side {
            Side::Client => translate(frame.head_mut(), packet, &flow.reply.reversed(), flow.to_backend),
            Side::Backend => translate(frame.head_mut(), packet, &flow.client.reversed(), flow.to_client),
        }
    }
    match side {
        Side::Client => to_backend(state, snapshot, &flow, index, now),
        Side::Backend => to_client(state, snapshot, &flow, frame, now),
    }
}

/// The hop towards the backend: what the flow remembers, unless the neighbour has to be found again.
fn to_backend<F: Frame>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    flow: &Flow,
    index: FlowIndex,
    now: Millis,
) -> Result<Step, DropReason> {
    let known = NeighbourIndex(flow.neighbour);
    if let Some(port) = state.neighbours.usable_port(known) {
        return Ok(Step::ToHop(port, known));
    }
    let (port, neighbour) = resolve::flow_hop(state, snapshot, flow, now)?;
    if let Some(flow) = state.flows.flow_mut(index) {
        flow.neighbour = neighbour.0;
    }
    Ok(Step::ToHop(port, neighbour))
}

/// The hop towards the client: where its packets came from, or by route.
fn to_client<F: Frame>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    flow: &Flow,
    frame: &mut F,
    now: Millis,
) -> Result<Step, DropReason> {
    match snapshot.port(flow.client_port) {
        Some(port) if port.last_hop => {
            if resolve::is_over_mtu(frame, port) {
                return Err(DropReason::FrameOverMtu);
            }
            resolve::address_frame(frame, flow.client_mac, port.mac);
            Ok(Step::Done(Verdict::Transmit(flow.client_port)))
        }
        _ => {
            let hash = snapshot.hash_key.hash(&flow.client);
            let (port, neighbour) = resolve::address_hop(state, snapshot, flow.client.source, hash, now)?;
            Ok(Step::ToHop(port, neighbour))
        }
    }
}

/// Writes addresses, ports and TTL, and repairs the checksums over them.
#[inline]
fn translate(head: &mut [u8], packet: &Packet, new: &FlowKey, repair: Repair) {
    let network = usize::from(packet.network);
    if packet.v6 {
        if let Some(header) = wire::header_mut::<Ipv6>(head, network) {
            header.source = new.source.octets();
            header.destination = new.destination.octets();
            header.hop_limit = header.hop_limit.saturating_sub(1);
        }
    } else if let Some(header) = wire::header_mut::<Ipv4>(head, network) {
        header.source = new.source.v4();
        header.destination = new.destination.v4();
        header.ttl = header.ttl.saturating_sub(1);
        header.checksum = U16::new(Delta(repair.network).apply(header.checksum.get()));
    }
    let transport = usize::from(packet.transport);
    if new.protocol == protocol::TCP {
        if let Some(header) = wire::header_mut::<Tcp>(head, transport) {
            header.source_port = U16::new(new.source_port);
            header.destination_port = U16::new(new.destination_port);
            header.checksum = U16::new(Delta(repair.transport).apply(header.checksum.get()));
        }
    } else if let Some(header) = wire::header_mut::<Udp>(head, transport) {
        header.source_port = U16::new(new.source_port);
        header.destination_port = U16::new(new.destination_port);
        header.checksum = U16::new(Delta(repair.transport).apply_udp(header.checksum.get()));
    }
}
