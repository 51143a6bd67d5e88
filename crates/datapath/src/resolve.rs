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
pub(crate) fn resolve_all<F: Frame>(state: &mut WorkerState<F>, snapshot: &Snapshot, burst: &mut Burst<F>) {
    let WorkerState { packets, neighbours, .. } = state;
    for (frame, step) in burst.iter_mut().zip(&mut packets.steps) {
        let Step::ToHop(id, neighbour) = *step else { continue };
        let Some(port) = snapshot.port(id) else {
            *step = Step::Done(Verdict::Drop(DropReason::NoRoute));
            continue;
        };
        *step = if is_over_mtu(frame, port) {
            Step::Done(Verdict::Drop(DropReason::FrameOverMtu))
        } else if let Some(mac) = neighbours.mac(neighbour) {
            address_frame(frame, mac, port.mac);
            Step::Done(Verdict::Transmit(id))
        } else {
            address_frame(frame, MacAddress::default(), port.mac);
            Step::Wait(id, neighbour)
        };
    }
}

/// Whether a frame is larger than what the port sends.
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

/// The port and next hop towards a backend.
pub(crate) fn backend_hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    backend: &Backend,
    hash: u64,
    now: Millis,
) -> Result<(PortId, NeighbourIndex), DropReason> {
    let route = backend.route.ok_or(DropReason::NoRoute)?;
    hop(neighbours, snapshot, route, backend.address, hash, now)
}

/// The port and next hop towards any address.
pub(crate) fn address_hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    destination: Address,
    hash: u64,
    now: Millis,
) -> Result<(PortId, NeighbourIndex), DropReason> {
    let route = snapshot.routes.best(destination).ok_or(DropReason::NoRoute)?;
    hop(neighbours, snapshot, route, destination, hash, now)
}

/// The next hop of a flow towards its backend, which may have changed since the flow was opened.
pub(crate) fn flow_hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    flow: &Flow,
    now: Millis,
) -> Result<(PortId, NeighbourIndex), DropReason> {
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
) -> Result<(PortId, NeighbourIndex), DropReason> {
    let route = snapshot.routes.route(route).ok_or(DropReason::NoRoute)?;
    let count = route.via.len();
    if count == 0 {
        let hop = Hop { port: route.port, address: destination };
        return Ok((route.port, neighbours.resolve(hop, now)?));
    }
    // A flow keeps its router while that one answers, and takes the next one when it does not.
    let first = (hash >> 16) as usize % count;
    let mut refusal = DropReason::NeighbourUnreachable;
    for &address in route.via.iter().cycle().skip(first).take(count) {
        let hop = Hop { port: route.port, address };
        match neighbours.resolve(hop, now) {
            Ok(neighbour) => return Ok((route.port, neighbour)),
            Err(reason) => refusal = reason,
        }
    }
    Err(refusal)
}
