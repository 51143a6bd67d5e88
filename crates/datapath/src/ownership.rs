//! Which worker a packet's flow belongs to, decided from the packet and the snapshot alone, so that all workers agree.
//!
//! - `nat`: the client's address and port name the owner, in both directions.
//! - `full_nat`: the worker that received the client's first packet owns the flow; it took a SNAT port whose replies the card sends to
//!   it or, where that is not known, one that names it.
//! - `dsr`, `ipip`, `gue`: whoever receives the packet owns the flow; only one direction passes.
//!
//! Where a port's queues spill over into one another, a client's packets do not all come to the same worker. There the
//! client's address and port name the owner in all modes.
//!
//! A packet of a flow that is found in the own table never gets here.

use flow::FlowKey;
use model::{Address, Mode, PortId, SNAT_PORTS, WorkerId};

use crate::{Snapshot, snapshot::Owned};

/// The worker that owns the flow of a packet; `None` when any worker may.
pub(crate) fn owner(snapshot: &Snapshot, port: PortId, key: &FlowKey) -> Option<WorkerId> {
    if let Some((_, server)) = snapshot.service(key) {
        let spills_over = snapshot.port(port).is_some_and(|port| port.device.spills_over);
        return match server.mode {
            Mode::FullNat | Mode::Dsr | Mode::Ipip | Mode::Gue if !spills_over => None,
            _ => Some(owner_by_client(snapshot, key.source, key.source_port, key.protocol)),
        };
    }
    if let Some(owned) = snapshot.addresses_in(key.domain).owner(key.destination) {
        return owned.is_snat_port(key.protocol, key.destination_port).then(|| {
            // Where the card sends what it receives is known: that is who has taken the port.
            let by_card = snapshot.spread(owned).and_then(|spread| spread.worker(key));
            let first = first_snat_port(owned);
            by_card.unwrap_or_else(|| owner_by_snat_port(first, key.destination_port, snapshot.workers))
        });
    }
    let is_reply = snapshot.addresses_in(key.domain).is_nat_backend(key.source);
    is_reply.then(|| owner_by_client(snapshot, key.destination, key.destination_port, key.protocol))
}

/// The owner of a flow that the client's address and port name.
fn owner_by_client(snapshot: &Snapshot, address: Address, port: u16, protocol: u8) -> WorkerId {
    let client = FlowKey { source: address, source_port: port, protocol, ..FlowKey::default() };
    let high = snapshot.hash_key.hash(&client) >> 32;
    WorkerId(((high * u64::from(snapshot.workers)) >> 32) as u8)
}

/// The owner of a `full_nat` flow: SNAT ports go round the workers.
pub(crate) const fn owner_by_snat_port(first: u16, port: u16, workers: u8) -> WorkerId {
    match port.saturating_sub(first).checked_rem(workers as u16) {
        Some(worker) => WorkerId(worker as u8),
        None => WorkerId(0),
    }
}

fn first_snat_port(owned: Owned) -> u16 {
    match owned {
        Owned::Port { snat_first, .. } => snat_first,
        Owned::Snat | Owned::Virtual { .. } => *SNAT_PORTS.start(),
    }
}
