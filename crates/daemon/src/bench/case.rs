//! What can be measured, and what is when nothing is asked for.

use std::fmt;

use clap::ValueEnum;
use datapath::DropReason;
use model::Mode;
use serde::Serialize;

use super::fault;

/// The fewest flows: as many as a burst can have frames, so that no packet finds its flow opened by the same burst.
const FEWEST_FLOWS: u32 = 64;
/// The most flows that [`clients`](super::clients) can tell apart.
const MOST_FLOWS: u32 = 1 << 26;

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Packets of established flows, from clients to backends
    Established,
    /// Packets of established `nat` flows, from backends to clients
    Replies,
    /// First packets of new flows
    New,
    /// Whole TCP connections of ten packets, both ways, in `nat`
    Connections,
    /// Packets that are dropped before a flow is opened for them
    Drops,
    /// Memory that a flow takes
    Memory,
    /// Changes of the configuration and of health: compiled, published, seen by a worker
    Publication,
    /// From a configuration's text to the first packet that is forwarded
    Start,
    /// Packets of established flows while a flood of new ones comes, against without
    Flood,
    /// What looking for flows to end costs
    Ageing,
    /// Packets of established flows on two workers, against one
    Workers,
    /// Packets of established flows in a worker's whole loop, busy and adaptive
    Idle,
    /// How long packets of established flows stay, at parts of the full rate
    Latency,
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// How much the gateway has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    /// Backends, of all virtual servers.
    pub(crate) backends: u16,
    /// Virtual servers.
    pub(crate) services: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self { backends: 3, services: 1 }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    /// Of [`Scenario::Drops`]: why.
    pub(crate) drop: Option<DropReason>,
    pub(crate) mode: Mode,
    pub(crate) family: Family,
    pub(crate) flows: u32,
    pub(crate) size: Size,
}

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often both loops take turns.
    pub(crate) rounds: u32,
    /// How long each runs in a round, in seconds; loops that open flows run until all are open.
    pub(crate) seconds: f64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scenario.is_of_control() {
            return f.write_str(self.scenario.name());
        }
        write!(f, "{} {} {}", self.what(), mode_name(self.mode), self.family.name())?;
        write!(f, ", {} flows", self.flows)
    }
}

impl Case {
    /// Its mode as it is configured.
    pub(crate) const fn mode_name(&self) -> &'static str {
        mode_name(self.mode)
    }

    /// The scenario in words, with the reason when it drops.
    pub(crate) fn what(&self) -> String {
        self.drop.map_or_else(|| self.scenario.name().to_owned(), |reason| format!("drop {}", reason.name()))
    }
}

impl Scenario {
    /// As it is typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Replies => "replies",
            Self::New => "new",
            Self::Connections => "connections",
            Self::Drops => "drops",
            Self::Memory => "memory",
            Self::Publication => "publication",
            Self::Start => "start",
            Self::Flood => "flood",
            Self::Ageing => "ageing",
            Self::Workers => "workers",
            Self::Idle => "idle",
            Self::Latency => "latency",
        }
    }

    /// Whether it is about what control does, which depends on no mode, family or number of flows.
    pub(crate) const fn is_of_control(self) -> bool {
        matches!(self, Self::Publication | Self::Start)
    }

    /// Whether it has a case for each mode, rather than `nat` only.
    const fn has_modes(self) -> bool {
        matches!(self, Self::Established | Self::New)
    }

    /// How many flows when nobody says; fewer when everything is measured in a minute.
    const fn flows(self, is_short: bool) -> &'static [u32] {
        match (self, is_short) {
            (Self::Established, _) | (Self::Replies, false) => &[4 << 10, 64 << 10, 1 << 20],
            (Self::Replies, true) => &[4 << 10, 1 << 20],
            (Self::New, true) => &[256 << 10],
            (Self::Connections, true) => &[64 << 10],
            (Self::Flood | Self::Workers | Self::Idle | Self::Latency, true) => &[4 << 10],
            (Self::Flood | Self::Workers | Self::Idle | Self::Latency, false) => &[4 << 10, 64 << 10],
            (Self::Ageing, _) => &[4 << 10, 1 << 20],
            (Self::Drops, _) => &[4 << 10],
            (Self::New | Self::Connections, false) | (Self::Memory, _) => &[1 << 20],
            (Self::Publication | Self::Start, _) => &[],
        }
    }
}

impl Family {
    /// As it is typed.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// In words.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// A mode as it is configured.
pub(crate) const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Nat => "nat",
        Mode::FullNat => "full_nat",
        Mode::Dsr => "dsr",
        Mode::Ipip => "ipip",
        Mode::Gue => "gue",
    }
}

/// The cases of some scenarios; of all of them, but with fewer flows, when none is named. An empty list of modes, families
/// or flows is one without a choice.
pub(crate) fn cases(
    scenarios: &[Scenario],
    modes: &[Mode],
    families: &[Family],
    flows: &[u32],
    size: Size,
) -> Vec<Case> {
    let is_short = scenarios.is_empty();
    let mut cases = Vec::new();
    for &scenario in non_empty(scenarios, Scenario::value_variants()) {
        if scenario.is_of_control() {
            cases.push(Case {
                scenario,
                drop: None,
                mode: Mode::Nat,
                family: Family::V4,
                flows: FEWEST_FLOWS,
                size: Size::default(),
            });
            continue;
        }
        for &mode in non_empty(modes, &[Mode::Nat, Mode::FullNat, Mode::Dsr, Mode::Ipip, Mode::Gue]) {
            if mode != Mode::Nat && !scenario.has_modes() {
                continue;
            }
            for &family in non_empty(families, Family::value_variants()) {
                for &flows in non_empty(flows, scenario.flows(is_short)) {
                    add(&mut cases, Case { scenario, drop: None, mode, family, flows, size }, is_short);
                }
            }
        }
    }
    cases
}

/// Adds a case. Drops are a case for each reason, behind the packets that they are compared with.
fn add(cases: &mut Vec<Case>, case: Case, is_short: bool) {
    if case.scenario != Scenario::Drops {
        return cases.push(case);
    }
    let forwarded = Case { scenario: Scenario::Established, ..case };
    if !cases.contains(&forwarded) {
        cases.push(forwarded);
    }
    cases.extend(fault::reasons(case.family, is_short).map(|reason| Case { drop: Some(reason), ..case }));
}

fn non_empty<'a, T>(asked: &'a [T], otherwise: &'a [T]) -> &'a [T] {
    if asked.is_empty() { otherwise } else { asked }
}

/// Reads a number of flows: `4096`, `4k` (1,024 each), `1M`.
///
/// # Errors
/// When it is none, or too small or large.
pub(crate) fn parse_flows(text: &str) -> Result<u32, String> {
    let (digits, shift) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 10),
        None => text.strip_suffix('M').map_or((text, 0), |digits| (digits, 20)),
    };
    let number: Option<u64> = digits.parse::<u32>().ok().map(|number| u64::from(number) << shift);
    let flows = number.and_then(|number| u32::try_from(number).ok());
    flows.filter(|flows| (FEWEST_FLOWS..=MOST_FLOWS).contains(flows)).ok_or_else(|| {
        format!("write a number of flows from {FEWEST_FLOWS} to {}M, such as 4k or 1M", MOST_FLOWS >> 20)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_flows_have_binary_units() {
        assert_eq!(parse_flows("256"), Ok(256));
        assert_eq!(parse_flows("4k"), Ok(4096));
        assert_eq!(parse_flows("10M"), Ok(10_485_760));
        for wrong in ["", "k", "63", "65M", "1G", "-4", "4.5k", "4294967295M"] {
            assert!(parse_flows(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_is_measured_when_nothing_is_named() {
        let cases = cases(&[], &[], &[], &[], Size::default());
        for scenario in Scenario::value_variants() {
            assert!(cases.iter().any(|case| case.scenario == *scenario), "{}", scenario.name());
        }
        assert!(cases.iter().all(|case| case.flows <= 1 << 20));
    }

    #[test]
    fn drops_come_behind_what_they_are_compared_with() {
        let cases = cases(&[Scenario::Drops], &[], &[Family::V4], &[256], Size::default());
        assert_eq!(cases[0].scenario, Scenario::Established);
        assert!(cases.len() > 15 && cases[1..].iter().all(|case| case.drop.is_some()));
    }

    #[test]
    fn a_mode_that_a_scenario_does_not_have_is_left_out() {
        assert!(cases(&[Scenario::Replies], &[Mode::Dsr], &[], &[], Size::default()).is_empty());
        assert_eq!(cases(&[Scenario::New], &[Mode::Dsr], &[Family::V6], &[], Size::default()).len(), 1);
    }
}
