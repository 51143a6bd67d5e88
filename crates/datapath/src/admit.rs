//! Packets that continue no flow.
//!
//! The first packet of a conversation with a virtual server opens a flow; what is for the gateway itself is answered, goes
//! to the host, or is refused. This is the rarer path: it may take several cache misses, but it never allocates.

use flow::{Absent, Candidate, FlowIndex, FlowKey, FlowState, Found, Hit, Side, Tracked};
use model::{Address, RoundTrips, ShowClient, Treatment};
use nic::Frame;
use wire::tcp::flags;

use crate::{
    DropReason, Verdict, answer,
    begin::{self, First, Opened},
    cookie::{self, Met},
    cross,
    cut::{self, Told},
    fragment, hashed, host, limit, notice, ownership,
    packet::{Kind, Packet, Step},
    parse::is_group,
    pass,
    plan::Plan,
    portless, quote, resolve, scale,
    segment::Segment,
    serve::{self, Occasion, Sought},
    show::{self, Show},
    snapshot::{VirtualServer, is_martian_destination, is_martian_source},
    state::{Memory, close, count_opened},
    stray::without_service,
    track::{self, Course},
    treat, tunnel, vlan,
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
        Kind::PlainV4 | Kind::PlainV6 | Kind::Balanced => converse(memory, occasion, frame, packet, sought),
        Kind::Arp => Ok(Step::Done(answer::answer(memory, occasion, frame, packet, key))),
        Kind::Link => Ok(Step::Done(Verdict::ToHost(occasion.arrival.port))),
        Kind::Fragment => fragment::serve(memory, occasion, frame, packet),
        Kind::Icmp => {
            check_addresses(packet, key, occasion)?;
            if quote::is_error(frame, packet) {
                return quote::serve(memory, occasion, frame, packet, key);
            }
            Ok(Step::Done(answer::answer(memory, occasion, frame, packet, key)))
        }
        Kind::Other => {
            let of = (key, sought.candidate);
            portless::serve(memory, occasion, (frame, packet), of, DropReason::ProtocolUnsupported)
        }
    }
}

/// A packet that may belong to a flow, or open one.
pub(crate) fn converse<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    sought: &Sought<'_>,
) -> Result<Step, DropReason> {
    let first = match absent_client(memory, sought) {
        Some(absent) => First { absent, goes_on: false },
        None => match continued(memory, occasion, frame, packet, sought)? {
            Continued::Passed(step) => return Ok(step),
            Continued::BeginsAnew(first) => first,
        },
    };
    check_addresses(packet, sought.key, occasion)?;
    balanced(memory, occasion, frame, packet, (sought, first))
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
    let may_be_unspecified = || packet.kind == Kind::Icmp && key.source == Address::UNSPECIFIED;
    if is_martian_source(key.source) && !may_be_unspecified() && !host::is_query_of_nobody(key) {
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

/// A packet that continues no flow, but may open one.
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
    let met = if first.goes_on {
        Met::Nothing
    } else {
        cookie::meet(memory, occasion, (frame, packet), (key, plan.server))?
    };
    let (packet, proof) = match &met {
        Met::Nothing => (packet, None),
        Met::Answered(verdict) => return Ok(Step::Done(*verdict)),
        Met::Cookie(syn, proof) => (syn, Some(proof)),
    };
    match begin::open(memory, occasion, frame, packet, (key, first), &plan)? {
        Opened::Flow(index) => {
            proof.inspect(|proof| cookie::begin(memory, occasion, index, proof));
            pass_on_treated(memory, occasion, (frame, packet), (index, Side::Client))
        }
        Opened::Untracked(flow) => hashed::send_untracked(memory, occasion, frame, packet, &flow),
    }
}

/// What became of a packet by its flow.
enum Continued {
    /// It was passed on, or waits.
    Passed(Step),
    /// There is no such flow, or no longer.
    BeginsAnew(First),
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
    let segment = Segment::read(frame.head(), packet);
    let flow = memory.flows.tracked(index).ok_or(DropReason::NoFlow)?;
    match (track::course(&flow, side, (packet, segment.as_ref()), occasion.snapshot), segment) {
        (Course::GoesOn, Some(segment)) if track::is_by_cookie(flow.hot) => {
            cookie::follow(memory, occasion, (frame, packet), (index, side), segment).map(Continued::Passed)
        }
        (Course::GoesOn, _) => {
            goes_on(memory, occasion, (frame, packet), (index, side), segment).map(Continued::Passed)
        }
        (course @ (Course::IsRefused | Course::IsReset), Some(segment)) => {
            if course == Course::IsReset {
                memory.guard.over(track::is_embryonic(flow.hot.state(), flow.hot.checked));
                track::give_up(flow.hot, occasion.flow_generation(), occasion.flow_time());
            }
            let refused = notice::refuse(memory, occasion, (frame, packet), (index, side), &segment);
            refused.map(|verdict| Continued::Passed(Step::Done(verdict)))
        }
        (course @ (Course::BeginsAnew | Course::Reselects), _) => {
            memory.forget(index);
            let goes_on = course == Course::Reselects;
            match memory.flows.settle(Candidate::NONE, sought.key) {
                Err(absent) => Ok(Continued::BeginsAnew(First { absent, goes_on })),
                Ok(_) => Err(DropReason::FlowCollision),
            }
        }
        (Course::BackendDown | Course::IsReset, _) => {
            memory.forget(index);
            Err(DropReason::BackendDown)
        }
        (Course::BackendRemoved | Course::IsRefused, segment) => {
            memory.forget(index);
            // The client hears of it, which would otherwise try again for minutes.
            match segment.filter(|segment| side == Side::Client && !segment.has(flags::RST)) {
                Some(segment) => notice::turn_into_reset(occasion, frame, packet, &segment)
                    .map(|verdict| Continued::Passed(Step::Done(verdict))),
                None => Err(DropReason::BackendRemoved),
            }
        }
    }
}

/// Moves a flow on by a packet, and passes that on.
pub(crate) fn goes_on<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    (index, side): (FlowIndex, Side),
    segment: Option<Segment>,
) -> Result<Step, DropReason> {
    let Memory { flows, limiter, neighbours, outlook, meters, guard, .. } = memory;
    let mut flow = flows.tracked(index).ok_or(DropReason::NoFlow)?;
    let server = occasion.snapshot.virtual_server(flow.hot.virtual_server());
    let has_bandwidth = limit::has_bandwidth(occasion.snapshot, flow.hot.virtual_server(), flow.hot.backend);
    if has_bandwidth {
        limiter.check_bandwidth(occasion.snapshot, flow.hot, side, occasion.now)?;
    }
    if matches!(flow.hot.state(), FlowState::Handshake | FlowState::Answered) {
        let measured = server.map_or(RoundTrips::NONE, |server| server.rtt);
        outlook.follow_handshake(meters, flow.hot, (side, packet.flags & flags::SYN != 0), measured);
    }
    if flow.hot.checked != occasion.flow_generation() {
        resolve::forget_lost_hop(neighbours, occasion.snapshot, flow.hot);
    }
    // All packets of these are looked at.
    let is_special = has_bandwidth
        || server.is_some_and(|server| server.extent.all || show::is_awaited(server, flow.numbers));
    let was_embryonic = track::is_embryonic(flow.hot.state(), flow.hot.checked);
    let segment =
        segment.map(|segment| show::in_own_numbers(occasion.snapshot, server, (&flow, side), segment));
    let is_renewed = track::track(&mut flow, side, segment.as_ref(), occasion.flow_generation(), is_special);
    match (was_embryonic, track::is_embryonic(flow.hot.state(), flow.hot.checked)) {
        (true, false) => guard.end(),
        (false, true) => guard.begin(occasion.now),
        _ => {}
    }
    if is_renewed {
        flow.hot.created = occasion.flow_time();
        let of = (flow.hot.backend, flow.hot.virtual_server());
        close(meters, of);
        count_opened(meters, of);
    }
    let is_last =
        packet.flags & (flags::FIN | flags::RST) != 0 && server.is_some_and(|server| server.tcp.loose_close);
    let step = pass_on_treated(memory, occasion, (frame, packet), (index, side))?;
    if is_last {
        memory.forget(index);
    }
    Ok(step)
}

/// Passes a packet of the flow at a position on, and changes in it what its virtual server and that one's profile want changed.
fn pass_on_treated<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    (index, side): (FlowIndex, Side),
) -> Result<Step, DropReason> {
    let Memory { flows, neighbours, meters, .. } = memory;
    let mut flow = flows.tracked(index).ok_or(DropReason::NoFlow)?;
    let snapshot = occasion.snapshot;
    let server = snapshot.virtual_server(flow.hot.virtual_server());
    if side == Side::Client
        && server.is_some_and(|server| server.tcp.keep_alive != 0)
        && let Some(segment) = Segment::read(frame.head(), packet).filter(|segment| segment.has(flags::ACK))
    {
        flow.numbers.heard = [segment.acknowledgement, segment.end()];
    }
    let is_handshake = packet.flags & flags::SYN != 0;
    let of = (server, occasion.flow_generation());
    let translation = scale::translation((&mut flow, side), (frame.head(), packet), of);
    let is_concerned =
        |server: &&VirtualServer| server.extent.all || is_handshake && server.extent.handshakes;
    let treatment = server.filter(is_concerned).map(|server| server.treatment);
    let how = server.map_or(ShowClient::None, |server| server.show_client);
    if treatment.is_none() && translation.is_none() && how == ShowClient::None {
        return pass_on(memory, occasion, frame, packet, (index, side));
    }
    let client = flow.key(Side::Client);
    let show = Show::of(how, &client);
    let is_sized = is_handshake || show.is_some();
    let largest = if is_sized { resolve::largest(neighbours, snapshot, flow.hot, side) } else { 0 };
    // In a tunnel it is the inner packet that is changed.
    let backend = snapshot.backend(flow.hot.backend);
    let added = backend.map_or(0, |backend| tunnel::overhead(flow.hot.mode(), backend.address));
    // What was opened with a cookie is translated, wherever its virtual server is.
    let treatment = treatment.unwrap_or(Treatment::NONE);
    let leaves = if flow.hot.crosses() { cross::translated(packet) } else { *packet };
    if let Some(show) = show.filter(|_| side == Side::Backend) {
        show.hear(frame.head_mut(), packet, flow.numbers);
    }
    let of = (side, &client, translation);
    let after = treat::before(frame.head_mut(), (packet, &leaves), of, (&treatment, largest), snapshot);
    let told = match (show, side) {
        (Some(show), Side::Client) => show.tell(frame, packet, flow, (largest, meters))?,
        (Some(show), Side::Backend) if is_handshake => show.leave_room(frame.head_mut(), packet),
        _ => *packet,
    };
    let step = pass_on(memory, occasion, frame, &told, (index, side)).inspect_err(|_| {
        // Its sender may be told why, and is to know it again.
        treat::take_numbers_back(frame.head_mut(), packet, of, &treatment, snapshot);
        if let Some(after) = after {
            after.undo(frame.head_mut(), packet);
        }
    })?;
    if let Some(after) = after {
        after.finish(frame.head_mut().get_mut(usize::from(added)..).unwrap_or_default(), &leaves);
        vlan::prioritise(frame, snapshot, step, after.priority)?;
    }
    Ok(step)
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
    let Tracked { hot, wide, numbers } = flows.tracked(index).ok_or(DropReason::NoFlow)?;
    if packet.kind == Kind::PlainV4
        && !hot.mode().is_tunnel()
        && !hot.crosses()
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
    let told = Told(numbers.path_mtu(hot.created));
    let is_of_packet = !hot.mode().is_tunnel() && packet.is_tcp();
    let flow = (Hit { hot, wide, side }, told);
    let step = serve::pass_on(neighbours, tallies, occasion, (frame, packet), flow)?;
    Ok(if is_of_packet { cut::for_path(step, told) } else { step })
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
