//! The way of a burst through the passes.

use model::{Millis, PortId};
use nic::{Burst, Frame, FrameSource};

use crate::{
    Outputs, Snapshot, Verdict, WorkerState, complete, emit, fragment, look,
    neighbour::NeighbourIndex,
    notice,
    packet::Step,
    parse::Lens,
    plan,
    serve::{self, Occasion},
    snapshot::Port,
    solicit, vlan,
};

/// Where a burst came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The port that its frames were received by.
    pub port: PortId,
    /// Whether another worker received them and handed them over to the owner of their flows.
    pub is_handed_over: bool,
}

/// Handles a burst: all its frames leave it for `outputs`, wait for a neighbour, or are freed.
///
/// The snapshot is the same from the first pass to the last. Counts everything but what the queues behind `outputs` do.
pub fn forward<F, S>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    arrival: Arrival,
    now: Millis,
    burst: &mut Burst<F>,
    outputs: &mut Outputs<F>,
    source: &mut S,
) where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    let Some(port) = snapshot.port(arrival.port) else {
        state.memory.meters.drop_packets(crate::DropReason::NoRoute, burst.len() as u64);
        return F::free(burst);
    };
    if port.vlans.is_empty() || arrival.is_handed_over {
        forward_from(state, snapshot, (arrival, port), now, burst, outputs, source);
    } else {
        vlan::forward_trunk(state, snapshot, (arrival, port), now, burst, outputs, source);
    }
    if snapshot.has_vlans() {
        vlan::tag_all(&state.memory.meters, snapshot, outputs);
    }
    F::free(&mut outputs.dropped);
}

/// Handles a burst that came by one port without tags.
#[inline(always)]
pub(crate) fn forward_from<F, S>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    (arrival, port): (Arrival, &Port),
    now: Millis,
    burst: &mut Burst<F>,
    outputs: &mut Outputs<F>,
    source: &mut S,
) where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    let domain = port.domain;
    let WorkerState { memory, packets } = state;
    let lens = Lens { port, addresses: snapshot.addresses_in(domain), flows: &memory.flows };
    let seen = look::look_all(lens, burst, packets);
    if let Some(reason) = seen.refused {
        memory.meters.drop_packets(reason, burst.len() as u64);
        F::free(burst);
    }
    if port.device.partial_checksums && !arrival.is_handed_over {
        complete::complete_all(burst, packets, &memory.meters);
    }
    let (mut together, occasion) = (None, Occasion { snapshot, arrival, now, domain });
    if seen.goes_on {
        if !seen.is_complete {
            plan::plan_all(&memory.flows, (snapshot, domain), packets, burst);
        }
        together = serve::serve_all(memory, &occasion, packets, burst);
    }
    emit::emit_all(memory, packets, (&occasion, together), burst, (outputs, source));
    if memory.fragments.is_ready() {
        fragment::release_all(memory, &occasion, (outputs, source));
    }
    solicit::send_all(memory, snapshot, outputs, source);
    notice::send_all(memory, outputs, source);
}

impl<F: Frame> WorkerState<F> {
    /// What became of each packet of the last burst, in the order of arrival. A packet that waits, or that waited until
    /// the end of the burst, is [`Verdict::Held`].
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        self.packets.steps.iter().take(self.packets.count).map(|step| match *step {
            Step::Done(verdict) => verdict,
            Step::Cut { port, hop: NeighbourIndex::NONE, .. } => Verdict::Transmit(port),
            _ => Verdict::Held,
        })
    }
}
