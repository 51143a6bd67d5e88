//! What happens to a packet: parse, look up, admit, rewrite, resolve. No I/O, no clock, no randomness.
//!
//! [`forward()`] takes a burst through passes, each a function with one loop: `look` (parse and find), `plan`, `serve`, `emit`. To
//! serve a packet is to `pass` it on by its flow, to `open` one, or else to `admit` it. Bytes, a time and a [`Snapshot`] come in; frames come out into [`Outputs`], and every
//! packet is counted in [`WorkerMeters`] under one [`Verdict`]. The same code runs behind network cards, over captures, and
//! in tests.
//!
//! What must stay true:
//!
//! - Conservation, as [`meters`] states it. A packet has one verdict, a dropped one one [`DropReason`].
//! - Nothing here allocates, locks, logs or panics once a [`WorkerState`] is made; no loop is unbounded.
//! - Frames leave a port in the order in which they arrived.
//!
//! What it leaves to others: bytes and checksums (`wire`), the flow table (`flow`), choosing a backend (`balance`), making
//! snapshots (`control`), queues and the turn (`worker`).
#![forbid(unsafe_code)]

mod admit;
mod answer;
mod begin;
mod complete;
mod cookie;
mod cross;
mod cut;
mod drop_reason;
mod emit;
mod forward;
mod fragment;
mod hashed;
mod host;
mod housekeeping;
mod inspect;
mod limit;
mod look;
pub mod meters;
mod neighbour;
mod notice;
mod open;
mod outputs;
mod ownership;
mod packet;
mod parse;
mod pass;
mod persistence;
mod plan;
mod portless;
mod quic;
mod quote;
mod resolve;
mod rewrite;
mod room;
mod scale;
mod segment;
mod select;
mod serve;
mod show;
pub mod snapshot;
mod snat;
mod solicit;
mod state;
mod stray;
mod tally;
mod track;
mod translation;
mod treat;
mod tunnel;
mod verdict;
mod vlan;

pub use cookie::CookieKey;
pub use drop_reason::DropReason;
pub use flow::{HashKey, protocol_name};
pub use forward::{Arrival, forward};
pub use housekeeping::{calls_for_all_flows, housekeeping, stop};
pub use inspect::{Answer, FlowRow, FlowStage, Request};
pub use limit::SourceRates;
pub use meters::WorkerMeters;
pub use neighbour::{Fact, Hop};
pub use outputs::{Lane, Outputs};
pub use persistence::Persistence;
pub use quic::ConnectionIds;
pub use select::Colleagues;
pub use snapshot::Snapshot;
pub use state::WorkerState;
pub use verdict::Verdict;
