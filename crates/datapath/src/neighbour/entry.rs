//! What a worker knows of a next hop.

use model::{MacAddress, Millis};

use super::Hop;

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Asked, and nothing known: packets wait.
    Incomplete { sent: u8, next: Millis },
    /// Confirmed not long ago.
    Reachable { until: Millis },
    /// Confirmed long ago; asked again when it is used.
    Stale,
    /// Asked again while it is still used.
    Probe { sent: u8, next: Millis },
    /// Given by the configuration.
    Given,
    /// Nobody answered.
    Failed { until: Millis },
}

/// A next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) hop: Hop,
    pub(super) mac: MacAddress,
    pub(super) state: State,
    /// Another one whenever the position is used again.
    pub(super) version: u16,
    /// Packets that wait for it.
    pub(super) waiting: u8,
}

impl Entry {
    /// Whether packets may be sent there.
    pub(super) const fn is_usable(&self) -> bool {
        matches!(self.state, State::Reachable { .. } | State::Stale | State::Probe { .. } | State::Given)
    }

    /// Whether its place may be had by another.
    pub(super) const fn is_evictable(&self) -> bool {
        matches!(self.state, State::Stale | State::Failed { .. }) && self.waiting == 0
    }
}
