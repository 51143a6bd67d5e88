//! Fragments of TCP and UDP packets: they follow the first of their packet, or are put together ([`join`]) where a profile says so. Those of
//! other packets need no first one ([`portless`]).
//!
//! Only the first fragment has ports. It is served like any packet, and what becomes of it is remembered ([`table`]) by source,
//! destination, protocol and identification, for the others to follow. Those that come before it wait, a bounded number of them for
//! a bounded time. In `nat` and `full_nat` the first is rewritten as any packet is: the L4 checksum is over the whole packet, and
//! changes by what changes in addresses and ports. In the others only addresses and the TTL change.
//!
//! With several workers fragments do not all come to the worker that owns the flow, and only the first could say which one that is.
//! So all fragments of a packet go to one worker first, whom the hash of what they have in common names, and that one sends them
//! to the owner, who then does the same as a worker that is alone.
//!
//! To be put together they wait until all have come, the first one as well, which is the one that tells: only its ports say which
//! profile. Then the packet goes the way of one that came whole, and leaves in fragments again if it is too big (`cut`).

mod join;
mod parts;
mod table;

use flow::{FlowKey, Hit, Side, Tracked};
use model::{Address, Mode, PortId, WorkerId};
use nic::{Frame, FrameSource};
use wire::{
    fragment::Fragment,
    ipv4::{self, Ipv4},
    ipv6,
};

pub(crate) use self::table::Fragments;
use self::table::{All, Destination, Position, Release};
use crate::{
    Arrival, DropReason, Outputs, Snapshot, Verdict, admit,
    answer::error,
    cross,
    cut::{self, Told, Way},
    emit, hashed, host,
    neighbour::Link,
    ownership,
    packet::{Kind, Packet, Step},
    parse::{self, Lens, Memo},
    plan::Plan,
    portless, resolve, rewrite,
    serve::{Occasion, Sought},
    state::Memory,
    tunnel,
};

/// What a fragment says of itself.
struct Part {
    fragment: Fragment,
    /// Without ports, which only the first has.
    key: FlowKey,
    /// The same for all of a packet.
    id: FlowKey,
    /// Its bytes.
    length: usize,
}

/// Sends a fragment to where its packet goes.
#[cold]
#[inline(never)]
pub(crate) fn serve<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
) -> Result<Step, DropReason> {
    let part = read(frame.head(), packet, occasion.domain).ok_or(DropReason::HeadersScattered)?;
    let snapshot = occasion.snapshot;
    admit::check_addresses(packet, &part.key, occasion)?;
    if !portless::has_ports(part.key.protocol) {
        return portless::serve_part(memory, occasion, (frame, packet), (&part.key, part.fragment));
    }
    // Nothing is kept of packets that are not for us.
    let addresses = occasion.addresses();
    if !addresses.is_ours(part.key.destination) && !addresses.is_nat_backend(part.key.source) {
        return Err(DropReason::NoVirtualServer);
    }
    let hash = snapshot.hash_key.hash(&part.id);
    let is_collector = collector(hash, snapshot.workers) == memory.id;
    if !is_collector && !occasion.arrival.is_handed_over {
        return Ok(Step::Done(Verdict::HandOver(collector(hash, snapshot.workers))));
    }
    if part.fragment.is_first() {
        return first(memory, occasion, (frame, packet), &part, (hash, is_collector));
    }
    let id = (&part.id, hash);
    let (_, destination) = memory.fragments.note(id, part.fragment, part.length, occasion.now)?;
    follow(memory, occasion, (frame, packet), destination)
}

/// The worker to which all fragments of a packet go first, by the hash of what they have in common.
const fn collector(hash: u64, workers: u8) -> WorkerId {
    WorkerId((((hash >> 32) * workers as u64) >> 32) as u8)
}

fn read(head: &[u8], packet: &Packet, domain: u8) -> Option<Part> {
    let network = head.get(usize::from(packet.network)..)?;
    let length = (usize::from(packet.network) + usize::from(packet.length))
        .checked_sub(usize::from(packet.transport))?;
    let (fragment, source, destination, protocol) = if packet.v6 {
        let layout = ipv6::check_beginning(network).ok()?;
        let [source, destination] = [layout.header.source, layout.header.destination].map(Address::from_v6);
        (layout.fragment?, source, destination, layout.protocol)
    } else {
        let header: &Ipv4 = wire::header(network, 0)?;
        let [source, destination] = [header.source, header.destination].map(Address::from_v4);
        (ipv4::fragment(header), source, destination, header.protocol)
    };
    let key = FlowKey { source, destination, protocol, domain, ..FlowKey::default() };
    let [a, b, c, d] = fragment.identification.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    // RFC 8200, 4.5: over IPv6 what follows the fragment header may be another one in each fragment, and does not tell them apart.
    let of_all = if packet.v6 { 0 } else { protocol };
    let id = FlowKey { source_port: high, destination_port: low, protocol: of_all, ..key };
    Some(Part { fragment, key, id, length })
}

/// Serves a first fragment like a packet, and remembers what became of it.
fn first<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    part: &Part,
    (hash, is_collector): (u64, bool),
) -> Result<Step, DropReason> {
    let bytes = frame.head().get(usize::from(packet.transport)..).unwrap_or_default();
    let checked = wire::fragment::check_first(part.key.protocol, bytes, part.length, packet.v6)?;
    let ([source_port, destination_port], flags) = checked.ok_or(DropReason::Fragment)?;
    let key = FlowKey { source_port, destination_port, ..part.key };
    let whole = Packet { kind: Kind::Balanced, flags, ..*packet };
    let id = (&part.id, hash);
    let (position, destination) = memory.fragments.note(id, part.fragment, part.length, occasion.now)?;
    debug_assert!(destination == Destination::Unknown, "it is the first");
    let served = match owner(memory.id, occasion, &key).filter(|_| is_collector) {
        Some(owner) => Ok(Step::Done(Verdict::HandOver(owner))),
        None if is_put_together(memory, occasion, &key) => {
            memory.fragments.put_together(position, occasion.now)?;
            return Ok(Step::WaitForParts);
        }
        None => admit_whole(memory, occasion, (frame, &whole), &key),
    };
    remember(memory, occasion, position, &key, &served);
    served.or_else(|reason| error::instead(memory, occasion, (frame, &whole), &key, reason))
}

/// Serves what has the ports of a packet.
fn admit_whole<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    key: &FlowKey,
) -> Result<Step, DropReason> {
    let plan = Plan::find(occasion.snapshot, key);
    admit::admit(memory, occasion, frame, packet, &Sought { key, candidate: flow::Candidate::NONE, plan })
}

/// Whether the packets of a conversation are put together.
fn is_put_together<F>(memory: &mut Memory<F>, occasion: &Occasion<'_>, key: &FlowKey) -> bool {
    let found = memory.flows.find(key);
    let of_flow = found.and_then(|found| Some(memory.flows.tracked(found.index)?.hot.virtual_server()));
    let server = match of_flow {
        Some(id) => occasion.snapshot.virtual_server(id),
        None => occasion.snapshot.service(key).map(|(_, server)| server),
    };
    server.is_some_and(|server| server.reassembles)
}

/// The other worker that owns the flow of a first fragment.
fn owner(own: WorkerId, occasion: &Occasion<'_>, key: &FlowKey) -> Option<WorkerId> {
    if occasion.snapshot.workers <= 1 {
        return None;
    }
    ownership::owner(occasion.snapshot, occasion.arrival.port, key).filter(|owner| *owner != own)
}

fn remember<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    position: Position,
    key: &FlowKey,
    served: &Result<Step, DropReason>,
) {
    let destination = match *served {
        Ok(Step::Done(Verdict::ToHost(port))) => Destination::Host(port),
        Ok(Step::Done(Verdict::HandOver(worker))) => Destination::Worker(worker),
        Ok(Step::Done(Verdict::Drop(reason))) | Err(reason) => Destination::Dropped(reason),
        Ok(_) => Destination::Flow(*key),
    };
    memory.fragments.learn(position, destination, occasion.now);
}

/// Sends a later fragment after the first.
fn follow<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    destination: Destination,
) -> Result<Step, DropReason> {
    match destination {
        Destination::Unknown | Destination::Together => Ok(Step::WaitForParts),
        Destination::Flow(key) => pass_on(memory, occasion, (frame, packet), &key),
        Destination::Host(port) => Ok(Step::Done(Verdict::ToHost(port))),
        Destination::Worker(worker) => Ok(Step::Done(Verdict::HandOver(worker))),
        Destination::Dropped(reason) => Err(reason),
    }
}

/// Sends a later fragment of a packet with this key.
fn pass_on<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    key: &FlowKey,
) -> Result<Step, DropReason> {
    let Some(found) = memory.flows.find(key) else {
        return hashed::send(memory, occasion, (frame, packet), key, DropReason::NoFlow);
    };
    let Memory { flows, neighbours, tallies, .. } = memory;
    let Tracked { hot, wide, .. } = flows.tracked(found.index).ok_or(DropReason::NoFlow)?;
    hot.last_seen = occasion.flow_time();
    let mut flow = Hit { hot, wide, side: found.side };
    let mut size = None;
    let step = resolve::go_on(neighbours, occasion, &mut flow, |flow, link| {
        if flow.hot.crosses() {
            return cross::translate(frame, packet, flow, link);
        }
        size = cut::write_for(link, (frame, packet), (occasion, Told(None)), |frame, link| {
            write(frame, packet, flow, (link, occasion.snapshot))
        })?;
        Ok(())
    })?;
    tallies.count((flow.hot.backend, flow.hot.virtual_server()), flow.side, packet.length);
    Ok(cut::step(step, size))
}

/// Writes what changes in a packet without an L4 header.
fn write<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    flow: &Hit<'_>,
    (link, snapshot): (&Link<'_>, &Snapshot),
) -> Result<(), DropReason> {
    if flow.hot.mode().is_tunnel() {
        return tunnel::encapsulate(frame, packet, flow.hot, link, snapshot);
    }
    let head = frame.head_mut();
    if packet.length > link.mtu {
        return Err(DropReason::FrameOverMtu);
    }
    if flow.hot.mode() != Mode::Dsr {
        let other: Side = flow.side.opposite();
        let addresses = flow.hot.addresses(other, flow.wide);
        rewrite::translate_network(head, packet, addresses, flow.hot.repair(flow.side))?;
    }
    rewrite::write_link(head, *link.to, *link.from);
    Ok(())
}

/// Makes a fragment wait for the first of its packet.
pub(crate) fn hold<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    outputs: &mut Outputs<F>,
    packet: &Packet,
    frame: F,
) {
    let Some(part) = read(frame.head(), packet, occasion.domain) else {
        return emit::drop(&memory.meters, outputs, DropReason::HeadersScattered, frame);
    };
    let hash = occasion.snapshot.hash_key.hash(&part.id);
    let came = (frame, occasion.arrival.port);
    if let Err((frame, reason)) = memory.fragments.hold((&part.id, hash), *packet, came, occasion.now) {
        emit::drop(&memory.meters, outputs, reason, frame);
    }
}

/// Sends the fragments whose first one has come, and the packets of which all have.
#[cold]
#[inline(never)]
pub(crate) fn release_all<F: Frame, S: FrameSource<Frame = F>>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (outputs, source): (&mut Outputs<F>, &mut S),
) {
    let mut left = memory.fragments.begin_release();
    while let Some(release) = memory.fragments.release(&mut left, occasion.now) {
        let (held, result) = match release {
            Release::Goes(mut held, destination) => {
                let went = (&mut held.frame, &held.packet);
                let result = follow(memory, occasion, went, destination);
                (held, result)
            }
            Release::Drop(held, reason) => (held, Err(reason)),
            Release::Whole(all) => {
                serve_joined(memory, occasion, (outputs, source), all);
                continue;
            }
        };
        let step = result.unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)));
        leave(memory, occasion, (outputs, source), (step, held.port, &held.packet), held.frame);
    }
    memory.tallies.settle();
    memory.count_held();
}

/// Puts the parts of a packet together, and serves it like one that came whole.
fn serve_joined<F: Frame, S: FrameSource<Frame = F>>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (outputs, source): (&mut Outputs<F>, &mut S),
    all: All<F>,
) {
    let (parts, id) = (all.len() as u64, all.first().map_or(occasion.arrival.port, |part| part.port));
    let mut frame = match join::join(all) {
        Ok(frame) => frame,
        Err(reason) => return memory.meters.drop_packets(reason, parts),
    };
    memory.meters.absorbed_frames.add(parts - 1);
    // The worker that has them all is the one that is to have it.
    let arrival = Arrival { port: id, is_handed_over: true };
    let occasion = Occasion { arrival, ..*occasion };
    let mut packet = Packet::NONE;
    let step = serve_whole(memory, &occasion, &mut frame, &mut packet);
    let step = step.unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)));
    leave(memory, &occasion, (outputs, source), (step, id, &packet), frame);
}

fn serve_whole<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &mut Packet,
) -> Result<Step, DropReason> {
    let port = occasion.snapshot.port(occasion.arrival.port).ok_or(DropReason::NoRoute)?;
    let lens = Lens { port, addresses: occasion.addresses(), flows: &memory.flows };
    parse::parse_one(lens, &mut Memo::new(lens), frame, packet)?;
    let key = packet.key(frame.head(), occasion.domain);
    admit_whole(memory, occasion, (frame, packet), &key)
        .or_else(|reason| error::instead(memory, occasion, (frame, packet), &key, reason))
}

fn leave<F: Frame, S: FrameSource<Frame = F>>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (outputs, source): (&mut Outputs<F>, &mut S),
    (step, port, packet): (Step, PortId, &Packet),
    frame: F,
) {
    match host::within_limit(memory, occasion, frame.head(), step) {
        Step::Done(verdict) => {
            emit::emit(&memory.meters, outputs, Arrival { port, ..occasion.arrival }, verdict, frame);
        }
        Step::Wait(port, hop) => emit::wait(memory, outputs, (port, hop), frame),
        Step::Cut { port, hop, size } => {
            let way = Way { port, hop, size };
            cut::send(memory, (occasion.snapshot, source), outputs, (packet, way), frame);
        }
        // It has a first one, so it does not wait again.
        Step::Parsed | Step::WaitForParts => {
            emit::drop(&memory.meters, outputs, DropReason::FragmentTableFull, frame);
        }
    }
}
