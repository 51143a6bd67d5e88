//! The checked configuration of a gateway's datapath.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{MAGLEV_SLOTS, MacAddress, PoolId, PortId, Profile};

/// All that the datapath is told: where packets come and go, and what is balanced to where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gateway {
    /// The ports; a [`crate::PortId`] is a position here.
    pub ports: Vec<Port>,
    /// The pools; a [`PoolId`] is a position here.
    pub pools: Vec<Pool>,
    /// The virtual servers, in the order of the file.
    pub virtual_servers: Vec<VirtualServer>,
    /// The names of the route domains; the first is domain 1, and 0 is the one without a name.
    pub route_domains: Vec<String>,
}

/// A VLAN of a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Vlan {
    /// The id in its tags, 1 to 4094.
    pub id: u16,
    /// What it is apart from that: a port with the device of the one that it is on, without VLANs of its own.
    pub port: Port,
}

impl Gateway {
    /// All that packets come and go by, as [`PortId`]s count it: first the ports, then their VLANs.
    pub fn links(&self) -> impl Iterator<Item = (PortId, &Port)> + Clone {
        let vlans = self.ports.iter().flat_map(|port| &port.vlans).map(|vlan| &vlan.port);
        (0..).map(PortId).zip(self.ports.iter().chain(vlans))
    }

    /// The VLANs, as they follow the ports: the port that each is on, and its id.
    pub fn tags(&self) -> impl Iterator<Item = (PortId, u16)> + Clone {
        let ports = (0..).map(PortId).zip(&self.ports);
        ports.flat_map(|(parent, port)| port.vlans.iter().map(move |vlan| (parent, vlan.id)))
    }

    /// The route domain of a pool, by its position: that of the virtual servers that use it.
    #[must_use]
    pub fn domain_of_pool(&self, pool: usize) -> u8 {
        let falls_back_on_it =
            |id: PoolId| self.pools.get(id.index())?.fallback.filter(|id| id.index() == pool);
        let is_used = |id: PoolId| id.index() == pool || falls_back_on_it(id).is_some();
        let user = self.virtual_servers.iter().find(|server| is_used(server.pool));
        user.map_or(0, |server| server.domain)
    }
}

/// A device that packets come and go by.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name in configuration, counters and messages.
    pub name: String,
    /// A PCI address, or a DPDK vdev with its arguments.
    pub device: String,
    /// Self addresses with the length of their network. ARP, ND and echo are answered for them.
    pub addresses: Vec<IpNet>,
    /// Routers for what is not on a network of any port; several of a family share the load by flow.
    pub gateways: Vec<IpAddr>,
    /// Networks behind particular routers.
    pub routes: Vec<Route>,
    /// Whether replies to a client leave by the MAC address that its packets came from (`last_hop: auto`).
    pub last_hop: bool,
    /// The Ethernet address to set; `None` keeps the device's.
    pub mac: Option<MacAddress>,
    /// Queue pairs; `None`: one a worker.
    pub queues: Option<u16>,
    /// What RSS is asked to hash.
    pub facing: Facing,
    /// Whether the kernel gets a twin interface with the port's addresses.
    pub host: bool,
    /// Packets a second that the twin gets, and as many that it may send; `None`: what people and routing need, and the monitors' besides.
    pub host_limit: Option<u32>,
    /// Neighbours that are given rather than resolved.
    pub neighbours: Vec<StaticNeighbour>,
    /// Bytes of the largest IP packet that leaves.
    pub mtu: u16,
    /// The route domain that its addresses are of.
    pub domain: u8,
    /// What comes and goes by it with tags.
    pub vlans: Vec<Vlan>,
    /// Whether its device is asked to do what it can (`offloads: auto`).
    pub offloads: bool,
}

/// A network behind one or several routers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// Its routers, all on a network of the port.
    pub via: Vec<IpAddr>,
}

/// An address on a port's network and its Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticNeighbour {
    /// The neighbour's IP address.
    pub address: IpAddr,
    /// The neighbour's Ethernet address.
    pub mac: MacAddress,
}

/// Who is on the other side of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Facing {
    /// Clients only: RSS hashes the source.
    Clients,
    /// Backends only: RSS hashes the destination.
    Backends,
    /// Both: RSS hashes source and destination.
    #[default]
    Both,
}

/// A named set of backends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How a backend is chosen for a new flow.
    pub method: Method,
    /// Its backends, in the order of the file; no address twice.
    pub backends: Vec<Backend>,
    /// Its active checks; a backend is up while all of them say so. Without any it is always up.
    pub monitors: Vec<Monitor>,
    /// Slots of its table, a power of two; `None`: as many as its weights need ([`slots_for`]).
    pub slots: Option<usize>,
    /// Backends of a lower priority take new flows while fewer than this many of higher ones do; 0: priorities do not count.
    pub min_active: u16,
    /// How long a backend that has come up takes to get all of its weight; zero: it has it at once.
    pub slow_ramp: Duration,
    /// How long a backend may be drained until what it has left is ended; `None`: as long as that takes.
    pub drain_deadline: Option<Duration>,
    /// What becomes of the TCP flows of a backend that is down.
    pub on_backend_down: OnBackendDown,
    /// Who takes new flows when none of the backends does.
    pub fallback: Option<PoolId>,
}

/// What becomes of the TCP flows of a backend that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBackendDown {
    /// They stay with it.
    #[default]
    None,
    /// They end, and both sides are told so.
    Reset,
    /// They end, and their packets are dropped.
    Drop,
    /// The client's next packet goes to another backend.
    Reselect,
}

/// How a backend is chosen for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By the flow's hash, weights exact.
    #[default]
    Maglev,
    /// By the flow's hash; a backend more or less moves nothing else.
    Rendezvous,
    /// One after the other.
    RoundRobin,
    /// One after the other, as often as weights say.
    WeightedRoundRobin,
    /// The one with the fewest flows.
    LeastConnections,
    /// The one with the fewest flows for its weight.
    WeightedLeastConnections,
    /// The one that answers SYNs the fastest.
    Fastest,
    /// By the hash of the client's address.
    SourceHash,
    /// The one with the fewest flows for what it was found able to take.
    Adaptive,
}

/// Slots that the backend with the least weight has at least, unless that would take more than [`MAGLEV_SLOTS`]. Shares are
/// exact to about one slot, which is less than 1 % of these.
const SLOTS_OF_THE_LEAST: usize = 128;

/// Slots of the table of a pool whose backends have these weights, unless its configuration names a number: a power of
/// two, so that weights come within 1 %, and [`MAGLEV_SLOTS`] at most. A weight of 0 takes no slots.
#[must_use]
pub fn slots_for(weights: impl Iterator<Item = u16> + Clone) -> usize {
    let Some(least) = weights.clone().filter(|&weight| weight > 0).min() else { return 1 };
    let all: usize = weights.map(usize::from).sum();
    let needed = (all.saturating_mul(SLOTS_OF_THE_LEAST)).div_ceil(usize::from(least));
    needed.min(MAGLEV_SLOTS).next_power_of_two()
}

impl Method {
    /// Slots of the table of a pool whose backends have these weights, unless its configuration names a number. `spares`: many
    /// of its backends may wait for others to fail.
    #[must_use]
    pub fn slots_for(self, weights: impl Iterator<Item = u16> + Clone, spares: bool) -> usize {
        match self {
            Self::Maglev | Self::SourceHash if !spares => slots_for(weights),
            // Where chance fills the slots, or those of many backends are lent, only their number makes shares even.
            Self::Maglev | Self::SourceHash | Self::Rendezvous => MAGLEV_SLOTS,
            // What does not choose by hash needs none.
            _ => 1,
        }
    }
}

impl Pool {
    /// Slots of its table.
    #[must_use]
    pub fn table_slots(&self) -> usize {
        let weights = self.backends.iter().map(|backend| backend.weight);
        self.slots.unwrap_or_else(|| self.method.slots_for(weights, self.min_active > 0))
    }
}

/// One address and port that takes in traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it is.
    pub address: SocketAddr,
    /// Its share of new flows relative to the others of its pool; 0: none.
    pub weight: u16,
    /// The group that it is in; greater ones come first.
    pub priority: u16,
    /// What the operator wants of it.
    pub state: AdminState,
    /// How it is named in the connection ids that it gives to QUIC clients.
    pub server_id: Option<ServerId>,
    /// What it may take.
    pub limits: Limits,
}

/// How a backend is named in QUIC connection ids (draft-ietf-quic-load-balancers, 4): 1 to 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId {
    /// How many they are.
    pub length: u8,
    /// The bytes, the first of them the most significant.
    pub value: u64,
}

/// What a virtual server or a backend may take; 0: as much as comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open flows.
    pub connections: u32,
    /// Flows opened in a second.
    pub new_per_second: u32,
    /// Flows opened in a second from one source address; of virtual servers only.
    pub new_per_second_per_source: u32,
    /// Bits of IP packets a second, in each direction.
    pub bandwidth: u64,
}

impl Limits {
    /// As much as comes.
    pub const NONE: Self =
        Self { connections: 0, new_per_second: 0, new_per_second_per_source: 0, bandwidth: 0 };

    /// Whether nothing is limited.
    #[inline]
    #[must_use]
    pub const fn is_none(&self) -> bool {
        let flows = self.connections | self.new_per_second | self.new_per_second_per_source;
        flows == 0 && self.bandwidth == 0
    }
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// It takes new flows while it is up.
    #[default]
    Enabled,
    /// It takes no new flows and keeps those it has.
    Drain,
    /// It takes no flows; those it had are dropped.
    Disabled,
}

/// An active check: a TCP connection that must open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Checks that fail in a row before a backend is down.
    pub fall: u16,
    /// Checks that succeed in a row before it is up again.
    pub rise: u16,
    /// The port to connect to instead of the backend's own.
    pub port: Option<u16>,
}

/// Address, port and protocol that clients send to.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// Its name.
    pub name: String,
    /// The address clients send to, or the first of them.
    pub address: IpAddr,
    /// The leading bits that all addresses share which clients send to: 32 or 128 if it is one.
    pub length: u8,
    /// The port clients send to; 0: any.
    pub port: u16,
    /// The protocol clients speak, or any.
    pub protocol: Protocol,
    /// How packets reach a backend.
    pub mode: Mode,
    /// The source addresses of `full_nat`.
    pub snat: Snat,
    /// How backends are shown who the client is.
    pub show_client: ShowClient,
    /// The sources of outer headers in `ipip` and `gue`, at most one of a family; without one of a backend's family, the address of
    /// the port that faces it. What a prefix leaves open is filled by the flow's hash.
    pub outer_sources: Vec<IpNet>,
    /// Its settings.
    pub profile: Profile,
    /// How clients keep their backend, if they do.
    pub persistence: Option<Persistence>,
    /// UDP: the rotation that QUIC connection ids have which name a backend, if they are looked at.
    pub quic_rotation: Option<u8>,
    /// Its backends.
    pub pool: PoolId,
    /// The route domain that its address, its clients and its backends are of.
    pub domain: u8,
    /// Whom it takes new flows from.
    pub sources: Sources,
    /// What it may take.
    pub limits: Limits,
}

/// Whom a virtual server takes new flows from. Of prefixes that contain an address the longest decides; without one an
/// address is allowed unless others are by name. No prefix is in both lists.
///
/// A clone is cheap, since lists may be very long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sources {
    /// These are allowed.
    pub allow: Arc<[IpNet]>,
    /// These are not.
    pub deny: Arc<[IpNet]>,
}

impl Sources {
    /// Whether nothing is said of anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

impl VirtualServer {
    /// Whether it has one address.
    #[must_use]
    pub const fn has_one_address(&self) -> bool {
        self.length == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

/// How the clients of a virtual server keep their backend from one flow to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Bits of a client's address by which it is known.
    pub source: u8,
    /// How long after its last new flow it is.
    pub timeout: Duration,
}

/// What is balanced: an L4 protocol, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
    /// All but ICMP, which is the gateway's.
    Any,
}

impl Protocol {
    /// The number in an IP header; 0 for all, since no virtual server is for that protocol (hop-by-hop options) alone.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// How the backends of `full_nat`, which see no address of a client's, are shown it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShowClient {
    /// Not at all.
    #[default]
    None,
    /// By a header of the PROXY protocol, version 2, before the first byte that the client sends.
    ProxyV2,
    /// By a TCP option, kind 254.
    Toa,
}

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The destination becomes the backend's; replies come back through the gateway.
    Nat,
    /// The source becomes a SNAT address and port as well.
    FullNat,
    /// Only the destination MAC address changes; the backend answers the client directly.
    Dsr,
    /// The packet travels to the backend within another IP packet (RFC 2003, RFC 2473, RFC 4213); it answers the client directly.
    Ipip,
    /// The same within a UDP datagram (GUE, variant 1).
    Gue,
}

impl Mode {
    /// Whether backends answer clients past the gateway, which sees one direction only.
    #[inline(always)]
    #[must_use]
    pub const fn is_direct(self) -> bool {
        !matches!(self, Self::Nat | Self::FullNat)
    }

    /// Whether packets travel to the backend within others.
    #[inline(always)]
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
}

/// The source addresses of `full_nat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Snat {
    /// The addresses of the port that faces the backend.
    #[default]
    Auto,
    /// These addresses, answered for by the gateway.
    Addresses(Vec<IpAddr>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(weights: &[u16]) -> usize {
        slots_for(weights.iter().copied())
    }

    #[test]
    fn a_pool_has_as_many_slots_as_its_weights_need() {
        assert_eq!(
            [slots(&[1]), slots(&[1; 2]), slots(&[1; 10]), slots(&[1; 100])],
            [128, 256, 2048, 16_384]
        );
        assert_eq!(slots(&[7; 10]), slots(&[1; 10]), "what counts is how weights compare");
        assert_eq!(slots(&[1, 9]), 2048, "the lighter one has a tenth");
        assert_eq!(slots(&[10, 0, 10]), 256, "what has no weight needs no slots");
    }

    #[test]
    fn no_pool_has_more_slots_than_that_by_itself() {
        assert_eq!([slots(&[1; 512]), slots(&[1; 100_000]), slots(&[1, 65_535])], [MAGLEV_SLOTS; 3]);
    }

    #[test]
    fn a_pool_without_weights_has_one_slot() {
        assert_eq!([slots(&[]), slots(&[0, 0])], [1, 1]);
    }
}
