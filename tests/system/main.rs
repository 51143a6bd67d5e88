//! The real gateway on captures instead of a network: as many packets as wanted, as fast as it takes them.
//!
//! `TIDEGATE_SOAK_PACKETS` says how many packets the endless captures give (a million otherwise); `scripts/soak` runs
//! with a hundred million. Needs root and two processors.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod capture;
mod damage;
mod run;
mod soak;
mod traffic;
