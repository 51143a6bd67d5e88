//! Third pass: each packet in its turn, from its flow to its next hop.
//!
//! A packet of a steady flow is passed on here, with the flow's record in hand: its clock, its new addresses, its next hop.
//! All others, among them those that begin or end a flow, go to `admit`; the packets behind them in the burst find what they
//! did.
//!
//! One pass rather than one for each of these: packets are served strictly in the order in which they arrived, so a record
//! that is given up may be used again at once.

use flow::{Candidate, Flow, FlowKey, Side};
use model::{Millis, Mode};
use nic::{Burst, Frame};

use crate::{
    Arrival, DropReason, Snapshot, Verdict, admit,
    meters::WorkerMeters,
    neighbour::Neighbours,
    packet::{Packet, Packets, Step},
    resolve,
    state::Memory,
    track::{self, Tally},
};

/// When and where a burst is served.
pub(crate) struct Occasion<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) arrival: Arrival,
    pub(crate) now: Millis,
}

/// What a packet's flow is looked up by.
pub(crate) struct Sought<'a> {
    pub(crate) key: &'a FlowKey,
    pub(crate) hash: u64,
    pub(crate) candidate: Candidate,
}

/// Serves a burst: every packet has its last step afterwards.
#[inline(never)]
pub(crate) fn serve_all<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    packets: &mut Packets,
    burst: &mut Burst<F>,
) {
    let generation = occasion.snapshot.generation.0 as u32;
    let (mut from_clients, mut from_backends) = (Tally::new(Side::Client), Tally::new(Side::Backend));
    let sought = packets.keys.iter().zip(&packets.hashes).zip(&packets.candidates);
    let known = packets.steps.iter_mut().zip(&packets.packets).zip(sought);
    for (frame, ((step, packet), ((key, &hash), &candidate))) in burst.iter_mut().zip(known) {
        if *step != Step::Parsed {
            continue;
        }
        let Memory { flows, neighbours, meters, .. } = &mut *memory;
        match flows.confirm(candidate, key) {
            Some((flow, Side::Client)) if track::is_steady(flow, packet, generation) => {
                let side = (Side::Client, &mut from_clients, &**meters);
                pass_on(neighbours, occasion, frame, packet, flow, side, step);
            }
            Some((flow, Side::Backend)) if track::is_steady(flow, packet, generation) => {
                let side = (Side::Backend, &mut from_backends, &**meters);
                pass_on(neighbours, occasion, frame, packet, flow, side, step);
            }
            _ => {
                *step = admit::admit(memory, occasion, frame, packet, &Sought { key, hash, candidate })
                    .unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason)));
            }
        }
    }
    from_clients.write(&memory.meters);
    from_backends.write(&memory.meters);
}

/// Passes a packet of a flow on to its other side, and counts it.
#[inline(always)]
pub(crate) fn pass_on<F: Frame>(
    neighbours: &mut Neighbours<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    flow: &mut Flow,
    (side, tally, meters): (Side, &mut Tally, &WorkerMeters),
    step: &mut Step,
) {
    flow.last_seen = occasion.now.0 as u32;
    if packet.ttl <= 1 && flow.mode != Mode::Dsr {
        *step = Step::Done(Verdict::Drop(DropReason::TtlExpired));
        return;
    }
    tally.count(meters, flow, packet.length);
    resolve::depart(neighbours, occasion, frame, packet, (flow, side), step);
}
