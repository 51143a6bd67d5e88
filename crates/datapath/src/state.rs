//! What one worker remembers between bursts.

use std::sync::Arc;

use arrayvec::ArrayVec;
use flow::{Flow, FlowKey, FlowState, FlowTable, HashKey, Side};
use model::{BackendId, Millis, VirtualServerId, WorkerId};
use nic::{Frame, MAX_BURST};

use crate::{
    Snapshot, WorkerMeters,
    inspect::{Answer, FlowRow, FlowStage, Request},
    neighbour::{Fact, Neighbours},
    notice::Notices,
    packet::Packets,
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
    pub(crate) meters: Arc<WorkerMeters>,
    /// What is not in the meters yet; nothing between bursts.
    pub(crate) tallies: Tallies,
    /// What the gateway has to say by itself; nothing between bursts.
    pub(crate) notices: Notices,
    /// Learned in this turn; the worker passes them on.
    pub(crate) facts: ArrayVec<Fact, MAX_BURST>,
    /// The next backend whose next hop is kept known.
    pub(crate) backend_cursor: usize,
}

impl<F: Frame> WorkerState<F> {
    /// A worker's state with room for `flows`. `hash_key` keys the flow table and is this worker's own secret.
    #[must_use]
    pub fn new(id: WorkerId, flows: usize, hash_key: HashKey, meters: Arc<WorkerMeters>) -> Self {
        let flows = FlowTable::with_capacity(flows, hash_key);
        meters.flows_capacity.set(flows.capacity() as u64);
        let memory = Memory {
            id,
            flows,
            neighbours: Neighbours::new(),
            tallies: Tallies::new(Arc::clone(&meters)),
            meters,
            notices: Notices::new(),
            facts: ArrayVec::new(),
            backend_cursor: 0,
        };
        Self { memory, packets: Packets::new() }
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
        self.memory.meters.generation.set(snapshot.generation.0);
    }

    /// What was learned of neighbours since the last call, for the other workers.
    pub fn take_facts(&mut self) -> ArrayVec<Fact, MAX_BURST> {
        std::mem::take(&mut self.memory.facts)
    }

    /// Takes over what another worker has learned.
    pub fn learn(&mut self, fact: Fact, now: Millis) {
        self.memory.neighbours.learn(fact, true, now);
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

/// Counts a flow's end.
pub(crate) fn close(meters: &WorkerMeters, (backend, virtual_server): (BackendId, VirtualServerId)) {
    if let Some(backend) = meters.backend(backend) {
        backend.flows_closed.add(1);
    }
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
