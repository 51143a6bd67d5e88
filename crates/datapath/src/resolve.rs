//! Sixth pass: the next hop's MAC address; and where the next hop is looked up.

use flow::{Flow, FlowTable};
use model::{Address, MacAddress, Millis, PortId};
use nic::{Burst, Frame};
use wire::ethernet::{self, Ethernet};

use crate::{
    DropReason, Snapshot, Verdict, WorkerState,
    neighbour::{Hop, NeighbourIndex, Neighbours},
    packet::Step,
    snapshot::{Backend, Port, RouteIndex},
};

/// Writes MAC addresses into all packets that leave by a port; what has no known hop yet waits.
#[inline(never)]
pub(crate) fn resolve_all<F: Frame>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    burst: &mut Burst<F>,
    now: Millis,
) {
    let WorkerState { packets, flows, neighbours, .. } = state;
    for (frame, step) in burst.iter_mut().zip(&mut packets.steps) {
        let known = match *step {
            Step::ToBackend(index) => {
                flows.flow_or_retired(index).and_then(|flow| neighbours.mac(NeighbourIndex(flow.neighbour)))
            }
            Step::ToClient(index) => flows.flow_or_retired(index).and_then(|flow| last_hop(snapshot, flow)),
            Step::ToHop(hop) => neighbours.mac(hop),
            Step::Parsed | Step::Wait(..) | Step::Done(_) => continue,
        };
        *step = match known {
            Some((port, mac)) => address(frame, snapshot, port, mac, Step::Done(Verdict::Transmit(port))),
            None => search(neighbours, flows, snapshot, now, *step).map_or_else(
                |reason| Step::Done(Verdict::Drop(reason)),
                |found| leave(neighbours, frame, snapshot, found),
            ),
        };
    }
}

/// Where the client's packets came from, if its port answers there.
#[inline]
fn last_hop(snapshot: &Snapshot, flow: &Flow) -> Option<(PortId, MacAddress)> {
    snapshot
        .port(flow.client_port)
        .is_some_and(|port| port.last_hop)
        .then_some((flow.client_port, flow.client_mac))
}

/// Finds the hop of a packet for which nothing is remembered, or nothing that still holds.
#[cold]
fn search<F>(
    neighbours: &mut Neighbours<F>,
    flows: &mut FlowTable,
    snapshot: &Snapshot,
    now: Millis,
    step: Step,
) -> Result<NeighbourIndex, DropReason> {
    match step {
        Step::ToBackend(index) => {
            let flow = flows.flow_or_retired(index).ok_or(DropReason::NoFlow)?;
            let hop = flow_hop(neighbours, snapshot, flow, now)?;
            flow.neighbour = hop.0;
            Ok(hop)
        }
        Step::ToClient(index) => {
            let flow = flows.flow_or_retired(index).ok_or(DropReason::NoFlow)?;
            let hash = snapshot.hash_key.hash(&flow.client);
            address_hop(neighbours, snapshot, flow.client.source, hash, now)
        }
        Step::ToHop(hop) => Ok(hop),
        Step::Parsed | Step::Wait(..) | Step::Done(_) => Err(DropReason::NoRoute),
    }
}

/// Lets a packet leave to a hop that was searched for, or wait for it.
#[cold]
fn leave<F: Frame>(
    neighbours: &mut Neighbours<F>,
    frame: &mut F,
    snapshot: &Snapshot,
    hop: NeighbourIndex,
) -> Step {
    if let Some((port, mac)) = neighbours.mac(hop) {
        return address(frame, snapshot, port, mac, Step::Done(Verdict::Transmit(port)));
    }
    match neighbours.port(hop) {
        Some(port) => address(frame, snapshot, port, MacAddress::default(), Step::Wait(port, hop)),
        None => Step::Done(Verdict::Drop(DropReason::NeighbourUnreachable)),
    }
}

/// Writes the MAC addresses of a packet that is to leave by a port; `then` unless it is too large.
#[inline]
fn address<F: Frame>(frame: &mut F, snapshot: &Snapshot, id: PortId, to: MacAddress, then: Step) -> Step {
    let Some(port) = snapshot.port(id) else { return Step::Done(Verdict::Drop(DropReason::NoRoute)) };
    if is_over_mtu(frame, port) {
        return Step::Done(Verdict::Drop(DropReason::FrameOverMtu));
    }
    address_frame(frame, to, port.mac);
    then
}

/// Whether a frame is larger than what the port sends.
#[inline]
pub(crate) fn is_over_mtu<F: Frame>(frame: &F, port: &Port) -> bool {
    frame.length() > usize::from(port.mtu) + ethernet::HEADER
}

/// Writes both MAC addresses.
#[inline]
pub(crate) fn address_frame<F: Frame>(frame: &mut F, to: MacAddress, from: MacAddress) {
    if let Some(header) = wire::header_mut::<Ethernet>(frame.head_mut(), 0) {
        header.destination = to.0;
        header.source = from.0;
    }
}

/// Who sent a frame.
pub(crate) fn source_mac<F: Frame>(frame: &F) -> MacAddress {
    wire::header::<Ethernet>(frame.head(), 0)
        .map_or_else(MacAddress::default, |header| MacAddress(header.source))
}

/// The next hop towards a backend.
pub(crate) fn backend_hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    backend: &Backend,
    hash: u64,
    now: Millis,
) -> Result<NeighbourIndex, DropReason> {
    let route = backend.route.ok_or(DropReason::NoRoute)?;
    hop(neighbours, snapshot, route, backend.address, hash, now)
}

/// The next hop towards any address.
pub(crate) fn address_hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    destination: Address,
    hash: u64,
    now: Millis,
) -> Result<NeighbourIndex, DropReason> {
    let route = snapshot.routes.best(destination).ok_or(DropReason::NoRoute)?;
    hop(neighbours, snapshot, route, destination, hash, now)
}

/// The next hop of a flow towards its backend, which may have changed since the flow was opened.
pub(crate) fn flow_hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    flow: &Flow,
    now: Millis,
) -> Result<NeighbourIndex, DropReason> {
    let backend = snapshot.backend(flow.backend).ok_or(DropReason::BackendRemoved)?;
    backend_hop(neighbours, snapshot, backend, snapshot.hash_key.hash(&flow.client), now)
}

fn hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    route: RouteIndex,
    destination: Address,
    hash: u64,
    now: Millis,
) -> Result<NeighbourIndex, DropReason> {
    let route = snapshot.routes.route(route).ok_or(DropReason::NoRoute)?;
    let count = route.via.len();
    if count == 0 {
        let hop = Hop { port: route.port, address: destination };
        return neighbours.resolve(hop, now);
    }
    // A flow keeps its router while that one answers, and takes the next one when it does not.
    let first = (hash >> 16) as usize % count;
    let mut refusal = DropReason::NeighbourUnreachable;
    for &address in route.via.iter().cycle().skip(first).take(count) {
        let hop = Hop { port: route.port, address };
        match neighbours.resolve(hop, now) {
            Ok(neighbour) => return Ok(neighbour),
            Err(reason) => refusal = reason,
        }
    }
    Err(refusal)
}
