//! What host twins may get and send.

use model::{MAX_PORTS, Millis, PortId};

use super::{Bucket, Limiter};
use crate::{Snapshot, meters::PortMeters};

/// The part of a second whose packets may go at once.
const AT_ONCE: u64 = 10;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToHost,
    FromHost,
}

/// By port, there and back.
#[derive(Default)]
pub(super) struct Hosts([[Bucket; 2]; MAX_PORTS]);

impl Limiter {
    /// Whether one more packet may go to or come from the host twin of a port that lets so many a second pass. A quarter of what may go at
    /// once is for what is `vital`: without it routes and neighbours would be lost, whoever floods with something else.
    pub(crate) fn passes_host(
        &mut self,
        (id, way): (PortId, Way),
        (rate, vital): (u32, bool),
        now: Millis,
    ) -> bool {
        let rate = u64::from(rate);
        if rate == 0 {
            return true;
        }
        let Some([to_host, from_host]) = self.hosts.0.get_mut(id.index()) else { return true };
        let (bucket, read): (_, fn(&PortMeters) -> u64) = match way {
            Way::ToHost => (to_host, |port| port.to_host_passed.read()),
            Way::FromHost => (from_host, |port| port.from_host_passed.read()),
        };
        let counted = self.colleagues.workers.iter().filter_map(|worker| worker.port(id)).map(read);
        let at_once = (rate / AT_ONCE).max(1);
        let at_once = if vital { at_once } else { at_once - at_once / 4 };
        bucket.is_left(counted.fold(0, u64::wrapping_add), (rate, at_once), now)
    }

    pub(super) fn renew_hosts(&mut self, snapshot: &Snapshot, now: Millis) {
        for (id, port) in snapshot.port_ids().zip(&snapshot.ports) {
            if port.host {
                for way in [Way::ToHost, Way::FromHost] {
                    // What matters here is that the buckets are looked at.
                    let _ = self.passes_host((id, way), (port.host_limit, true), now);
                }
            }
        }
    }
}
