//! What a change costs until workers forward by it.

use std::{
    collections::BTreeSet,
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use balance::{Candidate, Table};
use control::{Cause, Check, Diagnosis, Health, Registry, compile, recompile};
use datapath::{Snapshot, WorkerMeters};
use model::{Address, Gateway, Generation, MAGLEV_SLOTS};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use publish::{Publisher, Reader};
use serde::Serialize;

use super::{
    Case, Effort, Spread, gateway, machine, measure,
    rig::{Loop, Rig},
    scale::{self, Scale},
    script::Script,
};
use crate::failure::Failure;

/// Backends of the table that is built.
const BACKENDS: u32 = 1000;
/// Looks of a reader in a round.
const LOOKS: u32 = 1 << 22;
/// Publications in a round.
const PUBLICATIONS: u32 = 250;
/// From one publication to the next, about.
const PAUSE: Duration = Duration::from_micros(200);
/// Flows of the packets that the worker is busy with.
const FLOWS: u32 = 4096;
/// A thread that does nothing else and did not come to its next step for so long was interrupted. A worker's turn takes a
/// microsecond or two.
const INTERRUPTION: Duration = Duration::from_micros(20);
/// Where a change of one pool is measured.
const SCALES: [Scale; 2] = [
    Scale { virtual_servers: 10_000, pools: 1000, backends_per_pool: 10 },
    Scale { virtual_servers: 10_000, pools: 1000, backends_per_pool: 100 },
];

/// All about publication.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Publication {
    /// Milliseconds of processor time in which a table of 65,536 slots for 1,000 backends is built.
    pub(crate) build_ms: Spread,
    /// Cycles that a worker spends on a burst to see that nothing was published.
    pub(crate) reader_cycles: Spread,
    /// From a publication until control knows that a busy worker forwards by it.
    pub(crate) seen: Seen,
    /// A change of one pool among many.
    pub(crate) changes: Vec<Change>,
}

/// How soon publications were seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    /// All of them.
    pub(crate) all: Delays,
    /// Those during which the system took the processor away from neither thread.
    pub(crate) unstolen: Delays,
    /// Whether control and the worker had a processor each.
    pub(crate) is_apart: bool,
}

/// Microseconds until publications were seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Delays {
    pub(crate) publications: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

/// One publication.
#[derive(Clone, Copy)]
struct Delay {
    ticks: u64,
    is_unstolen: bool,
}

/// Whether a thread that is never idle was interrupted.
struct Interruptions {
    last: u64,
    limit: u64,
}

impl Interruptions {
    fn new(hertz: u64) -> Self {
        Self { last: cpu::tsc(), limit: (INTERRUPTION.as_secs_f64() * hertz as f64) as u64 }
    }

    /// Whether it was since this was asked last.
    fn was_interrupted(&mut self) -> bool {
        let now = cpu::tsc();
        now.wrapping_sub(std::mem::replace(&mut self.last, now)) > self.limit
    }
}

/// What a change of one pool takes until it is published, in microseconds of processor time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    #[serde(flatten)]
    pub(crate) scale: Scale,
    /// A backend goes down or comes up.
    pub(crate) health_us: Spread,
    /// A backend gets another weight.
    pub(crate) configuration_us: Spread,
}

/// Measures all about publication. `processor` is the one that this thread is bound to.
///
/// # Errors
/// When the system has no thread or clock, or the worker does not forward.
pub(super) fn measure(
    case: &Case,
    effort: Effort,
    hertz: u64,
    processor: Option<usize>,
) -> Result<Publication, Failure> {
    let case = Case { flows: FLOWS, ..*case };
    Ok(Publication {
        build_ms: build(effort.rounds)?,
        reader_cycles: look(&case, effort.rounds, hertz)?,
        seen: seen(&case, effort.rounds * PUBLICATIONS, hertz, processor)?,
        changes: SCALES.iter().map(|scale| change(*scale, effort.rounds)).collect::<Result<_, _>>()?,
    })
}

/// Processor time that something takes, in seconds.
fn seconds(what: impl FnOnce()) -> Result<f64, Failure> {
    let before = machine::thread_time()?;
    what();
    Ok(machine::thread_time()?.saturating_sub(before).as_secs_f64())
}

fn build(rounds: u32) -> Result<Spread, Failure> {
    let address = |number: u32| Address::from_v4((0x0a01_0000 + number).to_be_bytes());
    let candidates: Vec<Candidate> =
        (0..BACKENDS).map(|number| Candidate { address: address(number), port: 8080, weight: 1 }).collect();
    let round = |number: u32| {
        let seed = [number as u8; 16];
        let time = seconds(|| drop(hint::black_box(Table::maglev(seed, &candidates, MAGLEV_SLOTS))))?;
        Ok(time * 1e3)
    };
    (0..rounds).map(round).collect::<Result<_, _>>().map(Spread::of)
}

/// Looks at what is published, and, in turns, at the same that is not published.
fn look(case: &Case, rounds: u32, hertz: u64) -> Result<Spread, Failure> {
    let snapshot = gateway::snapshot(case)?;
    let plain = snapshot.clone();
    let (_publisher, mut reader) = channel(snapshot)?;
    let round = |_| {
        let with = seconds(|| {
            for _ in 0..LOOKS {
                hint::black_box(hint::black_box(&mut reader).current().generation);
            }
        })?;
        let without = seconds(|| {
            for _ in 0..LOOKS {
                hint::black_box(hint::black_box(&plain).generation);
            }
        })?;
        Ok((with - without) * hertz as f64 / f64::from(LOOKS))
    };
    (0..rounds).map(round).collect::<Result<_, _>>().map(Spread::of)
}

fn channel(snapshot: Snapshot) -> Result<(Publisher<Snapshot>, Reader<Snapshot>), Failure> {
    let (publisher, readers) = publish::channel(snapshot, 1);
    let reader = readers.into_iter().next().ok_or_else(|| Failure::not_so("there is no reader"))?;
    Ok((publisher, reader))
}

/// Publishes from another thread while a worker forwards in this one.
fn seen(case: &Case, publications: u32, hertz: u64, processor: Option<usize>) -> Result<Seen, Failure> {
    let snapshot = gateway::snapshot(case)?;
    let (publisher, reader) = channel(snapshot.clone())?;
    let mut rig = Rig::reading(case, hertz, Arc::new(WorkerMeters::new()), reader)?;
    measure::fill(&mut rig, case)?;
    rig.link().play(Some(Script::of(case)?), None);
    let (is_over, interrupted) = (AtomicBool::new(false), AtomicU64::new(0));
    let (delays, is_apart) = thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let is_apart = processor.is_some_and(leave);
            let delays = publish_all(publisher, &snapshot, publications, hertz, &interrupted);
            is_over.store(true, Ordering::Relaxed);
            (delays, is_apart)
        });
        let mut interruptions = Interruptions::new(hertz);
        while !is_over.load(Ordering::Relaxed) {
            rig.turn();
            if interruptions.was_interrupted() {
                interrupted.fetch_add(1, Ordering::Relaxed);
            }
        }
        publishing.join()
    })
    .map_err(|_| Failure::not_so("the publishing thread panicked"))?;
    if rig.count().dropped > 0 {
        return Err(Failure::not_so("the worker dropped packets while snapshots were published"));
    }
    Ok(Seen::of(&delays, hertz, is_apart))
}

/// Publishes again and again, and waits each time until the worker has acknowledged it. `interrupted` is how often the
/// worker was.
fn publish_all(
    mut publisher: Publisher<Snapshot>,
    snapshot: &Snapshot,
    publications: u32,
    hertz: u64,
    interrupted: &AtomicU64,
) -> Vec<Delay> {
    let pause = (PAUSE.as_secs_f64() * hertz as f64) as u64;
    let mut delays = Vec::with_capacity(publications as usize);
    for number in 1..=u64::from(publications) {
        let next = Snapshot { generation: Generation(snapshot.generation.0 + number), ..snapshot.clone() };
        let before = interrupted.load(Ordering::Relaxed);
        let (mut own, mut is_unstolen) = (Interruptions::new(hertz), true);
        let from = cpu::tsc();
        let published = publisher.publish(next);
        while publisher.acknowledged() < published {
            is_unstolen &= !own.was_interrupted();
        }
        let until = cpu::tsc();
        is_unstolen &= !own.was_interrupted();
        publisher.reclaim();
        while cpu::tsc().wrapping_sub(until) < pause {
            hint::spin_loop();
        }
        // The worker has counted by now what has befallen it.
        is_unstolen &= interrupted.load(Ordering::Relaxed) == before;
        delays.push(Delay { ticks: until.wrapping_sub(from), is_unstolen });
    }
    delays
}

/// Binds this thread to another processor than that; whether there is one.
fn leave(processor: usize) -> bool {
    let others = (0..CpuSet::count()).filter(|&number| number != processor);
    others.into_iter().any(|number| {
        let mut only = CpuSet::new();
        only.set(number).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only)).is_ok()
    })
}

impl Seen {
    fn of(delays: &[Delay], hertz: u64, is_apart: bool) -> Self {
        let unstolen = delays.iter().filter(|delay| delay.is_unstolen).copied();
        Self {
            all: Delays::of(delays.iter().copied(), hertz),
            unstolen: Delays::of(unstolen, hertz),
            is_apart,
        }
    }
}

impl Delays {
    fn of(delays: impl Iterator<Item = Delay>, hertz: u64) -> Self {
        let mut ticks: Vec<u64> = delays.map(|delay| delay.ticks).collect();
        ticks.sort_unstable();
        let at = |part: f64| {
            let position = (part * ticks.len().saturating_sub(1) as f64).ceil() as usize;
            ticks.get(position).map_or(0.0, |&ticks| ticks as f64 / hertz as f64 * 1e6)
        };
        Self { publications: ticks.len(), p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
    }
}

/// Changes one pool after the other.
fn change(scale: Scale, rounds: u32) -> Result<Change, Failure> {
    let mut gateway = large(scale)?;
    let (mut registry, mut health) = (Registry::default(), Health::optimistic());
    let first = compile(&gateway, &mut registry, &health, &scale::facts(0));
    let (mut publisher, mut reader) = channel(first)?;
    let (mut of_health, mut of_configuration) = (Vec::new(), Vec::new());
    for (round, position) in (0..rounds).zip((1..scale.pools).cycle()) {
        let facts = scale::facts(2 * u64::from(round) + 1);
        let Some(pool) = gateway.pools.get_mut(position) else { continue };
        if let (Some(backend), Some(monitor)) = (pool.backends.first_mut(), pool.monitors.first()) {
            health.record(Check::of(backend, monitor), Diagnosis::down(Cause::Refused));
            backend.weight = 2;
        }
        let changed = BTreeSet::from([position]);
        of_health.push(seconds(|| {
            let next = recompile(publisher.current(), &gateway, &mut registry, &health, &facts, &changed);
            publisher.publish(next);
        })?);
        let facts = scale::facts(2 * u64::from(round) + 2);
        of_configuration.push(seconds(|| {
            let mut renewed = registry.clone();
            publisher.publish(compile(&gateway, &mut renewed, &health, &facts));
            registry = renewed;
        })?);
        reader.current();
        publisher.reclaim();
    }
    let spread = |seconds: Vec<f64>| Spread::of(seconds.into_iter().map(|seconds| seconds * 1e6).collect());
    Ok(Change { scale, health_us: spread(of_health), configuration_us: spread(of_configuration) })
}

fn large(scale: Scale) -> Result<Gateway, Failure> {
    let read = config::parse(&scale.text(), "bench.yaml");
    read.map(|configuration| configuration.gateway)
        .map_err(|mistakes| Failure::mistakes(mistakes.render(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_are_told_in_microseconds() {
        let delay = |ticks| Delay { ticks, is_unstolen: ticks != 200 };
        let seen = Seen::of(&(1..=200).rev().map(delay).collect::<Vec<_>>(), 1_000_000, true);
        assert_eq!((seen.all.p50_us, seen.all.p99_us, seen.all.max_us), (101.0, 199.0, 200.0));
        assert_eq!((seen.unstolen.publications, seen.unstolen.max_us), (199, 199.0));
        assert_eq!(Seen::of(&[], 1, false).all, Delays::default());
    }
}
