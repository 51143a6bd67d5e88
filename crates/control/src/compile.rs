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
mod ports;
mod registry;
mod route;
mod standing;
mod table;
mod virtual_servers;

use std::{collections::BTreeSet, sync::Arc};

use balance::Level;
use datapath::{
    CookieKey, HashKey,
    snapshot::{Backend, DeviceTraits, Routes, Snapshot, Spread, Up},
};
use model::{AdminState, BackendId, Gateway, Generation, MacAddress, OnBackendDown};

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
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Bytes of the largest IP packet that leaves.
    pub mtu: u16,
    /// What is peculiar to it.
    pub device: DeviceTraits,
    /// What it does of its own, a few words each.
    pub offloads: Vec<String>,
    /// How it spreads what it receives over the workers, where that is known.
    pub spread: Option<Arc<Spread>>,
}

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
        enter(&mut backends, (pool, health), &members, (&routes, gateway.domain_of_pool(position)));
        note(&mut up, &members, &standings);
        pools.push(registry.pool(pool, &members, levels(&standings), facts.seed));
    }
    registry.forget_tables(gateway);
    let virtual_servers = virtual_servers::virtual_servers(gateway, registry, &pools);
    registry.forget_sources(&virtual_servers);
    Snapshot {
        generation: facts.generation,
        workers: facts.workers.max(1),
        hash_key: HashKey::from_seed(facts.seed, FLOW_HASH),
        cookie_key: CookieKey::from_seed(facts.seed),
        ports: ports::ports(gateway, facts),
        addresses: address::addresses(gateway, 0, &pools),
        tenants: address::tenants(gateway, &pools),
        routes,
        services: Arc::new(virtual_servers::services(gateway, registry)),
        broad: Arc::new(virtual_servers::broad(gateway, registry)),
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
        snapshot.virtual_servers =
            virtual_servers::virtual_servers(gateway, registry, &snapshot.pools).into();
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
    (pool, health): (&model::Pool, &Health),
    members: &[Option<(BackendId, u16)>],
    (routes, domain): (&Routes, u8),
) {
    for (backend, member) in pool.backends.iter().zip(members) {
        let Some((id, incarnation)) = *member else { continue };
        let Some(entry) = by_id.get_mut(id.index()) else { continue };
        if backend.state != AdminState::Disabled {
            let address = backend.address.ip().into();
            let port = backend.address.port();
            let is_over = health.drains.is_over(pool, backend);
            let on_down = if is_over { OnBackendDown::Reset } else { pool.on_backend_down };
            let route = routes.best_in(domain, address);
            *entry = Some(Backend { address, port, route, incarnation, on_down, limits: backend.limits });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use datapath::snapshot::Owned;
    use model::{Address, PoolId, Route};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        fixture::{self, compiled},
        health::{Cause, Check, Diagnosis},
    };

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
    fn the_same_input_gives_the_same_tables() {
        let gateway = fixture::gateway([fixture::pool("a", 7)]);
        let [one, other] = [(); 2].map(|()| compiled(&gateway, &mut Registry::default()));
        assert_eq!(one.pools[0].slots, other.pools[0].slots);
        assert_eq!(one.pools[0].members, other.pools[0].members);
    }
}
