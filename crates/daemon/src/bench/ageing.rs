//! What looking for flows to end costs, and ending them.
//!
//! A turn that finds no packet keeps house. Such a turn is timed alone, each between as many full ones as a worker under full
//! load makes between two calls, so that it finds caches as they are then. It does a little more than housekeeping (it asks
//! for packets), so that the figures are not too low.

use std::sync::Arc;

use super::{
    Case, Effort, Figure, Spread,
    figure::Ageing,
    measure::{self, LOOKED_AT, Span, check_count, wrong},
    rig::{BURST, Loop, Rig},
    script::Script,
};
use crate::failure::Failure;

/// Turns between two calls of housekeeping, as `worker` has it.
const TURNS: u32 = 1024;
/// Seconds after which all flows have expired: more than the idle timeout of an hour.
const LATER: u64 = 7200;
/// Calls in which all flows must have ended, for each flow.
const CALLS_PER_FLOW: u32 = 64;

/// Measures a case.
///
/// # Errors
/// When the worker does not do what the case says.
pub(super) fn measure(case: &Case, effort: Effort, hertz: u64) -> Result<Figure, Failure> {
    let mut rig = Rig::try_new(case, hertz, Arc::default())?;
    measure::fill(&mut rig, case)?;
    let script = Script::of(case)?;
    let (mut calls, mut medians) = (0, Vec::new());
    let before = rig.count();
    for _ in 0..effort.rounds {
        rig.link().play(Some(script.clone()), None);
        let round = round(&mut rig, Span::of(effort, hertz));
        calls += round.len() as u64;
        medians.push(Spread::of(round).median);
    }
    check_count(case, before, rig.count())?;
    measure::look(&mut rig, case, &script.first(LOOKED_AT.min(case.flows)))?;
    let packets = u64::from(TURNS) * BURST as u64;
    Ok(Figure::aged(
        case,
        Ageing {
            cycles_a_packet: Spread::of(medians.iter().map(|call| call / packets as f64).collect()),
            cycles_a_call: Spread::of(medians),
            packets_a_call: packets,
            cycles_an_expired_flow: expire(&mut rig, case)?,
            calls,
        },
    ))
}

/// Cycles of calls between full turns, one at least.
fn round(rig: &mut Rig, span: Span) -> Vec<f64> {
    let ticks = match span {
        Span::Ticks(ticks) => ticks,
        Span::Packets(_) => 0,
    };
    let (from, mut calls) = (cpu::tsc(), Vec::new());
    loop {
        for _ in 0..TURNS {
            rig.turn();
        }
        let script = rig.link().pause();
        calls.push(call(rig));
        rig.link().resume(script);
        if cpu::tsc().wrapping_sub(from) >= ticks {
            return calls;
        }
    }
}

/// Cycles of one turn.
fn call(rig: &mut Rig) -> f64 {
    let from = cpu::tsc();
    rig.turn();
    cpu::tsc().wrapping_sub(from) as f64
}

/// Lets all flows expire: cycles for each.
fn expire(rig: &mut Rig, case: &Case) -> Result<f64, Failure> {
    rig.link().play(None, None);
    let expired = |rig: &Rig| rig.meters().flows_expired.read();
    let before = expired(rig);
    rig.advance(LATER);
    let mut cycles = 0.0;
    for _ in 0..CALLS_PER_FLOW.saturating_mul(case.flows) {
        cycles += call(rig);
        if rig.meters().flows.read() == 0 {
            break;
        }
    }
    match expired(rig) - before {
        all if all == u64::from(case.flows) => Ok(cycles / all as f64),
        some => Err(wrong(case, format_args!("{some} flows have expired"))),
    }
}

#[cfg(test)]
mod tests {
    use model::Mode;

    use super::*;
    use crate::bench::{Family, Scenario, Size};

    const HERTZ: u64 = 2_000_000_000;

    #[test]
    fn calls_are_counted_and_all_flows_end() {
        for family in [Family::V4, Family::V6] {
            let case = Case {
                scenario: Scenario::Ageing,
                drop: None,
                mode: Mode::Nat,
                family,
                flows: 1000,
                size: Size::default(),
            };
            let figure = measure(&case, Effort { rounds: 2, seconds: 0.001 }, HERTZ).unwrap();
            let ageing = figure.ageing.unwrap();
            assert!(ageing.calls >= 2 && ageing.packets_a_call == 32_768, "{ageing:?}");
            assert!(ageing.cycles_a_call.median > 0.0 && ageing.cycles_an_expired_flow > 0.0, "{ageing:?}");
        }
    }

    #[test]
    fn flows_that_do_not_expire_are_a_mistake() {
        let case = Case {
            scenario: Scenario::Ageing,
            drop: None,
            mode: Mode::Nat,
            family: Family::V4,
            flows: 64,
            size: Size::default(),
        };
        let mut rig = Rig::try_new(&case, HERTZ, Arc::default()).unwrap();
        assert!(expire(&mut rig, &case).unwrap_err().to_string().contains("0 flows have expired"));
    }
}
