//! Between find and serve: where the packets go that no flow was found for.
//!
//! What is chosen depends on the snapshot and the packet's key only, not on what packets before it do. It is therefore chosen for
//! all of a burst at once, and the memory that their flows will need is asked for, so that its cache misses overlap. `admit`
//! opens the flows, in the packets' turn.

use flow::{Candidate, FlowKey, FlowTable};
use model::{BackendId, VirtualServerId};
use nic::{Burst, Frame};

use crate::{
    Snapshot,
    packet::{Packets, Step},
    snapshot::{Backend, Service},
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
    pub(crate) fn find(snapshot: &Snapshot, key: &FlowKey) -> Option<Self> {
        Self::of(snapshot, snapshot.service(key)?.0, key)
    }

    /// For a packet with this key, which is for a virtual server.
    fn of(snapshot: &Snapshot, id: VirtualServerId, key: &FlowKey) -> Option<Self> {
        let server = snapshot.virtual_server(id)?;
        let hash = snapshot.hash_key.hash(key);
        let backend = snapshot.pool(server.pool).and_then(|pool| pool.choose(hash));
        Some(Self { server: id, backend, hash })
    }
}

/// Makes plans for the packets of a burst that have no candidate.
#[inline(never)]
pub(crate) fn plan_all<F: Frame>(
    flows: &FlowTable,
    snapshot: &Snapshot,
    packets: &mut Packets,
    burst: &Burst<F>,
) {
    let Packets { packets, steps, candidates, places, plans, .. } = packets;
    let known = packets.iter().zip(steps).zip(candidates).zip(places).zip(plans);
    // New flows are often of one service.
    let mut last = None;
    for (frame, ((((packet, step), candidate), place), plan)) in burst.iter().zip(known) {
        if *candidate == Candidate::NONE && *step == Step::Parsed && packet.is_balanced() {
            let key = packet.key(frame.head());
            let service = Service::of(&key);
            let id = match last {
                Some((last, id)) if last == service => id,
                _ => snapshot.services.get(&service).copied(),
            };
            last = Some((service, id));
            *plan = id.and_then(|id| Plan::of(snapshot, id, &key));
            if plan.is_some() {
                flows.prepare(*place);
            }
        }
    }
}

/// What a backend's replies carry when they are for the client.
pub(crate) fn reply_in_nat(key: &FlowKey, backend: &Backend) -> FlowKey {
    FlowKey { source: backend.address, source_port: backend.port, ..key.reversed() }
}
