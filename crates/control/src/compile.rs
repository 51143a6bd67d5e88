//! From configuration and health to the snapshot that workers read.
//!
//! Deterministic: the same gateway, registry, health and facts give the same snapshot, so that `replay` shows what the
//! running gateway does.
//!
//! What must stay true:
//! - a virtual server keeps its id while its name is configured, a backend while its pool and address are; an id that
//!   was given up rests before it means something else ([`Registry`]);
//! - a pool's table is shared with the snapshot before it unless something about that pool changed.
//!
//! What it leaves to others: what is up ([`Health`]), when to compile and to whom the result goes ([`crate::Plane`]).

mod address;
mod ids;
mod registry;
mod route;
mod table;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use datapath::{
    HashKey,
    snapshot::{Backend, DeviceTraits, Lookup, Port, Routes, Senders, Service, Snapshot, VirtualServer},
};
use model::{AdminState, BackendId, Gateway, Generation, MacAddress, PoolId, Protocol, VirtualServerId};

pub use self::registry::{BackendKey, Registry};
use crate::health::{Condition, Health};

/// What is known about the machine, and not from the configuration.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The number of the snapshot to compile.
    pub generation: Generation,
    /// Workers that share the traffic; at least 1.
    pub workers: u8,
    /// What tables and hashes are keyed with; gateways that must agree have the same.
    pub seed: [u8; 16],
    /// The devices, by [`model::PortId`]; as many as the configuration has ports.
    pub ports: Vec<PortFacts>,
}

/// What is known about a port's device once it is open.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Bytes of the largest IP packet that leaves.
    pub mtu: u16,
    /// What is peculiar to it.
    pub device: DeviceTraits,
}

/// How long a TCP flow may be silent unless its profile says otherwise.
const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a UDP flow may be silent unless its profile says otherwise.
const UDP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Separates the key of flows from other keys made of the same seed.
const FLOW_HASH: u64 = 1;

/// Compiles a checked configuration.
///
/// `registry` carries the ids and tables from one compilation to the next.
#[must_use]
pub fn compile(gateway: &Gateway, registry: &mut Registry, health: &Health, facts: &Facts) -> Snapshot {
    registry.renew(gateway);
    let standings = Standings::of(gateway, health);
    let routes = Routes::new(route::routes(gateway));
    let backends = backends(gateway, registry, &standings, &routes);
    let pools: Vec<_> = gateway
        .pools
        .iter()
        .enumerate()
        .map(|(position, pool)| registry.pool(pool, standings.usable(position), facts.seed))
        .collect();
    registry.forget_tables(gateway);
    let virtual_servers = virtual_servers(gateway, registry);
    Snapshot {
        generation: facts.generation,
        workers: facts.workers.max(1),
        hash_key: HashKey::from_seed(facts.seed, FLOW_HASH),
        ports: ports(gateway, facts),
        addresses: address::addresses(gateway, &pools),
        routes,
        services: services(&virtual_servers),
        virtual_servers,
        pools,
        backends,
    }
}

/// What each backend of each pool may be used for.
struct Standings(Vec<Vec<Standing>>);

#[derive(Clone, Copy)]
struct Standing {
    /// Whether it is enabled or draining, and up.
    up: bool,
    /// Whether it takes new flows.
    usable: bool,
}

impl Standings {
    fn of(gateway: &Gateway, health: &Health) -> Self {
        let pool = |pool: &model::Pool| pool.backends.iter().map(|b| Standing::of(pool, b, health)).collect();
        Self(gateway.pools.iter().map(pool).collect())
    }

    fn pool(&self, position: usize) -> &[Standing] {
        self.0.get(position).map_or(&[], Vec::as_slice)
    }

    fn usable(&self, position: usize) -> Vec<bool> {
        self.pool(position).iter().map(|standing| standing.usable).collect()
    }
}

impl Standing {
    fn of(pool: &model::Pool, backend: &model::Backend, health: &Health) -> Self {
        let healthy = health.of(pool, backend).condition == Condition::Up;
        let up = healthy && backend.state != AdminState::Disabled;
        Self { up, usable: up && backend.state == AdminState::Enabled && backend.weight > 0 }
    }
}

/// The backends by id. A disabled one is absent, so that its flows are dropped.
fn backends(
    gateway: &Gateway,
    registry: &Registry,
    standings: &Standings,
    routes: &Routes,
) -> Vec<Option<Backend>> {
    let mut by_id = vec![None; registry.backend_ids()];
    for (position, pool) in gateway.pools.iter().enumerate() {
        for (backend, standing) in pool.backends.iter().zip(standings.pool(position)) {
            let Some((id, incarnation)) = registry.backend(&pool.name, backend.address) else { continue };
            let Some(entry) = by_id.get_mut(id.index()) else { continue };
            if backend.state != AdminState::Disabled {
                let address = backend.address.ip().into();
                let port = backend.address.port();
                let route = routes.best(address);
                *entry = Some(Backend { address, port, route, incarnation, up: standing.up });
            }
        }
    }
    by_id
}

fn virtual_servers(gateway: &Gateway, registry: &Registry) -> Vec<Option<VirtualServer>> {
    let mut by_id = vec![None; registry.virtual_server_ids()];
    for server in &gateway.virtual_servers {
        let id = registry.virtual_server(&server.name);
        if let Some(entry) = id.and_then(|id| by_id.get_mut(id.index())) {
            *entry = Some(virtual_server(gateway, server));
        }
    }
    by_id
}

fn virtual_server(gateway: &Gateway, server: &model::VirtualServer) -> VirtualServer {
    let default = match server.protocol {
        Protocol::Tcp => TCP_IDLE_TIMEOUT,
        Protocol::Udp => UDP_IDLE_TIMEOUT,
    };
    let idle = server.profile.idle_timeout.unwrap_or(default);
    VirtualServer {
        service: Service::new(server.address.into(), server.port, server.protocol),
        mode: server.mode,
        pool: server.pool,
        idle_timeout: u32::try_from(idle.as_millis()).unwrap_or(u32::MAX),
        loose_initiation: server.profile.loose_initiation,
        snat: address::snat_ranges(gateway, server),
    }
}

fn services(virtual_servers: &[Option<VirtualServer>]) -> Lookup<Service, VirtualServerId> {
    let numbered = (0..).map(VirtualServerId).zip(virtual_servers);
    numbered.filter_map(|(id, server)| Some((server.as_ref()?.service, id))).collect()
}

fn ports(gateway: &Gateway, facts: &Facts) -> Vec<Port> {
    gateway.ports.iter().zip(&facts.ports).map(|(port, facts)| self::port(port, *facts)).collect()
}

fn port(port: &model::Port, facts: PortFacts) -> Port {
    let own = || port.addresses.iter().map(ipnet::IpNet::addr);
    Port {
        mac: facts.mac,
        mtu: facts.mtu,
        last_hop: port.last_hop,
        host: port.host,
        device: facts.device,
        senders: Senders {
            v4: own().find_map(|address| match address {
                IpAddr::V4(v4) => Some(v4.octets()),
                IpAddr::V6(_) => None,
            }),
            v6: own().find_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(v6) => Some(v6.octets()),
            }),
        },
        neighbours: port.neighbours.iter().map(|n| (n.address.into(), n.mac)).collect(),
    }
}

/// The names behind the ids of a snapshot, for people.
#[derive(Debug, Default)]
pub struct Names {
    virtual_servers: HashMap<VirtualServerId, String>,
    backends: HashMap<BackendId, (String, SocketAddr)>,
}

impl Names {
    /// The names behind the ids that `gateway` has in `registry`.
    #[must_use]
    pub fn of(gateway: &Gateway, registry: &Registry) -> Self {
        let servers = gateway.virtual_servers.iter();
        let backends = gateway.pools.iter().flat_map(|pool| pool.backends.iter().map(move |b| (pool, b.address)));
        Self {
            virtual_servers: servers
                .filter_map(|server| Some((registry.virtual_server(&server.name)?, server.name.clone())))
                .collect(),
            backends: backends
                .filter_map(|(pool, address)| {
                    Some((registry.backend(&pool.name, address)?.0, (pool.name.clone(), address)))
                })
                .collect(),
        }
    }

    /// The name of a virtual server; `None` when it is no longer configured.
    #[must_use]
    pub fn virtual_server(&self, id: VirtualServerId) -> Option<&str> {
        self.virtual_servers.get(&id).map(String::as_str)
    }

    /// Pool and address of a backend; `None` when it is no longer configured.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<(&str, SocketAddr)> {
        self.backends.get(&id).map(|(pool, address)| (pool.as_str(), *address))
    }
}

/// The pool that a virtual server sends to.
#[must_use]
pub(crate) fn pool_of(gateway: &Gateway, id: PoolId) -> Option<&model::Pool> {
    gateway.pools.get(id.index())
}
