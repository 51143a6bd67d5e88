//! Frames, in-memory devices and network-namespace scenarios, for tests only.
//!
//! [`frame`] and [`queue`] are the in-memory twin of what `dpdk` gives the product; `netns` builds clients, backends and a
//! network around the real binary.
#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod card;
pub mod frame;
pub mod gateway;
pub mod netns;
pub mod packets;
pub mod queue;

pub use frame::{MemoryFrame, MemorySource};
pub use queue::{MemoryClock, MemoryQueue};
