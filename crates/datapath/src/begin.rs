//! Opens flows for the first packets of conversations, those that [`crate::open`] leaves.

use flow::{Absent, Flow, FlowIndex, FlowKey, FlowState, Refused};
use model::{BackendId, Mode, VirtualServerId};
use nic::Frame;
use wire::tcp::flags;

use crate::{
    DropReason, Snapshot, limit,
    packet::Packet,
    plan::Plan,
    portless, quic, resolve, room, select,
    serve::Occasion,
    show,
    snapshot::{Backend, VirtualServer},
    state::{Memory, count_opened},
    track,
    translation::{self, translation},
};

/// A packet that opens a flow.
pub(crate) struct First {
    pub(crate) absent: Absent,
    /// Whether its conversation has begun already, with a backend that is down now.
    pub(crate) goes_on: bool,
}

/// What [`open`] has opened.
pub(crate) enum Opened {
    Flow(FlowIndex),
    /// The table had no room: the packet goes by hash alone, as the first one of this flow would.
    Untracked(Flow),
}

/// Opens a flow for the first packet of a conversation.
pub(crate) fn open<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &F,
    packet: &Packet,
    (key, first): (&FlowKey, First),
    &Plan { server: id, backend, hash }: &Plan,
) -> Result<Opened, DropReason> {
    let snapshot = occasion.snapshot;
    let server = snapshot.virtual_server(id).ok_or(DropReason::NoVirtualServer)?;
    if !first.goes_on {
        may_have_new(memory, occasion, (id, server), key, packet)?;
    }
    let (is_planned, named) = (backend.is_some(), quic::named(snapshot, server, frame, packet));
    let named = named.filter(|named| !memory.limiter.is_full(*named, occasion.now));
    let planned = named.map(|(id, _)| id).or(backend);
    let chosen = backend_with_room(memory, occasion, (id, server), (key, hash), planned)?;
    // A flood that finds the table full is to cost little.
    room::make(memory, server)?;
    let of = ((frame, packet), (key, hash), first.absent);
    let (opened, is_planned) = match enter(memory, occasion, of, (id, server), chosen) {
        Err(DropReason::FlowCollision) if server.mode == Mode::Nat => {
            (elsewhere(memory, occasion, of, (id, server))?, false)
        }
        opened => (opened?, is_planned),
    };
    if let Opened::Flow(index) = opened {
        show::begin(&mut memory.flows, index, server);
        limit::note_source(&memory.meters, snapshot, (id, server), key, occasion.now);
        if let Some(flow) = memory.flows.flow(index) {
            select::opened(memory, occasion, &flow, (server, is_planned));
        }
    }
    Ok(opened)
}

/// The first packet of a flow, with the hash of its key, and that no flow has it.
type Beginning<'a, F> = ((&'a F, &'a Packet), (&'a FlowKey, u64), Absent);

/// Backends that are tried when the client has a conversation already whose replies would be the same: with another address, or another
/// virtual server, that the same backend stands for.
const OTHERS: u32 = 7;

/// Opens a flow with another backend than its hash says, because that one's replies would be another flow's.
#[cold]
fn elsewhere<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (packet, (key, hash), absent): Beginning<'_, F>,
    (id, server): (VirtualServerId, &VirtualServer),
) -> Result<Opened, DropReason> {
    for other in (1..=OTHERS).map(|number| hash.rotate_right(number * u8::BITS)) {
        let found = {
            let Memory { outlook, limiter, .. } = &mut *memory;
            select::another(outlook, limiter, occasion, server, (key, other))
        };
        let Some((other_id, backend)) = found.and_then(|id| Some((id, occasion.snapshot.backend(id)?)))
        else {
            continue;
        };
        memory.limiter.check_backend((other_id, backend), occasion.now)?;
        let of = (packet, (key, hash), absent);
        match enter(memory, occasion, of, (id, server), (other_id, backend)) {
            Err(DropReason::FlowCollision) => {}
            opened => return opened,
        }
    }
    Err(DropReason::FlowCollision)
}

/// Enters a flow with a backend.
fn enter<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    ((frame, packet), (key, hash), absent): Beginning<'_, F>,
    (id, server): (VirtualServerId, &VirtualServer),
    (backend_id, backend): (BackendId, &Backend),
) -> Result<Opened, DropReason> {
    let snapshot = occasion.snapshot;
    let neighbour =
        resolve::backend_hop(&mut memory.neighbours, snapshot, (backend_id, backend), hash, occasion.now)?;
    let of = (neighbour, hash, translation::begins(frame.head(), packet, id));
    let (reply, to_backend) = translation(memory, (snapshot, server), backend, key, of)?;
    let state = if is_first_segment(packet) { FlowState::Handshake } else { FlowState::Established };
    let flow = Flow {
        client: *key,
        last_seen: occasion.now.0 as u32,
        checked: track::checked(
            (state, server.mode),
            occasion.flow_generation(),
            translation::crosses(server, backend, key) || is_special(snapshot, (id, server), backend_id),
        ),
        backend: backend_id,
        neighbour: neighbour.0,
        to_backend,
        state,
        mode: server.mode,
        marks: 0,
        client_port: occasion.arrival.port,
        reply,
        virtual_server: id,
        created: occasion.now.0 as u32,
        client_mac: resolve::source_mac(frame),
        incarnation: backend.incarnation as u8,
    };
    let index = match memory.flows.insert_absent(&flow, absent) {
        Ok(index) => index,
        Err(Refused::Full) if server.mode.is_direct() => return Ok(Opened::Untracked(flow)),
        Err(Refused::Full) => return Err(DropReason::FlowTableFull),
        Err(Refused::Duplicate) => return Err(DropReason::FlowCollision),
    };
    memory.guard.opened(state, occasion.now);
    count_opened(&memory.meters, (flow.backend, flow.virtual_server));
    Ok(Opened::Flow(index))
}

/// Whether all packets of a flow are looked at, whatever its families are.
fn is_special(
    snapshot: &Snapshot,
    (id, server): (VirtualServerId, &VirtualServer),
    backend: BackendId,
) -> bool {
    server.extent.all || limit::has_bandwidth(snapshot, id, backend)
}

/// Refuses the first packet of a flow that a virtual server does not take. One that has begun already, with another backend, is none.
pub(crate) fn may_have_new<F>(
    memory: &mut Memory<F>,
    &Occasion { snapshot, now, .. }: &Occasion<'_>,
    (id, server): (VirtualServerId, &VirtualServer),
    key: &FlowKey,
    packet: &Packet,
) -> Result<(), DropReason> {
    if !server.permits(key.source) {
        return Err(DropReason::SourceDenied);
    }
    if !may_open(server, packet) {
        return Err(DropReason::NoFlow);
    }
    if !portless::takes(server, key.protocol) {
        return Err(DropReason::ProtocolNotTranslated);
    }
    if server.limits.is_none() {
        return Ok(());
    }
    let source = || limit::source_hash(snapshot, id, key);
    memory.limiter.check_server((id, &server.limits), source, now)
}

/// The backend that is to have a new flow: the planned one, or who is chosen, or another one if that one has as much as it may.
fn backend_with_room<'a, F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'a>,
    (id, server): (VirtualServerId, &VirtualServer),
    of: (&FlowKey, u64),
    planned: Option<BackendId>,
) -> Result<(BackendId, &'a Backend), DropReason> {
    let Memory { outlook, limiter, .. } = memory;
    let (snapshot, now) = (occasion.snapshot, occasion.now);
    let known = |id: Option<BackendId>| id.and_then(|id| Some((id, snapshot.backend(id)?)));
    let chosen = planned.or_else(|| select::select(outlook, occasion, (id, server), of));
    let chosen = known(chosen).ok_or(DropReason::NoBackend)?;
    if !limiter.is_full(chosen, now) {
        return limiter.check_backend(chosen, now).map(|()| chosen);
    }
    let other =
        known(select::another(outlook, limiter, occasion, server, of)).ok_or(DropReason::BackendLimit)?;
    limiter.check_backend(other, now).map(|()| other)
}

const fn is_tcp(packet: &Packet) -> bool {
    packet.flags != 0
}

pub(crate) const fn is_first_segment(packet: &Packet) -> bool {
    packet.flags & (flags::SYN | flags::ACK) == flags::SYN
}

/// A TCP conversation begins with a SYN, or in mid-stream where the profile adopts those.
pub(crate) const fn may_open(server: &VirtualServer, packet: &Packet) -> bool {
    if !is_tcp(packet) || is_first_segment(packet) {
        return true;
    }
    server.loose_initiation && packet.flags & (flags::RST | flags::SYN) == 0
}
