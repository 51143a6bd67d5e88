//! Both loops in turns, and the difference.

use std::sync::Arc;

use datapath::WorkerMeters;

use super::{
    Case, Effort, Figure, Scenario, Spread, machine,
    rig::{Bare, Count, Loop, Rig},
    script::Script,
    watch::Watch,
};
use crate::failure::Failure;

/// Flows whose frames are looked at again when all is measured.
pub(super) const LOOKED_AT: u32 = 65_536;
/// Packets before time is measured: as many as flows may be found in caches of, at most.
const WARM_UP: u64 = 65_536;
/// Turns between two looks at the clock.
const TURNS: u32 = 64;

/// Measures a case: cycles of a worker above those of the same loop without one.
///
/// # Errors
/// When the worker does not do what the case says.
pub(super) fn measure(case: &Case, effort: Effort, hertz: u64) -> Result<Figure, Failure> {
    let mut rig = Rig::try_new(case, hertz, Arc::new(WorkerMeters::new()))?;
    let script = prepare(&mut rig, case)?;
    let mut bare = Bare::new();
    let opens = opens_flows(case);
    let span = if opens { Span::Packets(script.packets()) } else { Span::of(effort, hertz) };
    let units = if case.scenario == Scenario::Connections { script.steps.len() as f64 } else { 1.0 };
    let (mut io, mut all) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        io.push(cycles(&mut bare, &script, span, hertz)? * units);
        if opens {
            rig.forget()?;
        }
        let before = rig.count();
        all.push(cycles(&mut rig, &script, span, hertz)? * units);
        check_count(case, before, rig.count())?;
    }
    if opens {
        rig.forget()?;
    }
    let frames = look(&mut rig, case, &script.first(LOOKED_AT.min(case.flows)))?;
    let above: Vec<f64> = all.iter().zip(&io).map(|(all, io)| all - io).collect();
    Ok(Figure::measured(case, hertz, frames, [Spread::of(above), Spread::of(io), Spread::of(all)]))
}

/// Whether what is measured opens flows, so that it comes to an end when the table is full.
const fn opens_flows(case: &Case) -> bool {
    matches!(case.scenario, Scenario::New | Scenario::Connections)
}

/// Makes a worker ready for a case, looking at each frame that it sends meanwhile: flows are open where they are to be, and
/// all memory has been touched. What is to be measured.
fn prepare(rig: &mut Rig, case: &Case) -> Result<Script, Failure> {
    let mut script = Script::of(case)?;
    if !opens_flows(case) {
        fill(rig, case)?;
    }
    if script.has_replies() || opens_flows(case) {
        let asking = script.asking(case)?;
        let watch = pass(rig, case, &asking)?;
        script.backends = watch.backends.into();
    }
    Ok(script)
}

/// Opens all flows of a case as established.
pub(super) fn fill(rig: &mut Rig, case: &Case) -> Result<(), Failure> {
    let case = Case { drop: None, ..*case };
    pass(rig, &case, &Script::opening(&case)?)?;
    match rig.meters().untracked_packets.read() {
        0 => Ok(()),
        packets => Err(wrong(&case, format_args!("the flow table had no room for {packets} flows"))),
    }
}

/// Lets a script pass that is forwarded, and looks at all that leaves.
pub(super) fn pass(rig: &mut Rig, case: &Case, script: &Script) -> Result<Watch, Failure> {
    let before = rig.count();
    let watch = rig.pass(case, script);
    check_count(&Case { drop: None, ..*case }, before, rig.count())?;
    check_watch(case, watch, script.packets())
}

/// Sees to it that so many packets left, and all were right.
pub(super) fn check_watch(case: &Case, watch: Watch, packets: u64) -> Result<Watch, Failure> {
    if let Some(mistake) = &watch.mistake {
        return Err(wrong(case, mistake));
    }
    if watch.frames != packets {
        return Err(wrong(case, format_args!("of {packets} packets {} left", watch.frames)));
    }
    Ok(watch)
}

/// Looks once more at what became of a script's packets; how many were looked at.
pub(super) fn look(rig: &mut Rig, case: &Case, script: &Script) -> Result<u64, Failure> {
    let Some(reason) = case.drop else { return Ok(pass(rig, case, script)?.frames) };
    let counted = |rig: &Rig| rig.meters().drops.get(reason.index()).map_or(0, meter::Counter::read);
    let before = counted(rig);
    let watch = rig.pass(case, script);
    let (dropped, packets) = (counted(rig) - before, script.packets());
    if dropped != packets || watch.frames != 0 {
        let what = format_args!("of {packets} packets {dropped} were dropped for this reason");
        return Err(wrong(case, what));
    }
    Ok(dropped)
}

/// Sees to it that all packets since `before` left, or were dropped if they were to be.
pub(super) fn check_count(case: &Case, before: Count, after: Count) -> Result<(), Failure> {
    let received = after.received - before.received;
    check_sent(case, before, after, if case.drop.is_some() { 0 } else { received })
}

/// Sees to it that of all packets since `before` so many left, and the others were dropped.
pub(super) fn check_sent(case: &Case, before: Count, after: Count, expected: u64) -> Result<(), Failure> {
    let received = after.received - before.received;
    let (sent, dropped) = (after.sent - before.sent, after.dropped - before.dropped);
    if (sent, dropped) == (expected, received - expected) {
        return Ok(());
    }
    Err(wrong(case, format_args!("of {received} packets {sent} left and {dropped} were dropped")))
}

pub(super) fn wrong(case: &Case, what: impl std::fmt::Display) -> Failure {
    Failure::not_so(format_args!("{case}: {what}"))
        .remedy("this is a defect, and its figures are worthless: report it with the command")
}

/// How long a loop runs.
#[derive(Clone, Copy)]
pub(super) enum Span {
    /// After some packets, of an endless script.
    Ticks(u64),
    /// At once.
    Packets(u64),
}

impl Span {
    /// The seconds of a loop and round.
    pub(super) const fn of(effort: Effort, hertz: u64) -> Self {
        Self::Ticks((effort.seconds * hertz as f64) as u64)
    }
}

/// Cycles that a loop takes for a packet of a script.
pub(super) fn cycles(
    looped: &mut impl Loop,
    script: &Script,
    span: Span,
    hertz: u64,
) -> Result<f64, Failure> {
    looped.link().play(Some(script.clone()), None);
    if matches!(span, Span::Ticks(_)) {
        to_end(looped, script.packets().min(WARM_UP));
    }
    let before = machine::thread_time()?;
    let packets = match span {
        Span::Ticks(ticks) => for_ticks(looped, ticks),
        Span::Packets(packets) => to_end(looped, packets),
    };
    let spent = machine::thread_time()?.saturating_sub(before);
    looped.link().play(None, None);
    if packets == 0 {
        return Err(Failure::not_so("no packet came in"));
    }
    Ok(spent.as_secs_f64() * hertz as f64 / packets as f64)
}

fn for_ticks(looped: &mut impl Loop, ticks: u64) -> u64 {
    let (from, mut packets) = (cpu::tsc(), 0);
    while cpu::tsc().wrapping_sub(from) < ticks {
        packets += (0..TURNS).map(|_| looped.turn() as u64).sum::<u64>();
    }
    packets
}

pub(super) fn to_end(looped: &mut impl Loop, packets: u64) -> u64 {
    let mut done = 0;
    while done < packets {
        match looped.turn() {
            0 => break,
            received => done += received as u64,
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use model::Mode;

    use super::*;
    use crate::bench::{Family, Size};

    const HERTZ: u64 = 2_000_000_000;

    fn case(scenario: Scenario, mode: Mode) -> Case {
        Case { scenario, drop: None, mode, family: Family::V4, flows: 256, size: Size::default() }
    }

    fn rig(case: &Case) -> Rig {
        Rig::try_new(case, HERTZ, Arc::default()).unwrap()
    }

    #[test]
    fn a_worker_that_sends_what_it_should_not_has_no_figures() {
        // A gateway in `nat`, and a reader who expects `dsr`.
        let mut rig = rig(&case(Scenario::Established, Mode::Nat));
        let failure = fill(&mut rig, &case(Scenario::Established, Mode::Dsr)).unwrap_err().to_string();
        assert!(failure.contains("frame 1: its time to live is wrong"), "{failure}");
    }

    #[test]
    fn a_worker_that_drops_has_no_figures_and_one_that_does_not_has_none_of_drops() {
        let established = case(Scenario::Established, Mode::Nat);
        let mut rig = rig(&established);
        let reason = datapath::DropReason::DestinationMacNotOurs;
        let dropped = Case { scenario: Scenario::Drops, drop: Some(reason), ..established };
        let failure = pass(&mut rig, &established, &Script::of(&dropped).unwrap().first(64)).err().unwrap();
        assert!(failure.to_string().contains("of 64 packets 0 left and 64 were dropped"), "{failure}");
        let failure = look(&mut rig, &dropped, &Script::opening(&established).unwrap()).unwrap_err();
        assert!(failure.to_string().contains("of 256 packets 0 were dropped for this reason"), "{failure}");
    }

    #[test]
    fn a_worker_forgets_what_it_was_told_and_opens_it_again() {
        let case = case(Scenario::Connections, Mode::Nat);
        let mut rig = rig(&case);
        let script = prepare(&mut rig, &case).unwrap();
        for _ in 0..2 {
            rig.forget().unwrap();
            assert_eq!(pass(&mut rig, &case, &script).unwrap().frames, 2560);
            assert!(rig.forget().is_ok() && rig.meters().flows.read() == 0);
        }
    }

    #[test]
    fn flows_are_spread_over_virtual_servers_and_backends_and_found_right() {
        for (scenario, mode, family) in [
            (Scenario::Established, Mode::FullNat, Family::V4),
            (Scenario::Connections, Mode::Nat, Family::V6),
            (Scenario::Replies, Mode::Nat, Family::V4),
            (Scenario::New, Mode::Dsr, Family::V6),
        ] {
            let size = Size { backends: 40, services: 7 };
            let case = Case { scenario, drop: None, mode, family, flows: 1024, size };
            let figure = measure(&case, Effort { rounds: 1, seconds: 0.001 }, HERTZ);
            assert!(figure.as_ref().is_ok_and(|figure| figure.cost.is_some()), "{}", figure.unwrap_err());
            let mut rig = rig(&case);
            fill(&mut rig, &case).unwrap();
            let meters = rig.meters();
            let used = |meters: &[datapath::meters::TrafficMeters]| {
                meters.iter().filter(|meters| meters.packets_in.read() > 0).count()
            };
            assert_eq!((used(&meters.virtual_servers), used(&meters.backends)), (7, 40));
        }
    }
}
