//! What was measured.

use datapath::DropReason;
use model::Mode;
use serde::{Serialize, Serializer};

use super::{
    Case, Effort, Family, Scenario, case::mode_name, machine::Processor, publication::Publication,
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
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<Cost>,
    /// Of drops: the cost, as a part of that of forwarding a packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_forwarding: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_flow: Option<f64>,
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

    const fn of(case: &Case) -> Self {
        Self {
            scenario: case.scenario,
            drop: case.drop,
            mode: case.mode,
            family: case.family,
            flows: case.flows,
            cost: None,
            ratio_to_forwarding: None,
            bytes_per_flow: None,
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
}
