//! Third pass: each packet in its turn, from its flow to its next hop.
//!
//! For a packet of an established flow this is everything: `track`, `rewrite`, `resolve`, with the flow's record in hand. All
//! others go to `admit`, which is the rarer path and may open a flow; the packets behind it in the burst find that flow.
//!
//! One pass rather than three: packets are served strictly in the order in which they arrived, so what one does to a flow
//! or a neighbour the next one sees, and a record that is given up may be used again at once.

use flow::{Flow, Side};
use model::{Millis, Mode};
use nic::{Burst, Frame};

use crate::{
    Arrival, DropReason, Snapshot, Verdict, admit,
    neighbour::Neighbours,
    packet::{Packet, Packets, Step},
    resolve, rewrite,
    state::Memory,
    track::{self, Course, Tally},
};

/// When and where a burst is served.
pub(crate) struct Occasion<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) arrival: Arrival,
    pub(crate) now: Millis,
}

/// Serves a burst: every packet has its last step afterwards.
#[inline(never)]
pub(crate) fn serve_all<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    packets: &mut Packets,
    burst: &mut Burst<F>,
) {
    let mut tally = Tally::default();
    let known = packets.steps.iter_mut().zip(&packets.packets).zip(&packets.keys).zip(&packets.candidates);
    for (frame, (((step, packet), key), candidate)) in burst.iter_mut().zip(known) {
        if *step != Step::Parsed {
            continue;
        }
        let Memory { flows, neighbours, meters, .. } = &mut *memory;
        let flow = flows
            .confirm(*candidate, key)
            .filter(|(flow, side)| track::course(flow, *side, packet, occasion.snapshot) == Course::GoesOn);
        *step = match flow {
            Some((flow, side)) => serve_flow(neighbours, occasion, frame, packet, (flow, side), |flow| {
                tally.count(meters, flow, side, packet.length);
            }),
            None => admit::admit(memory, occasion, frame, packet, key)
                .unwrap_or_else(|reason| Step::Done(Verdict::Drop(reason))),
        };
    }
    tally.write(&memory.meters);
}

/// Serves a packet of a flow that goes on; `count` is called for one that the flow has passed on.
#[inline(always)]
pub(crate) fn serve_flow<F: Frame>(
    neighbours: &mut Neighbours<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    (flow, side): (&mut Flow, Side),
    count: impl FnOnce(&Flow),
) -> Step {
    track::track(flow, side, packet, occasion.snapshot, occasion.now);
    if flow.mode != Mode::Dsr {
        if packet.ttl <= 1 {
            return Step::Done(Verdict::Drop(DropReason::TtlExpired));
        }
        rewrite::rewrite(frame, packet, flow, side);
    }
    count(flow);
    resolve::resolve(neighbours, occasion.snapshot, frame, (flow, side), occasion.now)
}
