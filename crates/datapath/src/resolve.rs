//! The next hop's MAC address; and where the next hop is looked up.

use flow::{Flow, Side};
use model::{Address, MacAddress, Millis, PortId};
use nic::Frame;
use wire::ethernet::{self, Ethernet};

use crate::{
    DropReason, Snapshot, Verdict,
    neighbour::{Hop, NeighbourIndex, Neighbours},
    packet::Step,
    snapshot::{Backend, Port, RouteIndex},
};

/// Writes the MAC addresses of a flow's packet; what has no known hop yet waits.
#[inline(always)]
pub(crate) fn resolve<F: Frame>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    frame: &mut F,
    (flow, side): (&mut Flow, Side),
    now: Millis,
) -> Step {
    let known = match side {
        Side::Client => neighbours.mac(NeighbourIndex(flow.neighbour)),
        Side::Backend => last_hop(snapshot, flow),
    };
    match known {
        Some((port, mac)) => address(frame, snapshot, port, mac, Step::Done(Verdict::Transmit(port))),
        None => match search(neighbours, snapshot, flow, side, now) {
            Ok(hop) => leave(neighbours, frame, snapshot, hop),
            Err(reason) => Step::Done(Verdict::Drop(reason)),
        },
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
    snapshot: &Snapshot,
    flow: &mut Flow,
    side: Side,
    now: Millis,
) -> Result<NeighbourIndex, DropReason> {
    let hash = snapshot.hash_key.hash(&flow.client);
    match side {
        Side::Client => {
            let backend = snapshot.backend(flow.backend).ok_or(DropReason::BackendRemoved)?;
            let hop = backend_hop(neighbours, snapshot, backend, hash, now)?;
            flow.neighbour = hop.0;
            Ok(hop)
        }
        Side::Backend => address_hop(neighbours, snapshot, flow.client.source, hash, now),
    }
}

/// Lets a packet leave to a hop that was searched for, or wait for it.
#[cold]
pub(crate) fn leave<F: Frame>(
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
