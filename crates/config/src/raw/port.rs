//! `ports`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Address, Device, Mac, Name, Network};

use super::{Auto, Given, List, default, number::Queues};

/// A device that packets come and go by.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    /// Its name in counters, commands and messages; no other port has it.
    #[schemars(extend("examples" = ["uplink"]))]
    pub(crate) name: Given<Name>,
    /// A PCI address (`0000:3b:02.0`, also a virtual function) or a DPDK vdev (`net_af_packet0,iface=veth0`).
    #[schemars(extend("examples" = ["0000:3b:02.0"]))]
    pub(crate) device: Given<Device>,
    /// Its own addresses with the length of their network. ARP, ND and echo are answered for them.
    #[schemars(length(min = 1), extend("examples" = [["192.0.2.2/24"]]))]
    pub(crate) addresses: List<Network>,
    /// Routers for what is on no port's network; several of a family share the load by flow.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) gateway: List<Address>,
    /// Networks behind particular routers.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) routes: List<Route>,
    /// Whether replies to a client leave by the MAC address that its packets came from.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) last_hop: Given<LastHop>,
    /// The Ethernet address to set; `auto`: the device's own.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) mac: Given<Auto<Mac>>,
    /// Pairs of receive and transmit queues; `auto`: one a worker.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) queues: Given<Auto<Queues>>,
    /// Who is on the other side: what RSS is asked to hash.
    #[serde(default)]
    #[schemars(extend("default" = "both"))]
    pub(crate) facing: Given<Facing>,
    /// Whether the kernel gets a twin interface with the port's addresses, for SSH, BGP and monitors.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) host: Given<bool>,
    /// Neighbours that are given; all others are resolved by ARP and ND.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) neighbours: List<Neighbour>,
    /// Bytes of the largest IP packet that leaves; with an IPv6 address at least 1280.
    #[serde(default)]
    #[schemars(range(min = 68, max = 65535), extend("default" = default::MTU))]
    pub(crate) mtu: Given<u16>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum LastHop {
    /// they do
    Auto,
    /// they follow the routes
    Off,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Facing {
    /// RSS hashes the source
    Clients,
    /// RSS hashes the destination
    Backends,
    /// RSS hashes source and destination
    Both,
}

/// A network behind one or several routers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// The network.
    #[schemars(extend("examples" = ["10.1.0.0/16"]))]
    pub(crate) to: Given<Network>,
    /// Its routers, on a network of the port; several share the load by flow.
    #[schemars(length(min = 1), extend("examples" = [["192.0.2.9"]]))]
    pub(crate) via: List<Address>,
}

/// An address on a port's network and its Ethernet address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Neighbour {
    /// The neighbour's IP address, on a network of the port.
    #[schemars(extend("examples" = ["192.0.2.1"]))]
    pub(crate) address: Given<Address>,
    /// The neighbour's Ethernet address.
    #[schemars(extend("examples" = ["02:00:00:00:00:01"]))]
    pub(crate) mac: Given<Mac>,
}
