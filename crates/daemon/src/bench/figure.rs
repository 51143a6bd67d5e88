//! What was measured.

use datapath::DropReason;
use model::Mode;
use serde::{Serialize, Serializer};

use super::{
    Case, Effort, Family, Scenario, Size, case::mode_name, machine::Processor, publication::Publication,
    rig::BURST, start::Start,
};

/// All figures of a run, and what they hold for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    commit: &'static str,
    pub(crate) processor: Processor,
    /// Ticks of the time stamp counter in a second.
    pub(crate) tsc_hertz: u64,
    rounds: u32,
    seconds: f64,
    burst: usize,
    pub(crate) figures: Vec<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publication: Option<Publication>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) starts: Vec<Start>,
}

/// What was measured of a case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) scenario: Scenario,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reason")]
    pub(crate) drop: Option<DropReason>,
    #[serde(serialize_with = "mode")]
    pub(crate) mode: Mode,
    pub(crate) family: Family,
    pub(crate) flows: u32,
    #[serde(flatten)]
    pub(crate) size: Size,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<Cost>,
    /// Of drops: the cost, as a part of that of forwarding a packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_forwarding: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_flow: Option<f64>,
    /// The same work under two conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) comparisons: Vec<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ageing: Option<Ageing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
}

/// How long packets stay.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    /// What parts of are offered, measured in each round.
    pub(crate) full_millions_per_second: Spread,
    pub(crate) loads: Vec<Load>,
    /// What the processor alone keeps somebody waiting who comes at any time.
    pub(crate) processor_us: Quantiles,
    /// The part of all time in which the processor did something else for a microsecond or longer.
    pub(crate) processor_stolen: f64,
}

/// How long packets stay at a part of the full rate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) percent: u32,
    pub(crate) millions_per_second: f64,
    pub(crate) packets_a_burst: f64,
    /// Of each burst, from the return of its receipt to that of its transmission.
    pub(crate) residence_us: Quantiles,
    /// Of each packet, from when it was due to the return of its transmission.
    pub(crate) sojourn_us: Quantiles,
}

/// Times in microseconds; of loads the medians of all rounds, and the greatest of all.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// What looking for flows to end costs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ageing {
    /// Of one call of housekeeping, between full bursts; the median of each round.
    pub(crate) cycles_a_call: Spread,
    /// The same, divided among the packets that come between two calls at full load.
    pub(crate) cycles_a_packet: Spread,
    /// Those packets.
    pub(crate) packets_a_call: u64,
    /// For a flow that has expired, its removal included.
    pub(crate) cycles_an_expired_flow: f64,
    /// Calls that were measured.
    pub(crate) calls: u64,
}

/// What a packet costs under some condition, against what it costs without.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// The condition.
    pub(crate) condition: &'static str,
    /// Cycles a packet.
    pub(crate) cycles: Spread,
    pub(crate) cycles_without: Spread,
    /// Of the two, in each round.
    pub(crate) ratio: Spread,
    /// What the ratio's median is not above, to 95 %; `None` with too few rounds to tell.
    pub(crate) ratio_bound: Option<f64>,
    /// Frames that were found right after they were measured.
    pub(super) verified: u64,
}

impl Comparison {
    /// Of the cycles with and without, in all rounds.
    pub(super) fn of(condition: &'static str, rounds: &[(f64, f64)], verified: u64) -> Self {
        let ratios: Vec<f64> = rounds.iter().map(|(with, without)| with / without).collect();
        Self {
            condition,
            cycles: Spread::of(rounds.iter().map(|round| round.0).collect()),
            cycles_without: Spread::of(rounds.iter().map(|round| round.1).collect()),
            ratio: Spread::of(ratios.clone()),
            ratio_bound: bound_of_median(ratios),
            verified,
        }
    }
}

/// What the median of that which values are samples of is not above, to 95 %, whatever its distribution: the value at which
/// it would be less than 5 % likely to find so few above.
fn bound_of_median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    // The chance that so many of all values lie below the median, as one that tosses coins.
    let (count, mut exactly) = (values.len(), 0.5_f64.powi(values.len() as i32));
    let (mut above, mut position) = (exactly, count);
    if above > 0.05 {
        return None;
    }
    while position > 0 {
        exactly *= position as f64 / (count - position + 1) as f64;
        if above + exactly > 0.05 {
            break;
        }
        above += exactly;
        position -= 1;
    }
    values.get(position - 1).copied()
}

/// What a packet costs, or a whole connection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    unit: &'static str,
    /// Above input and output.
    pub(crate) cycles: Spread,
    /// The median of `cycles` as time.
    pub(crate) nanoseconds: f64,
    /// Of input and output alone.
    pub(crate) io_cycles: Spread,
    /// Of both together.
    pub(crate) all_cycles: Spread,
    /// How many a second, input and output included.
    pub(crate) millions_per_second: f64,
    /// Frames, or drops, that were found right after they were measured.
    verified: u64,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of some values; zeros when there is none.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |position: usize| values.get(position).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(values.len() / 2));
        Self { median, min: at(0), max: at(last) }
    }
}

impl Figure {
    /// Cycles above I/O, of I/O, and of both.
    pub(super) fn measured(case: &Case, hertz: u64, verified: u64, [above, io, all]: [Spread; 3]) -> Self {
        let cost = Cost {
            unit: if case.scenario == Scenario::Connections { "connection" } else { "packet" },
            cycles: above,
            nanoseconds: above.median / hertz as f64 * 1e9,
            io_cycles: io,
            all_cycles: all,
            millions_per_second: hertz as f64 / all.median / 1e6,
            verified,
        };
        Self { cost: Some(cost), ..Self::of(case) }
    }

    /// Memory.
    pub(super) fn memory(case: &Case, bytes_per_flow: f64) -> Self {
        Self { bytes_per_flow: Some(bytes_per_flow), ..Self::of(case) }
    }

    /// Comparisons.
    pub(super) fn compared(case: &Case, comparisons: Vec<Comparison>) -> Self {
        Self { comparisons, ..Self::of(case) }
    }

    /// Ageing.
    pub(super) fn aged(case: &Case, ageing: Ageing) -> Self {
        Self { ageing: Some(ageing), ..Self::of(case) }
    }

    /// Latency.
    pub(super) fn late(case: &Case, latency: Latency) -> Self {
        Self { latency: Some(latency), ..Self::of(case) }
    }

    const fn of(case: &Case) -> Self {
        Self {
            scenario: case.scenario,
            drop: case.drop,
            mode: case.mode,
            family: case.family,
            flows: case.flows,
            size: case.size,
            cost: None,
            ratio_to_forwarding: None,
            bytes_per_flow: None,
            comparisons: Vec::new(),
            ageing: None,
            latency: None,
        }
    }

    /// The case that it is of.
    pub(crate) const fn case(&self) -> Case {
        Case {
            scenario: self.scenario,
            drop: self.drop,
            mode: self.mode,
            family: self.family,
            flows: self.flows,
            size: self.size,
        }
    }
}

impl Report {
    /// No figures yet.
    pub(super) const fn new(processor: Processor, tsc_hertz: u64, effort: Effort) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("TIDEGATE_COMMIT"),
            processor,
            tsc_hertz,
            rounds: effort.rounds,
            seconds: effort.seconds,
            burst: BURST,
            figures: Vec::new(),
            publication: None,
            starts: Vec::new(),
        }
    }

    /// The greatest ratio of a drop to forwarding.
    pub(crate) fn dearest_drop(&self) -> Option<f64> {
        self.figures.iter().filter_map(|figure| figure.ratio_to_forwarding).max_by(f64::total_cmp)
    }

    /// Adds a figure; of drops with their ratio to forwarding, which was measured before.
    pub(super) fn add(&mut self, mut figure: Figure) {
        if figure.drop.is_some() {
            let forwarded = Case { scenario: Scenario::Established, drop: None, ..figure.case() };
            let forwarding = self.figures.iter().find(|known| known.case() == forwarded);
            let median = |figure: &Figure| figure.cost.as_ref().map(|cost| cost.cycles.median);
            figure.ratio_to_forwarding =
                forwarding.and_then(median).zip(median(&figure)).map(|(all, part)| part / all);
        }
        self.figures.push(figure);
    }
}

fn mode<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(mode_name(*mode))
}

fn reason<S: Serializer>(reason: &Option<DropReason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(DropReason::name).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn the_bound_of_a_median_is_as_the_tables_of_the_sign_test_have_it() {
        let bound = |count: u32| bound_of_median((1..=count).map(f64::from).collect());
        // One-sided to 95 %: the most above are 0 of 5 to 7, 1 of 8 to 10, 2 of 11 and 12, 5 of 20.
        let known = [(0, None), (4, None), (5, Some(5.0)), (7, Some(7.0)), (8, Some(7.0)), (9, Some(8.0))];
        for (count, expected) in known.into_iter().chain([(11, Some(9.0)), (20, Some(15.0))]) {
            assert_eq!(bound(count), expected, "{count}");
        }
        let comparison = Comparison::of("twice", &[(4.0, 2.0), (6.0, 3.0)], 7);
        assert_eq!((comparison.ratio.median, comparison.cycles_without.max), (2.0, 3.0));
    }
}
