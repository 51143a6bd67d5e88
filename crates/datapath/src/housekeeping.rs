//! What a worker does between bursts, every few thousand turns: ageing, neighbours' timers. The work of one call is
//! bounded, however much there is to do.

use flow::Fate;
use model::Millis;
use nic::{Frame, FrameSource};

use crate::{
    DropReason, Outputs, Snapshot, WorkerState, emit,
    neighbour::Hop,
    solicit,
    state::{Memory, close},
    track, vlan,
};

/// Flows looked at in one call.
const FLOWS: usize = 256;
/// Neighbours looked at in one call.
const NEIGHBOURS: usize = 64;
/// Packets of which fragments have come looked at in one call.
const FRAGMENTS: usize = 64;
/// Backends whose next hop is kept known, in one call.
const BACKENDS: usize = 16;

/// Does a bounded part of what is due.
pub fn housekeeping<F, S>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    now: Millis,
    outputs: &mut Outputs<F>,
    source: &mut S,
) where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    let memory = &mut state.memory;
    expire_flows(memory, snapshot, now);
    keep_backends_known(memory, snapshot, now);
    if snapshot.workers > 1 {
        memory.limiter.renew(snapshot, now);
    }
    let Memory { neighbours, fragments, meters, .. } = memory;
    fragments.expire(now, FRAGMENTS, |frame| {
        emit::drop(meters, outputs, DropReason::FragmentHeadLost, frame);
    });
    neighbours.run_timers(now, NEIGHBOURS, |frame| {
        emit::drop(meters, outputs, DropReason::NeighbourUnreachable, frame)
    });
    emit::release_held(memory, outputs);
    solicit::send_all(memory, snapshot, outputs, source);
    if snapshot.has_vlans() {
        vlan::tag_all(&memory.meters, snapshot, outputs);
    }
    memory.count_held();
    memory.meters.flows.set(memory.flows.len() as u64);
}

/// Ends flows that were silent too long, or whose backend is gone.
fn expire_flows<F: Frame>(memory: &mut Memory<F>, snapshot: &Snapshot, now: Millis) {
    let Memory { flows, meters, .. } = memory;
    let now = now.0 as u32;
    let mut expired = 0;
    flows.scan(FLOWS, |_, flow| {
        let is_gone = snapshot
            .backend(flow.hot.backend)
            .is_none_or(|backend| backend.incarnation as u8 != flow.hot.incarnation);
        let server = snapshot.virtual_server(flow.hot.virtual_server());
        let is_expired = flow.is_expired(now, track::lifetime(flow.hot.state(), server));
        if !is_gone && !is_expired {
            return Fate::Keep;
        }
        expired += u64::from(is_expired);
        close(meters, (flow.hot.backend, flow.hot.virtual_server()));
        Fate::Remove
    });
    meters.flows_expired.add(expired);
}

/// Asks for the next hops of backends before a packet needs them.
fn keep_backends_known<F: Frame>(memory: &mut Memory<F>, snapshot: &Snapshot, now: Millis) {
    for _ in 0..BACKENDS.min(snapshot.backends.len()) {
        memory.backend_cursor =
            if memory.backend_cursor + 1 < snapshot.backends.len() { memory.backend_cursor + 1 } else { 0 };
        let Some(Some(backend)) = snapshot.backends.get(memory.backend_cursor) else { continue };
        let Some(route) = backend.route.and_then(|route| snapshot.routes.route(route)) else { continue };
        let on_link = route.via.is_empty().then_some(&backend.address);
        for &address in route.via.iter().chain(on_link) {
            // A hop that does not answer is asked again by the next round.
            let _ = memory.neighbours.resolve(Hop { port: route.port, address }, now);
        }
    }
}

/// Gives up all packets that wait, because the worker stops.
pub fn stop<F: Frame>(state: &mut WorkerState<F>, outputs: &mut Outputs<F>) {
    let Memory { neighbours, fragments, meters, .. } = &mut state.memory;
    neighbours.drop_held(|frame| emit::drop(meters, outputs, DropReason::Shutdown, frame));
    fragments.drop_held(|frame| emit::drop(meters, outputs, DropReason::Shutdown, frame));
    meters.held_frames.set(0);
}
