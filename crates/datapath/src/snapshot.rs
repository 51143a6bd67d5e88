//! The immutable, compiled state that workers read.
//!
//! `control` compiles configuration and health into a snapshot and publishes it; a burst is handled with one snapshot from
//! beginning to end. All tables are flat and indexed by small ids; nothing in here is looked up by name.
//!
//! What must stay true:
//!
//! - An id in one table is valid in the table that it points into, or leads to `None`.
//! - Snapshots that differ have different generations: workers look at what concerns a flow once a generation.

mod address;
mod broad;
mod ladder;
mod outer;
mod route;
mod sources;
mod spread;
mod tcp;
mod up;
mod way;

use std::sync::Arc;

use balance::{Chooser, Level};
use flow::{FlowKey, HashKey};
use foldhash::fast::FixedState;
use model::{
    Address, BackendId, Generation, Limits, MAX_PORTS, MacAddress, Mode, OnBackendDown, PoolId, PortId,
    Protocol, RoundTrips, ShowClient, Treatment, VirtualServerId, WindowScale,
};

pub use self::{
    address::{Addresses, Owned, is_martian_destination, is_martian_source},
    broad::Broad,
    outer::{OuterSource, OuterSources},
    route::{Network, Route, RouteIndex, Routes},
    sources::Sources,
    spread::{Hashed, Spread},
    tcp::{Cookies, TcpRules},
    up::Up,
};

pub(crate) use self::spread::Home;
use crate::{ConnectionIds, CookieKey, Persistence, portless};

/// A hash map that is written once and read by workers.
pub type Lookup<K, V> = std::collections::HashMap<K, V, FixedState>;

/// The state of the whole gateway under one generation.
///
/// What health does not change is shared by those that follow each other: a copy costs a pointer for each pool and a bit for each
/// backend.
#[derive(Clone)]
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// Workers that share the traffic; never 0.
    pub workers: u8,
    /// The key for choosing backends and owners; the same on all workers, and on all gateways with one seed.
    pub hash_key: HashKey,
    /// What SYN cookies are made with; the same on all of them too.
    pub cookie_key: CookieKey,
    /// By [`PortId`].
    pub ports: Vec<Port>,
    /// Which addresses are ours.
    pub addresses: Addresses,
    /// The same in route domains 1 and up.
    pub tenants: Arc<[Addresses]>,
    /// Where a destination is reached.
    pub routes: Routes,
    /// From what clients send to, to the virtual server.
    pub services: Arc<Lookup<Service, VirtualServerId>>,
    /// The same where more than one address or port leads to a virtual server.
    pub broad: Arc<Broad>,
    /// By [`VirtualServerId`]; `None` for an id that is not in use.
    pub virtual_servers: Arc<[Option<VirtualServer>]>,
    /// By [`PoolId`]. One table per pool, shared by all snapshots in which it did not change.
    pub pools: Vec<Arc<Pool>>,
    /// By [`BackendId`]; `None` for an id that is not in use.
    pub backends: Arc<[Option<Backend>]>,
    /// Which of them are up.
    pub up: Up,
}

/// What a client sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// The virtual server's address.
    pub address: Address,
    /// Its port; 0: all of them.
    pub port: u16,
    /// Its L4 protocol's number; 0: all of them.
    pub protocol: u8,
    /// Its route domain.
    pub domain: u8,
}

/// One port as a worker sees it.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Bytes of the largest IP packet that leaves.
    pub mtu: u16,
    /// Whether replies to clients leave by the MAC address that their packets came from.
    pub last_hop: bool,
    /// Whether a host twin takes what is for the host.
    pub host: bool,
    /// Packets a second that it takes, and as many that it may send; 0: any number.
    pub host_limit: u32,
    /// What is peculiar to its device.
    pub device: DeviceTraits,
    /// Its first self address of each family: the sender of ARP requests and neighbour solicitations.
    pub senders: Senders,
    /// Neighbours that are given rather than resolved.
    pub neighbours: Vec<(Address, MacAddress)>,
    /// Its route domain.
    pub domain: u8,
    /// If it is a VLAN of a port: that port, and its id there.
    pub tag: Option<(PortId, u16)>,
    /// Its VLANs by id, in their order.
    pub vlans: Vec<(u16, PortId)>,
    /// How its device spreads what it receives over the workers; `None` where that is not known, or there is one worker.
    pub spread: Option<Arc<Spread>>,
}

/// A port's first self address of each family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Senders {
    /// IPv4
    pub v4: Option<[u8; 4]>,
    /// IPv6
    pub v6: Option<[u8; 16]>,
}

impl Senders {
    fn of(&self, is_v4: bool) -> Option<Address> {
        if is_v4 { self.v4.map(Address::from_v4) } else { self.v6.map(Address::from_v6) }
    }
}

/// What is peculiar to a port's device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceTraits {
    /// Senders on this host leave L4 checksums to a network card that is not there (af_packet, af_xdp).
    pub partial_checksums: bool,
    /// Frames larger than the device's ring slots arrive cut (af_packet).
    pub cuts_frames: bool,
    /// What finds a queue's ring full comes by another queue (af_packet): a flow has no queue of its own.
    pub spills_over: bool,
    /// Which TCP frames it cuts into segments by itself while it sends them.
    pub cuts: Cuts,
}

/// Which TCP frames a device cuts into segments while it sends them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Those over IPv4.
    pub v4: bool,
    /// Those over IPv6.
    pub v6: bool,
    /// Bytes of the largest frame that it makes of them.
    pub largest: u16,
}

/// A virtual server as a worker sees it.
#[derive(Clone, Debug)]
pub struct VirtualServer {
    /// What clients send to.
    pub service: Service,
    /// How packets reach a backend.
    pub mode: Mode,
    /// Its backends.
    pub pool: PoolId,
    /// How clients keep their backend, if they do.
    pub persistence: Option<Persistence>,
    /// How QUIC's connection ids name its backends, if they are looked at.
    pub connection_ids: Option<ConnectionIds>,
    /// Milliseconds that an established flow may be silent.
    pub idle_timeout: u32,
    /// Whether a TCP packet in mid-stream opens a flow.
    pub loose_initiation: bool,
    /// Whether its packets, of both sides, are put together when they come in fragments.
    pub reassembles: bool,
    /// The lives of its TCP flows.
    pub tcp: TcpRules,
    /// How SYNs are answered with cookies.
    pub cookies: Cookies,
    /// What is changed in its packets.
    pub treatment: Treatment,
    /// Which round trips are measured.
    pub rtt: RoundTrips,
    /// In which of them: [`VirtualServer::extent_of`] the rest.
    pub extent: Extent,
    /// `full_nat`: the source addresses by port that the backend is reached by; empty in the other modes.
    pub snat: Vec<SnatRange>,
    /// Whom it takes new flows from; `None`: from everybody.
    pub sources: Option<Arc<Sources>>,
    /// What it may take.
    pub limits: Limits,
    /// `full_nat`: how backends are shown who the client is.
    pub show_client: ShowClient,
    /// `ipip` and `gue`: where outer headers are said to be from; without one of a backend's family, the port that faces it.
    pub outer_sources: OuterSources,
}

/// A source address of `full_nat` and its ports.
#[derive(Clone, Copy, Debug)]
pub struct SnatRange {
    /// The port by which packets with this source leave; `None`: any.
    pub port: Option<PortId>,
    /// The source address.
    pub address: Address,
    /// The lowest source port.
    pub first: u16,
    /// The highest source port.
    pub last: u16,
}

/// A pool as a worker sees it: how a backend is chosen, health considered.
#[derive(Debug)]
pub struct Pool {
    /// By hash of the flow, where nothing else decides; a power of two of positions in `members`, [`balance::UNASSIGNED`] where no backend
    /// is usable. None where more than the flow's hash decides.
    pub slots: Arc<[u32]>,
    /// How a backend is chosen.
    pub chooser: Chooser,
    /// The pool's backends, in the order of the configuration.
    pub members: Vec<BackendId>,
    /// How much of its weight each of them takes in new flows.
    pub levels: Vec<Level>,
}

impl Pool {
    /// A pool with these backends at these levels.
    #[must_use]
    pub fn new(chooser: Chooser, members: Vec<BackendId>, levels: Vec<Level>) -> Self {
        Self { slots: chooser.by_flow(), chooser, members, levels }
    }

    /// A pool in which the flow's hash names a slot, and the slot a backend by its position.
    #[must_use]
    pub fn with_slots(slots: impl Into<Arc<[u32]>>, members: Vec<BackendId>) -> Self {
        let levels = vec![Level::FULL; members.len()];
        Self::new(Chooser::Flow(slots.into()), members, levels)
    }

    /// The backend for a new flow with this hash; `None` when no backend is usable, or when more than the hash decides.
    #[must_use]
    pub fn choose(&self, hash: u64) -> Option<BackendId> {
        let member = balance::choose(&self.slots, hash)?;
        self.members.get(member as usize).copied()
    }

    /// Whether one of the pool's backends takes new flows.
    #[must_use]
    pub fn takes(&self, backend: BackendId) -> bool {
        let mut known = self.members.iter().zip(&self.levels);
        known.any(|(member, level)| *member == backend && *level > Level::NONE)
    }

    /// Whether any backend takes new flows.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.chooser.is_available()
    }
}

/// A backend as a worker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// Its address.
    pub address: Address,
    /// Its port.
    pub port: u16,
    /// How it is reached; `None` when nothing leads there.
    pub route: Option<RouteIndex>,
    /// Distinguishes this use of the id from earlier ones.
    pub incarnation: u16,
    /// What becomes of its TCP flows when it is down.
    pub on_down: OnBackendDown,
    /// What it may take.
    pub limits: Limits,
}

impl VirtualServer {
    /// The port that a backend takes packets at that clients send to a port: its own, or where any port leads here, that one.
    #[inline(always)]
    pub(crate) const fn port_behind(&self, backend: &Backend, port: u16) -> u16 {
        if self.service.port == 0 { port } else { backend.port }
    }

    /// Whether this source may open flows.
    #[inline]
    pub(crate) fn permits(&self, source: Address) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.permit(source))
    }

    /// The same for an IPv4 address.
    #[inline(always)]
    pub(crate) fn permits_v4(&self, source: [u8; 4]) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.permit_v4(source))
    }
}

/// Of which packets of a virtual server something is changed or remembered, told once for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// All: none of its flows is steady.
    pub all: bool,
    /// First packets: all, or what is remembered of handshakes begins with them.
    pub first: bool,
    /// SYN and SYN-ACK.
    pub handshakes: bool,
}

impl VirtualServer {
    /// What [`VirtualServer::extent`] is to be.
    #[must_use]
    pub fn extent_of(treatment: &Treatment, tcp: &TcpRules) -> Extent {
        let all = treatment.is_of_all() || tcp.keep_alive != 0;
        let first = all || matches!(treatment.window_scale, WindowScale::Rewrite(_));
        Extent { all, first, handshakes: treatment.is_of_handshakes() }
    }
}

impl Snapshot {
    /// The virtual server that a packet with this key is sent to.
    #[must_use]
    pub fn service(&self, key: &FlowKey) -> Option<(VirtualServerId, &VirtualServer)> {
        let id = self.find(&Service::of(key))?;
        Some((id, self.virtual_server(id)?))
    }

    /// The virtual server of a service: exactly its own, or else the most specific one.
    #[inline]
    pub(crate) fn find(&self, service: &Service) -> Option<VirtualServerId> {
        let exact = self.services.get(service).copied();
        if exact.is_some() || self.broad.is_empty() { exact } else { self.broad.service(service) }
    }

    /// What a backend is chosen by for packets with this key: its hash or, where it has no ports, that of its addresses alone.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        if portless::has_ports(key.protocol) {
            return self.hash_key.hash(key);
        }
        let &FlowKey { source, destination, domain, .. } = key;
        self.hash_key.hash(&FlowKey { source, destination, domain, ..FlowKey::default() })
    }

    /// The virtual server with this id.
    #[must_use]
    pub fn virtual_server(&self, id: VirtualServerId) -> Option<&VirtualServer> {
        self.virtual_servers.get(id.index())?.as_ref()
    }

    /// The backend with this id.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(id.index())?.as_ref()
    }

    /// The pool with this id.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(id.index()).map(Arc::as_ref)
    }

    /// Whether a virtual server takes new flows.
    #[must_use]
    pub fn is_available(&self, id: VirtualServerId) -> bool {
        let pool = self.virtual_server(id).and_then(|server| self.pool(server.pool));
        pool.is_some_and(Pool::is_available)
    }

    /// The port with this id.
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())
    }

    /// Whether any port has VLANs. They come behind the ports.
    pub(crate) fn has_vlans(&self) -> bool {
        self.ports.last().is_some_and(|last| last.tag.is_some())
    }

    /// The ids of all ports.
    pub fn port_ids(&self) -> impl Iterator<Item = PortId> + use<> {
        (0..self.ports.len().min(MAX_PORTS) as u8).map(PortId)
    }

    /// Where an outer header to a backend is said to be from: as its virtual server says, or the port that it leaves by. A port
    /// without an address of that family says it is another one of its route domain. `None` when none has one.
    pub(crate) fn outer_source(
        &self,
        server: Option<&VirtualServer>,
        egress: PortId,
        is_v4: bool,
    ) -> Option<OuterSource> {
        if let Some(given) = server.and_then(|server| server.outer_sources.of(is_v4)) {
            return Some(given);
        }
        let own = |port: &Port| port.senders.of(is_v4).map(OuterSource::exactly);
        let domain = self.domain(egress);
        let others = || self.ports.iter().filter(|port| port.domain == domain).find_map(own);
        self.port(egress).and_then(own).or_else(others)
    }

    /// How replies to a source address of `full_nat` are spread over the workers: as the port does it whose address it is. What is no
    /// port's may come by any: `None` unless all do it alike.
    pub(crate) fn spread(&self, owned: Owned) -> Option<&Spread> {
        if let Owned::Port { port, .. } = owned {
            return self.port(port)?.spread.as_deref();
        }
        let first = self.ports.first()?.spread.as_ref()?;
        let is_alike = |port: &Port| port.spread.as_ref().is_some_and(|spread| Arc::ptr_eq(spread, first));
        self.ports.iter().all(is_alike).then_some(first)
    }

    /// Which addresses are ours in a route domain.
    #[must_use]
    pub fn addresses_in(&self, domain: u8) -> &Addresses {
        let tenant = usize::from(domain).checked_sub(1);
        tenant.and_then(|tenant| self.tenants.get(tenant)).unwrap_or(&self.addresses)
    }

    /// The route domain that packets are of that come by a port.
    #[must_use]
    pub fn domain(&self, port: PortId) -> u8 {
        self.port(port).map_or(0, |port| port.domain)
    }
}

impl Service {
    /// What a packet with this key is sent to.
    #[inline]
    #[must_use]
    pub(crate) const fn of(key: &FlowKey) -> Self {
        Self {
            address: key.destination,
            port: key.destination_port,
            protocol: key.protocol,
            domain: key.domain,
        }
    }

    /// The service of an address, port and protocol of the configuration.
    #[must_use]
    pub const fn new(address: Address, port: u16, protocol: Protocol) -> Self {
        Self { address, port, protocol: protocol.number(), domain: 0 }
    }

    /// The same in a route domain.
    #[must_use]
    pub const fn in_domain(self, domain: u8) -> Self {
        Self { domain, ..self }
    }
}
