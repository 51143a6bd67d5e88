//! The file as it is written: the single source of what is accepted, of its JSON Schema and of its reference.
//!
//! Doc comments here are what an operator reads in `docs/configuration.md`. Every value is [`Given`]: it knows where it
//! stands, and may be absent or mistaken. Keys without `#[serde(default)]` are required. Defaults stand in [`default`].

mod given;
mod number;
mod pool;
mod port;
mod process;
mod virtual_server;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use given::{Auto, AutoWord, Given, List};
pub(crate) use pool::{Backend, Method, Monitor, OnBackendDown, Pool, State};
pub(crate) use port::{Facing, LastHop, Neighbour, Port, Route, Vlan};
pub(crate) use process::{Control, Eal, Hugepages, Idle, Shutdown, Workers};
pub(crate) use virtual_server::{
    ActionOnFull, Df, Limits, Mode, MssClamp, Persistence, Profile, Protocol, ShowClient, Sources,
    SynCookies, Timestamps, Ttl, VirtualServer, WindowScale,
};

/// What a key means when the file does not say.
pub(crate) mod default {
    pub(crate) const BURST: usize = 32;
    pub(crate) const FLOWS: usize = 1_048_576;
    pub(crate) const MTU: u16 = 1500;
    pub(crate) const TTL_V4: u8 = 255;
    pub(crate) const TTL_V6: u8 = 64;
    /// What Linux has by default.
    pub(crate) const WINDOW_SCALE_SHIFT: u8 = 7;
    pub(crate) const SOCKET: &str = "/run/tidegate/tidegate.sock";
    pub(crate) const WEIGHT: u16 = 1;
    pub(crate) const PRIORITY: u16 = 1;
    pub(crate) const INTERVAL: &str = "1s";
    pub(crate) const INTERVAL_MILLIS: u64 = 1_000;
    pub(crate) const TIMEOUT: &str = "300ms";
    pub(crate) const TIMEOUT_MILLIS: u64 = 300;
    pub(crate) const PERSISTENCE: &str = "180s";
    pub(crate) const PERSISTENCE_SECONDS: u64 = 180;
    pub(crate) const FALL: u16 = 3;
    pub(crate) const RISE: u16 = 2;
}

/// An address space of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteDomain {
    /// Its name; no other route domain has it.
    #[schemars(extend("examples" = ["tenant-a"]))]
    pub(crate) name: Given<crate::text::Name>,
}

/// The whole file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tidegate configuration")]
pub(crate) struct File {
    /// The version of this format.
    #[schemars(extend("const" = 1, "examples" = [1]))]
    #[expect(dead_code, reason = "there is one value so far, and the schema checks it")]
    pub(crate) version: Given<u32>,
    /// How DPDK's environment is set up.
    #[serde(default)]
    pub(crate) eal: Given<Eal>,
    /// The cores that poll.
    #[serde(default)]
    pub(crate) workers: Given<Workers>,
    /// The core that does not poll, and its socket.
    #[serde(default)]
    pub(crate) control: Given<Control>,
    /// How the process ends.
    #[serde(default)]
    pub(crate) shutdown: Given<Shutdown>,
    /// The devices that packets come and go by, 1 to 16.
    #[schemars(length(min = 1), extend("examples" = [[{ "name": "uplink", "device": "0000:3b:02.0", "addresses": ["192.0.2.2/24"] }]]))]
    pub(crate) ports: List<Port>,
    /// Address spaces of their own: addresses may be there again in another one, and nothing passes from one to another.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) route_domains: List<RouteDomain>,
    /// Bundles of settings that virtual servers share. One with the name `default` holds for virtual servers that name none.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) profiles: List<Profile>,
    /// Named sets of backends.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) pools: List<Pool>,
    /// What clients send to.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) virtual_servers: List<VirtualServer>,
}

impl File {
    /// All that has addresses: ports, then their VLANs as ports.
    pub(crate) fn links(&self) -> Vec<Port> {
        let ports = || self.ports.items().map(|(_, port)| port);
        let vlans = ports().flat_map(|port| port.vlans.items().map(|(_, vlan)| vlan.as_port(port)));
        ports().cloned().chain(vlans).collect()
    }
}

/// The route domain that something is of, the one without a name as `""`; `None` when that is mistaken.
pub(crate) fn domain(given: &Given<crate::text::Name>) -> Option<&str> {
    match given {
        Given::Absent => Some(""),
        Given::Mistaken => None,
        Given::At(_, name) => Some(&name.0),
    }
}
