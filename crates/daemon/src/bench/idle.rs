//! What the whole loop costs as a gateway runs it, and what it costs under load that the worker would rest without.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use worker::Idle;

use super::{
    Case, Effort, Figure,
    figure::Comparison,
    machine,
    measure::{self, LOOKED_AT, check_count, to_end, wrong},
    rig::{Bare, Loop, Rig},
    script::Script,
    tap::{Quota, Tap},
};
use crate::failure::Failure;

/// About what a packet takes, in cycles.
const PACKET: f64 = 128.0;
/// Packets before time is measured.
const WARM_UP: u64 = 65_536;

/// Measures a case: turns by themselves, in the loop of a worker that is always busy, and of one that is adaptive.
///
/// # Errors
/// When the worker does not do what the case says.
pub(super) fn measure(case: &Case, effort: Effort, hertz: u64) -> Result<Figure, Failure> {
    let packets = (effort.seconds * hertz as f64 / PACKET) as u64;
    let script = Script::of(case)?;
    let (mut bare, mut verified) = (Bare::new(), 0);
    let (mut loops, mut idles) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        // Where its memory lies makes a worker faster or slower: each round has new ones, made in turns.
        let (mut busy, mut adaptive) = rigs(case, hertz, round.is_multiple_of(2))?;
        let io = polled(&mut bare, &script, packets, hertz)?;
        let turns = polled(&mut busy, &script, packets, hertz)? - io;
        let busily = run(&mut busy, case, &script, packets, hertz)? - io;
        let adaptively = run(&mut adaptive, case, &script, packets, hertz)? - io;
        loops.push((busily, turns));
        idles.push((adaptively, busily));
        let some = script.first(LOOKED_AT.min(case.flows));
        for rig in [&mut busy, &mut adaptive] {
            verified += measure::look(rig, case, &some)?;
        }
    }
    let loops = Comparison::of("as run, without: turns", &loops, verified);
    Ok(Figure::compared(case, vec![loops, Comparison::of("adaptive, without: busy", &idles, verified)]))
}

/// A busy worker and an adaptive one that know all flows.
fn rigs(case: &Case, hertz: u64, is_busy_first: bool) -> Result<(Rig, Rig), Failure> {
    let make = |idle| {
        let mut rig = Rig::idling(case, hertz, idle)?;
        measure::fill(&mut rig, case)?;
        Ok(rig)
    };
    if is_busy_first {
        return Ok((make(Idle::Busy)?, make(Idle::Adaptive)?));
    }
    let adaptive = make(Idle::Adaptive)?;
    Ok((make(Idle::Busy)?, adaptive))
}

/// Cycles a packet of turns by themselves.
fn polled(looped: &mut impl Loop, script: &Script, packets: u64, hertz: u64) -> Result<f64, Failure> {
    timed(looped, script, packets, hertz, |looped, stop| {
        while !stop.load(Ordering::Relaxed) {
            looped.turn();
        }
    })
}

/// Cycles a packet of a worker's own loop.
fn run(rig: &mut Rig, case: &Case, script: &Script, packets: u64, hertz: u64) -> Result<f64, Failure> {
    let (before, bursts) = (rig.count(), rig.meters().residence_cycles.count());
    let cycles = timed(rig, script, packets, hertz, Rig::run)?;
    check_count(case, before, rig.count())?;
    if rig.meters().residence_cycles.count() == bursts {
        return Err(wrong(case, "the worker's loop did not record how long it had packets"));
    }
    Ok(cycles)
}

/// Cycles for each of so many packets of what ends when it is told.
fn timed<L: Loop>(
    looped: &mut L,
    script: &Script,
    packets: u64,
    hertz: u64,
    work: impl FnOnce(&mut L, &AtomicBool),
) -> Result<f64, Failure> {
    looped.link().play(Some(script.clone()), None);
    to_end(looped, WARM_UP);
    let stop = Arc::new(AtomicBool::new(false));
    looped.link().tap(Some(Tap::Quota(Quota { left: packets, stop: Arc::clone(&stop) })));
    let before = machine::thread_time()?;
    work(looped, &stop);
    let spent = machine::thread_time()?.saturating_sub(before);
    looped.link().play(None, None);
    Ok(spent.as_secs_f64() * hertz as f64 / packets as f64)
}

#[cfg(test)]
mod tests {
    use model::Mode;

    use super::*;
    use crate::bench::{Family, Scenario, Size};

    #[test]
    fn the_loop_is_measured_busy_and_adaptive() {
        let case = Case {
            scenario: Scenario::Idle,
            drop: None,
            mode: Mode::Nat,
            family: Family::V6,
            flows: 256,
            size: Size::default(),
        };
        let figure = measure(&case, Effort { rounds: 2, seconds: 0.001 }, 2_000_000_000).unwrap();
        assert_eq!(figure.comparisons.len(), 2);
        for comparison in &figure.comparisons {
            assert_eq!(comparison.verified, 1024);
            assert!(comparison.cycles.median.is_finite(), "{comparison:?}");
        }
    }
}
