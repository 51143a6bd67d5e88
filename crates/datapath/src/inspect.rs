//! What the outside may see of a worker's flows.

use model::{Address, BackendId, Mode, VirtualServerId, WorkerId};
use serde::{Deserialize, Serialize};

/// One flow, as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// The worker that owns it.
    pub worker: WorkerId,
    /// Its virtual server.
    pub virtual_server: VirtualServerId,
    /// Its backend.
    pub backend: BackendId,
    /// IANA protocol number.
    pub protocol: u8,
    /// How its packets reach the backend.
    pub mode: Mode,
    /// The client.
    pub client: (Address, u16),
    /// What the client sends to.
    pub service: (Address, u16),
    /// What the backend sees as the source, in `nat` and `dsr` the client.
    pub source: (Address, u16),
    /// How far it has come.
    pub state: FlowStage,
    /// Milliseconds since its last packet.
    pub idle: u32,
    /// Milliseconds since its first packet.
    pub age: u32,
    /// Milliseconds of silence after which it is forgotten.
    pub lifetime: u32,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowStage {
    /// Only its first packet was seen.
    Handshake,
    /// Data may flow.
    Established,
    /// Both sides said that they are done, or one broke off.
    Closing,
}

/// What control asks of a worker. Answered in housekeeping, a bounded number of rows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The flows, from the table's position `from` on.
    ListFlows {
        /// Where to go on; 0 at first.
        from: u32,
    },
}

/// What a worker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One flow.
    Flow(FlowRow),
    /// No more flows in this answer: go on at `next`, or `None` when the table's end was reached.
    EndOfFlows {
        /// Where to go on.
        next: Option<u32>,
    },
}
