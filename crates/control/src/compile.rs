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
mod names;
mod registry;
mod route;
mod standing;
mod table;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use balance::Level;
use datapath::{
    HashKey,
    snapshot::{
        Backend, Broad, DeviceTraits, Lookup, Mss, Pool, Port, Routes, Senders, Service, Snapshot, TcpRules,
        Treatment, Up, VirtualServer,
    },
};
use model::{
    AdminState, BackendId, Gateway, Generation, HeaderSettings, MacAddress, PoolId, Protocol, TcpSettings,
    VirtualServerId,
};

use self::standing::Standing;
pub use self::{
    names::Names,
    registry::{BackendKey, Registry},
};
use crate::health::Health;

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
    let routes = Routes::in_domains(route::routes(gateway));
    let (mut backends, mut up) = (vec![None; registry.backend_ids()], Up::default());
    let mut pools = Vec::with_capacity(gateway.pools.len());
    for (position, pool) in gateway.pools.iter().enumerate() {
        let members = registry.members(pool);
        let standings = standing::standings(pool, health);
        enter(&mut backends, pool, &members, (&routes, gateway.domain_of_pool(position)));
        note(&mut up, &members, &standings);
        pools.push(registry.pool(pool, &members, levels(&standings), facts.seed));
    }
    registry.forget_tables(gateway);
    let virtual_servers = virtual_servers(gateway, registry, &pools);
    registry.forget_sources(&virtual_servers);
    Snapshot {
        generation: facts.generation,
        workers: facts.workers.max(1),
        hash_key: HashKey::from_seed(facts.seed, FLOW_HASH),
        ports: ports(gateway, facts),
        addresses: address::addresses(gateway, 0, &pools),
        tenants: address::tenants(gateway, &pools),
        routes,
        services: Arc::new(services(gateway, registry)),
        broad: Arc::new(broad(gateway, registry)),
        virtual_servers: virtual_servers.into(),
        pools,
        backends: backends.into(),
        up,
    }
}

/// The snapshot after `before` when nothing has changed but the health of some pools, named by their positions: what
/// [`compile`] gives, without looking at anything else.
#[must_use]
pub fn recompile(
    before: &Snapshot,
    gateway: &Gateway,
    registry: &mut Registry,
    health: &Health,
    facts: &Facts,
    changed: &BTreeSet<usize>,
) -> Snapshot {
    let mut snapshot = Snapshot { generation: facts.generation, ..before.clone() };
    let mut availability_changed = false;
    for &position in changed {
        let (Some(pool), Some(compiled)) = (gateway.pools.get(position), snapshot.pools.get_mut(position))
        else {
            continue;
        };
        let members = registry.members(pool);
        let standings = standing::standings(pool, health);
        note(&mut snapshot.up, &members, &standings);
        let renewed = registry.pool(pool, &members, levels(&standings), facts.seed);
        availability_changed |= renewed.is_available() != compiled.is_available();
        *compiled = renewed;
    }
    if availability_changed {
        snapshot.virtual_servers = virtual_servers(gateway, registry, &snapshot.pools).into();
        address::renew_availability(&mut snapshot, gateway);
    }
    snapshot
}

fn levels(standings: &[Standing]) -> Vec<Level> {
    standings.iter().map(|standing| standing.level).collect()
}

/// Notes which of a pool's backends are up.
fn note(up: &mut Up, members: &[Option<(BackendId, u16)>], standings: &[Standing]) {
    for (member, standing) in members.iter().zip(standings) {
        if let Some((id, _)) = *member {
            up.set(id, standing.up);
        }
    }
}

/// Enters a pool's backends by their ids. A disabled one stays absent, so that its flows are dropped.
fn enter(
    by_id: &mut [Option<Backend>],
    pool: &model::Pool,
    members: &[Option<(BackendId, u16)>],
    (routes, domain): (&Routes, u8),
) {
    for (backend, member) in pool.backends.iter().zip(members) {
        let Some((id, incarnation)) = *member else { continue };
        let Some(entry) = by_id.get_mut(id.index()) else { continue };
        if backend.state != AdminState::Disabled {
            let address = backend.address.ip().into();
            let port = backend.address.port();
            let (route, on_down) = (routes.best_in(domain, address), pool.on_backend_down);
            *entry = Some(Backend { address, port, route, incarnation, on_down, limits: backend.limits });
        }
    }
}

fn virtual_servers(
    gateway: &Gateway,
    registry: &mut Registry,
    pools: &[Arc<Pool>],
) -> Vec<Option<VirtualServer>> {
    let mut by_id = vec![None; registry.virtual_server_ids()];
    for server in &gateway.virtual_servers {
        let id = registry.virtual_server(&server.name);
        if let Some(entry) = id.and_then(|id| by_id.get_mut(id.index())) {
            let (pool, sources) = (pool_of(gateway, server, pools), registry.sources(&server.sources));
            *entry = Some(VirtualServer { pool, sources, ..virtual_server(gateway, server) });
        }
    }
    by_id
}

/// The pool that takes a virtual server's new flows: its own, or that one's fallback while none of its backends does.
fn pool_of(gateway: &Gateway, server: &model::VirtualServer, pools: &[Arc<Pool>]) -> PoolId {
    let is_available = |id: &PoolId| pools.get(id.index()).is_some_and(|pool| pool.is_available());
    let fallback = gateway.pools.get(server.pool.index()).and_then(|pool| pool.fallback);
    match fallback.filter(is_available) {
        Some(fallback) if !is_available(&server.pool) => fallback,
        _ => server.pool,
    }
}

fn virtual_server(gateway: &Gateway, server: &model::VirtualServer) -> VirtualServer {
    let default = match server.protocol {
        Protocol::Tcp => TCP_IDLE_TIMEOUT,
        Protocol::Udp => UDP_IDLE_TIMEOUT,
    };
    let idle = server.profile.idle_timeout.unwrap_or(default);
    let (tcp, treatment) = (tcp_rules(&server.profile.tcp), treatment(&server.profile.header));
    VirtualServer {
        service: service(server),
        mode: server.mode,
        pool: server.pool,
        persistence: server.persistence.map(|kept| datapath::Persistence {
            source: kept.source,
            timeout: u32::try_from(kept.timeout.as_secs()).unwrap_or(u32::MAX),
        }),
        idle_timeout: millis(idle),
        extent: VirtualServer::extent_of(&treatment, &tcp),
        tcp,
        treatment,
        loose_initiation: server.profile.loose_initiation,
        snat: address::snat_ranges(gateway, server),
        sources: None,
        limits: server.limits,
        outer_sources: address::outer_sources(server),
    }
}

fn tcp_rules(settings: &TcpSettings) -> TcpRules {
    TcpRules {
        handshake_timeout: millis(settings.handshake_timeout),
        close_timeout: millis(settings.close_timeout),
        time_wait: millis(settings.time_wait),
        loose_close: settings.loose_close,
        reset_on_timeout: settings.reset_on_timeout,
        keep_alive: settings.keep_alive.map_or(0, millis),
        evicts_embryonic: settings.evicts_embryonic,
    }
}

fn treatment(settings: &HeaderSettings) -> Treatment {
    Treatment {
        mss: Mss { instead: settings.mss_override, clamped: settings.mss_clamp },
        strip_sack: settings.strip_sack,
        strip_window_scale: settings.strip_window_scale,
        timestamps: settings.timestamps,
        generate_isn: settings.generate_isn,
        ttl: settings.ttl,
        df: settings.df,
        tos_to_client: settings.tos_to_client,
        tos_to_server: settings.tos_to_server,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn services(gateway: &Gateway, registry: &Registry) -> Lookup<Service, VirtualServerId> {
    let exact = gateway.virtual_servers.iter().filter(|server| server.has_one_address() && server.port != 0);
    exact.filter_map(|server| Some((service(server), registry.virtual_server(&server.name)?))).collect()
}

/// Those that more than one address or port leads to.
fn broad(gateway: &Gateway, registry: &Registry) -> Broad {
    let mut broad = Broad::default();
    for server in
        gateway.virtual_servers.iter().filter(|server| !server.has_one_address() || server.port == 0)
    {
        if let Some(id) = registry.virtual_server(&server.name) {
            broad.add(service(server), server.length, id);
        }
    }
    broad
}

fn service(server: &model::VirtualServer) -> Service {
    Service::new(server.address.into(), server.port, server.protocol).in_domain(server.domain)
}

fn ports(gateway: &Gateway, facts: &Facts) -> Vec<Port> {
    let mut ports: Vec<Port> =
        gateway.ports.iter().zip(&facts.ports).map(|(port, facts)| self::port(port, *facts)).collect();
    let vlans = gateway.links().skip(gateway.ports.len()).zip(gateway.tags());
    for ((id, port), (parent, tag)) in vlans {
        let Some(facts) = facts.ports.get(parent.index()) else { continue };
        if let Some(parent) = ports.get_mut(parent.index()) {
            parent.vlans.push((tag, id));
        }
        ports.push(Port { tag: Some((parent, tag)), ..self::port(port, *facts) });
    }
    ports
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
        domain: port.domain,
        tag: None,
        vlans: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use datapath::snapshot::{Owned, SnatRange};
    use model::{Address, Mode, PortId, Route, SNAT_PORTS_BESIDE_HOST, Snat};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        fixture,
        health::{Cause, Check, Diagnosis},
    };

    /// Compiles with everything up that was never checked.
    fn compiled(gateway: &Gateway, registry: &mut Registry) -> Snapshot {
        compile(gateway, registry, &Health::optimistic(), &fixture::facts())
    }

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn id(registry: &Registry, pool: &str, address: &str) -> BackendId {
        registry.backend(pool, address.parse().unwrap()).unwrap().0
    }

    /// The backends that new flows of a pool go to.
    fn chosen(snapshot: &Snapshot, pool: usize) -> Vec<BackendId> {
        let pool = &snapshot.pools[pool];
        let mut chosen: Vec<_> = (0..pool.slots.len() as u64).filter_map(|hash| pool.choose(hash)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    #[test]
    fn ids_keep_their_meaning_over_a_reload() {
        let mut registry = Registry::default();
        compiled(&fixture::gateway([fixture::pool("a", 2), fixture::pool("b", 2)]), &mut registry);
        let (backend, server) = (id(&registry, "b", "10.0.0.2:80"), registry.virtual_server("b").unwrap());

        let snapshot =
            compiled(&fixture::gateway([fixture::pool("c", 3), fixture::pool("b", 5)]), &mut registry);
        assert_eq!(id(&registry, "b", "10.0.0.2:80"), backend);
        assert_eq!(registry.virtual_server("b"), Some(server));
        assert_eq!(snapshot.backend(backend).unwrap().address, address("10.0.0.2"));
        assert_eq!(snapshot.virtual_server(server).unwrap().service.port, 81);
        assert_eq!(registry.backend("a", "10.0.0.1:80".parse().unwrap()), None);
    }

    #[test]
    fn the_id_of_a_removed_backend_leads_nowhere() {
        let mut registry = Registry::default();
        compiled(&fixture::gateway([fixture::pool("a", 3)]), &mut registry);
        let removed = id(&registry, "a", "10.0.0.3:80");
        let snapshot = compiled(&fixture::gateway([fixture::pool("a", 2)]), &mut registry);
        assert!(snapshot.backend(removed).is_none());
        assert!(!chosen(&snapshot, 0).contains(&removed));
    }

    #[test]
    fn only_the_pool_whose_health_changed_is_assigned_anew() {
        let gateway = fixture::gateway([fixture::monitored_pool("a", 3), fixture::pool("b", 3)]);
        let mut registry = Registry::default();
        let before = compiled(&gateway, &mut registry);
        let mut health = Health::optimistic();
        let pool = &gateway.pools[0];
        health.record(Check::of(&pool.backends[1], &pool.monitors[0]), Diagnosis::down(Cause::Refused));

        let after = compile(&gateway, &mut registry, &health, &fixture::facts());
        assert!(!Arc::ptr_eq(&before.pools[0], &after.pools[0]));
        assert!(Arc::ptr_eq(&before.pools[1], &after.pools[1]));
        let dead = id(&registry, "a", "10.0.0.2:80");
        assert!(!chosen(&after, 0).contains(&dead) && !after.up.is_up(dead));
        let moved = before.pools[0].slots.iter().zip(&*after.pools[0].slots).filter(|(b, a)| b != a);
        assert!(moved.into_iter().all(|(before, _)| *before == 1), "nobody else's slots moved");

        let back = compiled(&gateway, &mut registry);
        assert_eq!(back.pools[0].slots, before.pools[0].slots, "and they come back exactly");
    }

    #[test]
    fn sources_are_shared_by_all_that_have_the_same() {
        let mut gateway =
            fixture::gateway([fixture::pool("a", 1), fixture::pool("b", 1), fixture::pool("c", 1)]);
        let sources = || model::Sources {
            deny: ["10.0.0.0/8".parse().unwrap(), "192.0.2.0/24".parse().unwrap()].into(),
            allow: ["10.1.0.0/16".parse().unwrap()].into(),
        };
        gateway.virtual_servers[0].sources = sources();
        gateway.virtual_servers[1].sources = sources();
        let mut registry = Registry::default();
        let of =
            |snapshot: &Snapshot, number: usize| snapshot.virtual_servers[number].clone().unwrap().sources;
        let before = compiled(&gateway, &mut registry);
        let [a, b, c] = [0, 1, 2].map(|number| of(&before, number));
        assert!(Arc::ptr_eq(a.as_ref().unwrap(), &b.unwrap()) && c.is_none());
        assert!(!a.as_ref().unwrap().permit(address("10.0.0.1")));

        gateway.virtual_servers[0].sources = sources();
        gateway.virtual_servers[1].sources = model::Sources::default();
        let after = compiled(&gateway, &mut registry);
        assert!(Arc::ptr_eq(&a.unwrap(), &of(&after, 0).unwrap()), "what did not change is shared");

        gateway.virtual_servers[0].sources.allow = Arc::default();
        let changed = compiled(&gateway, &mut registry);
        assert!(!of(&changed, 0).unwrap().permit(address("10.1.0.1")));
    }

    /// All of a snapshot that health can change.
    fn told(snapshot: &Snapshot, gateway: &Gateway) -> impl PartialEq + std::fmt::Debug + use<> {
        let pools: Vec<_> =
            snapshot.pools.iter().map(|pool| (pool.slots.to_vec(), pool.members.clone())).collect();
        let owned = |server: &model::VirtualServer| snapshot.addresses.owner(server.address.into());
        (
            snapshot.generation,
            pools,
            snapshot.up.clone(),
            gateway.virtual_servers.iter().map(owned).collect::<Vec<_>>(),
            snapshot.virtual_servers.iter().flatten().map(|server| server.pool).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_fallback_takes_new_flows_while_nobody_else_does() {
        let mut gateway = fixture::gateway([fixture::monitored_pool("a", 1), fixture::pool("b", 1)]);
        gateway.pools[0].fallback = Some(PoolId(1));
        let (mut registry, mut health) = (Registry::default(), Health::optimistic());
        let pool = |health: &Health, registry: &mut Registry| {
            let snapshot = compile(&gateway, registry, health, &fixture::facts());
            let server = snapshot.virtual_server(registry.virtual_server("a").unwrap()).unwrap();
            (server.pool, snapshot.addresses.owner(server.service.address))
        };
        let available = Some(Owned::Virtual { available: true });
        assert_eq!(pool(&health, &mut registry), (PoolId(0), available));
        let check = Check::of(&gateway.pools[0].backends[0], &gateway.pools[0].monitors[0]);
        health.record(check, Diagnosis::down(Cause::Refused));
        assert_eq!(pool(&health, &mut registry), (PoolId(1), available));
        health.record(check, Diagnosis::UP);
        assert_eq!(pool(&health, &mut registry), (PoolId(0), available));
    }

    proptest! {
        #[test]
        fn what_health_changes_is_the_same_as_if_all_was_compiled(
            rounds in vec(vec((0..4_usize, 0..3_usize, any::<bool>()), 1..6), 1..8),
            draining in any::<bool>(),
        ) {
            let mut gateway = fixture::gateway(["a", "b", "c", "d"].map(|name| fixture::monitored_pool(name, 3)));
            for (number, server) in gateway.virtual_servers.iter_mut().enumerate() {
                server.address = ["192.0.2.1", "192.0.2.2"][number / 2].parse().unwrap();
            }
            gateway.pools[2].backends[1].state = AdminState::Disabled;
            gateway.pools[0].fallback = Some(PoolId(1));
            (gateway.pools[3].min_active, gateway.pools[3].backends[2].priority) = (1, 2);
            gateway.pools[3].slots = Some(128);
            // So that each pool has checks of its own.
            for (pool, port) in gateway.pools.iter_mut().zip(1..) {
                pool.monitors[0].port = Some(port);
            }
            let (mut registry, mut health, mut facts) = (Registry::default(), Health::default(), fixture::facts());
            if draining {
                health = health.draining();
            }
            let mut snapshot = compile(&gateway, &mut registry, &health, &facts);
            for round in rounds {
                let mut changed = BTreeSet::new();
                for (pool, backend, up) in round {
                    let check = Check::of(&gateway.pools[pool].backends[backend], &gateway.pools[pool].monitors[0]);
                    health.record(check, if up { Diagnosis::UP } else { Diagnosis::down(Cause::Refused) });
                    changed.insert(pool);
                }
                facts.generation.0 += 1;
                let after = recompile(&snapshot, &gateway, &mut registry, &health, &facts, &changed);
                let whole = compile(&gateway, &mut Registry::default(), &health, &facts);
                prop_assert_eq!(told(&after, &gateway), told(&whole, &gateway));
                for position in (0..4).filter(|position| !changed.contains(position)) {
                    prop_assert!(Arc::ptr_eq(&snapshot.pools[position], &after.pools[position]));
                }
                snapshot = after;
            }
        }
    }

    #[test]
    fn a_healthy_pool_has_one_table_and_not_two() {
        let mut registry = Registry::default();
        let one = compiled(&fixture::gateway([fixture::pool("a", 2)]), &mut registry);
        let mut gateway = fixture::gateway([fixture::pool("a", 2)]);
        gateway.pools[0].backends[0].state = AdminState::Drain;
        let drained = compiled(&gateway, &mut registry);
        assert!(!Arc::ptr_eq(&one.pools[0].slots, &drained.pools[0].slots));
        let back = compiled(&fixture::gateway([fixture::pool("a", 2)]), &mut registry);
        assert!(Arc::ptr_eq(&one.pools[0].slots, &back.pools[0].slots));
    }

    #[test]
    fn a_pool_has_the_slots_that_its_weights_need_or_those_it_is_given() {
        let mut gateway = fixture::gateway([fixture::pool("a", 2), fixture::pool("b", 10)]);
        let mut registry = Registry::default();
        let slots =
            |snapshot: Snapshot| snapshot.pools.iter().map(|pool| pool.slots.len()).collect::<Vec<_>>();
        assert_eq!(slots(compiled(&gateway, &mut registry)), [256, 2048]);
        gateway.pools[0].slots = Some(65_536);
        gateway.pools[1].backends[0].weight = 8;
        assert_eq!(slots(compiled(&gateway, &mut registry)), [65_536, 4096]);
    }

    #[test]
    fn a_pool_that_did_not_change_is_shared_over_a_reload() {
        let mut registry = Registry::default();
        let before =
            compiled(&fixture::gateway([fixture::pool("a", 2), fixture::pool("b", 2)]), &mut registry);
        let after =
            compiled(&fixture::gateway([fixture::pool("b", 2), fixture::pool("a", 3)]), &mut registry);
        assert!(Arc::ptr_eq(&before.pools[1], &after.pools[0]));
        assert_eq!(after.pools[1].members.len(), 3);
    }

    #[test]
    fn a_draining_backend_keeps_its_flows_and_a_disabled_one_loses_them() {
        let mut gateway = fixture::gateway([fixture::pool("a", 4)]);
        let backends = &mut gateway.pools[0].backends;
        (backends[0].state, backends[1].state) = (AdminState::Drain, AdminState::Disabled);
        backends[2].weight = 0;
        let mut registry = Registry::default();
        let snapshot = compiled(&gateway, &mut registry);
        let [drain, disabled, weightless, ordinary] =
            [1, 2, 3, 4].map(|n| id(&registry, "a", &format!("10.0.0.{n}:80")));
        assert!(snapshot.up.is_up(drain));
        assert!(snapshot.backend(disabled).is_none());
        assert!(snapshot.up.is_up(weightless));
        assert_eq!(chosen(&snapshot, 0), [ordinary]);
    }

    #[test]
    fn what_was_never_checked_takes_no_flows_and_its_address_is_not_available() {
        let gateway = fixture::gateway([fixture::monitored_pool("a", 2)]);
        let snapshot = compile(&gateway, &mut Registry::default(), &Health::default(), &fixture::facts());
        assert!(!snapshot.pools[0].is_available());
        let owner = snapshot.addresses.owner(address("192.0.2.1"));
        assert_eq!(owner, Some(Owned::Virtual { available: false }));
    }

    #[test]
    fn destinations_are_reached_by_network_route_and_gateway() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        let via = vec!["10.0.0.9".parse().unwrap()];
        gateway.ports[0].routes.push(Route { to: "10.1.0.0/16".parse().unwrap(), via });
        let distant: SocketAddr = "10.1.2.3:80".parse().unwrap();
        gateway.pools[0].backends.push(fixture::backend(&distant.to_string()));
        let mut registry = Registry::default();
        let snapshot = compiled(&gateway, &mut registry);
        let via = |destination: &str| {
            let index = snapshot.routes.best(address(destination)).unwrap();
            snapshot.routes.route(index).unwrap().via.clone()
        };
        assert_eq!(via("10.0.0.77"), []);
        assert_eq!(via("10.1.2.3"), [address("10.0.0.9")]);
        assert_eq!(via("8.8.8.8"), [address("10.0.0.253")]);
        assert_eq!(via("2001:db8:1::1"), [address("2001:db8::fd")]);
        let backend = snapshot.backend(id(&registry, "a", "10.1.2.3:80")).unwrap();
        assert_eq!(backend.route, snapshot.routes.best(address("10.1.2.3")));
    }

    #[test]
    fn nat_expects_its_backends_and_has_no_sources() {
        let snapshot = compiled(&fixture::gateway([fixture::pool("a", 1)]), &mut Registry::default());
        assert!(snapshot.addresses.is_nat_backend(address("10.0.0.1")));
        assert!(snapshot.virtual_servers.iter().flatten().all(|server| server.snat.is_empty()));
        let Some(Owned::Port { snat_first, snat_last, .. }) = snapshot.addresses.owner(address("10.0.0.254"))
        else {
            panic!("a port's own address")
        };
        assert!(snat_first > snat_last, "no SNAT ports on it");
    }

    #[test]
    fn full_nat_takes_the_self_addresses_of_its_family_beside_the_host() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        gateway.virtual_servers[0].mode = Mode::FullNat;
        gateway.ports[0].host = true;
        let snapshot = compiled(&gateway, &mut Registry::default());
        assert!(!snapshot.addresses.is_nat_backend(address("10.0.0.1")));
        let ranges = &snapshot.virtual_servers[0].as_ref().unwrap().snat;
        let [SnatRange { port: Some(PortId(0)), address: source, first, last }] = ranges[..] else {
            panic!("one source: {ranges:?}")
        };
        assert_eq!((source, first..=last), (address("10.0.0.254"), SNAT_PORTS_BESIDE_HOST));
        let owner = snapshot.addresses.owner(source).unwrap();
        assert!(owner.is_snat_port(1_024) && !owner.is_snat_port(32_768));
        let other_family = snapshot.addresses.owner(address("2001:db8::fe")).unwrap();
        assert!(!other_family.is_snat_port(1_024));
    }

    #[test]
    fn full_nat_takes_the_addresses_that_it_is_given() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        let server = &mut gateway.virtual_servers[0];
        server.mode = Mode::FullNat;
        server.snat = Snat::Addresses(vec!["10.0.0.100".parse().unwrap()]);
        let snapshot = compiled(&gateway, &mut Registry::default());
        assert_eq!(snapshot.addresses.owner(address("10.0.0.100")), Some(Owned::Snat));
        let server = snapshot.virtual_servers[0].as_ref().unwrap();
        assert_eq!(server.snat.len(), 1);
        assert_eq!((server.snat[0].port, server.snat[0].last), (None, 65_535));
        assert!(!snapshot.addresses.owner(address("10.0.0.254")).unwrap().is_snat_port(2_000));
    }

    #[test]
    fn dsr_needs_no_addresses_but_the_virtual_one() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        gateway.virtual_servers[0].mode = Mode::Dsr;
        let snapshot = compiled(&gateway, &mut Registry::default());
        assert!(!snapshot.addresses.is_nat_backend(address("10.0.0.1")));
        assert!(snapshot.virtual_servers[0].as_ref().unwrap().snat.is_empty());
        let owner = snapshot.addresses.owner(address("192.0.2.1"));
        assert_eq!(owner, Some(Owned::Virtual { available: true }));
    }

    #[test]
    fn a_silent_flow_lives_by_its_profile_or_its_protocol() {
        let mut gateway =
            fixture::gateway([fixture::pool("a", 1), fixture::pool("b", 1), fixture::pool("c", 1)]);
        gateway.virtual_servers[1].protocol = Protocol::Udp;
        gateway.virtual_servers[2].profile.idle_timeout = Some(Duration::from_millis(1_500));
        let snapshot = compiled(&gateway, &mut Registry::default());
        let timeouts: Vec<_> = snapshot.virtual_servers.iter().flatten().map(|s| s.idle_timeout).collect();
        assert_eq!(timeouts, [300_000, 60_000, 1_500]);
    }

    #[test]
    fn the_first_address_of_each_family_speaks_for_a_port() {
        let mut gateway = fixture::gateway([]);
        let more = ["10.0.0.200/24", "2001:db8::c8/64"].map(|net| net.parse::<ipnet::IpNet>().unwrap());
        gateway.ports[0].addresses.extend(more);
        let senders = compiled(&gateway, &mut Registry::default()).ports[0].senders;
        assert_eq!(senders.v4, Some([10, 0, 0, 254]));
        assert_eq!(senders.v6.map(Address::from_v6), Some(address("2001:db8::fe")));
    }

    #[test]
    fn the_same_input_gives_the_same_tables() {
        let gateway = fixture::gateway([fixture::pool("a", 7)]);
        let [one, other] = [(); 2].map(|()| compiled(&gateway, &mut Registry::default()));
        assert_eq!(one.pools[0].slots, other.pools[0].slots);
        assert_eq!(one.pools[0].members, other.pools[0].members);
    }
}
