//! What becomes of a packet.

use model::{PortId, WorkerId};

use crate::DropReason;

/// What becomes of a packet. Every packet gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves by a port: forwarded, or turned into the answer to itself.
    Transmit(PortId),
    /// The host twin of a port takes it.
    ToHost(PortId),
    /// It goes no further.
    Drop(DropReason),
    /// It was for the gateway itself, which has learned from it.
    Absorbed,
    /// It waits for its next hop's MAC address.
    Held,
    /// Another worker owns its flow.
    HandOver(WorkerId),
}
