//! What a worker does between bursts, every few thousand turns: ageing, neighbours' timers. The work of one call is
//! bounded, however much there is to do.

use flow::{Fate, FlowState, Hot, Tracked};
use model::{Millis, OnBackendDown};
use nic::{Frame, FrameSource};
use wire::protocol;

use crate::{
    DropReason, Outputs, Snapshot, WorkerState, cookie, emit,
    neighbour::Hop,
    notice::{self, Voice},
    snapshot::VirtualServer,
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
    fragments.expire(now, FRAGMENTS, |frame, reason| emit::drop(meters, outputs, reason, frame));
    neighbours.run_timers(now, NEIGHBOURS, |frame| {
        emit::drop(meters, outputs, DropReason::NeighbourUnreachable, frame)
    });
    emit::release_held(memory, outputs);
    solicit::send_all(memory, snapshot, outputs, source);
    notice::send_all(memory, outputs, source);
    if snapshot.has_vlans() {
        vlan::tag_all(&memory.meters, snapshot, outputs);
    }
    memory.count_held();
    memory.guard.settle(&memory.meters, now);
    memory.meters.flows.set(memory.flows.len() as u64);
}

/// Calls of [`housekeeping`] after which all flows were looked at.
#[must_use]
pub fn calls_for_all_flows<F: Frame>(state: &WorkerState<F>) -> usize {
    state.memory.flows.scans_for_all(FLOWS)
}

/// Ends flows that were silent too long, or whose backend is gone. Those whose ends should hear of it stay until they have.
fn expire_flows<F: Frame>(memory: &mut Memory<F>, snapshot: &Snapshot, now: Millis) {
    let Memory { flows, meters, neighbours, notices, guard, .. } = memory;
    let now = now.0 as u32;
    // A full table needs room more than words.
    let (mut expired, has_time) = (0, !flows.is_full());
    let mut voice = Voice { notices, neighbours, snapshot, now };
    flows.scan(FLOWS, |_, mut flow| {
        let state = flow.hot.state();
        let server = snapshot.virtual_server(flow.hot.virtual_server());
        let is_expired = flow.is_expired(now, track::lifetime(state, flow.hot.marks(), server));
        let is_gone = state != FlowState::GivenUp && !keeps_backend(flow.hot, snapshot);
        if !is_gone && !is_expired {
            if state == FlowState::Handshake {
                cookie::resume(&mut voice, &mut flow);
            } else if server.is_some_and(|server| is_to_be_kept_alive(&flow, server, now)) {
                voice.keep_alive(&mut flow);
            }
            return Fate::Keep;
        }
        let word = last_word(flow.hot, server, is_gone).filter(|_| has_time);
        if word.is_some() && !voice.has_room() {
            return Fate::Keep; // its turn comes
        }
        expired += u64::from(is_expired && !matches!(state, FlowState::GivenUp | FlowState::Broken));
        if word.is_some_and(|say| say(&mut voice, &mut flow)) {
            return Fate::Keep;
        }
        guard.over(track::is_embryonic(state, flow.hot.checked));
        close(meters, (flow.hot.backend, flow.hot.virtual_server()));
        Fate::Remove
    });
    meters.flows_expired.add(expired);
}

/// Whether a flow's client is to be asked now whether it is still there.
fn is_to_be_kept_alive(flow: &Tracked<'_>, server: &VirtualServer, now: u32) -> bool {
    let interval = server.tcp.keep_alive;
    if interval == 0 || flow.hot.silence(now) <= interval || flow.hot.protocol() != protocol::TCP {
        return false;
    }
    // What was asked before the last packet does not count.
    let since_asked = now.wrapping_sub(flow.numbers.asked);
    flow.hot.state() == FlowState::Established
        && (since_asked > flow.hot.silence(now) || since_asked >= interval)
}

/// Whether a flow's backend is still there, and may keep it.
fn keeps_backend(flow: &Hot, snapshot: &Snapshot) -> bool {
    let Some(backend) = snapshot.backend(flow.backend) else { return false };
    let may_be_down = backend.on_down != OnBackendDown::Reset || flow.protocol() != protocol::TCP;
    backend.incarnation as u8 == flow.incarnation && (may_be_down || snapshot.up.is_up(flow.backend))
}

/// What is said before a flow is forgotten.
type Word<F> = fn(&mut Voice<'_, F>, &mut Tracked<'_>) -> bool;

/// What is to be said before a flow is forgotten, if anything.
fn last_word<F>(flow: &Hot, server: Option<&VirtualServer>, is_gone: bool) -> Option<Word<F>> {
    let resets = is_gone || server.is_none_or(|server| server.tcp.reset_on_timeout);
    match flow.state() {
        _ if flow.protocol() != protocol::TCP => None,
        FlowState::Established if resets => Some(|voice, flow| voice.give_up(flow)),
        FlowState::Broken if !is_gone => Some(|voice, flow| voice.doubt(flow)),
        // Its client believes that it is connected.
        FlowState::Handshake if resets && track::is_by_cookie(flow) => Some(|voice, flow| {
            voice.apologise(flow);
            false
        }),
        _ => None,
    }
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
