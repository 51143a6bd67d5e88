//! Packets that continue no flow.
//!
//! The first packet of a conversation with a virtual server opens a flow; what is for the gateway itself is answered, goes
//! to the host, or is refused. This is the rarer path: it may take several cache misses, but it never allocates.

use flow::{
    Absent, Candidate, Flow, FlowIndex, FlowKey, FlowState, Found, Hit, Hot, Refused, Repair, Side, TTL_STEP,
    Tracked, Wide,
};
use model::{Address, BackendId, Mode, PortId, VirtualServerId};
use nic::Frame;
use wire::{
    checksum::{Delta, Sum},
    ipv4::Ends,
    tcp::flags,
};

use crate::{
    DropReason, Snapshot, Verdict, WorkerMeters, answer, fragment, limit, ownership,
    packet::{Kind, Packet, Step},
    parse::is_group,
    pass,
    plan::{self, Plan},
    quote, resolve, select,
    serve::{self, Occasion, Sought},
    snapshot::{Backend, Owned, VirtualServer, is_martian_destination, is_martian_source},
    snat,
    state::{Memory, close},
    track::{self, Course},
    tunnel,
};

/// Finds out what a packet is that no steady flow has passed on.
#[cold]
#[inline(never)]
pub(crate) fn admit<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    sought: &Sought<'_>,
) -> Result<Step, DropReason> {
    let key = sought.key;
    match packet.kind {
        Kind::PlainV4 | Kind::PlainV6 | Kind::Balanced => {
            let first = match absent_client(memory, sought) {
                Some(absent) => First { absent, goes_on: false },
                None => match continued(memory, occasion, frame, packet, sought)? {
                    Continued::Passed(step) => return Ok(step),
                    Continued::BeginsAnew(first) => first,
                },
            };
            check_addresses(packet, key, occasion)?;
            balanced(memory, occasion, frame, packet, (sought, first))
        }
        Kind::Arp => Ok(Step::Done(answer::answer(memory, occasion, frame, packet, key))),
        Kind::Fragment => fragment::serve(memory, occasion, frame, packet),
        Kind::Icmp => {
            check_addresses(packet, key, occasion)?;
            if quote::is_error(frame, packet) {
                return quote::serve(memory, occasion, frame, packet, key);
            }
            Ok(Step::Done(answer::answer(memory, occasion, frame, packet, key)))
        }
        Kind::Other => {
            check_addresses(packet, key, occasion)?;
            Ok(Step::Done(unanswered(occasion, key, DropReason::ProtocolUnsupported)))
        }
    }
}

/// That the packet is a client's, and of no flow: what is known of most first packets at once, since a plan says where they are
/// sent to, and nobody whose address is ours is a client.
fn absent_client<F>(memory: &Memory<F>, sought: &Sought<'_>) -> Option<Absent> {
    let is_planned = sought.candidate == Candidate::NONE && sought.plan.is_some();
    if is_planned { memory.flows.find_client(sought.key).err() } else { None }
}

/// Refuses addresses that nobody can have, or only we (RFC 1812, 5.3.7).
pub(crate) fn check_addresses(
    packet: &Packet,
    key: &FlowKey,
    occasion: &Occasion<'_>,
) -> Result<(), DropReason> {
    // A node that has no address yet asks for the one it wants from `::` (RFC 4862, 5.4.2).
    let may_be_unspecified = packet.kind == Kind::Icmp && key.source == Address::UNSPECIFIED;
    if is_martian_source(key.source) && !may_be_unspecified {
        return Err(DropReason::SourceMartian);
    }
    if occasion.addresses().is_ours(key.source) {
        return Err(DropReason::SourceIsOurs);
    }
    if is_group(key.destination) {
        let is_discovery = packet.v6 && packet.kind == Kind::Icmp;
        return if is_discovery { Ok(()) } else { Err(DropReason::DestinationGroup) };
    }
    if is_martian_destination(key.destination) { Err(DropReason::DestinationMartian) } else { Ok(()) }
}

/// A TCP or UDP packet that continues no flow.
fn balanced<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    (sought, first): (&Sought<'_>, First),
) -> Result<Step, DropReason> {
    let key = sought.key;
    if let Some(owner) = foreign_owner(memory, occasion, || *key) {
        return Ok(Step::Done(Verdict::HandOver(owner)));
    }
    let is_planned = sought.candidate == Candidate::NONE;
    let Some(plan) = (if is_planned { sought.plan } else { Plan::find(occasion.snapshot, key) }) else {
        return Ok(Step::Done(without_service(occasion, key)));
    };
    match open(memory, occasion, frame, packet, (key, first), &plan)? {
        Opened::Flow(index) => pass_on(memory, occasion, frame, packet, (index, Side::Client)),
        Opened::Untracked(flow) => untracked(memory, occasion, frame, packet, &flow),
    }
}

/// What became of a packet by its flow.
enum Continued {
    /// It was passed on, or waits.
    Passed(Step),
    /// There is no such flow, or no longer.
    BeginsAnew(First),
}

/// A packet that opens a flow.
struct First {
    absent: Absent,
    /// Whether its conversation has begun already, with a backend that is down now.
    goes_on: bool,
}

/// A packet of a flow that is not steady, or that was not found with the burst's (an earlier packet has opened it, or a hash
/// misled). A flow that does not go on ends here.
fn continued<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    sought: &Sought<'_>,
) -> Result<Continued, DropReason> {
    let Found { index, side } = match memory.flows.settle(sought.candidate, sought.key) {
        Ok(found) => found,
        Err(absent) => return Ok(Continued::BeginsAnew(First { absent, goes_on: false })),
    };
    let Memory { flows, limiter, neighbours, outlook, meters, .. } = memory;
    let mut flow = flows.tracked(index).ok_or(DropReason::NoFlow)?;
    let course = track::course(&flow, side, packet, occasion.snapshot);
    if course == Course::GoesOn {
        let has_bandwidth =
            limit::has_bandwidth(occasion.snapshot, flow.hot.virtual_server(), flow.hot.backend);
        if has_bandwidth {
            limiter.check_bandwidth(occasion.snapshot, flow.hot, side, occasion.now)?;
        }
        if flow.hot.state() == FlowState::Handshake {
            outlook.follow_handshake(meters, (index, flow.hot.backend), side);
        }
        if flow.hot.checked != occasion.flow_generation() {
            resolve::forget_lost_hop(neighbours, occasion.snapshot, flow.hot);
        }
        track::track(&mut flow, side, packet, occasion.snapshot, has_bandwidth);
        return pass_on(memory, occasion, frame, packet, (index, side)).map(Continued::Passed);
    }
    if let Some(flow) = memory.flows.remove(index) {
        close(&memory.meters, (flow.backend, flow.virtual_server));
    }
    let goes_on = course == Course::Reselects;
    match memory.flows.settle(Candidate::NONE, sought.key) {
        Err(absent) if goes_on || course == Course::BeginsAnew => {
            Ok(Continued::BeginsAnew(First { absent, goes_on }))
        }
        _ if course == Course::BackendDown => Err(DropReason::BackendDown),
        _ => Err(DropReason::BackendRemoved),
    }
}

/// Passes a packet of the flow at a position on.
fn pass_on<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    (index, side): (FlowIndex, Side),
) -> Result<Step, DropReason> {
    let Memory { flows, neighbours, tallies, .. } = memory;
    let Tracked { hot, wide, .. } = flows.tracked(index).ok_or(DropReason::NoFlow)?;
    if packet.kind == Kind::PlainV4
        && !hot.mode().is_tunnel()
        && let Some(port) = pass::send_v4(
            (side, packet.protocol()),
            hot,
            (neighbours, tallies),
            occasion,
            frame.head_mut(),
            packet,
        )
    {
        return Ok(Step::Done(Verdict::Transmit(port)));
    }
    serve::pass_on(neighbours, tallies, occasion, (frame, packet), Hit { hot, wide, side })
}

/// What [`open`] has opened.
enum Opened {
    Flow(FlowIndex),
    /// The table had no room: the packet goes by hash alone, as the first one of this flow would.
    Untracked(Flow),
}

/// The worker that is to have a packet, unless it is this one or the packet has been handed over already.
#[inline(always)]
pub(crate) fn foreign_owner<F>(
    memory: &Memory<F>,
    occasion: &Occasion<'_>,
    key: impl FnOnce() -> FlowKey,
) -> Option<model::WorkerId> {
    if occasion.snapshot.workers <= 1 || occasion.arrival.is_handed_over {
        return None;
    }
    ownership::owner(occasion.snapshot, occasion.arrival.port, &key()).filter(|owner| *owner != memory.id)
}

/// A packet that no virtual server is the destination of.
fn without_service(occasion: &Occasion<'_>, key: &FlowKey) -> Verdict {
    match occasion.addresses().owner(key.destination) {
        Some(owned) if owned.is_snat_port(key.destination_port) => Verdict::Drop(DropReason::NoFlow),
        Some(Owned::Virtual { .. }) => Verdict::Drop(DropReason::NoVirtualServer),
        Some(_) => unanswered(occasion, key, DropReason::NoListener),
        None if occasion.addresses().is_nat_backend(key.source) => Verdict::Drop(DropReason::NoFlow),
        None => Verdict::Drop(DropReason::NoVirtualServer),
    }
}

/// What is not answered here goes to the host, if the destination is a port's own address and the port has a host twin.
pub(crate) fn unanswered(occasion: &Occasion<'_>, key: &FlowKey, otherwise: DropReason) -> Verdict {
    match occasion.addresses().owner(key.destination) {
        Some(Owned::Port { port, .. }) => to_host(occasion, port, otherwise),
        Some(_) => Verdict::Drop(otherwise),
        None => Verdict::Drop(DropReason::NoVirtualServer),
    }
}

/// To the host twin of a port, if it has one.
pub(crate) fn to_host(occasion: &Occasion<'_>, port: PortId, otherwise: DropReason) -> Verdict {
    let has_host = occasion.snapshot.port(port).is_some_and(|port| port.host);
    if has_host { Verdict::ToHost(port) } else { Verdict::Drop(otherwise) }
}

/// Opens a flow for the first packet of a conversation.
fn open<F: Frame>(
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
    let is_planned = backend.is_some();
    let (backend_id, backend) = backend_with_room(memory, occasion, (id, server), (key, hash), backend)?;
    // A flood that finds the table full is to cost little.
    if memory.flows.is_full() && !server.mode.is_direct() {
        return Err(DropReason::FlowTableFull);
    }
    let to = (backend_id, backend);
    let neighbour = resolve::backend_hop(&mut memory.neighbours, snapshot, to, hash, occasion.now)?;
    let egress = memory.neighbours.hop(neighbour).ok_or(DropReason::NoRoute)?.port;
    let (reply, to_backend) = translation(memory, (snapshot, server), backend, key, (egress, hash))?;
    let state = if is_first_segment(packet) { FlowState::Handshake } else { FlowState::Established };
    let flow = Flow {
        client: *key,
        last_seen: occasion.now.0 as u32,
        checked: track::checked(
            (state, server.mode),
            occasion.flow_generation(),
            limit::has_bandwidth(snapshot, id, backend_id),
        ),
        backend: backend_id,
        neighbour: neighbour.0,
        to_backend,
        state,
        mode: server.mode,
        fins: 0,
        client_port: occasion.arrival.port,
        reply,
        virtual_server: id,
        created: occasion.now.0 as u32,
        client_mac: resolve::source_mac(frame),
        incarnation: backend.incarnation as u8,
    };
    let index = match memory.flows.insert_absent(&flow, first.absent) {
        Ok(index) => index,
        Err(Refused::Full) if server.mode.is_direct() => return Ok(Opened::Untracked(flow)),
        Err(Refused::Full) => return Err(DropReason::FlowTableFull),
        Err(Refused::Duplicate) => return Err(DropReason::FlowCollision),
    };
    count_opened(&memory.meters, (flow.backend, flow.virtual_server));
    if server.limits.new_per_second_per_source != 0 {
        memory.meters.source_rates.add(limit::source_hash(snapshot, id, key), occasion.now);
    }
    if !is_planned {
        select::opened(memory, occasion, (index, &flow));
    }
    Ok(Opened::Flow(index))
}

/// Refuses the first packet of a flow that a virtual server does not take. One that has begun already, with another backend, is none.
fn may_have_new<F>(
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

/// A packet that the table has no room for goes, in modes in which nothing comes back, by hash alone.
fn untracked<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    flow: &Flow,
) -> Result<Step, DropReason> {
    let Memory { neighbours, tallies, meters, .. } = memory;
    let (mut hot, wide) = (Hot::of(flow), Wide::of(flow));
    let flow = Hit { hot: &mut hot, wide: Some(&wide), side: Side::Client };
    let step = serve::pass_on(neighbours, tallies, occasion, (frame, packet), flow)?;
    meters.untracked_packets.add(1);
    Ok(step)
}

pub(crate) fn count_opened(meters: &WorkerMeters, (backend, server): (BackendId, VirtualServerId)) {
    for meters in [meters.backend(backend), meters.virtual_server(server)].into_iter().flatten() {
        meters.flows_opened.add(1);
    }
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

/// What the backend's replies will carry (in `ipip` and `gue`: what outer headers are made of), and how rewriting for the backend
/// changes checksums.
fn translation<F: Frame>(
    memory: &Memory<F>,
    (snapshot, server): (&Snapshot, &VirtualServer),
    backend: &Backend,
    key: &FlowKey,
    (egress, hash): (PortId, u64),
) -> Result<(FlowKey, Repair), DropReason> {
    let reply = match server.mode {
        Mode::Dsr => return Ok((key.reversed(), Repair::default())),
        Mode::Ipip | Mode::Gue => {
            let outer = tunnel::outer(snapshot, server, (backend, egress), (key.is_v4(), hash));
            let (ends, repair) = outer.ok_or(DropReason::NoRoute)?;
            return Ok((outer_key(key, &ends), repair));
        }
        Mode::Nat => plan::reply_in_nat(key, backend),
        Mode::FullNat => {
            let wish = snat::Wish {
                worker: memory.id,
                workers: snapshot.workers,
                egress,
                backend: (backend.address, backend.port),
                protocol: key.protocol,
                domain: key.domain,
                hash,
            };
            snat::choose(&memory.flows, &server.snat, &wish)?
        }
    };
    let ((old, old_ports), (new, new_ports)) = (sums(key), sums(&reply));
    Ok((reply, repair(Delta::between(old, new), Delta::between(old_ports, new_ports))))
}

/// Outer ends in the form of a key; nobody's.
fn outer_key(key: &FlowKey, ends: &Ends) -> FlowKey {
    FlowKey {
        source: Address::from_v4(ends.source),
        destination: Address::from_v4(ends.destination),
        source_port: ends.source_port.get(),
        destination_port: ends.destination_port.get(),
        ..*key
    }
}

/// Of the addresses of a key, and of its ports.
fn sums(key: &FlowKey) -> (Sum, Sum) {
    let (source, destination) = if key.is_v4() {
        (Sum::of_two(key.source.v4()), Sum::of_two(key.destination.v4()))
    } else {
        (Sum::of(&key.source.octets()), Sum::of(&key.destination.octets()))
    };
    let ports = Sum::default().plus_word(key.source_port).plus_word(key.destination_port);
    (source.plus(destination), ports)
}

/// For the changes of addresses and of ports. The network part contains the step of the TTL.
#[inline(always)]
pub(crate) fn repair(addresses: Delta, ports: Delta) -> Repair {
    Repair { network: addresses.plus(Delta(TTL_STEP)).0, transport: addresses.plus(ports).0 }
}
