//! What a virtual server's profile changes in packets, beyond where they go.

use model::{Df, Timestamps, Ttl};

/// What is changed in packets. Nothing, unless the profile says so, but the MSS of the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// The MSS of the handshake.
    pub mss: Mss,
    /// Whether SACK is not agreed upon.
    pub strip_sack: bool,
    /// Whether window scaling is not agreed upon.
    pub strip_window_scale: bool,
    /// What becomes of timestamps.
    pub timestamps: Timestamps,
    /// Whether both sides' sequence numbers are moved by a secret.
    pub generate_isn: bool,
    /// The TTL or hop limit with which packets leave.
    pub ttl: Ttl,
    /// IPv4: whether routers may fragment them.
    pub df: Df,
    /// DSCP of packets to the client, in the high six bits.
    pub tos_to_client: Option<u8>,
    /// DSCP of packets to the backend.
    pub tos_to_server: Option<u8>,
}

/// The most that each side lets the other send in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mss {
    /// What is said instead, if not 0.
    pub instead: u16,
    /// Whether no more is said than fits the ports that the flow goes by.
    pub clamped: bool,
}

impl Default for Mss {
    fn default() -> Self {
        Self { instead: 0, clamped: true }
    }
}

/// Of which packets of a virtual server something is changed or remembered, told once for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// All: none of its flows is steady.
    pub all: bool,
    /// SYN and SYN-ACK.
    pub handshakes: bool,
}

impl Treatment {
    /// Whether handshakes are looked at.
    #[inline]
    #[must_use]
    pub fn is_of_handshakes(&self) -> bool {
        self.mss.clamped
            || self.mss.instead != 0
            || self.strip_sack
            || self.strip_window_scale
            || self.timestamps == Timestamps::Strip
    }

    /// Whether every packet is looked at, so that no flow is steady.
    #[inline]
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        self.moves_numbers()
            || self.ttl != Ttl::Decrement
            || self.df != Df::Preserve
            || self.tos_to_client.is_some()
            || self.tos_to_server.is_some()
    }

    /// Whether numbers of both sides are translated: that takes both directions.
    #[must_use]
    pub fn moves_numbers(&self) -> bool {
        self.generate_isn || self.timestamps == Timestamps::Rewrite
    }
}
