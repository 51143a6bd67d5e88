//! The owner of what control knows: configuration, health, ids, and the published snapshot.
//!
//! What must stay true:
//! - a change is a transaction: whatever is wrong with it, nothing of it is applied and the generation stays;
//! - a snapshot is built from a copy of the ids and tables, which takes the original's place once it is complete, so that
//!   a panic on the way changes nothing either;
//! - workers are never waited for with the lock held, and what they do not take up delays the freeing of memory only.
//!
//! What it leaves to others: what is up (`monitor`), what a snapshot consists of (`compile`).

mod difference;
mod pace;
mod republish;
mod subjects;
mod transaction;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use config::Configuration;
use datapath::snapshot::Snapshot;
use model::{Backend, Gateway, Generation, Pool};
use parking_lot::{Mutex, MutexGuard};
use publish::{Publisher, Reader};
use tokio::{
    sync::{Notify, watch},
    time,
};

pub(crate) use self::republish::run as republish;
use self::subjects::Subjects;
pub use self::transaction::{ApplyError, ReloadError};
use crate::{
    compile::{Facts, Registry, compile, recompile},
    health::{Check, Condition, Diagnosis, Health},
    traffic::{Baselines, Fleet, Subject},
};

/// The owner of configuration, health and the published snapshot.
pub struct Plane {
    pub(crate) fleet: Fleet,
    state: Mutex<State>,
    /// One configuration change at a time, its acknowledgement included.
    transaction: tokio::sync::Mutex<()>,
    /// Told of each change of the configuration.
    changed: watch::Sender<()>,
    /// Told of each change of health.
    health_changed: Notify,
}

pub(crate) struct State {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) facts: Facts,
    pub(crate) registry: Registry,
    pub(crate) health: Health,
    pub(crate) baselines: Baselines,
    pub(crate) published: Instant,
    /// Whom each check speaks of.
    subjects: Subjects,
    /// Pools whose health has changed since the last publication, by position.
    changed: BTreeSet<usize>,
    publisher: Publisher<Snapshot>,
}

/// The snapshot published first. Numbers of `publish` begin at 0, generations at 1, so that a worker's gauge tells "not
/// yet begun" from the first.
const FIRST: Generation = Generation(1);

impl Plane {
    /// Compiles `configuration` as the first generation. The readers are the workers', one for each member of `fleet`.
    #[must_use]
    pub fn new(configuration: Configuration, facts: Facts, fleet: Fleet) -> (Self, Vec<Reader<Snapshot>>) {
        let health = Health::default().carried_over(&Gateway::default(), &configuration.gateway);
        let facts = Facts { generation: FIRST, ..facts };
        let mut registry = Registry::default();
        let first = compile(&configuration.gateway, &mut registry, &health, &facts);
        let (publisher, readers) = publish::channel(first, fleet.members.len());
        let state = State {
            subjects: Subjects::of(&configuration.gateway),
            changed: BTreeSet::new(),
            configuration: Arc::new(configuration),
            facts,
            registry,
            health,
            baselines: Baselines::default(),
            published: Instant::now(),
            publisher,
        };
        let plane = Self {
            fleet,
            state: Mutex::new(state),
            transaction: tokio::sync::Mutex::new(()),
            changed: watch::Sender::new(()),
            health_changed: Notify::new(),
        };
        (plane, readers)
    }

    /// The configuration in force.
    #[must_use]
    pub fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.state.lock().configuration)
    }

    /// The number of the snapshot that was published last.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.state.lock().facts.generation
    }

    /// The condition of a check's target.
    pub(crate) fn condition(&self, check: &Check) -> Condition {
        self.state.lock().health.check(check).condition
    }

    /// Notes what a check found. What follows for backends is logged here, once, and published soon.
    pub fn report(&self, check: Check, diagnosis: Diagnosis) {
        let mut state = self.state.lock();
        let State { configuration, health, subjects, changed, .. } = &mut *state;
        if !health.watches(&check) {
            return; // the configuration let go of it meanwhile
        }
        let concerned: Vec<_> = subjects.of_check(&configuration.gateway, &check).collect();
        let before: Vec<_> = concerned.iter().map(|(_, pool, b)| health.of(pool, b).condition).collect();
        if health.record(check, diagnosis) {
            for ((position, pool, backend), was) in concerned.into_iter().zip(before) {
                let is = health.of(pool, backend);
                // What was never up before begins at once, unless it was added to a pool that others are in already.
                let is_slow = was == Condition::Down || health.ramps.has(pool, backend);
                if was != is.condition && is.condition == Condition::Up && is_slow {
                    health.ramps.begin(pool, backend, time::Instant::now());
                }
                log_transition(pool, backend, was, is);
                changed.insert(position);
            }
            self.health_changed.notify_one();
        }
    }

    /// Told whenever the configuration in force has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// All that there is to read.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Compiles and publishes; replaces what is in force by what is given.
    fn publish(&mut self, configuration: Arc<Configuration>, health: Health, fleet: &Fleet) -> Generation {
        let mut registry = self.registry.clone();
        let generation = Generation(self.facts.generation.0 + 1);
        let facts = Facts { generation, ..self.facts.clone() };
        let snapshot = compile(&configuration.gateway, &mut registry, &health, &facts);
        self.publisher.publish(snapshot);
        self.subjects = Subjects::of(&configuration.gateway);
        self.changed.clear();
        (self.configuration, self.health, self.registry, self.facts) =
            (configuration, health, registry, facts);
        self.published = Instant::now();
        self.renew_baselines(fleet);
        generation
    }

    /// Compiles and publishes what has changed of health.
    fn publish_health(&mut self) -> Generation {
        let generation = Generation(self.facts.generation.0 + 1);
        let facts = Facts { generation, ..self.facts.clone() };
        // Ids stay as they are, and a pool's table is the same whatever was compiled before: no copy is needed.
        let (gateway, before) = (&self.configuration.gateway, self.publisher.current());
        let snapshot = recompile(before, gateway, &mut self.registry, &self.health, &facts, &self.changed);
        self.publisher.publish(snapshot);
        self.changed.clear();
        (self.facts, self.published) = (facts, Instant::now());
        generation
    }

    fn renew_baselines(&mut self, fleet: &Fleet) {
        let (gateway, registry) = (&self.configuration.gateway, &self.registry);
        let servers = gateway.virtual_servers.iter().filter_map(|server| {
            let (id, incarnation) = registry.virtual_server_incarnation(&server.name)?;
            Some((Subject::VirtualServer(id), incarnation))
        });
        let members = gateway.pools.iter().flat_map(|pool| registry.members(pool)).flatten();
        let backends = members.map(|(id, incarnation)| (Subject::Backend(id), incarnation));
        self.baselines.renew(servers.chain(backends), fleet);
    }

    /// The generation that all workers have reached.
    pub(crate) fn acknowledged(&self) -> Generation {
        Generation(self.publisher.acknowledged() + FIRST.0)
    }

    /// The snapshot that was published last.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.publisher.current()
    }
}

/// One line for a backend that has come up or gone down.
fn log_transition(pool: &Pool, backend: &Backend, was: Condition, is: Diagnosis) {
    let (pool, address) = (&pool.name, backend.address);
    match is.cause {
        _ if was == is.condition => {}
        Some(cause) => tracing::warn!(pool, %address, %was, %cause, "backend is down"),
        None => tracing::info!(pool, %address, %was, "backend is {}", is.condition),
    }
}
