//! Counting a burst's packets by virtual server, backend and direction: those that follow one another are added to the meters
//! together, since most bursts are of few backends.

use std::sync::Arc;

use flow::Side;
use model::{BackendId, VirtualServerId};

use crate::meters::WorkerMeters;

/// Bits of [`Tally::sum`] that hold all bytes of a burst: 64 packets of 16 bits of length.
const BYTES: u32 = 32;

/// What was counted and is not in the meters yet.
pub(crate) struct Tallies {
    meters: Arc<WorkerMeters>,
    from_clients: Tally,
    from_backends: Tally,
}

/// Packets of one direction to or from the same backend of the same virtual server.
#[derive(Default)]
struct Tally {
    backend: BackendId,
    virtual_server: VirtualServerId,
    /// Packets, above [`BYTES`] bits of bytes: one addition counts both.
    sum: u64,
}

impl Tallies {
    /// Nothing counted yet.
    pub(crate) fn new(meters: Arc<WorkerMeters>) -> Self {
        Self { meters, from_clients: Tally::default(), from_backends: Tally::default() }
    }

    /// Counts a packet with an IP length of so many bytes.
    #[inline(always)]
    pub(crate) fn count(
        &mut self,
        (backend, virtual_server): (BackendId, VirtualServerId),
        side: Side,
        length: u16,
    ) {
        let tally = match side {
            Side::Client => &mut self.from_clients,
            Side::Backend => &mut self.from_backends,
        };
        if backend != tally.backend || virtual_server != tally.virtual_server {
            tally.turn_to((backend, virtual_server), &self.meters, side);
        }
        tally.sum += 1 << BYTES | u64::from(length);
    }

    /// Adds all that was counted to the meters.
    pub(crate) fn settle(&mut self) {
        self.from_clients.settle(&self.meters, Side::Client);
        self.from_backends.settle(&self.meters, Side::Backend);
    }
}

impl Tally {
    /// Begins to count for a flow's backend and virtual server.
    #[inline(never)]
    fn turn_to(&mut self, to: (BackendId, VirtualServerId), meters: &WorkerMeters, side: Side) {
        self.settle(meters, side);
        (self.backend, self.virtual_server) = to;
    }

    fn settle(&mut self, meters: &WorkerMeters, side: Side) {
        let (packets, bytes) = (self.sum >> BYTES, self.sum & ((1 << BYTES) - 1));
        if packets == 0 {
            return;
        }
        let of_both = [meters.backend(self.backend), meters.virtual_server(self.virtual_server)];
        for traffic in of_both.into_iter().flatten() {
            traffic.count(side == Side::Backend, packets, bytes);
        }
        self.sum = 0;
    }
}
