//! How long packets stay: in a worker, and from when they were due.
//!
//! The source is an open loop: packets become due at a part of the full rate, whether the worker comes for them or not.
//! Beside it, on the same processor, an idle loop shows what the machine alone keeps a packet waiting.

use std::sync::{Arc, atomic::AtomicBool};

use hdrhistogram::Histogram;

use super::{
    Case, Effort, Figure, Spread,
    figure::{Latency, Load, Quantiles},
    hiccup::Hiccups,
    machine,
    measure::{self, LOOKED_AT, check_count, to_end, wrong},
    rig::{Loop, Rig},
    script::Script,
    tap::{Pace, Tap},
};
use crate::failure::Failure;

/// Parts of the full rate, in percent.
const LOADS: [u32; 3] = [10, 50, 90];
/// Bursts in a second for which there is room: more than any worker makes.
const BURSTS_PER_SECOND: f64 = 8e6;
/// Packets before time is measured.
const WARM_UP: u64 = 65_536;
/// The longest time that is told apart from longer ones, in ticks.
const LONGEST: u64 = 1 << 40;
/// How often a run is tried.
const ATTEMPTS: usize = 100;

/// What is measured with.
struct Bench<'a> {
    case: &'a Case,
    script: Script,
    /// Of one run.
    seconds: f64,
    hertz: u64,
}

/// What all runs at a load have shown.
#[derive(Default)]
struct Runs {
    residence: Vec<Quantiles>,
    sojourn: Vec<Quantiles>,
    bursts: u64,
    packets: u64,
}

/// Measures a case.
///
/// # Errors
/// When the worker does not do what the case says.
pub(super) fn measure(case: &Case, effort: Effort, hertz: u64) -> Result<Figure, Failure> {
    let mut rig = Rig::try_new(case, hertz, Arc::default())?;
    measure::fill(&mut rig, case)?;
    let bench = Bench { case, script: Script::of(case)?, seconds: effort.seconds, hertz };
    let mut full = Vec::new();
    let mut runs = LOADS.map(|_| Runs::default());
    let mut hiccups = Hiccups::new();
    for _ in 0..effort.rounds {
        // What is full differs from one time to another where others share the machine.
        let (cycles, _) = bench.run(&mut rig, 0.0)?;
        full.push(hertz as f64 / cycles / 1e6);
        for (percent, runs) in LOADS.iter().zip(&mut runs) {
            runs.add(&bench.run(&mut rig, cycles * 100.0 / f64::from(*percent))?.1, hertz)?;
        }
        hiccups.look(bench.ticks(), hertz / 1_000_000);
    }
    measure::look(&mut rig, case, &bench.script.first(LOOKED_AT.min(case.flows)))?;
    let seconds = effort.seconds * f64::from(effort.rounds);
    let loads = LOADS.iter().zip(&runs).map(|(percent, runs)| runs.load(*percent, seconds));
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| microseconds(hiccups.wait(part), hertz));
    let max = microseconds(hiccups.max() as f64, hertz);
    Ok(Figure::late(
        case,
        Latency {
            full_millions_per_second: Spread::of(full),
            loads: loads.collect(),
            processor_us: Quantiles { p50, p99, p999, max },
            processor_stolen: hiccups.share(),
        },
    ))
}

impl Bench<'_> {
    fn ticks(&self) -> u64 {
        (self.seconds * self.hertz as f64) as u64
    }

    /// Lets a packet be due after each `interval` of ticks, or always: cycles for each, and how they passed. Where others share the
    /// machine, the time may be over before the thread has run at all; then it begins again.
    fn run(&self, rig: &mut Rig, interval: f64) -> Result<(f64, Pace), Failure> {
        for _ in 0..ATTEMPTS {
            if let Some(run) = self.attempt(rig, interval)? {
                return Ok(run);
            }
        }
        Err(wrong(
            self.case,
            format_args!("no packet passed in {ATTEMPTS} attempts: the machine has too much to do"),
        ))
    }

    /// The same once; `None` when no packet has passed.
    fn attempt(&self, rig: &mut Rig, interval: f64) -> Result<Option<(f64, Pace)>, Failure> {
        rig.link().play(Some(self.script.clone()), None);
        to_end(rig, WARM_UP);
        let (stop, count) = (Arc::new(AtomicBool::new(false)), rig.count());
        let bursts = (self.seconds * BURSTS_PER_SECOND) as usize;
        let pace = Pace::begin(interval, self.ticks(), bursts, Arc::clone(&stop));
        rig.link().tap(Some(Tap::Pace(pace)));
        let before = machine::thread_time()?;
        rig.run(&stop);
        let spent = machine::thread_time()?.saturating_sub(before);
        let pace = rig.link().take_tap();
        rig.link().play(None, None);
        check_count(self.case, count, rig.count())?;
        let Some(Tap::Pace(pace)) = pace else { return Err(wrong(self.case, "nothing was measured")) };
        let passed: u64 = pace.passages().iter().map(|passage| u64::from(passage.packets)).sum();
        if passed != pace.handed_out() {
            let what = format_args!("of {} packets {passed} passed in bursts", pace.handed_out());
            return Err(wrong(self.case, what));
        }
        Ok((passed > 0).then(|| (spent.as_secs_f64() * self.hertz as f64 / passed as f64, pace)))
    }
}

impl Runs {
    fn add(&mut self, pace: &Pace, hertz: u64) -> Result<(), Failure> {
        let residences = pace.passages().iter().map(|passage| u64::from(passage.residence));
        self.residence.push(quantiles(residences, hertz)?);
        self.sojourn.push(quantiles(pace.sojourns(), hertz)?);
        self.bursts += pace.passages().len() as u64;
        self.packets += pace.handed_out();
        Ok(())
    }

    fn load(&self, percent: u32, seconds: f64) -> Load {
        Load {
            percent,
            millions_per_second: self.packets as f64 / seconds / 1e6,
            packets_a_burst: self.packets as f64 / self.bursts.max(1) as f64,
            residence_us: medians(&self.residence),
            sojourn_us: medians(&self.sojourn),
        }
    }
}

fn quantiles(ticks: impl Iterator<Item = u64>, hertz: u64) -> Result<Quantiles, Failure> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST, 3).map_err(Failure::not_so)?;
    ticks.for_each(|ticks| histogram.saturating_record(ticks));
    let [p50, p99, p999, max] =
        [0.5, 0.99, 0.999, 1.0].map(|part| microseconds(histogram.value_at_quantile(part) as f64, hertz));
    Ok(Quantiles { p50, p99, p999, max })
}

/// Of all rounds: the median of each, and the greatest of all.
fn medians(rounds: &[Quantiles]) -> Quantiles {
    let over = |part: fn(&Quantiles) -> f64| Spread::of(rounds.iter().map(part).collect());
    Quantiles {
        p50: over(|times| times.p50).median,
        p99: over(|times| times.p99).median,
        p999: over(|times| times.p999).median,
        max: over(|times| times.max).max,
    }
}

fn microseconds(ticks: f64, hertz: u64) -> f64 {
    ticks / hertz as f64 * 1e6
}

#[cfg(test)]
mod tests {
    use model::Mode;

    use super::*;
    use crate::bench::{Family, Scenario, Size};

    #[test]
    fn quantiles_are_medians_of_rounds_and_the_greatest_is_of_all() {
        let rounds =
            [1, 50, 2].map(|factor| quantiles((1..=1000).map(|ticks| ticks * factor), 1_000_000).unwrap());
        let medians = medians(&rounds);
        for (time, expected) in [(medians.p50, 1000.0), (medians.p99, 1980.0), (medians.max, 50_000.0)] {
            assert!((time / expected - 1.0).abs() < 0.002, "{medians:?}");
        }
    }

    #[test]
    fn each_load_has_a_rate_and_times() {
        let case = Case {
            scenario: Scenario::Latency,
            drop: None,
            mode: Mode::Nat,
            family: Family::V4,
            flows: 256,
            size: Size::default(),
        };
        let effort = Effort { rounds: 2, seconds: 0.02 };
        let latency = measure(&case, effort, machine::hertz().unwrap()).unwrap().latency.unwrap();
        assert_eq!(latency.loads.iter().map(|load| load.percent).collect::<Vec<_>>(), LOADS);
        for load in &latency.loads {
            assert!(load.packets_a_burst >= 1.0 && load.millions_per_second > 0.0, "{load:?}");
            for times in [&load.residence_us, &load.sojourn_us] {
                assert!(times.p50 > 0.0 && times.p50 <= times.p999 && times.p999 <= times.max, "{load:?}");
            }
        }
    }
}
