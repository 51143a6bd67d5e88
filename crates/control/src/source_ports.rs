//! How many of the source ports of `full_nat` are in use towards each backend: before there are none, somebody is to know.
//!
//! Workers keep no list of them. A backend's flows are counted, each of which has one, and each worker has its share of them all.

use std::{collections::HashMap, net::SocketAddr};

use datapath::snapshot::{Backend, Snapshot, SnatRange};
use model::{BackendId, PoolId};

use crate::{Plane, traffic::Fleet};

/// The sources by which each pool's backends are reached; none of pools that no `full_nat` leads to.
pub(crate) struct SourcePorts(HashMap<PoolId, Vec<SnatRange>>);

/// A backend towards which source ports get scarce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scarcity {
    /// The name of its pool.
    pub pool: String,
    /// Its address and port.
    pub backend: SocketAddr,
    /// How many of a hundred are in use, on the worker that has the most.
    pub used_percent: u64,
}

impl SourcePorts {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut pools: HashMap<PoolId, Vec<SnatRange>> = HashMap::new();
        for server in snapshot.virtual_servers.iter().flatten().filter(|server| !server.snat.is_empty()) {
            let known = pools.entry(server.pool).or_default();
            for range in &server.snat {
                if !known.iter().any(|other| (other.address, other.port) == (range.address, range.port)) {
                    known.push(*range);
                }
            }
        }
        Self(pools)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are towards a backend.
    pub(crate) fn towards(&self, snapshot: &Snapshot, pool: PoolId, backend: &Backend) -> u64 {
        let egress = backend.route.and_then(|route| snapshot.routes.route(route)).map(|route| route.port);
        let ranges = self.0.get(&pool).into_iter().flatten();
        let usable = ranges.filter(|range| {
            range.address.is_v4() == backend.address.is_v4() && (range.port.is_none() || range.port == egress)
        });
        usable.map(|range| u64::from(range.last.saturating_sub(range.first)) + 1).sum()
    }
}

/// How many of a hundred are in use towards a backend, on the worker that has the most: each has its share.
pub(crate) fn used_percent(fleet: &Fleet, backend: BackendId, ports: u64) -> u64 {
    let open = fleet.members.iter().filter_map(|member| member.meters.backends.get(backend.index()));
    let open = open.map(|of| of.flows_opened.read().saturating_sub(of.flows_closed.read()));
    let most = open.max().unwrap_or(0);
    (most * fleet.members.len() as u64 * 100).checked_div(ports).unwrap_or(0)
}

impl Plane {
    /// The backends towards which at least so many of a hundred source ports of `full_nat` are in use.
    #[must_use]
    pub fn scarce_source_ports(&self, percent: u64) -> Vec<Scarcity> {
        let state = self.state();
        let sources = SourcePorts::of(state.snapshot());
        if sources.is_empty() {
            return Vec::new();
        }
        let mut scarce = Vec::new();
        for (id_of_pool, pool) in (0..).map(PoolId).zip(&state.configuration.gateway.pools) {
            for backend in &pool.backends {
                let Some((id, _)) = state.registry.backend(&pool.name, backend.address) else { continue };
                let Some(compiled) = state.snapshot().backend(id) else { continue };
                let ports = sources.towards(state.snapshot(), id_of_pool, compiled);
                let used_percent = used_percent(&self.fleet, id, ports);
                if ports > 0 && used_percent >= percent {
                    let (pool, backend) = (pool.name.clone(), backend.address);
                    scarce.push(Scarcity { pool, backend, used_percent });
                }
            }
        }
        scarce
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datapath::WorkerMeters;
    use model::{Mode, Snat, VirtualServer};

    use super::*;
    use crate::{
        Member,
        compile::Registry,
        fixture::{compiled, gateway, pool, virtual_server},
    };

    fn fleet(workers: u32) -> Fleet {
        let member = |lcore| Member { lcore, meters: Arc::new(WorkerMeters::new()) };
        Fleet {
            members: (0..workers).map(member).collect(),
            cycles_per_second: 1,
            capacities: Arc::default(),
        }
    }

    #[test]
    fn a_backend_has_the_source_ports_of_all_that_lead_to_it() {
        let mut gateway = gateway([pool("a", 1), pool("b", 1)]);
        gateway.virtual_servers[0].mode = Mode::FullNat;
        let listed = Snat::Addresses(["10.0.0.77", "10.0.0.78"].map(|text| text.parse().unwrap()).to_vec());
        gateway.virtual_servers.push(VirtualServer {
            mode: Mode::FullNat,
            port: 90,
            snat: listed,
            ..virtual_server("more", 0)
        });
        let mut registry = Registry::default();
        let snapshot = compiled(&gateway, &mut registry);
        let sources = SourcePorts::of(&snapshot);
        let towards = |pool: u32, name: &str| {
            let (id, _) = registry.backend(name, "10.0.0.1:80".parse().unwrap()).unwrap();
            sources.towards(&snapshot, PoolId(pool), snapshot.backend(id).unwrap())
        };
        assert_eq!([towards(0, "a"), towards(1, "b")], [3 * (65_536 - 1024), 0]);
        assert!(!sources.is_empty());
    }

    #[test]
    fn the_worker_that_has_the_most_counts_since_each_has_its_share() {
        let (fleet, id) = (fleet(2), BackendId(3));
        let of = |worker: usize| &fleet.members[worker].meters.backends[id.index()];
        of(0).flows_opened.add(500);
        of(0).flows_closed.add(100);
        of(1).flows_opened.add(100);
        assert_eq!([used_percent(&fleet, id, 1000), used_percent(&fleet, id, 0)], [80, 0]);
    }
}
