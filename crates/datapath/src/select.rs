//! Choosing a backend where the flow's hash alone does not say it: for the first packet of a flow, in its turn.
//!
//! Methods that look at how many flows backends have are exact over all workers: each worker notes in its own meters what it
//! has open, and a choice adds up what all of them have noted. Nobody writes what another one writes.

use std::sync::Arc;

use balance::{Chooser, Hashes, Sight};
use flow::{Flow, FlowKey, FlowState, Hot, Side};
use model::{BackendId, Millis, RoundTrips, VirtualServerId, WorkerId};
use wire::U16;

use crate::{
    Persistence, Snapshot, WorkerMeters,
    limit::Limiter,
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
    /// Handshakes that are timed.
    handshakes: Box<[Handshake]>,
    /// Whether any are: a pool's method is `fastest`, or a virtual server measures round trips.
    times_handshakes: bool,
    /// Whether any pool's method is `fastest`.
    compares_handshakes: bool,
    /// Ticks of any beginning.
    pub(crate) ticks: u64,
    pub(crate) ticks_per_micro: u64,
}

/// A handshake that is timed.
#[derive(Clone, Copy, Default)]
struct Handshake {
    /// Whose it is; 0: nobody's.
    mark: u64,
    backend: BackendId,
    /// When its last segment was sent on, in ticks.
    sent: u64,
    /// Whether that is the backend's.
    is_answered: bool,
}

impl Handshake {
    /// Tells the flows apart of which handshakes are timed at once: by the client's address, as far as it lies in the flow's line, its
    /// port, and when the flow was opened.
    #[inline(always)]
    const fn mark((source, port): ([u8; 4], u16), created: u32) -> u64 {
        (u32::from_ne_bytes(source) as u64) << 32 | (port as u64) << 16 | created as u16 as u64 | 1
    }

    const fn place(mark: u64) -> usize {
        (mark.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - HANDSHAKES.trailing_zeros())) as usize
    }
}

impl Outlook {
    pub(crate) fn new(id: WorkerId, colleagues: Colleagues) -> Self {
        // Workers begin with different turns, so that they do not all begin with the same backend.
        let turns = std::iter::repeat_n(u32::from(id.0), TURNS).collect();
        let handshakes = std::iter::repeat_n(Handshake::default(), HANDSHAKES).collect();
        Self {
            colleagues,
            turns,
            handshakes,
            times_handshakes: false,
            compares_handshakes: false,
            ticks: 0,
            ticks_per_micro: 1,
        }
    }

    /// Times the answer to a SYN that goes to a backend.
    #[inline(always)]
    pub(crate) fn begin_handshake(&mut self, client: ([u8; 4], u16), created: u32, backend: BackendId) {
        let (mark, sent) = (Handshake::mark(client, created), self.ticks);
        if let Some(handshake) = self.handshakes.get_mut(Handshake::place(mark)) {
            *handshake = Handshake { mark, backend, sent, is_answered: false };
        }
    }

    /// Takes note of a further packet of a handshake. What comes twice says nothing: it may answer either of what it answers.
    pub(crate) fn follow_handshake(
        &mut self,
        meters: &WorkerMeters,
        flow: &Hot,
        (side, is_syn): (Side, bool),
        measured: RoundTrips,
    ) {
        if !self.times_handshakes {
            return;
        }
        let client = flow.ends(Side::Client);
        let mark = Handshake::mark((client.source, client.source_port.get()), flow.created);
        let (now, ticks_per_micro, compares) = (self.ticks, self.ticks_per_micro, self.compares_handshakes);
        let Some(handshake) = self.handshakes.get_mut(Handshake::place(mark)) else { return };
        let begun = std::mem::take(handshake);
        if begun.mark != mark || begun.backend != flow.backend {
            *handshake = begun;
            return;
        }
        let took = now.wrapping_sub(begun.sent) / ticks_per_micro;
        if took >= LONGEST_HANDSHAKE {
            return;
        }
        match (side, begun.is_answered) {
            (Side::Backend, false) => {
                *handshake = Handshake { sent: now, is_answered: true, ..begun };
                if measured.from_server {
                    meters.server_round_trips.record(flow.virtual_server().index(), took);
                }
                if compares {
                    note_handshake(meters, flow.backend, took);
                }
            }
            (Side::Client, true) if !is_syn && measured.from_client => {
                meters.client_round_trips.record(flow.virtual_server().index(), took);
            }
            _ => {}
        }
    }
}

/// What is known of a backend when a handshake with it took so many microseconds.
fn note_handshake(meters: &WorkerMeters, backend: BackendId, took: u64) {
    if let Some(LoadMeters { handshake_micros, .. }) = meters.load(backend) {
        let (known, took) = (handshake_micros.read(), took.max(1));
        let average = (known * (HANDSHAKE_PART - 1) + took).div_ceil(HANDSHAKE_PART);
        handshake_micros.set(if known == 0 { took } else { average });
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
    let view = View { pool, colleagues, room: None };
    let member = pool.chooser.choose(hashes(snapshot, key, flow), turn, &view)?;
    pool.members.get(member as usize).copied()
}

/// Another backend for a new flow, because the one that was chosen has as much as it may; `None` when none is found.
#[cold]
pub(crate) fn another(
    outlook: &mut Outlook,
    limiter: &Limiter,
    &Occasion { snapshot, now, .. }: &Occasion<'_>,
    server: &VirtualServer,
    (key, flow): (&FlowKey, u64),
) -> Option<BackendId> {
    let pool = snapshot.pool(server.pool)?;
    let Outlook { colleagues, turns, .. } = outlook;
    let turn = turns.get_mut(server.pool.index() % TURNS)?;
    let view = View { pool, colleagues, room: Some((limiter, snapshot, now)) };
    let member = pool.chooser.another(hashes(snapshot, key, flow), turn, &view)?;
    pool.members.get(member as usize).copied()
}

fn hashes(snapshot: &Snapshot, key: &FlowKey, flow: u64) -> Hashes {
    Hashes { flow, source: snapshot.hash_key.hash_end(key.source, U16::new(0), 0, 0) }
}

/// The time as persistence counts it.
const fn seconds(occasion: &Occasion<'_>) -> u64 {
    occasion.now.0 / 1000
}

/// Takes note of a flow that was opened, after a choice made here if it was not planned.
pub(crate) fn opened<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    flow: &Flow,
    (server, is_planned): (&VirtualServer, bool),
) {
    let (Memory { meters, outlook, .. }, snapshot) = (memory, occasion.snapshot);
    if flow.state == FlowState::Handshake && (server.rtt.is_any() || !is_planned) {
        outlook.begin_handshake(
            (flow.client.source.v4(), flow.client.source_port),
            flow.created,
            flow.backend,
        );
    }
    if is_planned {
        return;
    }
    if let Some(Persistence { source, timeout }) = server.persistence {
        let network = Network::of(&snapshot.hash_key, flow.virtual_server, flow.client.source, source);
        meters.persistence.note(network, flow.backend, (seconds(occasion), timeout));
    }
    let Some(pool) = snapshot.pool(server.pool) else { return };
    if pool.chooser.looks_at_flows() {
        meters.note_flows(flow.backend);
    }
}

/// Begins to note what a new snapshot's pools look at.
pub(crate) fn adopt<F>(memory: &mut Memory<F>, snapshot: &Snapshot) {
    let Memory { meters, outlook, .. } = memory;
    for pool in snapshot.pools.iter().filter(|pool| pool.chooser.looks_at_flows()) {
        pool.members.iter().for_each(|&backend| meters.note_flows(backend));
    }
    let is_fastest = |pool: &Arc<Pool>| matches!(pool.chooser, Chooser::Handshake(_));
    outlook.compares_handshakes = snapshot.pools.iter().any(is_fastest);
    let measures = |server: &VirtualServer| server.rtt.is_any();
    outlook.times_handshakes =
        outlook.compares_handshakes || snapshot.virtual_servers.iter().flatten().any(measures);
}

/// A pool's backends as all workers see them.
struct View<'a> {
    pool: &'a Pool,
    colleagues: &'a Colleagues,
    /// Who knows which backends are full, when that is asked.
    room: Option<(&'a Limiter, &'a Snapshot, Millis)>,
}

impl View<'_> {
    fn loads(&self, position: u32) -> impl Iterator<Item = &LoadMeters> {
        let backend = self.pool.members.get(position as usize).copied();
        self.colleagues.workers.iter().filter_map(move |meters| meters.load(backend?))
    }
}

impl Sight for View<'_> {
    fn is_full(&self, position: u32) -> bool {
        let is_full = |(limiter, snapshot, now): (&Limiter, &Snapshot, Millis)| {
            let id = *self.pool.members.get(position as usize)?;
            Some(limiter.is_full((id, snapshot.backend(id)?), now))
        };
        self.room.and_then(is_full).unwrap_or(false)
    }

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
