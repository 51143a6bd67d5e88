//! Second pass, between look and serve: where the packets go that no flow was found for.
//!
//! What is chosen depends on the snapshot and the packet's key only, not on what packets before it do. It is therefore chosen for
//! all of a burst at once, and the memory that their flows will need is asked for, so that its cache misses overlap. `open`
//! and `admit` open the flows, in the packets' turn.

use flow::{Candidate, FlowKey, FlowTable};
use model::{Address, BackendId, VirtualServerId};
use nic::{Burst, Frame};
use wire::{
    U16,
    ipv4::{Ends, EthernetIpv4Tcp},
};

use crate::{
    Snapshot,
    packet::{Kind, Packets, Step},
    snapshot::{Backend, Pool, Service, VirtualServer},
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
        let (id, server) = snapshot.service(key)?;
        let hash = snapshot.hash(key);
        let backend = planned_pool(snapshot, server).and_then(|pool| pool.choose(hash));
        Some(Self { server: id, backend, hash })
    }
}

/// Makes plans for the packets of a burst that have no candidate.
#[inline(never)]
pub(crate) fn plan_all<F: Frame>(
    flows: &FlowTable,
    (snapshot, domain): (&Snapshot, u8),
    packets: &mut Packets,
    burst: &Burst<F>,
) {
    let Packets { packets, steps, candidates, plans, .. } = packets;
    let known = packets.iter().zip(steps).zip(candidates).zip(plans);
    // New flows are often of one service.
    let mut last = None;
    for (frame, (((packet, step), candidate), plan)) in burst.iter().zip(known) {
        if *candidate == Candidate::NONE && *step == Step::Parsed && packet.is_balanced() {
            *plan = match wire::header::<EthernetIpv4Tcp>(frame.head(), 0) {
                Some(headers) if packet.kind == Kind::PlainV4 => {
                    plan_v4(snapshot, (headers, packet.protocol()), &mut last)
                }
                _ => Plan::find(snapshot, &packet.key(frame.head(), domain)),
            };
            if plan.is_some() {
                flows.prepare(packet.place);
            }
        }
    }
}

/// What the last plan was made for, and where it led.
type Last<'a> = Option<(([u8; 4], U16, u8), VirtualServerId, Option<&'a Pool>)>;

/// For a plain IPv4 packet.
#[inline(always)]
fn plan_v4<'a>(
    snapshot: &'a Snapshot,
    (headers, protocol): (&EthernetIpv4Tcp, u8),
    last: &mut Last<'a>,
) -> Option<Plan> {
    let ends = headers.ends();
    let to = (ends.destination, ends.destination_port, protocol);
    if last.is_none_or(|(last, ..)| last != to) {
        *last = service_v4(snapshot, &ends, protocol).map(|(server, pool)| (to, server, pool));
    }
    let (_, server, pool) = (*last)?;
    let hash = snapshot.hash_key.hash_v4(&ends, protocol, 0);
    Some(Plan { server, backend: pool.and_then(|pool| pool.choose(hash)), hash })
}

fn service_v4<'a>(
    snapshot: &'a Snapshot,
    ends: &Ends,
    protocol: u8,
) -> Option<(VirtualServerId, Option<&'a Pool>)> {
    let address = Address::from_v4(ends.destination);
    let service = Service { address, port: ends.destination_port.get(), protocol, domain: 0 };
    let id = snapshot.find(&service)?;
    Some((id, planned_pool(snapshot, snapshot.virtual_server(id)?)))
}

/// The pool of a virtual server, unless more than the pool says who is chosen.
fn planned_pool<'a>(snapshot: &'a Snapshot, server: &VirtualServer) -> Option<&'a Pool> {
    snapshot.pool(server.pool).filter(|_| server.persistence.is_none() && server.connection_ids.is_none())
}

/// What a backend's replies carry when they are for the client.
pub(crate) fn reply_in_nat(key: &FlowKey, server: &VirtualServer, backend: &Backend) -> FlowKey {
    let port = server.port_behind(backend, key.destination_port);
    FlowKey { source: backend.address, source_port: port, ..key.reversed() }
}
