//! Third pass: each packet in its turn, from its flow to its next hop.
//!
//! A packet of a steady flow is passed on here, with the flow's record in hand: its clock, its new addresses, its next hop.
//! All others, among them those that begin or end a flow, go to `admit`; the packets behind them in the burst find what they
//! did.
//!
//! One pass rather than one for each of these: packets are served strictly in the order in which they arrived, so a record
//! that is given up may be used again at once.

use flow::{Candidate, FlowKey, Hit, Side};
use model::Millis;
use nic::{Burst, Frame, MAX_BURST};

use crate::{
    Arrival, Snapshot, Verdict, admit,
    neighbour::Neighbours,
    packet::{Packet, Packets, Step},
    plan::Plan,
    resolve, rewrite,
    state::Memory,
    tally::Tallies,
    track,
};

/// When and where a burst is served.
pub(crate) struct Occasion<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) arrival: Arrival,
    pub(crate) now: Millis,
}

impl Occasion<'_> {
    /// The time as flows remember it.
    #[inline(always)]
    pub(crate) const fn flow_time(&self) -> u32 {
        self.now.0 as u32
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
    pub(crate) hash: u64,
    pub(crate) candidate: Candidate,
    /// If there is no candidate; another packet's otherwise.
    pub(crate) plan: Option<Plan>,
}

/// Serves a burst: every packet has its last step afterwards.
#[inline(never)]
pub(crate) fn serve_all<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    packets: &mut Packets,
    burst: &mut Burst<F>,
) {
    for (frame, position) in burst.iter_mut().zip(0..MAX_BURST) {
        let (Some(step), Some(packet), Some(key), Some(candidate)) = (
            packets.steps.get_mut(position),
            packets.packets.get(position),
            packets.keys.get(position),
            packets.candidates.get(position),
        ) else {
            break;
        };
        if *step != Step::Parsed {
            continue;
        }
        let Memory { flows, neighbours, tallies, .. } = &mut *memory;
        // Told apart here, so that each side has code of its own.
        match flows.confirm(*candidate, key) {
            Some(Hit { hot, wide, side: Side::Client })
                if track::is_steady(hot, packet, occasion.flow_generation()) =>
            {
                let flow = Hit { hot, wide, side: Side::Client };
                pass_on(neighbours, tallies, occasion, (frame, packet), flow, step);
            }
            Some(Hit { hot, wide, side: Side::Backend })
                if track::is_steady(hot, packet, occasion.flow_generation()) =>
            {
                let flow = Hit { hot, wide, side: Side::Backend };
                pass_on(neighbours, tallies, occasion, (frame, packet), flow, step);
            }
            _ => serve_other(memory, occasion, packets, frame, position),
        }
    }
    memory.tallies.settle();
}

/// Serves a packet that no steady flow passes on.
#[cold]
#[inline(never)]
fn serve_other<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    packets: &mut Packets,
    frame: &mut F,
    position: usize,
) {
    let (Some(step), Some(packet), Some(key), Some(&hash), Some(&candidate), Some(&plan)) = (
        packets.steps.get_mut(position),
        packets.packets.get(position),
        packets.keys.get(position),
        packets.hashes.get(position),
        packets.candidates.get(position),
        packets.plans.get(position),
    ) else {
        return;
    };
    *step = admit::admit(memory, occasion, frame, packet, &Sought { key, hash, candidate, plan })
        .unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)));
}

/// Passes a packet of a flow on to its other side, and counts it.
#[inline(always)]
pub(crate) fn pass_on<F: Frame>(
    neighbours: &mut Neighbours<F>,
    tallies: &mut Tallies,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    flow: Hit<'_>,
    step: &mut Step,
) {
    flow.hot.last_seen = occasion.flow_time();
    let Some((port, mac)) = resolve::known_hop(neighbours, occasion.snapshot, flow.hot, flow.side) else {
        *step = pass_on_elsewhere(neighbours, tallies, occasion, (frame, packet), flow);
        return;
    };
    let (backend, side) = ((flow.hot.backend, flow.hot.virtual_server), flow.side);
    match rewrite::rewrite(occasion.snapshot, (frame, packet), &flow, (port, mac)) {
        Ok(()) => {
            *step = Step::Done(Verdict::Transmit(port));
            tallies.count(backend, side, packet.length);
        }
        Err(reason) => *step = Step::Done(Verdict::Drop(reason)),
    }
}

/// Passes a packet on for which no hop is remembered, or none that still holds.
#[cold]
#[inline(never)]
fn pass_on_elsewhere<F: Frame>(
    neighbours: &mut Neighbours<F>,
    tallies: &mut Tallies,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    mut flow: Hit<'_>,
) -> Step {
    let found = resolve::search(neighbours, occasion, &mut flow).and_then(|(to, then)| {
        rewrite::rewrite(occasion.snapshot, (frame, packet), &flow, (to.0, &to.1))?;
        tallies.count((flow.hot.backend, flow.hot.virtual_server), flow.side, packet.length);
        Ok(then)
    });
    found.unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)))
}
