//! How fast one worker is, measured without DPDK, devices or root.
//!
//! [`Worker`](worker::Worker) itself runs, over queues in memory ([`link`]) that are as cheap as they can be. What is
//! reported is what it costs *above* them: [`measure`] lets a loop that only receives and transmits take turns with a loop
//! in which the worker forwards between the two.
//!
//! What must stay true:
//!
//! - nothing is allocated, printed or checked while time is measured;
//! - a figure is only given for work that was found right: every flow is opened and looked at before, and frames are
//!   looked at once more after ([`verify`]).
//!
//! What it leaves to others: what happens to a packet (`datapath`), how figures are shown (`command`). DPDK's drivers are
//! not in these figures; `scripts/bench` has them.

mod ageing;
mod case;
mod clients;
mod course;
mod fault;
mod figure;
mod flood;
mod frame;
mod gateway;
mod hiccup;
mod idle;
mod latency;
mod link;
mod machine;
mod measure;
mod memory;
mod publication;
mod rig;
mod scale;
mod script;
mod start;
mod tap;
mod template;
mod verify;
mod watch;
mod workers;

pub(crate) use self::{
    case::{Case, Effort, Family, Scenario, Size, cases, parse_flows},
    figure::{Ageing, Comparison, Figure, Latency, Quantiles, Report, Spread},
    gateway::{MOST_BACKENDS, MOST_SERVICES},
    publication::{Change, Delays, Publication},
    start::Start,
};
use crate::failure::Failure;

/// Measures all cases, one after the other; tells `progress` of each before it begins.
///
/// # Errors
/// When the machine has no clocks to measure with, or what a worker sent was wrong.
pub(crate) fn bench(
    cases: &[Case],
    effort: Effort,
    mut progress: impl FnMut(&str),
) -> Result<Report, Failure> {
    let processor = machine::pin();
    let allowed = processor.allowed.clone();
    let hertz = machine::hertz()?;
    let mut report = Report::new(processor, hertz, effort);
    for (case, number) in cases.iter().zip(1..) {
        progress(&format!("{number} of {}: {case}", cases.len()));
        let figure = match case.scenario {
            Scenario::Publication => {
                report.publication =
                    Some(publication::measure(case, effort, hertz, report.processor.number)?);
                continue;
            }
            Scenario::Start => {
                report.starts = start::measure(cases.len() > 1, case, hertz)?;
                continue;
            }
            Scenario::Memory if cases.len() > 1 => memory::measure_apart(case)?,
            Scenario::Memory => memory::measure(case, hertz)?,
            Scenario::Flood => flood::measure(case, effort, hertz)?,
            Scenario::Idle => idle::measure(case, effort, hertz)?,
            Scenario::Latency => latency::measure(case, effort, hertz)?,
            Scenario::Ageing => ageing::measure(case, effort, hertz)?,
            Scenario::Workers => workers::measure(case, effort, hertz, &allowed)?,
            _ => measure::measure(case, effort, hertz)?,
        };
        report.add(figure);
    }
    Ok(report)
}
