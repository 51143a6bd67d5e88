//! Elephants on a pool of backends, event by event, over the choosers of `balance`.
//!
//! A backend shares its capacity evenly among the transfers that it has. As many transfers as the scene says are always under
//! way: whenever one ends, the next begins. Their sizes follow Zipf's law.

use balance::{
    CAPACITY_AS_WEIGHED, Candidate, Capacity, Chooser, Hashes, Level, Sight, Table, Work, measure,
};
use model::{Address, Method};

use crate::haproxy::Leastconn;

/// Bytes a second that a sound backend takes: 10 Gbit/s.
const CAPACITY: f64 = 1.25e9;
/// The part of it that a slow one takes.
const SLOW: f64 = 0.1;
/// Bytes of the smallest transfer, and how many times that the greatest has.
const SMALLEST: f64 = 1_048_576.0;
const GREATEST: usize = 10_240;
/// Seconds between two looks at the counters, as in the gateway.
const LOOK: f64 = 0.25;
/// Seconds that are not counted at the beginning: what was opened before anything was known of a slow backend stays there for most of an hour.
const WARM_UP: f64 = 3600.0;
/// Where the numbers of a scene begin.
const SEED: u64 = 7;
/// Programs with a connection pool each, and seconds that a connection may be idle.
const PROGRAMS: u64 = 16;
const IDLE: f64 = 30.0;

/// Who chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A method of ours.
    Ours(Method),
    /// HAProxy's `leastconn`.
    Haproxy,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// Backends.
    pub(crate) backends: usize,
    /// Transfers under way.
    pub(crate) concurrent: usize,
    /// Whether the first backend takes a tenth of what the others take.
    pub(crate) slow: bool,
    /// Transfers that a connection carries at most, one after the other: with 1 each has its own.
    pub(crate) transfers: u32,
    /// Seconds that are counted.
    pub(crate) seconds: f64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Bytes that were taken, of those that all backends together could have taken.
    pub(crate) goodput: f64,
    /// Open connections by capacity.
    pub(crate) connections: Load,
    /// Transfers under way by capacity: the same, unless connections wait for their next transfer.
    pub(crate) transfers: Load,
}

/// How much backends have to do, over time, by the mean of all.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The one that has the most to do.
    pub(crate) peak_to_mean: f64,
    /// The first one, which is the slow one if one is.
    pub(crate) first_to_mean: f64,
}

impl Load {
    fn of(work: &[f64], capacities: &[f64]) -> Self {
        let mean = work.iter().sum::<f64>() / capacities.iter().sum::<f64>();
        let loads: Vec<f64> =
            work.iter().zip(capacities).map(|(work, capacity)| work / capacity / mean).collect();
        Self { peak_to_mean: loads.iter().copied().fold(0.0, f64::max), first_to_mean: loads[0] }
    }
}

/// Lets a scene happen.
#[must_use]
pub(crate) fn simulate(way: Way, scene: Scene) -> Outcome {
    let mut site = Site::new(way, scene);
    for _ in 0..scene.concurrent {
        site.begin();
    }
    while site.now < WARM_UP {
        site.step();
    }
    let (begin, before) = (site.now, site.backends.iter().map(|b| b.done).collect::<Vec<_>>());
    while site.now < begin + scene.seconds {
        site.step();
    }
    let capacities: Vec<f64> = site.backends.iter().map(|backend| backend.capacity).collect();
    let since = |what: fn(&Done) -> f64| -> Vec<f64> {
        site.backends
            .iter()
            .zip(&before)
            .map(|(backend, before)| what(&backend.done) - what(before))
            .collect()
    };
    let possible = capacities.iter().sum::<f64>() * (site.now - begin);
    Outcome {
        goodput: since(|done| done.bytes).iter().sum::<f64>() / possible,
        connections: Load::of(&since(|done| done.connection_seconds), &capacities),
        transfers: Load::of(&since(|done| done.transfer_seconds), &capacities),
    }
}

struct Site {
    scene: Scene,
    choice: Choice,
    sizes: Sizes,
    random: Random,
    backends: Vec<Backend>,
    transfers: Vec<Transfer>,
    /// Connections that wait for their next transfer, the last used last.
    idle: Vec<Connection>,
    now: f64,
    next_look: f64,
}

struct Backend {
    capacity: f64,
    /// Connections, transfers on them, and bytes that each transfer has got that was there since the beginning.
    connections: u64,
    opened: u64,
    transfers: f64,
    served: f64,
    done: Done,
}

/// What a backend has done since the beginning.
#[derive(Clone, Copy, Default)]
struct Done {
    bytes: f64,
    connection_seconds: f64,
    transfer_seconds: f64,
}

struct Transfer {
    connection: Connection,
    /// What its backend will have served each transfer when this one is complete.
    complete_at: f64,
}

#[derive(Clone, Copy)]
struct Connection {
    program: u64,
    backend: usize,
    transfers: u32,
    idle_since: f64,
}

impl Site {
    fn new(way: Way, scene: Scene) -> Self {
        let backend = |number| Backend {
            capacity: if scene.slow && number == 0 { CAPACITY * SLOW } else { CAPACITY },
            connections: 0,
            opened: 0,
            transfers: 0.0,
            served: 0.0,
            done: Done::default(),
        };
        Self {
            scene,
            choice: Choice::new(way, scene.backends),
            sizes: Sizes::new(),
            random: Random(SEED),
            backends: (0..scene.backends).map(backend).collect(),
            transfers: Vec::new(),
            idle: Vec::new(),
            now: 0.0,
            next_look: LOOK,
        }
    }

    /// Begins a transfer of some program.
    fn begin(&mut self) {
        let program = self.random.next() % PROGRAMS;
        let kept = self.idle.iter().rposition(|connection| connection.program == program);
        let mut connection = match kept {
            Some(position) => self.idle.remove(position),
            None => self.open(program),
        };
        connection.transfers += 1;
        let backend = &mut self.backends[connection.backend];
        backend.transfers += 1.0;
        let complete_at = backend.served + self.sizes.one(&mut self.random);
        self.transfers.push(Transfer { connection, complete_at });
    }

    fn open(&mut self, program: u64) -> Connection {
        let hash = self.random.next();
        let flows: Vec<u64> = self.backends.iter().map(|backend| backend.connections).collect();
        let backend = self.choice.choose(hash, flows);
        self.backends[backend].connections += 1;
        self.backends[backend].opened += 1;
        Connection { program, backend, transfers: 0, idle_since: 0.0 }
    }

    fn close(&mut self, connection: Connection) {
        let backend = &mut self.backends[connection.backend];
        backend.connections -= 1;
        self.choice.closed(connection.backend, backend.connections);
    }

    /// Goes on to what happens next: a transfer that is complete, or a look at the counters.
    fn step(&mut self) {
        let seconds_left = |transfer: &Transfer| {
            let backend = &self.backends[transfer.connection.backend];
            (transfer.complete_at - backend.served).max(0.0) * backend.transfers / backend.capacity
        };
        let left = self.transfers.iter().map(seconds_left).enumerate();
        let (position, seconds) = left.min_by(|one, other| one.1.total_cmp(&other.1)).expect("transfers");
        if self.now + seconds >= self.next_look {
            self.pass(self.next_look - self.now);
            self.look();
            return;
        }
        self.pass(seconds);
        let Transfer { connection, .. } = self.transfers.swap_remove(position);
        self.backends[connection.backend].transfers -= 1.0;
        if connection.transfers < self.scene.transfers {
            self.idle.push(Connection { idle_since: self.now, ..connection });
        } else {
            self.close(connection);
        }
        self.begin();
    }

    /// Lets time pass in which nothing happens.
    fn pass(&mut self, seconds: f64) {
        self.now += seconds;
        for backend in &mut self.backends {
            backend.done.connection_seconds += backend.connections as f64 * seconds;
            backend.done.transfer_seconds += backend.transfers * seconds;
            if backend.transfers > 0.0 {
                backend.served += backend.capacity / backend.transfers * seconds;
                backend.done.bytes += backend.capacity * seconds;
            }
        }
    }

    /// What happens every so often.
    fn look(&mut self) {
        self.next_look = self.now + LOOK;
        let (over, kept): (Vec<_>, Vec<_>) =
            self.idle.drain(..).partition(|connection| self.now - connection.idle_since > IDLE);
        self.idle = kept;
        over.into_iter().for_each(|connection| self.close(connection));
        let counts = |backend: &Backend| (backend.done.bytes as u64, backend.opened, backend.connections);
        self.choice.look(self.backends.iter().map(counts));
    }
}

/// Who chooses, with what it remembers.
struct Choice {
    chooser: Result<Chooser, Leastconn>,
    turn: u32,
    known: Vec<(Capacity, Work)>,
    /// Bytes and flows until the last look.
    before: Vec<(u64, u64)>,
}

impl Choice {
    fn new(way: Way, backends: usize) -> Self {
        let weights = vec![1; backends];
        let chooser = match way {
            Way::Haproxy => Err(Leastconn::new(backends)),
            Way::Ours(method) => {
                let candidate = |number| Candidate {
                    address: Address::from_v4([10, 1, 0, number]),
                    port: 9000,
                    weight: 1,
                };
                let candidates: Vec<_> = (0..backends as u8).map(candidate).collect();
                let table =
                    Table::maglev([7; 16], &candidates, method.slots_for(weights.iter().copied(), false));
                Ok(Chooser::of(method, &table, &weights, &vec![Level::FULL; backends]))
            }
        };
        Self { chooser, turn: 0, known: vec![Default::default(); backends], before: vec![(0, 0); backends] }
    }

    fn choose(&mut self, hash: u64, flows: Vec<u64>) -> usize {
        match &mut self.chooser {
            Err(haproxy) => haproxy.choose(&flows),
            Ok(chooser) => {
                let capacities = self.known.iter().map(|(capacity, _)| told(capacity)).collect();
                let hashes = Hashes { flow: hash, source: hash };
                chooser.choose(hashes, &mut self.turn, &Seen { flows, capacities }).expect("a backend")
                    as usize
            }
        }
    }

    fn closed(&mut self, backend: usize, flows: u64) {
        if let Err(haproxy) = &mut self.chooser {
            haproxy.reposition(backend, flows);
        }
    }

    fn look(&mut self, done: impl Iterator<Item = (u64, u64, u64)>) {
        for (((_, work), before), (bytes, opened, flows)) in
            self.known.iter_mut().zip(&mut self.before).zip(done)
        {
            *work = Work { bytes: bytes - before.0, flows, opened: opened - before.1, weight: 1 };
            *before = (bytes, opened);
        }
        measure(&mut self.known, LOOK);
    }
}

fn told(capacity: &Capacity) -> u64 {
    (capacity.relative() * CAPACITY_AS_WEIGHED as f64).round() as u64
}

struct Seen {
    flows: Vec<u64>,
    capacities: Vec<u64>,
}

impl Sight for Seen {
    fn open_flows(&self, position: u32) -> u64 {
        self.flows[position as usize]
    }

    fn capacity(&self, position: u32) -> u64 {
        self.capacities[position as usize]
    }

    fn handshake(&self, _: u32) -> u64 {
        0
    }
}

/// Sizes by Zipf's law: one of k MiB is as likely as 1/k.
struct Sizes(Vec<f64>);

impl Sizes {
    fn new() -> Self {
        let mut sum = 0.0;
        let sums = (1..=GREATEST).map(|size| {
            sum += 1.0 / size as f64;
            sum
        });
        Self(sums.collect())
    }

    fn one(&self, random: &mut Random) -> f64 {
        let all = self.0.last().expect("sizes");
        let drawn = random.next() as f64 / 2_f64.powi(64) * all;
        let size = self.0.partition_point(|sum| *sum < drawn).min(GREATEST - 1) + 1;
        size as f64 * SMALLEST
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}
