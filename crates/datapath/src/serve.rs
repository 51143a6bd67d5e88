//! Third pass: each packet in its turn, from its flow to its next hop.
//!
//! A packet of a steady flow is passed on at once (`pass`), with the flow's record in hand: its clock, its new addresses, its next
//! hop. A plain first packet opens its flow (`open`). All others, among them those that end a flow, go to `admit`; the packets behind them in the burst find what they
//! did.
//!
//! One pass rather than one for each of these: packets are served strictly in the order in which they arrived, so a record
//! that is given up may be used again at once.

use flow::{Candidate, FlowKey, Hit, Side};
use model::{Millis, Mode, PortId};
use nic::{Burst, Frame};

use crate::{
    Arrival, DropReason, Snapshot, Verdict, admit,
    answer::error,
    cross,
    cut::{self, Told},
    host,
    neighbour::{Link, Neighbours},
    open,
    packet::{Kind, Packet, Packets, Step},
    pass,
    plan::Plan,
    resolve, rewrite,
    snapshot::Addresses,
    state::Memory,
    tally::Tallies,
    tunnel,
};

/// When and where a burst is served.
pub(crate) struct Occasion<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) arrival: Arrival,
    pub(crate) now: Millis,
    /// The route domain of the port that it came by.
    pub(crate) domain: u8,
}

impl Occasion<'_> {
    /// The time as flows remember it.
    #[inline(always)]
    pub(crate) const fn flow_time(&self) -> u32 {
        self.now.0 as u32
    }

    /// Which addresses are ours where the burst came from.
    pub(crate) fn addresses(&self) -> &Addresses {
        self.snapshot.addresses_in(self.domain)
    }

    /// The snapshot's generation as flows remember it.
    #[inline(always)]
    pub(crate) const fn flow_generation(&self) -> u32 {
        self.snapshot.generation.0 as u32
    }
}

/// What a packet's flow is looked up by.
pub(crate) struct Sought<'a> {
    pub(crate) key: &'a FlowKey,
    pub(crate) candidate: Candidate,
    /// If there is no candidate; another packet's otherwise.
    pub(crate) plan: Option<Plan>,
}

/// Serves a burst: every packet has its last step afterwards. The port that all of them leave by, if it is one.
#[inline(never)]
pub(crate) fn serve_all<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    packets: &mut Packets,
    burst: &mut Burst<F>,
) -> Option<PortId> {
    // Which ports packets leave by, one bit each; and that some packet does not.
    let (mut ports, mut are_all) = (0_u32, true);
    let Packets { packets, steps, candidates, plans, .. } = packets;
    let known = steps.iter_mut().zip(&*packets).zip(&*candidates).zip(&*plans);
    for (frame, (((step, packet), candidate), plan)) in burst.iter_mut().zip(known) {
        if *step != Step::Parsed {
            are_all = false;
            continue;
        }
        let port = match packet.kind {
            Kind::PlainV4 if candidate.is_some() && packet.is_tcp() => {
                pass::pass_v4(memory, occasion, frame.head_mut(), packet, *candidate)
            }
            Kind::PlainV4 if candidate.is_some() => {
                pass::pass_udp_v4(memory, occasion, frame.head_mut(), packet, *candidate)
            }
            Kind::PlainV4 => plan
                .as_ref()
                .and_then(|plan| open::open_v4(memory, occasion, (frame.head_mut(), packet), plan)),
            Kind::PlainV6 => pass::pass_v6(memory, occasion, frame.head_mut(), packet, *candidate),
            Kind::Balanced | Kind::Other => {
                pass::pass_other(memory, occasion, frame.head_mut(), packet, *candidate)
            }
            _ => None,
        };
        let port = match port {
            None if candidate.is_some() => tunnel::pass(memory, occasion, frame, packet, *candidate),
            None if plan.is_some() => open::open_tunnel_v4(memory, occasion, (frame, packet), plan),
            port => port,
        };
        if let Some(port) = port {
            *step = Step::Done(Verdict::Transmit(port));
            ports |= 1_u32.wrapping_shl(u32::from(port.0)); // there are fewer ports than bits
            continue;
        }
        *step = serve_other(memory, occasion, (frame, packet), *candidate, plan);
        match *step {
            Step::Done(Verdict::Transmit(port)) => ports |= 1_u32.wrapping_shl(u32::from(port.0)),
            _ => are_all = false,
        }
    }
    memory.tallies.settle();
    (are_all && ports.is_power_of_two()).then(|| PortId(ports.trailing_zeros() as u8))
}

/// Serves a packet that no steady flow passes on.
#[cold]
#[inline(never)]
fn serve_other<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    candidate: Candidate,
    plan: &Option<Plan>,
) -> Step {
    let key = packet.key(frame.head(), occasion.domain);
    admit::admit(memory, occasion, frame, packet, &Sought { key: &key, candidate, plan: *plan })
        .or_else(|reason| host::instead(occasion, (frame, packet), &key, reason))
        .or_else(|reason| error::instead(memory, occasion, (frame, packet), &key, reason))
        .map_or_else(
            |reason| Step::Done(Verdict::Drop(reason)),
            |step| host::within_limit(memory, occasion, frame.head(), step),
        )
}

/// Passes a packet of a flow on to its other side, and counts it.
pub(crate) fn pass_on<F: Frame>(
    neighbours: &mut Neighbours<F>,
    tallies: &mut Tallies,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    (mut flow, told): (Hit<'_>, Told),
) -> Result<Step, DropReason> {
    flow.hot.last_seen = occasion.flow_time();
    let mut size = None;
    let step = resolve::go_on(neighbours, occasion, &mut flow, |flow, link| {
        // What becomes one of the other family is cut into segments only.
        if flow.hot.crosses() && !packet.is_tcp() {
            return cross::translate(frame, packet, flow, link);
        }
        size = cut::write_for(link, (frame, packet), (occasion, told), |frame, link| {
            write(frame, packet, flow, (link, occasion.snapshot))
        })?;
        if flow.hot.crosses() {
            return Ok(());
        }
        if size.is_some() && flow.hot.mode() == Mode::FullNat && flow.side == Side::Client {
            cut::forget_identification(frame.head_mut(), packet);
        }
        Ok(())
    })?;
    tallies.count((flow.hot.backend, flow.hot.virtual_server()), flow.side, packet.length);
    Ok(cut::step(step, size))
}

/// Writes all that changes in a packet of a flow.
fn write<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    flow: &Hit<'_>,
    (link, snapshot): (&Link<'_>, &Snapshot),
) -> Result<(), DropReason> {
    if flow.hot.mode().is_tunnel() {
        return tunnel::encapsulate(frame, packet, flow.hot, link, snapshot);
    }
    if flow.hot.crosses() {
        return cross::translate(frame, packet, flow, link);
    }
    rewrite::rewrite(frame.head_mut(), packet, flow, link)
}
