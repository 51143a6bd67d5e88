//! What one worker remembers between bursts.

use std::sync::Arc;

use arrayvec::ArrayVec;
use flow::{Flow, FlowIndex, FlowKey, FlowState, FlowTable, HashKey, Side};
use model::{BackendId, Millis, VirtualServerId, WorkerId};
use nic::{Frame, MAX_BURST};

use crate::{
    Snapshot, WorkerMeters,
    answer::allowance::Allowance,
    cookie::Guard,
    cut::Identifications,
    fragment::Fragments,
    inspect::{Answer, FlowRow, FlowStage, Request},
    limit::Limiter,
    neighbour::{Fact, Neighbours},
    notice::Notices,
    packet::Packets,
    select::{self, Colleagues, Outlook},
    tally::Tallies,
    track,
};

/// Positions of the flow table that one answer looks at: where there are no flows, that is soon done.
const POSITIONS: usize = 16_384;

/// One worker's share of the datapath. All of it is allocated when it is made.
pub struct WorkerState<F: Frame> {
    pub(crate) memory: Memory<F>,
    /// Room to work in, for one burst.
    pub(crate) packets: Packets,
}

/// What one worker remembers between bursts.
pub(crate) struct Memory<F> {
    pub(crate) id: WorkerId,
    pub(crate) flows: FlowTable,
    pub(crate) neighbours: Neighbours<F>,
    /// Packets of which fragments have come.
    pub(crate) fragments: Fragments<F>,
    /// For packets that are cut into fragments.
    pub(crate) identifications: Identifications,
    /// ICMP errors that may yet be sent.
    pub(crate) allowance: Allowance,
    pub(crate) meters: Arc<WorkerMeters>,
    /// What is not in the meters yet; nothing between bursts.
    pub(crate) tallies: Tallies,
    /// What the gateway has to say by itself; nothing between bursts.
    pub(crate) notices: Notices,
    /// Learned in this turn; the worker passes them on.
    pub(crate) facts: ArrayVec<Fact, MAX_BURST>,
    /// The next backend whose next hop is kept known.
    pub(crate) backend_cursor: usize,
    /// What choices depend on besides the packet.
    pub(crate) outlook: Outlook,
    /// What is limited.
    pub(crate) limiter: Limiter,
    /// Whether SYNs are answered with cookies.
    pub(crate) guard: Guard,
}

impl<F> Memory<F> {
    /// Removes a flow that is over.
    pub(crate) fn forget(&mut self, index: FlowIndex) {
        if let Some(flow) = self.flows.remove(index) {
            self.guard.over(track::is_embryonic(flow.state, flow.checked));
            close(&self.meters, (flow.backend, flow.virtual_server));
        }
    }

    /// Counts the frames that wait.
    pub(crate) fn count_held(&self) {
        self.meters.held_frames.set((self.neighbours.held() + self.fragments.held()) as u64);
    }
}

impl<F: Frame> WorkerState<F> {
    /// A worker's state with room for `flows`. `hash_key` keys the flow table and is this worker's own secret.
    #[must_use]
    pub fn new(id: WorkerId, flows: usize, hash_key: HashKey, meters: Arc<WorkerMeters>) -> Self {
        let flows = FlowTable::with_capacity(flows, hash_key);
        meters.flows_capacity.set(flows.capacity() as u64);
        let alone = Colleagues { workers: vec![Arc::clone(&meters)], ..Colleagues::default() };
        let memory = Memory {
            id,
            guard: Guard::new(flows.capacity()),
            flows,
            neighbours: Neighbours::new(),
            fragments: Fragments::new(),
            identifications: Identifications::new(id),
            allowance: Allowance::new(),
            tallies: Tallies::new(Arc::clone(&meters)),
            outlook: Outlook::new(id, alone.clone()),
            limiter: Limiter::new(alone),
            meters,
            notices: Notices::new(),
            facts: ArrayVec::new(),
            backend_cursor: 0,
        };
        Self { memory, packets: Packets::new() }
    }

    /// The same, among these workers, itself included: what they have to do counts when a backend is chosen, and limits hold for all
    /// of them together.
    #[must_use]
    pub fn among(mut self, colleagues: Colleagues) -> Self {
        self.memory.limiter = Limiter::new(colleagues.clone());
        self.memory.outlook = Outlook::new(self.memory.id, colleagues);
        self
    }

    /// The same, with a clock of so many ticks a second; a million unless it is said.
    #[must_use]
    pub fn with_clock_of(mut self, hertz: u64) -> Self {
        self.memory.outlook.ticks_per_micro = (hertz / 1_000_000).max(1);
        self
    }

    /// Says what time it is, more exactly than packets are told, in ticks of any beginning.
    #[inline]
    pub fn tick(&mut self, ticks: u64) {
        self.memory.outlook.ticks = ticks;
    }

    /// Which worker this is.
    #[must_use]
    pub const fn id(&self) -> WorkerId {
        self.memory.id
    }

    /// What it counts.
    #[must_use]
    pub fn meters(&self) -> &WorkerMeters {
        &self.memory.meters
    }

    /// Takes over what a new snapshot gives: call it once for each generation, before the first burst.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        self.memory.neighbours.adopt(snapshot);
        select::adopt(&mut self.memory, snapshot);
        self.memory.meters.generation.set(snapshot.generation.0);
    }

    /// What was learned of neighbours since the last call, for the other workers.
    pub fn take_facts(&mut self) -> ArrayVec<Fact, MAX_BURST> {
        std::mem::take(&mut self.memory.facts)
    }

    /// Takes over what another worker has learned.
    pub fn learn(&mut self, fact: Fact, now: Millis) {
        let neighbours = &mut self.memory.neighbours;
        if fact.is_announced {
            neighbours.announce(fact, now)
        } else {
            neighbours.learn(fact, true, now)
        };
    }

    /// The flow that a packet with this key belongs to, and whether the packet is the client's or the backend's.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<(Flow, Side)> {
        let found = self.memory.flows.find(key)?;
        Some((self.memory.flows.flow(found.index)?, found.side))
    }

    /// Answers a request: at most `limit` rows, and one end.
    pub fn answer(
        &self,
        request: Request,
        (snapshot, now): (&Snapshot, Millis),
        limit: usize,
        mut reply: impl FnMut(Answer),
    ) {
        let Request::ListFlows { from } = request;
        let next = self.memory.flows.list(from, (limit, POSITIONS), |_, flow| {
            reply(Answer::Flow(self.row(&flow, snapshot, now)));
        });
        reply(Answer::EndOfFlows { next });
    }

    fn row(&self, flow: &Flow, snapshot: &Snapshot, now: Millis) -> FlowRow {
        let now = now.0 as u32;
        let source = if flow.mode == model::Mode::FullNat { flow.reply } else { flow.client.reversed() };
        FlowRow {
            worker: self.memory.id,
            virtual_server: flow.virtual_server,
            backend: flow.backend,
            protocol: flow.client.protocol,
            mode: flow.mode,
            client: (flow.client.source, flow.client.source_port),
            service: (flow.client.destination, flow.client.destination_port),
            source: (source.destination, source.destination_port),
            state: FlowStage::from(flow.state),
            idle: now.wrapping_sub(flow.last_seen),
            age: now.wrapping_sub(flow.created),
            lifetime: track::lifetime(flow.state, flow.marks, snapshot.virtual_server(flow.virtual_server)),
        }
    }
}

/// Counts a flow that has begun.
pub(crate) fn count_opened(meters: &WorkerMeters, (backend, server): (BackendId, VirtualServerId)) {
    for meters in [meters.backend(backend), meters.virtual_server(server)].into_iter().flatten() {
        meters.flows_opened.add(1);
    }
}

/// Counts a flow's end.
pub(crate) fn close(meters: &WorkerMeters, (id, virtual_server): (BackendId, VirtualServerId)) {
    if let Some(backend) = meters.backend(id) {
        backend.flows_closed.add(1);
    }
    meters.note_flows(id);
    if let Some(virtual_server) = meters.virtual_server(virtual_server) {
        virtual_server.flows_closed.add(1);
    }
}

impl From<FlowState> for FlowStage {
    fn from(state: FlowState) -> Self {
        match state {
            FlowState::Handshake | FlowState::Answered => Self::Handshake,
            FlowState::Established => Self::Established,
            FlowState::Refused
            | FlowState::Broken
            | FlowState::Doubted
            | FlowState::Closing
            | FlowState::GivenUp => Self::Closing,
        }
    }
}
