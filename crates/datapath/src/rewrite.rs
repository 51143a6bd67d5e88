//! Fifth pass: new addresses, ports and TTL, with checksums repaired (RFC 1624).
//!
//! What is to be written is known from the flow's two keys; what that does to checksums was computed when the flow was
//! opened. A checksum that arrived wrong leaves wrong by as much.

use flow::{Flow, FlowKey, Repair};
use model::{Address, Millis, Mode};
use nic::{Burst, Frame};
use wire::{
    U16,
    checksum::Delta,
    ipv4::{self, Ipv4, Ipv4Tcp},
    ipv6::Ipv6,
    tcp::Tcp,
    udp::Udp,
};

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
        translate(frame.head_mut(), packet, &Ends::opposite(&flow.reply, flow.to_backend));
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
    translate(frame.head_mut(), packet, &Ends::opposite(&flow.client, flow.to_client));
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

/// New ends of a packet and what they do to its checksums.
struct Ends<'a> {
    source: (&'a Address, u16),
    destination: (&'a Address, u16),
    repair: Repair,
}

impl<'a> Ends<'a> {
    /// The ends of a packet in the opposite direction of `key`.
    fn opposite(key: &'a FlowKey, repair: Repair) -> Self {
        let source = (&key.destination, key.destination_port);
        Self { source, destination: (&key.source, key.source_port), repair }
    }
}

/// Writes addresses, ports and TTL, and repairs the checksums over them.
#[inline]
fn translate(head: &mut [u8], packet: &Packet, ends: &Ends<'_>) {
    if packet.v6 {
        translate_v6(head, packet, ends);
    } else if packet.flags != 0 && usize::from(packet.transport - u16::from(packet.network)) == ipv4::HEADER {
        // Nearly all packets: both headers at once.
        if let Some(headers) = wire::header_mut::<Ipv4Tcp>(head, usize::from(packet.network)) {
            translate_v4(&mut headers.network, ends);
            translate_tcp(&mut headers.transport, ends);
        }
        return;
    } else if let Some(header) = wire::header_mut::<Ipv4>(head, usize::from(packet.network)) {
        translate_v4(header, ends);
    }
    let transport = usize::from(packet.transport);
    if packet.flags != 0 {
        if let Some(header) = wire::header_mut::<Tcp>(head, transport) {
            translate_tcp(header, ends);
        }
    } else if let Some(header) = wire::header_mut::<Udp>(head, transport) {
        header.source_port = U16::new(ends.source.1);
        header.destination_port = U16::new(ends.destination.1);
        header.checksum = U16::new(Delta(ends.repair.transport).apply_udp(header.checksum.get()));
    }
}

#[inline]
fn translate_v4(header: &mut Ipv4, ends: &Ends<'_>) {
    header.source = ends.source.0.v4();
    header.destination = ends.destination.0.v4();
    header.ttl = header.ttl.wrapping_sub(1); // above 1: checked
    header.checksum = U16::new(Delta(ends.repair.network).apply(header.checksum.get()));
}

#[inline]
fn translate_v6(head: &mut [u8], packet: &Packet, ends: &Ends<'_>) {
    if let Some(header) = wire::header_mut::<Ipv6>(head, usize::from(packet.network)) {
        header.source = ends.source.0.octets();
        header.destination = ends.destination.0.octets();
        header.hop_limit = header.hop_limit.wrapping_sub(1); // above 1: checked
    }
}

#[inline]
fn translate_tcp(header: &mut Tcp, ends: &Ends<'_>) {
    header.source_port = U16::new(ends.source.1);
    header.destination_port = U16::new(ends.destination.1);
    header.checksum = U16::new(Delta(ends.repair.transport).apply(header.checksum.get()));
}
