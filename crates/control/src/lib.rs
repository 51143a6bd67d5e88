//! From meaning and health to published snapshots; monitors, API, metrics.
//!
//! | module | what it does |
//! |---|---|
//! | `compile` | configuration + health → [`datapath::snapshot::Snapshot`] |
//! | `plane` | owns configuration, health and the published snapshot; changes them as transactions |
//! | `monitor`, `health`, `ramp`, `drain` | which backends are up, and how much new ones get |
//! | `capacities` | what backends of `adaptive` pools are able to take |
//! | `state`, `view`, `traffic` | what there is to see, in rows |
//! | `api`, `metrics` | HTTP over a unix socket |
//! | `runtime`, `supervise` | all of it together, and again when it panics |
//!
//! What must stay true: it never sees a packet, never links DPDK, and no worker ever waits for it.
//!
//! What it leaves to others: reading files (`config`), rings to the workers and signals (the program).
#![forbid(unsafe_code)]

mod api;
mod capacities;
mod compile;
mod drain;
#[cfg(test)]
mod fixture;
mod health;
mod metrics;
mod monitor;
mod plane;
mod ramp;
mod runtime;
mod source_ports;
mod state;
mod supervise;
mod traffic;
pub mod view;

pub use api::{BindError, MAX_FLOWS, Socket, Workers};
pub use capacities::Capacities;
pub use compile::{BackendKey, Facts, Names, PortFacts, Registry, compile, recompile};
pub use health::{Cause, Check, Condition, Diagnosis, Health};
pub use monitor::SourceFor;
pub use plane::{ApplyError, Plane, ReloadError};
pub use runtime::{Order, Runtime, run};
pub use source_ports::Scarcity;
pub use traffic::{Fleet, Member};
