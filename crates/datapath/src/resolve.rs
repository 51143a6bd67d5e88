//! Sixth pass: the next hop's MAC address; and where the next hop is looked up.

use flow::Flow;
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
        let leaving = match *step {
            Step::ToBackend(index) => flows
                .flow_mut(index)
                .ok_or(DropReason::NoFlow)
                .and_then(|flow| towards_backend(neighbours, snapshot, flow, now)),
            Step::ToClient(index) => flows
                .flow(index)
                .ok_or(DropReason::NoFlow)
                .and_then(|flow| towards_client(neighbours, snapshot, flow, now)),
            Step::ToHop(hop) => find(neighbours, hop),
            Step::Parsed | Step::Wait(..) | Step::Done(_) => continue,
        };
        *step = match leaving {
            Ok(leaving) => address(frame, snapshot, leaving),
            Err(reason) => Step::Done(Verdict::Drop(reason)),
        };
    }
}

/// How a packet leaves: by which port, and to which MAC address, or for whose it waits.
type Leaving = (PortId, Result<MacAddress, NeighbourIndex>);

/// To the hop that the flow remembers, unless it has to be found again.
#[inline]
fn towards_backend<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    flow: &mut Flow,
    now: Millis,
) -> Result<Leaving, DropReason> {
    if let Some((port, mac)) = neighbours.mac(NeighbourIndex(flow.neighbour)) {
        return Ok((port, Ok(mac)));
    }
    let hop = flow_hop(neighbours, snapshot, flow, now)?;
    flow.neighbour = hop.0;
    find(neighbours, hop)
}

/// To where the client's packets came from, or by route.
#[inline]
fn towards_client<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    flow: &Flow,
    now: Millis,
) -> Result<Leaving, DropReason> {
    if snapshot.port(flow.client_port).is_some_and(|port| port.last_hop) {
        return Ok((flow.client_port, Ok(flow.client_mac)));
    }
    let hash = snapshot.hash_key.hash(&flow.client);
    let hop = address_hop(neighbours, snapshot, flow.client.source, hash, now)?;
    find(neighbours, hop)
}

fn find<F>(neighbours: &mut Neighbours<F>, hop: NeighbourIndex) -> Result<Leaving, DropReason> {
    match neighbours.mac(hop) {
        Some((port, mac)) => Ok((port, Ok(mac))),
        None => neighbours.port(hop).map(|port| (port, Err(hop))).ok_or(DropReason::NeighbourUnreachable),
    }
}

/// Writes the MAC addresses of a packet that leaves.
#[inline]
fn address<F: Frame>(frame: &mut F, snapshot: &Snapshot, (id, to): Leaving) -> Step {
    let Some(port) = snapshot.port(id) else { return Step::Done(Verdict::Drop(DropReason::NoRoute)) };
    if is_over_mtu(frame, port) {
        return Step::Done(Verdict::Drop(DropReason::FrameOverMtu));
    }
    address_frame(frame, to.unwrap_or_default(), port.mac);
    match to {
        Ok(_) => Step::Done(Verdict::Transmit(id)),
        Err(hop) => Step::Wait(id, hop),
    }
}

/// Whether a frame is larger than what the port sends.
#[inline]
fn is_over_mtu<F: Frame>(frame: &F, port: &Port) -> bool {
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
