//! The rows of the API, read from configuration, health and counters of this moment.

use std::net::SocketAddr;

use datapath::{
    DropReason, FlowRow,
    meters::{Balance as Sides, WorkerMeters},
};
use hdrhistogram::Histogram;
use model::{Address, Generation, PoolId, PortId, WorkerId};

use crate::{
    Plane,
    compile::Names,
    health::Condition,
    plane::State,
    source_ports::{SourcePorts, used_percent},
    traffic::{Member, Subject},
    view,
};

impl Plane {
    /// All virtual servers, in the order of the configuration.
    #[must_use]
    pub fn virtual_servers(&self) -> Vec<view::VirtualServer> {
        let state = self.state();
        let gateway = &state.configuration.gateway;
        gateway.virtual_servers.iter().map(|server| self.virtual_server(&state, server)).collect()
    }

    fn virtual_server(&self, state: &State, server: &model::VirtualServer) -> view::VirtualServer {
        let pool = state.configuration.gateway.pools.get(server.pool.index());
        let id = state.registry.virtual_server(&server.name);
        let [rtt_from_client, rtt_from_server] = self.round_trips(state, server);
        view::VirtualServer {
            rtt_from_client: rtt_from_client.as_ref().map(round_trips),
            rtt_from_server: rtt_from_server.as_ref().map(round_trips),
            name: server.name.clone(),
            address: server.address,
            length: server.length,
            port: server.port,
            protocol: server.protocol,
            mode: server.mode,
            pool: pool.map(|pool| pool.name.clone()).unwrap_or_default(),
            available: id.is_some_and(|id| state.snapshot().is_available(id)),
            traffic: id
                .map(|id| state.baselines.since(Subject::VirtualServer(id), &self.fleet))
                .unwrap_or_default(),
        }
    }

    /// Round trips of clients and backends, as far as a virtual server measures them, in microseconds.
    fn round_trips(&self, state: &State, server: &model::VirtualServer) -> [Option<Histogram<u64>>; 2] {
        let id = state.registry.virtual_server(&server.name);
        let compiled = id.and_then(|id| Some((id, state.snapshot().virtual_server(id)?)));
        let Some((id, compiled)) = compiled else { return [None, None] };
        let [client, backend] = state.baselines.round_trips_since(Subject::VirtualServer(id), &self.fleet);
        let model::RoundTrips { from_client, from_server } = compiled.rtt;
        [(from_client, client), (from_server, backend)]
            .map(|(is_measured, counts)| is_measured.then(|| histogram(&counts)).flatten())
    }

    /// The round trips of all virtual servers that measure any.
    pub(crate) fn all_round_trips(&self) -> Vec<(String, [Option<Histogram<u64>>; 2])> {
        let state = self.state();
        let servers = state.configuration.gateway.virtual_servers.iter();
        let all = servers.map(|server| (server.name.clone(), self.round_trips(&state, server)));
        all.filter(|(_, both)| both.iter().any(Option::is_some)).collect()
    }

    /// All backends, in the order of the configuration.
    #[must_use]
    pub fn backends(&self) -> Vec<view::Backend> {
        let state = self.state();
        let sources = SourcePorts::of(state.snapshot());
        let pools = (0..).map(PoolId).zip(&state.configuration.gateway.pools);
        let rows = |(id, pool): (PoolId, &model::Pool)| {
            let row = |backend| self.backend(&state, (id, pool), backend, &sources);
            pool.backends.iter().map(row).collect::<Vec<_>>()
        };
        pools.flat_map(rows).collect()
    }

    fn backend(
        &self,
        state: &State,
        (pool_id, pool): (PoolId, &model::Pool),
        backend: &model::Backend,
        sources: &SourcePorts,
    ) -> view::Backend {
        let id = state.registry.backend(&pool.name, backend.address);
        let compiled = id.and_then(|(id, _)| Some((id, state.snapshot().backend(id)?)));
        let ports = compiled.map_or(0, |(_, compiled)| sources.towards(state.snapshot(), pool_id, compiled));
        let diagnosis = state.health.of(pool, backend);
        view::Backend {
            pool: pool.name.clone(),
            address: backend.address,
            weight: backend.weight,
            state: backend.state,
            health: diagnosis.condition,
            cause: diagnosis.cause.map(|cause| cause.to_string()),
            source_ports: ports,
            source_ports_used_percent: compiled.map_or(0, |(id, _)| used_percent(&self.fleet, id, ports)),
            traffic: id
                .map(|(id, _)| state.baselines.since(Subject::Backend(id), &self.fleet))
                .unwrap_or_default(),
        }
    }

    /// All pools, in the order of the configuration.
    #[must_use]
    pub fn pools(&self) -> Vec<view::Pool> {
        let state = self.state();
        let sources = SourcePorts::of(state.snapshot());
        let pools = state.configuration.gateway.pools.iter().zip(&state.snapshot().pools);
        (0..)
            .map(PoolId)
            .zip(pools)
            .map(|(id, (pool, compiled))| {
                let row = |backend| self.backend(&state, (id, pool), backend, &sources);
                let backends: Vec<_> = pool.backends.iter().map(row).collect();
                view::Pool {
                    name: pool.name.clone(),
                    method: pool.method,
                    backends: backends.len() as u64,
                    up: backends.iter().filter(|row| row.health == Condition::Up).count() as u64,
                    available: compiled.is_available(),
                    flows: backends.iter().map(|row| row.traffic.flows).sum(),
                }
            })
            .collect()
    }

    /// All ports, in the order of the configuration.
    #[must_use]
    pub fn ports(&self) -> Vec<view::Port> {
        let state = self.state();
        let ports = (0..).map(PortId).zip(&state.configuration.gateway.ports).zip(&state.facts.ports);
        ports
            .map(|((id, port), facts)| view::Port {
                name: port.name.clone(),
                device: port.device.clone(),
                mac: facts.mac.to_string(),
                mtu: facts.mtu,
                offloads: facts.offloads.clone(),
                rx_frames: self.fleet.port(id, |meters| &meters.rx_frames),
                rx_bytes: self.fleet.port(id, |meters| &meters.rx_bytes),
                tx_frames: self.fleet.port(id, |meters| &meters.tx_frames),
                tx_bytes: self.fleet.port(id, |meters| &meters.tx_bytes),
                to_host_frames: self.fleet.port(id, |meters| &meters.to_host_frames),
                from_host_frames: self.fleet.port(id, |meters| &meters.from_host_frames),
            })
            .collect()
    }

    /// All workers.
    #[must_use]
    pub fn workers(&self) -> Vec<view::Worker> {
        let members = (0..).map(WorkerId).zip(&self.fleet.members);
        members.map(|(id, member)| worker(id, member, self.fleet.cycles_per_second)).collect()
    }

    /// All drop reasons, over all workers.
    #[must_use]
    pub fn drops(&self) -> Vec<view::Drop> {
        let packets = |reason: DropReason| {
            let counters = self.fleet.members.iter().filter_map(|m| m.meters.drops.get(reason.index()));
            counters.map(|counter| counter.read()).sum()
        };
        DropReason::all()
            .map(|reason| view::Drop {
                reason: reason.name(),
                packets: packets(reason),
                description: reason.description().to_owned(),
            })
            .collect()
    }

    /// The published snapshot, and how far the workers are.
    #[must_use]
    pub fn published(&self) -> view::Generation {
        let state = self.state();
        let Generation(generation) = state.facts.generation;
        let age_ms = u64::try_from(state.published.elapsed().as_millis()).unwrap_or(u64::MAX);
        view::Generation { generation, acknowledged: state.acknowledged().0, age_ms }
    }

    /// Whether every packet is accounted for.
    #[must_use]
    pub fn balance(&self) -> view::Balance {
        let sides: Vec<_> = self.fleet.members.iter().map(|member| member.meters.balance()).collect();
        let total = sides.iter().fold(Sides::default(), |sum, side| Sides {
            entered: sum.entered + side.entered,
            left: sum.left + side.left,
            held: sum.held + side.held,
        });
        view::Balance { total: account(&total), workers: sides.iter().map(account).collect() }
    }

    /// Flows with names for their ids, and how many there are besides them.
    #[must_use]
    pub fn name_flows(&self, flows: &[FlowRow]) -> view::Flows {
        let names = {
            let state = self.state();
            Names::of(&state.configuration.gateway, &state.registry)
        };
        let tracked: u64 = self.fleet.members.iter().map(|member| member.meters.flows.read()).sum();
        let shown = flows.len() as u64;
        view::Flows {
            total: tracked.max(shown),
            shown,
            flows: flows.iter().map(|row| flow(row, &names)).collect(),
        }
    }

    /// Whether all workers have begun to work, and new flows are let in.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.fleet.generation() >= 1 && !self.state().health.is_draining()
    }
}

fn account(sides: &Sides) -> view::Account {
    view::Account { entered: sides.entered, left: sides.left, held: sides.held, holds: sides.holds() }
}

fn worker(WorkerId(id): WorkerId, member: &Member, cycles_per_second: u64) -> view::Worker {
    let meters = &member.meters;
    let (busy, idle) = (meters.busy_cycles.read(), meters.idle_cycles.read());
    let residence = residence(meters);
    let microseconds = |quantile| {
        let cycles = residence.as_ref().map_or(0, |histogram| histogram.value_at_quantile(quantile));
        cycles as f64 * 1e6 / cycles_per_second.max(1) as f64
    };
    view::Worker {
        worker: id,
        lcore: member.lcore,
        generation: meters.generation.read(),
        busy_percent: 100.0 * busy as f64 / (busy + idle).max(1) as f64,
        polls: meters.polls.read(),
        idle_polls: meters.idle_polls.read(),
        busy_cycles: busy,
        idle_cycles: idle,
        flows: meters.flows.read(),
        flows_capacity: meters.flows_capacity.read(),
        flows_expired: meters.flows_expired.read(),
        flows_evicted: meters.flows_evicted.read(),
        embryonic_flows: meters.embryonic_flows.read(),
        cookies_engaged: meters.cookies_engaged.read() != 0,
        cookies_given: meters.cookies_given.read(),
        cookies_accepted: meters.cookies_accepted.read(),
        handed_in: meters.handed_in_frames.read(),
        handed_out: meters.handed_out_frames.read(),
        originated: meters.originated_frames.read(),
        absorbed: meters.absorbed_frames.read(),
        held: meters.held_frames.read(),
        completed_checksums: meters.completed_checksums.read(),
        untracked_packets: meters.untracked_packets.read(),
        clients_not_shown: meters.clients_not_shown.read(),
        icmp_errors: meters.icmp_errors.read(),
        residence_p50_us: microseconds(0.5),
        residence_p99_us: microseconds(0.99),
    }
}

/// `None` cannot happen: three digits are allowed.
fn histogram(counts: &[u64]) -> Option<Histogram<u64>> {
    let mut histogram = Histogram::new(3).ok()?;
    for (bucket, &count) in counts.iter().enumerate() {
        histogram.record_n(meter::Histograms::middle(bucket), count).ok()?;
    }
    Some(histogram)
}

fn round_trips(micros: &Histogram<u64>) -> view::RoundTrips {
    let [p50_us, p90_us, p99_us] = [0.5, 0.9, 0.99].map(|quantile| micros.value_at_quantile(quantile));
    view::RoundTrips { count: micros.len(), p50_us, p90_us, p99_us }
}

/// From receipt to transmission, in ticks. `None` cannot happen: three digits are allowed.
pub(crate) fn residence(meters: &WorkerMeters) -> Option<Histogram<u64>> {
    let mut histogram = Histogram::new(3).ok()?;
    meters.residence_cycles.merge_into(&mut histogram);
    Some(histogram)
}

fn flow(row: &FlowRow, names: &Names) -> view::Flow {
    let end = |(address, port): (Address, u16)| SocketAddr::new(address.into(), port);
    let backend = names.backend(row.backend);
    view::Flow {
        worker: row.worker.0,
        protocol: protocol(row.protocol),
        client: end(row.client),
        service: end(row.service),
        source: end(row.source),
        backend: backend.map(|(_, address)| address),
        pool: backend.map(|(pool, _)| pool.to_owned()),
        virtual_server: names.virtual_server(row.virtual_server).map(str::to_owned),
        mode: row.mode,
        state: row.state,
        idle_ms: row.idle,
        age_ms: row.age,
    }
}

fn protocol(number: u8) -> String {
    datapath::protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
}
