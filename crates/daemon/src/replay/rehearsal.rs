//! A gateway of one worker that is handed its packets one by one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use config::Configuration;
use control::{
    Capacities, Cause, Diagnosis, Facts, Fleet, Health, Member, Names, PortFacts, Registry, compile,
};
use datapath::{
    Arrival, HashKey, Outputs, Snapshot, Verdict, WorkerMeters, WorkerState, calls_for_all_flows, forward,
    housekeeping,
};
use flow::{Flow, FlowKey};
use model::{Generation, MacAddress, Millis, PortId, VirtualServerId, WorkerId};
use nic::{Burst, Frame};
use tokio::time::Instant;

use super::{
    event::HealthEvent,
    frame::{PlainFrame, PlainSource},
    summary::summary,
};
use crate::{failure::Failure, gateway::PortDevice};

/// What `seed: auto` is here.
const SEED: [u8; 16] = [0; 16];
/// What `mac: auto` is here, but for the last byte, which is the port's position.
const MAC: [u8; 5] = [0x02, 0x70, 0x63, 0x61, 0x70];

/// A gateway of one worker that is handed its packets one by one.
pub(crate) struct Rehearsal {
    configuration: Configuration,
    snapshot: Snapshot,
    names: Names,
    registry: Registry,
    facts: Facts,
    health: Health,
    /// When the first packet came, as control tells time.
    began: Instant,
    state: WorkerState<PlainFrame>,
    outputs: Outputs<PlainFrame>,
    fleet: Fleet,
    capacities: Capacities,
    /// When they were renewed last.
    measured: Millis,
    meters: Arc<WorkerMeters>,
}

/// What became of a packet.
pub(crate) struct Outcome {
    /// What the datapath says.
    pub(crate) verdict: Verdict,
    /// Its flow.
    pub(crate) flow: Option<Flow>,
    /// The virtual server that it is from or for.
    pub(crate) virtual_server: Option<String>,
    /// Pool and address of the backend that it is from or for.
    pub(crate) backend: Option<(String, SocketAddr)>,
    /// The frames that left because of it, and their ports.
    pub(crate) sent: Vec<(PortId, Vec<u8>)>,
}

impl Rehearsal {
    /// A gateway with a checked configuration, which has room for `flows`.
    ///
    /// # Errors
    /// When a port's device is none.
    pub(crate) fn try_new(configuration: Configuration, flows: usize) -> Result<Self, Failure> {
        let seed = configuration.control.seed.unwrap_or(SEED);
        let mut registry = Registry::default();
        let facts = Facts { generation: Generation(1), workers: 1, seed, ports: port_facts(&configuration)? };
        let gateway = &configuration.gateway;
        let health = Health::optimistic();
        let snapshot = compile(gateway, &mut registry, &health, &facts);
        let names = Names::of(gateway, &registry);
        let meters = Arc::new(WorkerMeters::new());
        let key = HashKey::from_seed(seed, 0);
        let member = Member { lcore: 0, meters: Arc::clone(&meters) };
        let fleet = Fleet { members: vec![member], cycles_per_second: 1_000_000, capacities: Arc::default() };
        let state = WorkerState::new(WorkerId(0), flows, key, Arc::clone(&meters));
        let mut state = state.among(fleet.colleagues());
        state.adopt(&snapshot);
        Ok(Self {
            configuration,
            snapshot,
            names,
            registry,
            facts,
            health,
            began: Instant::now(),
            state,
            outputs: Outputs::new(1),
            fleet,
            capacities: Capacities::default(),
            measured: Millis(0),
            meters,
        })
    }

    /// What it was configured with.
    pub(crate) const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What its worker reads.
    pub(crate) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What its worker counted.
    pub(crate) fn meters(&self) -> &WorkerMeters {
        &self.meters
    }

    /// The port with a name; without one the first.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn port(&self, name: Option<&str>) -> Result<PortId, Failure> {
        let Some(name) = name else { return Ok(PortId(0)) };
        let gateway = &self.configuration.gateway;
        let found = gateway.links().find(|(_, port)| port.name == name);
        found.map(|(id, _)| id).ok_or_else(|| {
            let names: Vec<&str> = gateway.links().map(|(_, port)| port.name.as_str()).collect();
            Failure::usage(format_args!("the configuration has no port `{name}`"))
                .remedy(format_args!("--port takes one of: {}", names.join(", ")))
        })
    }

    /// Lets a backend go down or come up.
    ///
    /// # Errors
    /// When there is no such backend, or nobody would notice.
    pub(crate) fn happen(&mut self, event: &HealthEvent) -> Result<(), Failure> {
        let HealthEvent { at, pool: name, address, is_up } = event;
        let gateway = &self.configuration.gateway;
        let pool = gateway.pools.iter().find(|pool| pool.name == *name).ok_or_else(|| {
            let names: Vec<&str> = gateway.pools.iter().map(|pool| pool.name.as_str()).collect();
            Failure::usage(format_args!("the configuration has no pool `{name}`"))
                .remedy(format_args!("--health takes one of: {}", names.join(", ")))
        })?;
        let backend = pool.backends.iter().find(|backend| backend.address == *address).ok_or_else(|| {
            Failure::usage(format_args!("pool `{name}` has no backend {address}"))
                .remedy("--health takes a backend's address and port as the configuration has them")
        })?;
        let diagnosis = if *is_up { Diagnosis::UP } else { Diagnosis::down(Cause::TimedOut) };
        let now = self.began + Duration::from_millis(at.0);
        if !self.health.suppose((pool, backend), &diagnosis, now) {
            return Err(Failure::usage(format_args!("the backends of pool `{name}` are always up"))
                .remedy("give the pool a monitor, which would notice"));
        }
        self.renew();
        Ok(())
    }

    /// Lets backends that come up slowly come as far as they are.
    pub(crate) fn advance(&mut self, now: Millis) {
        let now = self.began + Duration::from_millis(now.0);
        if self.health.advance(&self.configuration.gateway, now) {
            self.renew();
        }
    }

    /// Tells what backends are able to take, as often as the running gateway does.
    fn measure(&mut self, now: Millis) {
        let since = Duration::from_millis(now.0.saturating_sub(self.measured.0));
        if since >= Capacities::EVERY {
            let of = (&self.configuration.gateway, &self.registry);
            self.capacities.renew(of, &self.fleet, since.as_secs_f64());
            self.measured = now;
        }
    }

    /// Lets the worker read what there is to read now.
    fn renew(&mut self) {
        self.facts.generation = Generation(self.facts.generation.0 + 1);
        let Self { configuration, registry, health, facts, .. } = self;
        self.snapshot = compile(&configuration.gateway, registry, health, facts);
        self.state.adopt(&self.snapshot);
    }

    /// The name of a port.
    pub(crate) fn port_name(&self, id: PortId) -> &str {
        self.configuration.gateway.links().nth(id.index()).map_or("", |(_, port)| &port.name)
    }

    /// Lets a frame arrive at a port, in a burst of its own.
    pub(crate) fn arrive(&mut self, port: PortId, bytes: Vec<u8>, now: Millis) -> Outcome {
        let domain = self.snapshot.domain(port);
        let key = summary(&bytes).key.map(|key| FlowKey { domain, ..key });
        if let Some(meters) = self.meters.port(port) {
            meters.rx_frames.add(1);
            meters.rx_bytes.add(bytes.len() as u64);
        }
        let mut burst = Burst::from_iter([PlainFrame(bytes)]);
        let arrival = Arrival { port, is_handed_over: false };
        let (state, outputs) = (&mut self.state, &mut self.outputs);
        state.tick(now.0 * 1000);
        forward(state, &self.snapshot, arrival, now, &mut burst, outputs, &mut PlainSource);
        // A packet that comes in has a verdict when it is forwarded.
        let verdict = self.state.verdicts().next().unwrap_or(Verdict::Absorbed);
        let sent = self.take_sent();
        let flow = key.and_then(|key| self.state.flow(&key)).map(|(flow, _)| flow);
        let backend = flow.and_then(|flow| self.names.backend(flow.backend));
        Outcome {
            verdict,
            flow,
            virtual_server: self.virtual_server(flow.as_ref(), key.as_ref()),
            backend: backend.map(|(pool, address)| (pool.to_owned(), address)),
            sent,
        }
    }

    /// Lets time pass, second by second, with as much housekeeping as there is to do; the frames that the gateway says by itself,
    /// and their ports. Of a long time only the last hour is kept in seconds.
    pub(crate) fn pass_time(&mut self, from: Millis, to: Millis) -> Vec<(PortId, Vec<u8>)> {
        const HOUR: u64 = 3_600_000;
        let (mut now, mut sent) = (from.0.max(to.0.saturating_sub(HOUR)), Vec::new());
        while now < to.0 {
            now = to.0.min(now + 1000);
            self.advance(Millis(now));
            self.measure(Millis(now));
            for _ in 0..calls_for_all_flows(&self.state) {
                let (state, outputs) = (&mut self.state, &mut self.outputs);
                housekeeping(state, &self.snapshot, Millis(now), outputs, &mut PlainSource);
                sent.append(&mut self.take_sent());
            }
        }
        sent
    }

    fn virtual_server(&self, flow: Option<&Flow>, key: Option<&FlowKey>) -> Option<String> {
        let of_key = || Some(self.snapshot.service(key?)?.0);
        let id: VirtualServerId = flow.map(|flow| flow.virtual_server).or_else(of_key)?;
        self.names.virtual_server(id).map(str::to_owned)
    }

    /// What leaves, counted as by a worker whose queues have room for all.
    fn take_sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut sent = Vec::new();
        for id in self.snapshot.port_ids() {
            let Some(meters) = self.meters.port(id) else { continue };
            for frame in self.outputs.port(id).into_iter().flat_map(|lane| lane.bursts()).flat_map(take_all) {
                meters.tx_frames.add(1);
                meters.tx_bytes.add(frame.length() as u64);
                sent.push((id, frame.0));
            }
            let to_host = self.outputs.host(id).into_iter().flat_map(|lane| lane.bursts()).flat_map(take_all);
            meters.to_host_frames.add(to_host.count() as u64);
        }
        PlainFrame::free(&mut self.outputs.dropped);
        sent
    }
}

fn take_all(burst: &mut Burst<PlainFrame>) -> Burst<PlainFrame> {
    std::mem::take(burst)
}

/// What would be known of the ports if they were open.
fn port_facts(configuration: &Configuration) -> Result<Vec<PortFacts>, Failure> {
    let ports = configuration.gateway.ports.iter().zip(0..);
    ports
        .map(|(port, position)| {
            let [a, b, c, d, e] = MAC;
            Ok(PortFacts {
                mac: port.mac.unwrap_or(MacAddress([a, b, c, d, e, position])),
                mtu: port.mtu,
                device: PortDevice::of(port, 1)?.traits(),
                offloads: Vec::new(),
                spread: None,
            })
        })
        .collect()
}
