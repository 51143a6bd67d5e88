//! `tidegate bench`

mod control;

use std::io::{self, IsTerminal, Write};

use super::print;
use crate::{
    arguments::{Bench, Format},
    bench::{self, Effort, Figure, Report, cases},
    failure::Failure,
    table::{Align, Table},
};

/// How often the loops take turns, unless it is said.
const ROUNDS: u32 = 9;
/// Seconds that each runs in a round.
const SECONDS: f64 = 0.3;
/// The same when everything is measured, which is to take less than a minute.
const SHORT_SECONDS: f64 = 0.03;

/// Measures what a worker costs.
pub(crate) fn bench(arguments: &Bench) -> Result<(), Failure> {
    let Bench { scenarios, mode, flows, family, rounds, seconds, output } = arguments;
    let cases = cases(scenarios, mode, family, flows);
    if cases.is_empty() {
        return Err(Failure::usage("none of these scenarios has such a mode")
            .remedy("`established` and `new` have all modes, the others `nat` only"));
    }
    let default = if scenarios.is_empty() { SHORT_SECONDS } else { SECONDS };
    let effort = Effort { rounds: rounds.unwrap_or(ROUNDS), seconds: seconds.unwrap_or(default) };
    #[cfg(debug_assertions)]
    say("this program was not built with --release: its figures say nothing\n");
    let is_terminal = io::stderr().is_terminal();
    let report = bench::bench(&cases, effort, |text| {
        // On a terminal each line takes the place of the one before it.
        say(&if is_terminal { format!("\r\x1b[K{text}") } else { format!("{text}\n") });
    });
    if is_terminal {
        say("\r\x1b[K");
    }
    let report = report?;
    print(&match output {
        Format::Table => table(&report),
        Format::Json => {
            let text = serde_json::to_string_pretty(&report).map_err(Failure::unprintable)?;
            format!("{text}\n")
        }
        Format::Yaml => serde_yaml::to_string(&report).map_err(Failure::unprintable)?,
    })
}

/// Tells somebody who waits. It does not matter if there is nobody.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn table(report: &Report) -> String {
    let place = match report.processor.number {
        Some(number) => format!("processor {number}"),
        None => "no processor of its own (binding the thread failed)".to_owned(),
    };
    let gigahertz = report.tsc_hertz as f64 / 1e9;
    let mut text = format!("{}, {place}, TSC {gigahertz:.3} GHz\n", report.processor.model);
    let costs: Vec<_> = report.figures.iter().filter_map(cost_row).collect();
    if !costs.is_empty() {
        text += "Above input and output: CYCLES (median, min, max), NS. With them: M/S.\n\n";
        text += &rendered(&COSTS, costs);
    }
    let memory: Vec<_> = report.figures.iter().filter_map(memory_row).collect();
    if !memory.is_empty() {
        text += "\n";
        text += &rendered(&MEMORY, memory);
    }
    text += &control::tables(report);
    text
}

const COSTS: [(&str, Align); 11] = [
    ("SCENARIO", Align::Name),
    ("MODE", Align::Left),
    ("IP", Align::Left),
    ("FLOWS", Align::Right),
    ("CYCLES", Align::Right),
    ("MIN", Align::Right),
    ("MAX", Align::Right),
    ("NS", Align::Right),
    ("M/S", Align::Right),
    ("I/O", Align::Right),
    ("OF FWD", Align::Right),
];

const MEMORY: [(&str, Align); 5] = [
    ("SCENARIO", Align::Name),
    ("MODE", Align::Left),
    ("IP", Align::Left),
    ("FLOWS", Align::Right),
    ("BYTES A FLOW", Align::Right),
];

fn rendered(columns: &[(&'static str, Align)], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new(columns);
    rows.into_iter().for_each(|row| table.push(row));
    table.render()
}

/// What a figure is of.
fn head(figure: &Figure) -> Vec<String> {
    let case = figure.case();
    vec![case.what(), case.mode_name().to_owned(), case.family.name().to_owned(), flows(case.flows)]
}

fn cost_row(figure: &Figure) -> Option<Vec<String>> {
    let cost = figure.cost.as_ref()?;
    let cycles = [cost.cycles.median, cost.cycles.min, cost.cycles.max, cost.nanoseconds];
    let mut row = head(figure);
    row.extend(cycles.map(|value| format!("{value:.1}")));
    row.push(format!("{:.2}", cost.millions_per_second));
    row.push(format!("{:.1}", cost.io_cycles.median));
    row.push(figure.ratio_to_forwarding.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
    Some(row)
}

fn memory_row(figure: &Figure) -> Option<Vec<String>> {
    let bytes = figure.bytes_per_flow?;
    let mut row = head(figure);
    row.push(format!("{bytes:.1}"));
    Some(row)
}

/// A number of flows as it is typed.
fn flows(flows: u32) -> String {
    match flows {
        _ if flows.is_multiple_of(1 << 20) => format!("{}M", flows >> 20),
        _ if flows.is_multiple_of(1 << 10) => format!("{}k", flows >> 10),
        _ => flows.to_string(),
    }
}
