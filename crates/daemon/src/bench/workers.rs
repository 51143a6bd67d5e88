//! What packets cost when two workers run, against one that runs alone.
//!
//! Each worker has a processor, a flow table and a link of its own. They have in common what a gateway's workers have: one
//! publisher, and counters that were allocated one behind the other.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use model::WorkerId;
use worker::{Idle, desk::desk};

use super::{
    Case, Effort, Figure,
    figure::Comparison,
    gateway, machine,
    measure::{self, LOOKED_AT, Span, check_count},
    rig::{Bare, Berth, Loop, Rig},
    script::Script,
};
use crate::failure::Failure;

/// Workers.
const WORKERS: u8 = 2;
/// Turns between two looks at what the other worker does.
const TURNS: u32 = 64;

/// Where both wait for each other.
struct Meeting {
    barrier: Barrier,
    /// Whether one of them cannot go on.
    failed: AtomicBool,
    /// Measurements that both have ended, in all.
    ended: AtomicU64,
}

/// Cycles a packet of one worker in a round.
#[derive(Clone, Copy, Default)]
struct Cycles {
    alone: f64,
    together: f64,
}

/// What one worker has measured: cycles of input and output, and of all.
struct Measured {
    rounds: Vec<(Cycles, Cycles)>,
    verified: u64,
}

/// Measures a case on two of the processors.
///
/// # Errors
/// When there is only one processor, or a worker does not do what the case says.
pub(super) fn measure(case: &Case, effort: Effort, hertz: u64, allowed: &[usize]) -> Result<Figure, Failure> {
    let &[.., first, second] = allowed else {
        return Err(Failure::not_so("two workers need two processors, and this process may use only one")
            .remedy("allow it two with `taskset`, or measure something else"));
    };
    let (_publisher, readers) = publish::channel(gateway::snapshot(case)?, usize::from(WORKERS));
    let berths = readers.into_iter().zip(0..WORKERS).map(|(reader, number)| Berth {
        id: WorkerId(number),
        workers: WORKERS,
        reader,
        meters: Arc::default(),
        desk: desk().1,
    });
    // All are made before the first one starts, as in a gateway.
    let berths: Vec<Berth> = berths.collect();
    let meeting = &Meeting {
        barrier: Barrier::new(usize::from(WORKERS)),
        failed: AtomicBool::new(false),
        ended: AtomicU64::new(0),
    };
    let measured = thread::scope(|scope| {
        let threads: Vec<_> = berths
            .into_iter()
            .zip([first, second])
            .map(|(berth, processor)| {
                scope.spawn(move || work(berth, processor, case, effort, hertz, meeting))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(broken()))).collect()
    });
    let measured: Result<Vec<Option<Measured>>, Failure> = measured;
    let measured: Vec<Measured> = measured?.into_iter().flatten().collect();
    Ok(Figure::compared(case, compare(&measured)))
}

fn broken() -> Failure {
    Failure::not_so("a measuring thread broke")
}

/// Both workers' costs in each round, with input and output and without.
fn compare(measured: &[Measured]) -> Vec<Comparison> {
    let [one, other] = measured else { return Vec::new() };
    let rounds = || one.rounds.iter().zip(&other.rounds);
    let verified = one.verified + other.verified;
    let all = rounds().map(|((_, one), (_, other))| mean(*one, *other)).collect::<Vec<_>>();
    let above =
        rounds().map(|((io, all), (other_io, other_all))| mean(all.above(*io), other_all.above(*other_io)));
    let above: Vec<_> = above.collect();
    vec![
        Comparison::of("two workers, with I/O", &all, verified),
        Comparison::of("two workers", &above, verified),
    ]
}

/// Together, and alone.
fn mean(one: Cycles, other: Cycles) -> (f64, f64) {
    (f64::midpoint(one.together, other.together), f64::midpoint(one.alone, other.alone))
}

impl Cycles {
    fn above(self, io: Self) -> Self {
        Self { alone: self.alone - io.alone, together: self.together - io.together }
    }
}

/// One worker's thread. `None` when the other worker cannot go on, and says why.
fn work(
    berth: Berth,
    processor: usize,
    case: &Case,
    effort: Effort,
    hertz: u64,
    meeting: &Meeting,
) -> Result<Option<Measured>, Failure> {
    let id = berth.id;
    let prepared = prepare(berth, processor, case, hertz);
    meeting.failed.fetch_or(prepared.is_err(), Ordering::AcqRel);
    meeting.barrier.wait();
    let (mut rig, script) = prepared?;
    if meeting.failed.load(Ordering::Acquire) {
        return Ok(None);
    }
    let (mut bare, before) = (Bare::new(), rig.count());
    let span = Span::of(effort, hertz);
    let rounds: Vec<_> = (0..effort.rounds)
        .map(|_| {
            let io = meeting.take_turns(&mut bare, &script, id, (span, hertz));
            (io, meeting.take_turns(&mut rig, &script, id, (span, hertz)))
        })
        .collect();
    check_count(case, before, rig.count())?;
    let verified = measure::look(&mut rig, case, &script.first(LOOKED_AT.min(case.flows)))?;
    let rounds = rounds.into_iter().map(|(io, all)| Ok((io?, all?))).collect::<Result<_, Failure>>()?;
    Ok(Some(Measured { rounds, verified }))
}

fn prepare(berth: Berth, processor: usize, case: &Case, hertz: u64) -> Result<(Rig, Script), Failure> {
    if !machine::pin_to(processor) {
        return Err(Failure::not_so(format_args!("no thread can be bound to processor {processor}")));
    }
    let mut rig = Rig::at(berth, hertz, case.flows, Idle::Busy)?;
    measure::fill(&mut rig, case)?;
    Ok((rig, Script::of(case)?))
}

impl Meeting {
    /// Each worker alone, then both. What one cannot measure it says only when both are through: none waits in vain.
    fn take_turns(
        &self,
        looped: &mut impl Loop,
        script: &Script,
        id: WorkerId,
        (span, hertz): (Span, u64),
    ) -> Result<Cycles, Failure> {
        let mut alone = Ok(0.0);
        for number in 0..WORKERS {
            self.barrier.wait();
            if number == id.0 {
                alone = measure::cycles(looped, script, span, hertz);
            }
        }
        self.barrier.wait();
        let target = self.ended.load(Ordering::Acquire) + u64::from(WORKERS);
        self.barrier.wait();
        let together = measure::cycles(looped, script, span, hertz);
        self.ended.fetch_add(1, Ordering::AcqRel);
        // Until the other one has measured too it is not alone.
        looped.link().play(Some(script.clone()), None);
        while self.ended.load(Ordering::Acquire) < target {
            (0..TURNS).for_each(|_| {
                looped.turn();
            });
        }
        looped.link().play(None, None);
        self.barrier.wait();
        Ok(Cycles { alone: alone?, together: together? })
    }
}

#[cfg(test)]
mod tests {
    use model::Mode;

    use super::*;
    use crate::bench::{Family, Scenario, Size};

    const HERTZ: u64 = 2_000_000_000;
    const EFFORT: Effort = Effort { rounds: 2, seconds: 0.001 };

    fn case() -> Case {
        Case {
            scenario: Scenario::Workers,
            drop: None,
            mode: Mode::Nat,
            family: Family::V4,
            flows: 256,
            size: Size::default(),
        }
    }

    #[test]
    fn two_workers_are_measured_alone_and_together() {
        // Both threads may share a processor: no figure is right then, but everything else is.
        let processor = machine::pin().number.unwrap();
        let figure = measure(&case(), EFFORT, HERTZ, &[processor; 2]).unwrap();
        assert_eq!(figure.comparisons.len(), 2);
        for comparison in &figure.comparisons {
            assert_eq!(comparison.verified, 512, "{comparison:?}");
        }
    }

    #[test]
    fn one_processor_is_too_few_and_one_that_there_is_not_is_said() {
        let failure = measure(&case(), EFFORT, HERTZ, &[0]).unwrap_err();
        assert!(failure.to_string().contains("two processors"), "{failure}");
        let processor = machine::pin().number.unwrap();
        let failure = measure(&case(), EFFORT, HERTZ, &[processor, 1023]).unwrap_err();
        assert!(failure.to_string().contains("processor 1023"), "{failure}");
    }

    #[test]
    fn the_cost_of_both_is_compared_in_each_round() {
        let cycles = |alone, together| Cycles { alone, together };
        let round = |all| (cycles(10.0, 12.0), all);
        let measured = [cycles(110.0, 112.0), cycles(90.0, 132.0)]
            .map(|all| Measured { rounds: vec![round(all)], verified: 1 });
        let [with_io, above] = &compare(&measured)[..] else { panic!() };
        assert_eq!((with_io.cycles.median, with_io.cycles_without.median), (122.0, 100.0));
        assert_eq!((above.cycles.median, above.cycles_without.median), (110.0, 90.0));
    }
}
