//! DPDK with owners instead of pointers: start the environment, make a pool, open a port, get queues that implement
//! `nic`'s traits.
//!
//! ```no_run
//! use dpdk::{Device, Eal, EalOptions, Mempool, PoolOptions, Port, PortOptions};
//! use nic::{Burst, RxQueue, TxQueue};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::parse("net_ring0")?;
//! let eal = Eal::start(&EalOptions { devices: vec![device.clone()], ..EalOptions::default() })?;
//! let pool = Mempool::try_new(&eal, &PoolOptions::default())?;
//! let mut port = Port::open(&eal, &device)?;
//! let mut queues = port.start(&PortOptions::default(), &pool)?;
//! let (Some(receive), Some(transmit)) = (queues.receive.pop(), queues.transmit.pop()) else { return Ok(()) };
//! let lcore = eal.workers().first().ok_or("no worker")?;
//! let worker = dpdk::lcore::launch(&eal, *lcore, move || {
//!     let (mut receive, mut transmit) = (receive, transmit);
//!     let mut burst = Burst::new();
//!     receive.receive(&mut burst, 32);
//!     transmit.transmit(&mut burst);
//! })?;
//! worker.join();
//! # Ok(())
//! # }
//! ```
//!
//! What must stay true:
//!
//! - Whoever holds an [`Mbuf`] owns the frame; dropping it gives it back to its pool, transmitting it moves it away.
//! - What is needed longer lives longer: a queue keeps its port, a port its pools, everything the environment. A pool
//!   whose frames are still out when its last handle goes is never unmapped (and the environment never shut down).
//! - One queue is one thread's: queues are `Send`, not `Sync`, not `Clone`.
//! - The frame path makes no call but the driver's own: fields are read in Rust, `rte_eth_rx_burst` and
//!   `rte_eth_tx_burst` are Rust over the same table that the C inline functions use, callbacks included.
//! - No `rte_` name leaves this crate, and no other crate uses `dpdk-sys`.
//!
//! What it leaves to others: what is in a frame (`wire`), what to do with it (`datapath`), how many queues, mbufs and
//! megabytes there should be, and the remedies for the errors (the daemon).
#![allow(unsafe_code, reason = "the fence around DPDK: unsafe is used here so that no other crate needs it")]

mod arguments;
mod clock;
mod device;
mod eal;
mod error;
mod facts;
pub mod lcore;
mod link;
mod log;
mod mbuf;
mod memory;
mod mempool;
mod plug;
mod port;
mod queue;
mod rss;
mod segments;
mod setup;
mod statistics;

pub use clock::TscClock;
pub use device::{Device, DeviceError};
pub use eal::{Eal, EalError, EalOptions, version};
pub use error::Failure;
pub use facts::{CutsBy, PortFacts};
pub use lcore::Lcore;
pub use link::LinkState;
pub use log::LogLevel;
pub use mbuf::Mbuf;
pub use memory::{Hugepages, free_hugepages_mib};
pub use mempool::{MbufSource, Mempool, PoolError, PoolOptions, bytes_needed, bytes_needed_in_hugepages};
pub use port::{Offloads, Port, PortError, PortOptions, Queues};
pub use queue::{RxQueue, TxQueue};
pub use rss::{HashFields, HashedPorts, Rss};
pub use statistics::Statistics;
