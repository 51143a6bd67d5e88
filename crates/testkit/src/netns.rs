//! Hosts on one machine: network namespaces with real clients, real backends and the real gateway between them.
//!
//! Everything made here has a name of its own (`tidegate-test-PROCESS-NUMBER-ROLE`), so that tests do not meet, and
//! disappears when its owner is dropped, processes included. Nothing outside the namespaces is touched. All of it
//! needs root; the error says so.
//!
//! What it leaves to others: what a scenario proves (the tests), what a packet should look like ([`crate`]'s frames).

mod child;
mod configuration;
mod decapsulator;
mod digest;
mod failure;
mod hostile;
mod http;
mod namespace;
mod nginx;
mod sequence;
mod tagger;
mod tidegate;
mod topology;
mod transfer;
mod udp_echo;
mod wait;

pub use child::Child;
pub use configuration::mode_name;
pub use decapsulator::Decapsulator;
pub use digest::{Content, digest_of, download, upload};
pub use failure::{Failure, Result};
pub use hostile::{Flood, LossyWire};
pub use http::{Answer, dial, get, put};
pub use namespace::{Namespace, connect, connect_as_it_is};
pub use nginx::Nginx;
pub use sequence::{NEAR, Numbered, dial_near_the_wrap, is_near};
pub use tagger::Tagger;
pub use tidegate::{Tidegate, program};
pub use topology::{Backend, Device, Plan, Topology};
pub use transfer::{Transfer, object};
pub use udp_echo::{UdpEcho, echoes};
pub use wait::wait_until;
