//! `ports`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Address, Device, Mac, Name, Network, PacketRate};

use super::{Auto, Given, List, default, number::Queues};

/// A device that packets come and go by.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
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
    /// Packets a second that the twin gets, and as many that it may send; `auto`: 20kpps, and ten packets for each probe of a monitor's. A quarter of
    /// what may come at once is left to ARP, ND and routing protocols.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) host_limit: Given<Auto<PacketRate>>,
    /// Neighbours that are given; all others are resolved by ARP and ND.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) neighbours: List<Neighbour>,
    /// Bytes of the largest IP packet that leaves; with an IPv6 address at least 1280.
    #[serde(default)]
    #[schemars(range(min = 68, max = 65535), extend("default" = default::MTU))]
    pub(crate) mtu: Given<u16>,
    /// The route domain that its own addresses, and what comes without a tag, are of; without it the one without a name.
    #[serde(default)]
    pub(crate) route_domain: Given<Name>,
    /// What comes and goes by it with a tag (IEEE 802.1Q). Each VLAN counts as a port.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) vlans: List<Vlan>,
    /// Whether the device is asked to check checksums, to send frames of several segments, and to cut large TCP frames up. `off`: all of it is done in software.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) offloads: Given<Offloads>,
}

/// A VLAN of a port: what comes with its tag, and leaves with it. Its Ethernet address and MTU are the port's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vlan {
    /// The id in its tags.
    #[schemars(range(min = 1, max = 4094), extend("examples" = [100]))]
    pub(crate) id: Given<u16>,
    /// Its name; no other port or VLAN has it.
    #[schemars(extend("examples" = ["tenant-a"]))]
    pub(crate) name: Given<Name>,
    /// The route domain that it is of; without it the one without a name.
    #[serde(default)]
    pub(crate) route_domain: Given<Name>,
    /// The gateway's own addresses in it with the length of their network, as a port's.
    #[schemars(length(min = 1), extend("examples" = [["192.0.2.2/24"]]))]
    pub(crate) addresses: List<Network>,
    /// Routers for what is on no network of its route domain; several of a family share the load by flow.
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
    /// Neighbours that are given; all others are resolved by ARP and ND.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) neighbours: List<Neighbour>,
}

impl Vlan {
    /// What it is apart from its tag.
    pub(crate) fn as_port(&self, on: &Port) -> Port {
        Port {
            name: self.name.clone(),
            device: on.device.clone(),
            addresses: self.addresses.clone(),
            gateway: self.gateway.clone(),
            routes: self.routes.clone(),
            last_hop: self.last_hop.clone(),
            mac: Given::Absent,
            queues: Given::Absent,
            facing: Given::Absent,
            host: Given::Absent,
            host_limit: Given::Absent,
            neighbours: self.neighbours.clone(),
            mtu: on.mtu.clone(),
            route_domain: self.route_domain.clone(),
            vlans: Given::Absent,
            offloads: on.offloads.clone(),
        }
    }
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
pub(crate) enum Offloads {
    /// what the device offers and frames here need
    Auto,
    /// nothing
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
#[derive(Clone, Debug, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Neighbour {
    /// The neighbour's IP address, on a network of the port.
    #[schemars(extend("examples" = ["192.0.2.1"]))]
    pub(crate) address: Given<Address>,
    /// The neighbour's Ethernet address.
    #[schemars(extend("examples" = ["02:00:00:00:00:01"]))]
    pub(crate) mac: Given<Mac>,
}
