//! What packets of established flows cost while a flood of new flows comes.
//!
//! Four loops take turns: established packets alone, the flood alone, both in the same bursts, and both in bursts of their
//! own by turns. What the flood costs by itself is taken off what both cost together; the rest is the established packets'.
//! So theirs is, too, what the flood costs more because a burst has fewer of its packets, which are planned together; in
//! bursts of their own there is no such thing, and what is left is what happens to caches.

use std::sync::Arc;

use datapath::DropReason;

use super::{
    Case, Effort, Figure,
    figure::Comparison,
    measure::{self, Span, check_sent, check_watch, cycles, wrong},
    rig::{Bare, Count, Rig},
    script::{Manner, Script},
};
use crate::failure::Failure;

/// Flows of a flood for each second that a loop is to run: fewer than the worker can open, so that it need not run longer.
const FLOWS_PER_SECOND: f64 = 1e6;
/// Flows of a flood at least.
const FEWEST: u32 = 4096;
/// Packets of established flows before time is measured.
const WARM_UP: u64 = 65_536;

/// What the flood finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// Room for all of it.
    Roomy,
    /// Established flows only, as many as there is room for.
    Full,
}

/// What is sent in the three loops.
struct Scripts {
    established: Script,
    flood: Script,
    mixed: Script,
    apart: Script,
    /// Flows of the flood.
    flows: u32,
}

/// Measures a case in a table with room and in a full one.
///
/// # Errors
/// When the worker does not do what the case says, or an established flow had to give way.
pub(super) fn measure(case: &Case, effort: Effort, hertz: u64) -> Result<Figure, Failure> {
    let mut comparisons = Vec::new();
    for table in [Table::Roomy, Table::Full] {
        comparisons.extend(compare(case, table, effort, hertz)?);
    }
    Ok(Figure::compared(case, comparisons))
}

fn compare(case: &Case, table: Table, effort: Effort, hertz: u64) -> Result<[Comparison; 2], Failure> {
    let scripts = Scripts::of(case, effort)?;
    let room = if table == Table::Roomy { scripts.flows } else { 0 };
    let mut rig = Rig::with_room(case, hertz, Arc::default(), case.flows.saturating_add(room))?;
    measure::fill(&mut rig, case)?;
    let backends = measure::pass(&mut rig, case, &Script::opening(case)?)?.backends;
    // Memory that a flood takes for the first time comes from the system.
    scripts.cycles(&mut rig, case, (&scripts.flood, table), hertz)?;
    let (mut bare, mut mixtures, mut bursts) = (Bare::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let [established, flood, mixed, apart] = scripts.in_order().map(|script| {
            let io = cycles(&mut bare, script, Span::Packets(scripts.packets(script)), hertz)?;
            Ok(scripts.cycles(&mut rig, case, (script, table), hertz)? - io)
        });
        // As many packets of the one kind as of the other.
        let (established, flood) = (established?, flood?);
        mixtures.push((2.0 * mixed? - flood, established));
        bursts.push((2.0 * apart? - flood, established));
    }
    let verified = scripts.look(&mut rig, case, table)?;
    let after = measure::pass(&mut rig, case, &Script::opening(case)?)?;
    if after.backends != backends {
        return Err(wrong(case, "an established flow has another backend than before the flood"));
    }
    let ([mixed, apart], verified) = (table.names(), verified + after.frames);
    Ok([(mixed, mixtures), (apart, bursts)].map(|(name, rounds)| Comparison::of(name, &rounds, verified)))
}

impl Table {
    /// With the flood in the same bursts, and in bursts of its own.
    const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Roomy => ["mixed in, with room", "in bursts, with room"],
            Self::Full => ["mixed in, table full", "in bursts, table full"],
        }
    }
}

impl Scripts {
    fn of(case: &Case, effort: Effort) -> Result<Self, Failure> {
        let flows = (effort.seconds * FLOWS_PER_SECOND) as u32;
        // All established flows get a packet in each round, so that none grows old.
        let flows = flows.max(case.flows).max(FEWEST);
        Ok(Self {
            established: Script::of(case)?,
            flood: Script::flood(case, flows, None)?,
            mixed: Script::flood(case, flows, Some(Manner::Mixed))?,
            apart: Script::flood(case, flows, Some(Manner::Apart))?,
            flows,
        })
    }

    const fn in_order(&self) -> [&Script; 4] {
        [&self.established, &self.flood, &self.mixed, &self.apart]
    }

    /// Packets of a script in a round.
    fn packets(&self, script: &Script) -> u64 {
        script.packets().max(self.flood.packets())
    }

    /// Whether a script is of established flows only.
    fn is_quiet(&self, script: &Script) -> bool {
        std::ptr::eq(script, &raw const self.established)
    }

    /// Cycles that a worker takes for a packet of one of the scripts; it has forgotten the flood afterwards.
    fn cycles(
        &self,
        rig: &mut Rig,
        case: &Case,
        (script, table): (&Script, Table),
        hertz: u64,
    ) -> Result<f64, Failure> {
        cycles(rig, &self.established, Span::Packets(WARM_UP), hertz)?;
        let (before, opened) = (Seen::of(rig), rig.opened());
        let packets = self.packets(script);
        let cycles = cycles(rig, script, Span::Packets(packets), hertz)?;
        let flood = if self.is_quiet(script) { 0 } else { self.flood.packets() };
        check(rig, case, before, (opened, flood), table)?;
        rig.forget_down_to(case.flows)?;
        Ok(cycles)
    }

    /// Looks at all that leaves of a mixed flood; how many frames that are.
    fn look(&self, rig: &mut Rig, case: &Case, table: Table) -> Result<u64, Failure> {
        let (before, opened) = (Seen::of(rig), rig.opened());
        let once = self.mixed.first(case.flows);
        let leaving =
            if table == Table::Full { Script { flood: None, ..once.clone() } } else { once.clone() };
        let watch = rig.pass_some(case, &once, &leaving);
        let watch = check_watch(case, watch, leaving.packets())?;
        check(rig, case, before, (opened, u64::from(case.flows)), table)?;
        rig.forget_down_to(case.flows)?;
        Ok(watch.frames)
    }
}

/// What was counted before.
#[derive(Clone, Copy)]
struct Seen {
    count: Count,
    /// Packets that found the table full.
    refused: u64,
}

impl Seen {
    fn of(rig: &Rig) -> Self {
        let refused = rig.meters().drops.get(DropReason::FlowTableFull.index());
        Self { count: rig.count(), refused: refused.map_or(0, meter::Counter::read) }
    }
}

/// Sees to it that all established packets left by the flows that they had, and that of the flood either all opened flows or,
/// in a full table, none: a flow that had been evicted would have been opened anew.
fn check(
    rig: &Rig,
    case: &Case,
    before: Seen,
    (opened, flood): (u64, u64),
    table: Table,
) -> Result<(), Failure> {
    let (after, opened) = (Seen::of(rig), rig.opened() - opened);
    let received = after.count.received - before.count.received;
    let (expected, refused) = if table == Table::Full { (0, flood) } else { (flood, 0) };
    check_sent(case, before.count, after.count, received - refused)?;
    if after.refused - before.refused != refused {
        return Err(wrong(
            case,
            format_args!("packets were dropped for another reason than {}", DropReason::FlowTableFull),
        ));
    }
    if opened != expected {
        return Err(wrong(
            case,
            format_args!("{opened} flows were opened instead of {expected}: some were evicted"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::Mode;

    use super::*;
    use crate::bench::{Family, Scenario, Size};

    const HERTZ: u64 = 2_000_000_000;
    const EFFORT: Effort = Effort { rounds: 1, seconds: 0.001 };

    fn case() -> Case {
        Case {
            scenario: Scenario::Flood,
            drop: None,
            mode: Mode::Nat,
            family: Family::V4,
            flows: 100,
            size: Size::default(),
        }
    }

    #[test]
    fn a_flood_is_told_apart_from_what_is_established() {
        let figure = measure(&case(), EFFORT, HERTZ).unwrap();
        assert_eq!(figure.comparisons.len(), 4);
        for (comparison, frames) in figure.comparisons.iter().zip([300, 300, 200, 200]) {
            assert_eq!(comparison.verified, frames, "{comparison:?}");
            assert!(comparison.cycles_without.median > 0.0, "{comparison:?}");
        }
    }

    #[test]
    fn a_flow_that_had_to_give_way_is_noticed() {
        let scripts = Scripts::of(&case(), EFFORT).unwrap();
        let mut rig = Rig::with_room(&case(), HERTZ, Arc::default(), 100 + scripts.flows).unwrap();
        measure::fill(&mut rig, &case()).unwrap();
        rig.forget().unwrap();
        let failure = scripts.look(&mut rig, &case(), Table::Roomy).unwrap_err().to_string();
        assert!(failure.contains("200 flows were opened instead of 100"), "{failure}");
    }

    #[test]
    fn a_flood_that_finds_room_where_it_should_not_is_noticed() {
        let scripts = Scripts::of(&case(), EFFORT).unwrap();
        let mut rig = Rig::with_room(&case(), HERTZ, Arc::default(), 101).unwrap();
        measure::fill(&mut rig, &case()).unwrap();
        assert!(scripts.look(&mut rig, &case(), Table::Full).is_err());
    }
}
