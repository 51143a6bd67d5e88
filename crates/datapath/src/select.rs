//! Choosing a backend where the flow's hash alone does not say it: for the first packet of a flow, in its turn.
//!
//! Methods that look at how many flows backends have are exact over all workers: each worker notes in its own meters what it
//! has open, and a choice adds up what all of them have noted. Nobody writes what another one writes.

use std::sync::Arc;

use balance::{Chooser, Hashes, Sight};
use flow::{Flow, FlowIndex, FlowKey, FlowState, Side};
use model::{BackendId, VirtualServerId, WorkerId};
use wire::U16;

use crate::{
    Persistence, Snapshot, WorkerMeters,
    meters::{Capacities, LoadMeters},
    persistence::{self, Network},
    serve::Occasion,
    snapshot::{Pool, VirtualServer},
    state::Memory,
};

/// Pools whose turns are told apart: of more some share a turn, which does no harm but that neither's is even.
const TURNS: usize = 4096;
/// Handshakes that are measured at once.
const HANDSHAKES: usize = 4096;
/// Microseconds; a handshake that takes longer was not one.
const LONGEST_HANDSHAKE: u64 = 10_000_000;
/// The part of a handshake in what is known of a backend: one in so many.
const HANDSHAKE_PART: u64 = 8;

/// All workers, and what control tells them.
#[derive(Clone, Default)]
pub struct Colleagues {
    /// What each of them counts.
    pub workers: Vec<Arc<WorkerMeters>>,
    /// What backends are able to take.
    pub capacities: Arc<Capacities>,
}

/// What choices depend on besides the packet.
pub(crate) struct Outlook {
    colleagues: Colleagues,
    /// By pool: whose turn it is here.
    turns: Box<[u32]>,
    /// SYNs whose answers are timed, by the flow's position.
    handshakes: Box<[Handshake]>,
    /// Whether any pool's method is `fastest`.
    times_handshakes: bool,
    /// Ticks of any beginning.
    pub(crate) ticks: u64,
    pub(crate) ticks_per_micro: u64,
}

/// A SYN that was sent to a backend.
#[derive(Clone, Copy, Default)]
struct Handshake {
    flow: Option<FlowIndex>,
    /// When, in ticks.
    sent: u64,
    backend: BackendId,
}

impl Outlook {
    pub(crate) fn new(id: WorkerId, colleagues: Colleagues) -> Self {
        // Workers begin with different turns, so that they do not all begin with the same backend.
        let turns = std::iter::repeat_n(u32::from(id.0), TURNS).collect();
        let handshakes = std::iter::repeat_n(Handshake::default(), HANDSHAKES).collect();
        Self { colleagues, turns, handshakes, times_handshakes: false, ticks: 0, ticks_per_micro: 1 }
    }

    /// Times the answer to a SYN that goes to a backend.
    fn begin_handshake(&mut self, flow: FlowIndex, backend: BackendId) {
        let sent = self.ticks;
        if let Some(handshake) = self.handshake(flow) {
            *handshake = Handshake { flow: Some(flow), sent, backend };
        }
    }

    /// Takes note of the first packet from the backend of a flow, if its SYN is timed.
    fn end_handshake(&mut self, meters: &WorkerMeters, flow: FlowIndex, backend: BackendId) {
        let (now, ticks_per_micro) = (self.ticks, self.ticks_per_micro);
        let Some(handshake) = self.handshake(flow) else { return };
        let begun = std::mem::take(handshake);
        let took = now.wrapping_sub(begun.sent) / ticks_per_micro;
        if begun.flow == Some(flow)
            && begun.backend == backend
            && took < LONGEST_HANDSHAKE
            && let Some(LoadMeters { handshake_micros, .. }) = meters.load(backend)
        {
            let (known, took) = (handshake_micros.read(), took.max(1));
            let average = (known * (HANDSHAKE_PART - 1) + took).div_ceil(HANDSHAKE_PART);
            handshake_micros.set(if known == 0 { took } else { average });
        }
    }

    /// Takes note of a further packet of a handshake: the backend's ends it, and if the client's SYN has come again, the answer says
    /// nothing.
    pub(crate) fn follow_handshake(
        &mut self,
        meters: &WorkerMeters,
        (flow, backend): (FlowIndex, BackendId),
        side: Side,
    ) {
        match side {
            _ if !self.times_handshakes => {}
            Side::Backend => self.end_handshake(meters, flow, backend),
            Side::Client => {
                self.handshake(flow).map(std::mem::take);
            }
        }
    }

    fn handshake(&mut self, flow: FlowIndex) -> Option<&mut Handshake> {
        self.handshakes.get_mut(flow.0 as usize % HANDSHAKES)
    }
}

/// The backend of a virtual server for a new flow; `None` when none is usable.
pub(crate) fn select(
    outlook: &mut Outlook,
    occasion: &Occasion<'_>,
    (id, server): (VirtualServerId, &VirtualServer),
    (key, flow): (&FlowKey, u64),
) -> Option<BackendId> {
    let snapshot = occasion.snapshot;
    let pool = snapshot.pool(server.pool)?;
    let Outlook { colleagues, turns, .. } = outlook;
    if let Some(persistence) = server.persistence {
        let network = Network::of(&snapshot.hash_key, id, key.source, persistence.source);
        let workers = colleagues.workers.iter().map(Arc::as_ref);
        let kept = persistence::find(workers, network, seconds(occasion), |backend| pool.takes(backend));
        if let Some(backend) = kept {
            return Some(backend);
        }
    }
    let turn = turns.get_mut(server.pool.index() % TURNS)?;
    let hashes = Hashes { flow, source: snapshot.hash_key.hash_end(key.source, U16::new(0), 0, 0) };
    let member = pool.chooser.choose(hashes, turn, &View { pool, colleagues })?;
    pool.members.get(member as usize).copied()
}

/// The time as persistence counts it.
const fn seconds(occasion: &Occasion<'_>) -> u64 {
    occasion.now.0 / 1000
}

/// Takes note of a flow that was opened after a choice made here.
pub(crate) fn opened<F>(memory: &mut Memory<F>, occasion: &Occasion<'_>, (index, flow): (FlowIndex, &Flow)) {
    let (Memory { meters, outlook, .. }, snapshot) = (memory, occasion.snapshot);
    let Some(server) = snapshot.virtual_server(flow.virtual_server) else { return };
    if let Some(Persistence { source, timeout }) = server.persistence {
        let network = Network::of(&snapshot.hash_key, flow.virtual_server, flow.client.source, source);
        meters.persistence.note(network, flow.backend, (seconds(occasion), timeout));
    }
    let Some(pool) = snapshot.pool(server.pool) else { return };
    if pool.chooser.looks_at_flows() {
        meters.note_flows(flow.backend);
    }
    if matches!(pool.chooser, Chooser::Handshake(_)) && flow.state == FlowState::Handshake {
        outlook.begin_handshake(index, flow.backend);
    }
}

/// Begins to note what a new snapshot's pools look at.
pub(crate) fn adopt<F>(memory: &mut Memory<F>, snapshot: &Snapshot) {
    let Memory { meters, outlook, .. } = memory;
    for pool in snapshot.pools.iter().filter(|pool| pool.chooser.looks_at_flows()) {
        pool.members.iter().for_each(|&backend| meters.note_flows(backend));
    }
    let is_fastest = |pool: &Arc<Pool>| matches!(pool.chooser, Chooser::Handshake(_));
    outlook.times_handshakes = snapshot.pools.iter().any(is_fastest);
}

/// A pool's backends as all workers see them.
struct View<'a> {
    pool: &'a Pool,
    colleagues: &'a Colleagues,
}

impl View<'_> {
    fn loads(&self, position: u32) -> impl Iterator<Item = &LoadMeters> {
        let backend = self.pool.members.get(position as usize).copied();
        self.colleagues.workers.iter().filter_map(move |meters| meters.load(backend?))
    }
}

impl Sight for View<'_> {
    fn open_flows(&self, position: u32) -> u64 {
        self.loads(position).map(|load| load.open_flows.read()).sum()
    }

    fn capacity(&self, position: u32) -> u64 {
        let backend = self.pool.members.get(position as usize);
        backend.map_or(0, |&backend| self.colleagues.capacities.of(backend))
    }

    /// The mean of those who have measured it.
    fn handshake(&self, position: u32) -> u64 {
        let measured = self.loads(position).map(|load| load.handshake_micros.read()).filter(|&time| time > 0);
        let (sum, count) = measured.fold((0, 0), |(sum, count), time| (sum + time, count + 1));
        sum.checked_div(count).unwrap_or(0)
    }
}
