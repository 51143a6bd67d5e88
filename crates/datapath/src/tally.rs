//! Counting a burst's packets by virtual server, backend and direction: all that a burst has of one of these are added to the meters
//! together.

use std::sync::Arc;

use flow::Side;
use model::{BackendId, VirtualServerId};

use crate::meters::WorkerMeters;

/// Bits of [`Tally::sum`] that hold all bytes of a burst: 64 packets of 16 bits of length.
const BYTES: u32 = 32;
/// Backends and directions that are counted side by side: more than a burst has packets, so that two seldom meet.
const PLACES: usize = 128;
/// Places of one direction.
const DIRECTION: usize = PLACES / 2;

/// What was counted and is not in the meters yet.
pub(crate) struct Tallies {
    meters: Arc<WorkerMeters>,
    /// From clients, by the last bits of the backend's id; behind them, to clients.
    tallies: [Tally; PLACES],
    /// Which places something was counted at, for each direction.
    touched: [u64; 2],
}

/// Packets of one direction to or from one backend of one virtual server.
#[derive(Clone, Copy, Default)]
struct Tally {
    backend: BackendId,
    virtual_server: VirtualServerId,
    /// Packets, above [`BYTES`] bits of bytes: one addition counts both.
    sum: u64,
}

impl Tallies {
    /// Nothing counted yet.
    pub(crate) fn new(meters: Arc<WorkerMeters>) -> Self {
        Self { meters, tallies: [Tally::default(); PLACES], touched: [0; 2] }
    }

    /// Counts a packet with an IP length of so many bytes.
    #[inline(always)]
    pub(crate) fn count(
        &mut self,
        (backend, virtual_server): (BackendId, VirtualServerId),
        side: Side,
        length: u16,
    ) {
        let (bit, direction) = (backend.0 as usize % DIRECTION, side as usize);
        let place = direction * DIRECTION + bit;
        if let (Some(tally), Some(touched)) = (self.tallies.get_mut(place), self.touched.get_mut(direction)) {
            if tally.backend != backend || tally.virtual_server != virtual_server {
                tally.turn_to((backend, virtual_server), &self.meters, side);
            }
            *touched |= 1 << bit;
            tally.sum += 1 << BYTES | u64::from(length);
        }
    }

    /// Adds all that was counted to the meters.
    pub(crate) fn settle(&mut self) {
        for (side, direction) in [(Side::Client, 0), (Side::Backend, DIRECTION)] {
            let Some(touched) = self.touched.get_mut(side as usize) else { continue };
            let mut places = std::mem::take(touched);
            while places != 0 {
                if let Some(tally) = self.tallies.get_mut(direction + places.trailing_zeros() as usize) {
                    tally.settle(&self.meters, side);
                }
                places &= places - 1;
            }
        }
    }
}

impl Tally {
    /// Begins to count for another backend and virtual server.
    #[inline(never)]
    fn turn_to(&mut self, to: (BackendId, VirtualServerId), meters: &WorkerMeters, side: Side) {
        self.settle(meters, side);
        (self.backend, self.virtual_server) = to;
    }

    fn settle(&mut self, meters: &WorkerMeters, side: Side) {
        let (packets, bytes) = (self.sum >> BYTES, self.sum & ((1 << BYTES) - 1));
        let of_both = [meters.backend(self.backend), meters.virtual_server(self.virtual_server)];
        for traffic in of_both.into_iter().flatten() {
            traffic.count(side == Side::Backend, packets, bytes);
        }
        self.sum = 0;
    }
}
