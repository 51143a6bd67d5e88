//! Between find and serve: where the packets go that no flow was found for.
//!
//! What is chosen depends on the snapshot and the packet's key only, not on what packets before it do. It is therefore chosen for
//! all of a burst at once, and the memory that their flows will need is asked for, so that its cache misses overlap. `admit`
//! opens the flows, in the packets' turn.

use flow::{Candidate, FlowKey, FlowTable};
use model::{BackendId, Mode, VirtualServerId};

use crate::{
    Snapshot,
    packet::{Packets, Step},
    snapshot::Backend,
};

/// What a client's packet is sent to, and who is to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) server: VirtualServerId,
    /// `None` when none can have it.
    pub(crate) backend: Option<BackendId>,
    /// The key's, for choices that all workers make alike.
    pub(crate) hash: u64,
}

impl Plan {
    /// For a packet with this key; `None` when it is for no virtual server.
    pub(crate) fn of(snapshot: &Snapshot, key: &FlowKey) -> Option<Self> {
        let (id, server) = snapshot.service(key)?;
        let hash = snapshot.hash_key.hash(key);
        let backend = snapshot.pool(server.pool).and_then(|pool| pool.choose(hash));
        Some(Self { server: id, backend, hash })
    }
}

/// Makes plans for the packets of a burst that have no candidate.
#[inline(never)]
pub(crate) fn plan_all(flows: &FlowTable, snapshot: &Snapshot, packets: &mut Packets) {
    let Packets { count, packets, steps, keys, candidates, plans, .. } = packets;
    let known = packets.iter().zip(steps).zip(keys).zip(candidates).zip(plans).take(*count);
    let mut ahead = 0;
    for ((((packet, step), key), candidate), plan) in known {
        if *candidate != Candidate::NONE || *step != Step::Parsed || !packet.is_balanced() {
            continue;
        }
        *plan = Plan::of(snapshot, key);
        if let Some(plan) = plan {
            prepare(flows, snapshot, key, plan, ahead);
            ahead += 1;
        }
    }
}

/// Asks for the memory of a planned flow. A port of `full_nat` is not looked for twice: its reply key is not known yet.
#[inline]
fn prepare(flows: &FlowTable, snapshot: &Snapshot, key: &FlowKey, plan: &Plan, ahead: usize) {
    let mode = snapshot.virtual_server(plan.server).map(|server| server.mode);
    let backend = plan.backend.and_then(|id| snapshot.backend(id)).filter(|_| mode == Some(Mode::Nat));
    let reply = backend.map(|backend| reply_in_nat(key, backend));
    flows.prepare(reply.as_ref(), ahead);
}

/// What a backend's replies carry when they are for the client.
pub(crate) fn reply_in_nat(key: &FlowKey, backend: &Backend) -> FlowKey {
    FlowKey { source: backend.address, source_port: backend.port, ..key.reversed() }
}
