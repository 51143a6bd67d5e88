//! How a packet leaves: its next hop, and that one's MAC address.

use std::slice;

use flow::{Flow, Hit, Hot, Side};
use model::{Address, BackendId, MacAddress, Millis, PortId};
use nic::Frame;
use wire::ethernet::Ethernet;

use crate::{
    DropReason, Snapshot, Verdict, cross,
    neighbour::{Hop, Link, NeighbourIndex, Neighbours},
    packet::Step,
    rewrite,
    serve::Occasion,
    snapshot::{Backend, RouteIndex},
};

/// The way on for a flow's packet, if it is remembered and still holds.
#[inline(always)]
pub(crate) fn known_link<'a, F>(
    neighbours: &'a mut Neighbours<F>,
    snapshot: &'a Snapshot,
    hot: &'a Hot,
    side: Side,
) -> Option<Link<'a>> {
    match side {
        Side::Client => neighbours.link(NeighbourIndex(hot.neighbour)),
        Side::Backend => last_hop(snapshot, hot),
    }
}

/// Where the client's packets came from, if its port answers there.
#[inline(always)]
fn last_hop<'a>(snapshot: &'a Snapshot, flow: &'a Hot) -> Option<Link<'a>> {
    let (id, to) = flow.client_link();
    let port = snapshot.port(id).filter(|port| port.last_hop)?;
    Some(Link { port: id, mtu: port.mtu, to, from: &port.mac })
}

/// The port by which a flow's packets from one side leave, whether its next hop has answered or not.
pub(crate) fn egress(snapshot: &Snapshot, flow: &Flow, side: Side) -> Option<PortId> {
    let route = match side {
        Side::Client => snapshot.backend(flow.backend)?.route?,
        Side::Backend if snapshot.port(flow.client_port)?.last_hop => return Some(flow.client_port),
        Side::Backend => snapshot.routes.best_in(flow.client.domain, flow.client.source)?,
    };
    Some(snapshot.routes.route(route)?.port)
}

/// Forgets the hop to a flow's backend when no route leads by it under a new snapshot.
pub(crate) fn forget_lost_hop<F>(neighbours: &Neighbours<F>, snapshot: &Snapshot, flow: &mut Hot) {
    let backend = snapshot.backend(flow.backend);
    let route = backend.and_then(|backend| snapshot.routes.route(backend.route?));
    let still_leads = |hop: Hop| {
        let (Some(backend), Some(route)) = (backend, route) else { return false };
        let via = if route.via.is_empty() { slice::from_ref(&backend.address) } else { &route.via };
        hop.port == route.port && via.contains(&hop.address)
    };
    if !neighbours.hop(NeighbourIndex(flow.neighbour)).is_some_and(still_leads) {
        flow.neighbour = NeighbourIndex::NONE.0;
    }
}

/// Bytes of the largest packet from one side that fits both ports that a flow goes by, 0 where backends answer directly.
pub(crate) fn largest<F>(neighbours: &Neighbours<F>, snapshot: &Snapshot, flow: &Hot, side: Side) -> u16 {
    // What the client says here bounds what the backend sends, which does not come by.
    if flow.mode().is_direct() {
        return 0;
    }
    let mtu = |port| snapshot.port(port).map(|port| port.mtu);
    let from = mtu(flow.client_link().0);
    let to = neighbours.hop(NeighbourIndex(flow.neighbour)).and_then(|hop| mtu(hop.port));
    let [from, to] = if flow.crosses() { cross::as_of_side([from, to], flow, side) } else { [from, to] };
    from.into_iter().chain(to).min().unwrap_or(0)
}

/// Finds the way on for a flow's packet, by which `write` makes it ready; what becomes of the packet.
#[inline]
pub(crate) fn go_on<F>(
    neighbours: &mut Neighbours<F>,
    occasion: &Occasion<'_>,
    flow: &mut Hit<'_>,
    write: impl FnOnce(&Hit<'_>, &Link<'_>) -> Result<(), DropReason>,
) -> Result<Step, DropReason> {
    match known_link(neighbours, occasion.snapshot, flow.hot, flow.side) {
        Some(link) => {
            write(flow, &link)?;
            Ok(Step::Done(Verdict::Transmit(link.port)))
        }
        None => {
            let (link, step) = search(neighbours, occasion, flow)?;
            write(flow, &link)?;
            Ok(step)
        }
    }
}

/// Finds the way on for a flow's packet, and what becomes of the packet. Remembers the hop to the backend.
#[cold]
fn search<'a, F>(
    neighbours: &'a mut Neighbours<F>,
    occasion: &Occasion<'a>,
    flow: &mut Hit<'_>,
) -> Result<(Link<'a>, Step), DropReason> {
    let Occasion { snapshot, now, .. } = *occasion;
    let client = flow.client();
    let hash = snapshot.hash_key.hash(&client);
    let hop = match flow.side {
        Side::Client => {
            let id = flow.hot.backend;
            let backend = snapshot.backend(id).ok_or(DropReason::BackendRemoved)?;
            let hop = backend_hop(neighbours, snapshot, (id, backend), hash, now)?;
            flow.hot.neighbour = hop.0;
            hop
        }
        Side::Backend => address_hop(neighbours, snapshot, (client.domain, client.source), hash, now)?,
    };
    destination(neighbours, snapshot, hop)
}

/// The way to a hop, and what becomes of a packet for it. A packet that waits has no MAC address yet.
pub(crate) fn destination<'a, F>(
    neighbours: &'a mut Neighbours<F>,
    snapshot: &'a Snapshot,
    hop: NeighbourIndex,
) -> Result<(Link<'a>, Step), DropReason> {
    let Hop { port: id, .. } = neighbours.hop(hop).ok_or(DropReason::NeighbourUnreachable)?;
    if let Some(link) = neighbours.link(hop) {
        return Ok((link, Step::Done(Verdict::Transmit(id))));
    }
    let port = snapshot.port(id).ok_or(DropReason::NoRoute)?;
    Ok((Link { port: id, mtu: port.mtu, to: &NOT_KNOWN_YET, from: &port.mac }, Step::Wait(id, hop)))
}

/// What a frame is for until its next hop has answered.
const NOT_KNOWN_YET: MacAddress = MacAddress([0; 6]);

/// Writes both MAC addresses.
pub(crate) fn address_frame<F: Frame>(frame: &mut F, to: MacAddress, from: MacAddress) {
    rewrite::write_link(frame.head_mut(), to, from);
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
    (id, backend): (BackendId, &Backend),
    hash: u64,
    now: Millis,
) -> Result<NeighbourIndex, DropReason> {
    let index = backend.route.ok_or(DropReason::NoRoute)?;
    let only = only_hop(snapshot, backend);
    if let Some(known) = only.and_then(|only| neighbours.remembered(id, only)) {
        return Ok(known);
    }
    let found = hop(neighbours, snapshot, index, backend.address, hash, now)?;
    if only.is_some() {
        neighbours.remember(id, found);
    }
    Ok(found)
}

/// The only hop that leads to a backend; `None` when there is none, or several, of which the flow's hash chooses.
#[inline]
pub(crate) fn only_hop(snapshot: &Snapshot, backend: &Backend) -> Option<Hop> {
    let route = snapshot.routes.route(backend.route?)?;
    let address = match *route.via.as_slice() {
        [] => backend.address,
        [router] => router,
        _ => return None,
    };
    Some(Hop { port: route.port, address })
}

/// The next hop towards any address of a route domain.
pub(crate) fn address_hop<F>(
    neighbours: &mut Neighbours<F>,
    snapshot: &Snapshot,
    (domain, destination): (u8, Address),
    hash: u64,
    now: Millis,
) -> Result<NeighbourIndex, DropReason> {
    let route = snapshot.routes.best_in(domain, destination).ok_or(DropReason::NoRoute)?;
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
