//! The start, step by step. Each step's value undoes it when it is dropped, so a failure leaves nothing behind.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use config::Configuration;
use control::{BindError, Facts, Fleet, Member, Plane, PortFacts, Runtime, Socket};
use datapath::{
    HashKey, Snapshot, WorkerMeters,
    snapshot::{DeviceTraits, Spread},
};
use dpdk::{Eal, Lcore, Mempool, TscClock};
use model::{Generation, WorkerId};
use nic::Clock;
use worker::{
    Parts, Worker,
    desk::{WorkerDesk, desk},
    mesh::{Seat, seats},
};

use super::{
    arrivals,
    control_thread::ControlThread,
    crew::{Crew, RunningWorker},
    flow_list::FlowList,
    interfaces, offloads,
    plan::Plan,
    ports::{self, OpenPort, Share},
    remedies,
    running::{Devices, Gateway},
    sources::source,
};
use crate::failure::Failure;

impl Gateway {
    /// Starts a gateway with a checked configuration, which is `file`'s. `arguments` are for EAL.
    ///
    /// # Errors
    /// When a device, an interface, the control socket or EAL fails; what was done until then is undone.
    pub(crate) fn start(
        configuration: Configuration,
        file: &Path,
        arguments: &[String],
    ) -> Result<Self, Failure> {
        let plan = Plan::of(&configuration, arguments)?;
        let socket = bind(&configuration.control.socket)?;
        arrivals::keep_away().map_err(no_signals)?;
        let mut control = ControlThread::start(configuration.control.lcore.map(usize::from))
            .map_err(|error| no_thread(&error))?;
        let (devices, shares) = open_devices(&configuration, &plan)?;
        let fleet = fleet(&devices.eal);
        let facts = facts(&configuration, &plan, &devices.ports)?;
        let settings = Settings::of(&configuration, &plan);
        let (plane, readers) = Plane::new(configuration, facts, fleet.clone());
        let plane = Arc::new(plane);
        let (control_desks, desks): (Vec<_>, Vec<_>) = shares.iter().map(|_| desk()).unzip();
        let rings = seats(plan.queues() as u8).into_iter().zip(desks);
        let mut crew = Crew::new();
        for (((number, share), reader), rings) in (0..).zip(shares).zip(readers).zip(rings) {
            let worker = make_worker(number, share, reader, rings, &fleet, &devices, &settings)?;
            crew.launch(&devices.eal, worker)?;
        }
        control.begin(Runtime {
            plane: Arc::clone(&plane),
            workers: Arc::new(FlowList::new(control_desks)),
            socket,
            file: file.to_owned(),
            source: monitor_source(&plane),
        });
        Ok(Self { crew, fleet, plane, control, devices })
    }
}

fn bind(path: &Path) -> Result<Socket, Failure> {
    Socket::bind(path).map_err(|error| {
        let what = format!("control socket {error}");
        match error {
            // The configuration is right, and may be in a moment: the other one may be about to end.
            BindError::AlreadyRunning { .. } => {
                Failure::device(what).remedy("stop it, or set `control.socket` to another path")
            }
            BindError::NotASocket { .. } => {
                Failure::configuration(what).remedy("remove it, or set `control.socket` to another path")
            }
            BindError::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Failure::configuration(what).remedy(
                    "run tidegate as root, or set `control.socket` to a path in a directory that this user may write to",
                )
            }
            BindError::Refused { .. } => Failure::configuration(what)
                .remedy("set `control.socket` to a path where a socket can be made"),
        }
    })
}

fn no_thread(error: &io::Error) -> Failure {
    Failure::device(format_args!("the control thread does not start: {error}")).remedy("see `ulimit -u`")
}

fn no_signals(error: nix::Error) -> Failure {
    Failure::device(format_args!("signals cannot be kept from threads: {error}"))
        .remedy("see what restricts this process (seccomp)")
}

/// Takes the interfaces, starts EAL, makes the packet memory, opens the ports.
fn open_devices(configuration: &Configuration, plan: &Plan) -> Result<(Devices, Vec<Share>), Failure> {
    let gateway = &configuration.gateway;
    let taken = interfaces::take(&gateway.ports, &plan.devices)?;
    let eal = Eal::start(&plan.eal).map_err(|error| remedies::eal(&error))?;
    if !eal.hugepages() {
        tracing::info!(
            "packet memory of {} MiB lies in ordinary pages; huge pages are faster: {} MiB of them are free",
            plan.eal.memory_mib,
            dpdk::free_hugepages_mib()
        );
    }
    let pool = Mempool::try_new(&eal, &plan.pool).map_err(|error| remedies::pool(&error))?;
    let (ports, shares) = ports::open(&eal, &pool, plan, &gateway.ports)?;
    let give_back = plan.devices.iter().all(|device| device.kind.gives_back());
    Ok((Devices { ports, pool, eal, give_back, _taken: taken }, shares))
}

fn fleet(eal: &Eal) -> Fleet {
    let member = |lcore: &Lcore| Member { lcore: lcore.cpu(), meters: Arc::new(WorkerMeters::new()) };
    Fleet {
        members: eal.workers().iter().map(member).collect(),
        cycles_per_second: TscClock::new(eal).hertz(),
        capacities: Arc::default(),
    }
}

fn facts(configuration: &Configuration, plan: &Plan, ports: &[OpenPort]) -> Result<Facts, Failure> {
    let configured = configuration.gateway.ports.iter().zip(&plan.devices).zip(ports);
    let mut spreads: Vec<Arc<Spread>> = Vec::new();
    let ports = configured.map(|((port, device), open)| PortFacts {
        mac: open.mac,
        mtu: port.mtu,
        device: DeviceTraits { cuts: offloads::cuts(open.offloads), ..device.traits() },
        offloads: offloads::names(open.offloads),
        spread: spread_like(&mut spreads, open, plan.queues() as u8),
    });
    Ok(Facts {
        generation: Generation(0),
        workers: plan.queues() as u8,
        seed: configuration.control.seed.map_or_else(random, Ok)?,
        ports: ports.collect(),
    })
}

/// How a port spreads what it receives; ports that do it alike share it. With one worker there is nothing to know.
fn spread_like(known: &mut Vec<Arc<Spread>>, port: &OpenPort, workers: u8) -> Option<Arc<Spread>> {
    let spread = offloads::spread(port.rss.as_ref(), workers).filter(|_| workers > 1)?;
    if let Some(same) = known.iter().find(|known| **known == spread) {
        return Some(Arc::clone(same));
    }
    known.push(Arc::clone(&spread));
    Some(spread)
}

/// Sixteen bytes that nobody can guess.
fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| Failure::device(format_args!("/dev/urandom: {error}")).remedy("mount /dev"))?;
    Ok(bytes)
}

/// What all workers are told.
struct Settings {
    flows: usize,
    burst: usize,
    idle: worker::Idle,
}

impl Settings {
    fn of(configuration: &Configuration, plan: &Plan) -> Self {
        let workers = &configuration.workers;
        Self { flows: workers.flows, burst: workers.burst, idle: plan.idle }
    }
}

fn make_worker(
    number: u8,
    ports: Share,
    reader: publish::Reader<Snapshot>,
    (seat, desk): (Seat<dpdk::Mbuf>, WorkerDesk),
    fleet: &Fleet,
    devices: &Devices,
    settings: &Settings,
) -> Result<RunningWorker, Failure> {
    let member = fleet.members.get(usize::from(number));
    Ok(Worker::new(Parts {
        id: WorkerId(number),
        ports,
        reader,
        meters: member.map(|member| Arc::clone(&member.meters)).unwrap_or_default(),
        colleagues: fleet.colleagues(),
        source: devices.pool.source(),
        clock: TscClock::new(&devices.eal),
        flows: settings.flows,
        flow_key: HashKey::from_seed(random()?, u64::from(number)),
        burst: settings.burst,
        idle: settings.idle,
        seat,
        desk,
    }))
}

fn monitor_source(plane: &Arc<Plane>) -> control::SourceFor {
    let plane = Arc::clone(plane);
    Arc::new(move |target| source(&plane.configuration().gateway, target))
}
