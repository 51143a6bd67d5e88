//! Stories of the real gateway between real clients and real backends, each in network namespaces of its own.
//!
//! Every story ends alike ([`site::Site::stop`]): all packets are accounted for, all packet memory is back, and the
//! gateway's namespace is as it was. Needs root, nginx, and two processors.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod answers;
mod balance;
mod card;
mod cookies;
mod devices;
mod health;
mod matrix;
mod modes;
mod offloads;
mod paths;
mod reload;
mod site;
mod stop;
mod stories;
mod tcp;
mod tenants;
mod workers;
