//! What is balanced to where: ports, profiles, pools, backends, virtual servers, and the ids by which the other crates
//! speak of them.
//!
//! These are plain values that have been checked: a reference names something that exists, an address fits its mode.
//! `config` makes them from a file, `control` compiles them into what workers read.
//!
//! What it leaves to others: where the values come from (`config`), health (`control`), packets (`datapath`).
#![forbid(unsafe_code)]

mod address;
mod gateway;
mod id;
mod profile;

pub use address::{Address, MacAddress, ParseMacAddressError};
pub use gateway::{
    AdminState, Backend, Facing, Gateway, Limits, Method, Mode, Monitor, OnBackendDown, Persistence, Pool,
    Port, Protocol, Route, ServerId, ShowClient, Snat, Sources, StaticNeighbour, VirtualServer, Vlan,
    slots_for,
};
pub use id::{BackendId, Generation, Millis, PoolId, PortId, VirtualServerId, WorkerId};
pub use profile::{
    Df, Profile, RoundTrips, SynCookies, TcpSettings, Timestamps, Treatment, Ttl, UseOfCookies, WindowScale,
};

/// Ports of one gateway at most, their VLANs included.
pub const MAX_PORTS: usize = 16;
/// Route domains of one gateway at most, besides the one without a name.
pub const MAX_ROUTE_DOMAINS: usize = 64;
/// Workers of one gateway at most.
pub const MAX_WORKERS: usize = 64;
/// Virtual servers of one gateway at most.
pub const MAX_VIRTUAL_SERVERS: usize = 16_384;
/// Backends of one gateway at most, over all pools.
pub const MAX_BACKENDS: usize = 131_072;
/// SNAT source ports on a port without a host twin.
pub const SNAT_PORTS: std::ops::RangeInclusive<u16> = 1024..=65_535;
/// SNAT source ports on a port with a host twin: below what the kernel takes for its own connections
/// (`net.ipv4.ip_local_port_range`, 32768 and up unless changed).
pub const SNAT_PORTS_BESIDE_HOST: std::ops::RangeInclusive<u16> = 1024..=32_767;
/// Slots of a pool's Maglev table at most, unless it is configured. A power of two, so that a hash becomes an index by
/// masking.
pub const MAGLEV_SLOTS: usize = 65_536;
/// Slots of a pool's Maglev table that may be configured at most.
pub const MAX_MAGLEV_SLOTS: usize = 1 << 24;
/// Prefixes of one list of sources at most, from all files and the configuration.
pub const MAX_SOURCE_PREFIXES: usize = 1 << 22;
/// Slots of all pools' Maglev tables together at most: 512 MiB.
pub const MAX_ALL_MAGLEV_SLOTS: usize = 1 << 27;
