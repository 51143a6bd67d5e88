//! What all packets of a capture came to.

use std::collections::BTreeMap;

use datapath::{DropReason, WorkerMeters, meters::PortMeters};
use meter::Counter;
use serde::Serialize;

/// What all packets of a capture came to. `received + originated` is the sum of what became of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Packets of the capture.
    pub(crate) received: u64,
    /// Frames made here: questions for a MAC address.
    pub(crate) originated: u64,
    /// Frames that left by any port.
    pub(crate) transmitted: u64,
    /// Packets for a host twin.
    pub(crate) to_host: u64,
    /// Packets that the gateway learned from.
    pub(crate) absorbed: u64,
    /// Packets that still wait for their next hop's MAC address.
    pub(crate) held: u64,
    /// Packets that went no further.
    pub(crate) dropped: u64,
    /// The same by reason, without those that did not occur.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Whether every packet is accounted for.
    pub(crate) balanced: bool,
}

impl Totals {
    /// What a worker counted.
    pub(crate) fn of(meters: &WorkerMeters) -> Self {
        let ports =
            |read: fn(&PortMeters) -> &Counter| meters.ports.iter().map(|port| read(port).read()).sum();
        let drops: BTreeMap<String, u64> = DropReason::all()
            .zip(meters.drops.iter().map(Counter::read))
            .filter(|(_, packets)| *packets > 0)
            .map(|(reason, packets)| (reason.name(), packets))
            .collect();
        Self {
            received: ports(|port| &port.rx_frames),
            originated: meters.originated_frames.read(),
            transmitted: ports(|port| &port.tx_frames),
            to_host: ports(|port| &port.to_host_frames),
            absorbed: meters.absorbed_frames.read(),
            held: meters.held_frames.read(),
            dropped: drops.values().sum(),
            drops,
            balanced: meters.balance().holds(),
        }
    }
}
