//! Fourth pass: packets that belong to no flow.
//!
//! The first packet of a conversation with a virtual server opens a flow; what is for the gateway itself is answered, goes
//! to the host, or is refused. This is the rarer path: it may take several cache misses, but it never allocates.

use flow::{Flow, FlowKey, FlowState, Refused, Repair, Side};
use model::{Address, Millis, Mode, PortId, VirtualServerId};
use nic::Frame;
use wire::{checksum::Delta, tcp::flags};

use crate::{
    Arrival, DropReason, Snapshot, Verdict, WorkerState, answer,
    neighbour::NeighbourIndex,
    ownership,
    packet::{Kind, Packet, Step},
    parse::is_group,
    resolve,
    snapshot::{Backend, Owned, VirtualServer, is_martian_destination, is_martian_source},
    snat,
    track::{self, HANDSHAKE_TIMEOUT, Tally},
};

/// What the pass is given besides the worker's state.
pub(crate) struct Admission<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) arrival: Arrival,
    pub(crate) now: Millis,
}

/// Admits what no flow was found for.
#[inline(never)]
pub(crate) fn admit_all<F: Frame>(
    state: &mut WorkerState<F>,
    admission: &Admission<'_>,
    burst: &mut nic::Burst<F>,
) {
    for (position, frame) in burst.iter_mut().enumerate() {
        let packets = &state.packets;
        let (Some(Step::Parsed), Some(&packet), Some(&key)) =
            (packets.steps.get(position), packets.packets.get(position), packets.keys.get(position))
        else {
            continue;
        };
        let step = admit(state, admission, frame, &packet, &key);
        if let Some(slot) = state.packets.steps.get_mut(position) {
            *slot = step.unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)));
        }
    }
}

fn admit<F: Frame>(
    state: &mut WorkerState<F>,
    admission: &Admission<'_>,
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
) -> Result<Step, DropReason> {
    if packet.kind != Kind::Arp {
        check_addresses(packet, key, admission.snapshot)?;
    }
    match packet.kind {
        Kind::Balanced => balanced(state, admission, frame, packet, key),
        Kind::Arp | Kind::Icmp => Ok(Step::Done(answer::answer(state, admission, frame, packet, key))),
        Kind::Other => Ok(Step::Done(unanswered(admission, key, DropReason::ProtocolUnsupported))),
    }
}

/// Refuses addresses that nobody can have, or only we (RFC 1812, 5.3.7).
fn check_addresses(packet: &Packet, key: &FlowKey, snapshot: &Snapshot) -> Result<(), DropReason> {
    // A node that has no address yet asks for the one it wants from `::` (RFC 4862, 5.4.2).
    let may_be_unspecified = packet.kind == Kind::Icmp && key.source == Address::UNSPECIFIED;
    if is_martian_source(key.source) && !may_be_unspecified {
        return Err(DropReason::SourceMartian);
    }
    if snapshot.addresses.owner(key.source).is_some() {
        return Err(DropReason::SourceIsOurs);
    }
    if is_group(key.destination) {
        let is_discovery = packet.v6 && packet.kind == Kind::Icmp;
        return if is_discovery { Ok(()) } else { Err(DropReason::DestinationGroup) };
    }
    if is_martian_destination(key.destination) { Err(DropReason::DestinationMartian) } else { Ok(()) }
}

/// A TCP or UDP packet without a flow when its burst was looked up.
fn balanced<F: Frame>(
    state: &mut WorkerState<F>,
    admission: &Admission<'_>,
    frame: &F,
    packet: &Packet,
    key: &FlowKey,
) -> Result<Step, DropReason> {
    // An earlier packet of this burst may have opened the flow.
    if let Some(found) = state.flows.find(key, state.flows.hash(key)) {
        let mut tally = Tally::default();
        let step = track::track(
            &mut state.flows,
            &state.meters,
            admission.snapshot,
            found,
            packet,
            admission.now,
            &mut tally,
        );
        tally.write(&state.meters);
        if step != Step::Parsed {
            return Ok(step);
        }
    }
    if let Some(owner) = foreign_owner(state, admission, key) {
        return Ok(Step::Done(Verdict::HandOver(owner)));
    }
    let Some((id, server)) = admission.snapshot.service(key) else {
        return Ok(Step::Done(without_service(admission, key)));
    };
    open(state, admission, frame, packet, key, (id, server))
}

/// The worker that is to have a packet, unless it is this one or the packet has been handed over already.
fn foreign_owner<F: Frame>(
    state: &WorkerState<F>,
    admission: &Admission<'_>,
    key: &FlowKey,
) -> Option<model::WorkerId> {
    if admission.snapshot.workers <= 1 || admission.arrival.is_handed_over {
        return None;
    }
    ownership::owner(admission.snapshot, admission.arrival.port, key).filter(|owner| *owner != state.id)
}

/// A packet that no virtual server is the destination of.
fn without_service(admission: &Admission<'_>, key: &FlowKey) -> Verdict {
    match admission.snapshot.addresses.owner(key.destination) {
        Some(owned) if owned.is_snat_port(key.destination_port) => Verdict::Drop(DropReason::NoFlow),
        Some(Owned::Virtual { .. }) => Verdict::Drop(DropReason::NoVirtualServer),
        Some(_) => unanswered(admission, key, DropReason::NoListener),
        None if admission.snapshot.is_nat_backend(key.source) => Verdict::Drop(DropReason::NoFlow),
        None => Verdict::Drop(DropReason::NoVirtualServer),
    }
}

/// What is not answered here goes to the host, if the destination is a port's own address and the port has a host twin.
pub(crate) fn unanswered(admission: &Admission<'_>, key: &FlowKey, otherwise: DropReason) -> Verdict {
    match admission.snapshot.addresses.owner(key.destination) {
        Some(Owned::Port { port, .. }) => to_host(admission, port, otherwise),
        Some(_) => Verdict::Drop(otherwise),
        None => Verdict::Drop(DropReason::NoVirtualServer),
    }
}

/// To the host twin of a port, if it has one.
pub(crate) fn to_host(admission: &Admission<'_>, port: PortId, otherwise: DropReason) -> Verdict {
    let has_host = admission.snapshot.port(port).is_some_and(|port| port.host);
    if has_host { Verdict::ToHost(port) } else { Verdict::Drop(otherwise) }
}

/// Opens a flow for the first packet of a conversation.
fn open<F: Frame>(
    state: &mut WorkerState<F>,
    admission: &Admission<'_>,
    frame: &F,
    packet: &Packet,
    key: &FlowKey,
    (id, server): (VirtualServerId, &VirtualServer),
) -> Result<Step, DropReason> {
    let snapshot = admission.snapshot;
    if !may_open(server, packet) {
        return Err(DropReason::NoFlow);
    }
    let hash = snapshot.hash_key.hash(key);
    let backend_id =
        snapshot.pool(server.pool).and_then(|pool| pool.choose(hash)).ok_or(DropReason::NoBackend)?;
    let backend = snapshot.backend(backend_id).ok_or(DropReason::NoBackend)?;
    let neighbour = resolve::backend_hop(&mut state.neighbours, snapshot, backend, hash, admission.now)?;
    let egress = state.neighbours.port(neighbour).ok_or(DropReason::NoRoute)?;
    let reply = reply_key(state, snapshot, server, backend, key, (egress, hash))?;
    let (to_backend, to_client) = repairs(server.mode, key, &reply);
    let flow = Flow {
        client: *key,
        last_seen: admission.now.0 as u32,
        lifetime: first_lifetime(server, packet),
        backend: backend_id,
        neighbour: neighbour.0,
        to_backend,
        state: if is_first_segment(packet) { FlowState::Handshake } else { FlowState::Established },
        mode: server.mode,
        fins: 0,
        client_port: admission.arrival.port,
        reply,
        virtual_server: id,
        to_client,
        created: admission.now.0 as u32,
        client_mac: resolve::source_mac(frame),
        incarnation: backend.incarnation,
    };
    let index = match state.flows.insert(flow) {
        Ok(index) => index,
        Err(Refused::Full) if server.mode == Mode::Dsr => return Ok(untracked(state, &flow, packet)),
        Err(Refused::Full) => return Err(DropReason::FlowTableFull),
        Err(Refused::Duplicate) => return Err(DropReason::FlowCollision),
    };
    count_opened(state, &flow);
    count(state, &flow, packet);
    Ok(Step::ToBackend(index))
}

/// A `dsr` packet that the table has no room for goes by hash alone.
fn untracked<F: Frame>(state: &WorkerState<F>, flow: &Flow, packet: &Packet) -> Step {
    state.meters.untracked_packets.add(1);
    count(state, flow, packet);
    Step::ToHop(NeighbourIndex(flow.neighbour))
}

/// Counts a client's packet.
fn count<F: Frame>(state: &WorkerState<F>, flow: &Flow, packet: &Packet) {
    let mut tally = Tally::default();
    tally.count(&state.meters, flow, Side::Client, packet.length);
    tally.write(&state.meters);
}

fn count_opened<F: Frame>(state: &WorkerState<F>, flow: &Flow) {
    let meters = &state.meters;
    for meters in
        [meters.backend(flow.backend), meters.virtual_server(flow.virtual_server)].into_iter().flatten()
    {
        meters.flows_opened.add(1);
    }
}

const fn is_tcp(packet: &Packet) -> bool {
    packet.flags != 0
}

const fn is_first_segment(packet: &Packet) -> bool {
    packet.flags & (flags::SYN | flags::ACK) == flags::SYN
}

/// A TCP conversation begins with a SYN, or in mid-stream where the profile adopts those.
const fn may_open(server: &VirtualServer, packet: &Packet) -> bool {
    if !is_tcp(packet) || is_first_segment(packet) {
        return true;
    }
    server.loose_initiation && packet.flags & (flags::RST | flags::SYN) == 0
}

const fn first_lifetime(server: &VirtualServer, packet: &Packet) -> u32 {
    if is_first_segment(packet) { HANDSHAKE_TIMEOUT } else { server.idle_timeout }
}

/// What the backend's replies will carry.
fn reply_key<F: Frame>(
    state: &WorkerState<F>,
    snapshot: &Snapshot,
    server: &VirtualServer,
    backend: &Backend,
    key: &FlowKey,
    (egress, hash): (PortId, u64),
) -> Result<FlowKey, DropReason> {
    match server.mode {
        Mode::Dsr => Ok(key.reversed()),
        Mode::Nat => Ok(FlowKey { source: backend.address, source_port: backend.port, ..key.reversed() }),
        Mode::FullNat => {
            let wish = snat::Wish {
                worker: state.id,
                workers: snapshot.workers,
                egress,
                backend: (backend.address, backend.port),
                protocol: key.protocol,
                hash,
            };
            snat::choose(&state.flows, &server.snat, &wish)
        }
    }
}

/// How rewriting changes checksums, both ways. The network part contains the step of the TTL.
fn repairs(mode: Mode, key: &FlowKey, reply: &FlowKey) -> (Repair, Repair) {
    if mode == Mode::Dsr {
        return (Repair::default(), Repair::default());
    }
    let client = key.reversed();
    (repair(key, &reply.reversed()), repair(reply, &client))
}

fn repair(old: &FlowKey, new: &FlowKey) -> Repair {
    let addresses = address_delta(old, new);
    let ports = Delta::of(&ports(old), &ports(new));
    // The TTL is the high byte of its word, so one hop less is 0x0100 less.
    let ttl = Delta::of(&[1, 0], &[0, 0]);
    Repair { network: addresses.plus(ttl).0, transport: addresses.plus(ports).0 }
}

fn address_delta(old: &FlowKey, new: &FlowKey) -> Delta {
    let source = Delta::of(&old.source.octets(), &new.source.octets());
    source.plus(Delta::of(&old.destination.octets(), &new.destination.octets()))
}

const fn ports(key: &FlowKey) -> [u8; 4] {
    let ([a, b], [c, d]) = (key.source_port.to_be_bytes(), key.destination_port.to_be_bytes());
    [a, b, c, d]
}
