//! `eal`, `workers`, `control`, `shutdown`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Duration, Seed, SocketPath};

use super::{
    Auto, Given, List, default,
    number::{Lcore, Mbufs},
};

/// How DPDK's environment is set up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Eal {
    /// Whether packet memory lies in hugepages.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) hugepages: Given<Hugepages>,
    /// Whether DPDK's own telemetry socket is open.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) telemetry: Given<bool>,
    /// Further EAL arguments, one word an entry.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) args: List<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Hugepages {
    /// when enough are free
    Auto,
    /// always; without them the gateway does not start
    On,
    /// never
    Off,
}

/// The cores that poll.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workers {
    /// A worker on each of these lcores; `auto`: chosen at start, one where no port is a card.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) lcores: Given<Auto<Vec<Given<Lcore>>>>,
    /// Frames handled in one turn.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64), extend("default" = default::BURST))]
    pub(crate) burst: Given<usize>,
    /// What a worker does without work.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) idle: Given<Idle>,
    /// Flows that each worker can track.
    #[serde(default)]
    #[schemars(range(min = 16, max = 134_217_728), extend("default" = default::FLOWS))]
    pub(crate) flows: Given<usize>,
    /// Packet buffers of the process; `auto`: by ports, queues and workers.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) mbufs: Given<Auto<Mbufs>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Idle {
    /// `busy` on hardware, `adaptive` in software mode
    Auto,
    /// polls on
    Busy,
    /// yields the core after a run of empty polls
    Adaptive,
}

/// The core that does not poll, and its socket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Control {
    /// Its lcore; `auto`: chosen at start.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) lcore: Given<Auto<Lcore>>,
    /// The API's unix socket; at most 107 bytes.
    #[serde(default)]
    #[schemars(extend("default" = default::SOCKET))]
    pub(crate) socket: Given<SocketPath>,
    /// What tables and hashes are keyed with: 32 hexadecimal digits in quotes, the same on gateways that must agree;
    /// `auto`: random at start.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) seed: Given<Auto<Seed>>,
}

/// How the process ends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// How long SIGTERM lets flows finish. SIGINT or a second signal ends at once.
    #[serde(default)]
    #[schemars(extend("default" = "0s"))]
    pub(crate) drain: Given<Duration>,
}
