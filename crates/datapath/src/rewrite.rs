//! Fifth pass: new addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Flow, FlowKey, Repair};
use model::{Millis, Mode};
use nic::{Burst, Frame};
use wire::{U16, checksum::Delta, ipv4::Ipv4, ipv6::Ipv6, protocol, tcp::Tcp, udp::Udp};

use crate::{
    DropReason, Snapshot, Verdict, WorkerState,
    neighbour::{NeighbourIndex, Neighbours},
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
    let WorkerState { packets, flows, neighbours, .. } = state;
    for ((frame, packet), step) in burst.iter_mut().zip(&packets.packets).zip(&mut packets.steps) {
        let next = match *step {
            Step::ToBackend(index) => flows
                .flow_mut(index)
                .ok_or(DropReason::NoFlow)
                .and_then(|flow| to_backend(neighbours, snapshot, frame, packet, flow, now)),
            Step::ToClient(index) => flows
                .flow(index)
                .ok_or(DropReason::NoFlow)
                .and_then(|flow| to_client(neighbours, snapshot, frame, packet, flow, now)),
            _ => continue,
        };
        *step = next.unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)));
    }
}

/// To the hop that the flow remembers, unless the neighbour has to be found again.
#[inline]
fn to_backend<F: Frame>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    frame: &mut F,
    packet: &Packet,
    flow: &mut Flow,
    now: Millis,
) -> Result<Step, DropReason> {
    if flow.mode != Mode::Dsr {
        check_ttl(packet)?;
        translate(frame.head_mut(), packet, &flow.reply.reversed(), flow.to_backend);
    }
    let known = NeighbourIndex(flow.neighbour);
    if let Some(port) = neighbours.usable_port(known) {
        return Ok(Step::ToHop(port, known));
    }
    let (port, neighbour) = resolve::flow_hop(neighbours, snapshot, flow, now)?;
    flow.neighbour = neighbour.0;
    Ok(Step::ToHop(port, neighbour))
}

/// To where the client's packets came from, or by route.
#[inline]
fn to_client<F: Frame>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    frame: &mut F,
    packet: &Packet,
    flow: &Flow,
    now: Millis,
) -> Result<Step, DropReason> {
    check_ttl(packet)?;
    translate(frame.head_mut(), packet, &flow.client.reversed(), flow.to_client);
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
            let (port, neighbour) =
                resolve::address_hop(neighbours, snapshot, flow.client.source, hash, now)?;
            Ok(Step::ToHop(port, neighbour))
        }
    }
}

fn check_ttl(packet: &Packet) -> Result<(), DropReason> {
    if packet.ttl > 1 { Ok(()) } else { Err(DropReason::TtlExpired) }
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
