//! What a checked file means.

use std::{path::PathBuf, time::Duration};

/// A checked configuration: what the process does, and what the datapath is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// How DPDK's environment is set up.
    pub eal: Eal,
    /// The cores that poll.
    pub workers: Workers,
    /// The core that does not, and its socket.
    pub control: Control,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What the datapath is told.
    pub gateway: model::Gateway,
}

/// How DPDK's environment abstraction layer is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eal {
    /// Whether packet memory lies in hugepages.
    pub hugepages: Hugepages,
    /// Whether DPDK's own telemetry socket is open.
    pub telemetry: bool,
    /// Further EAL arguments, as given.
    pub args: Vec<String>,
}

/// Whether packet memory lies in hugepages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// When enough are free.
    #[default]
    Auto,
    /// Always; without them the gateway does not start.
    On,
    /// Never.
    Off,
}

/// The cores that poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// A worker on each of these lcores; `None`: chosen at start.
    pub lcores: Option<Vec<u16>>,
    /// Frames handled in one turn, 1 to 64.
    pub burst: usize,
    /// What a worker does without work.
    pub idle: Idle,
    /// Flows that each worker can track.
    pub flows: usize,
    /// Packet buffers of the process; `None`: by ports, queues and workers.
    pub mbufs: Option<usize>,
}

/// What a worker does without work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// `Busy` on hardware, `Adaptive` in software mode.
    #[default]
    Auto,
    /// Polls on.
    Busy,
    /// Yields the core after a run of empty polls.
    Adaptive,
}

/// The core that does not poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its lcore; `None`: chosen at start.
    pub lcore: Option<u16>,
    /// The API's unix socket.
    pub socket: PathBuf,
    /// What tables and hashes are keyed with; `None`: random at start.
    pub seed: Option<[u8; 16]>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// How long SIGTERM lets flows finish.
    pub drain: Duration,
}
