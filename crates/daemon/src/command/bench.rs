//! `tidegate bench`

mod control;

use std::{
    io::{self, IsTerminal, Write},
    thread,
};

use super::print;
use crate::{
    arguments::{Bench, Format},
    bench::{self, Ageing, Comparison, Effort, Figure, Latency, Quantiles, Report, Scenario, Size, cases},
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
    let Bench { scenarios, mode, flows, backends, services, family, rounds, seconds, output } = arguments;
    let size = Size { backends: *backends, services: *services };
    let mut cases = cases(scenarios, mode, family, flows, size);
    // Of everything what cannot be measured here is left out.
    let is_alone = thread::available_parallelism().is_ok_and(|processors| processors.get() < 2);
    cases.retain(|case| !(is_alone && scenarios.is_empty() && case.scenario == Scenario::Workers));
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
    if let Some(size) =
        report.figures.first().map(|figure| figure.size).filter(|size| *size != Size::default())
    {
        text += &format!("{} backends, {} virtual servers\n", size.backends, size.services);
    }
    let costs: Vec<_> =
        report.figures.iter().filter_map(|figure| cost_row(figure, report.dearest_drop())).collect();
    if !costs.is_empty() {
        text += "Above input and output: CYCLES (median, min, max), NS. With them: M/S.\n\n";
        text += &rendered(&COSTS, costs);
        if report.dearest_drop().is_some() {
            text += "\n* the dearest drop, as a part of what forwarding costs\n";
        }
    }
    let memory: Vec<_> = report.figures.iter().filter_map(memory_row).collect();
    if !memory.is_empty() {
        text += "\n";
        text += &rendered(&MEMORY, memory);
    }
    text += &control::tables(report);
    let ageing: Vec<_> = report.figures.iter().filter_map(ageing_row).collect();
    if !ageing.is_empty() {
        text +=
            "\nHousekeeping, cycles: a packet at full load (median, min, max), A CALL, an EXPIRED flow.\n\n";
        text += &rendered(&AGEING, ageing);
    }
    let latency: Vec<_> = report.figures.iter().flat_map(latency_rows).collect();
    if !latency.is_empty() {
        text += "\nMicroseconds: of bursts from receipt to transmission (residence), of packets from when they were due\n\
                 (sojourn); what somebody who comes at any time waits for the processor alone.\n\n";
        text += &rendered(&LATENCY, latency);
    }
    let comparisons: Vec<_> = report.figures.iter().flat_map(comparison_rows).collect();
    if !comparisons.is_empty() {
        text += "\nCYCLES on a condition and WITHOUT (medians), their RATIO; BOUND: of the median ratio, to 95 %.\n\n";
        text += &rendered(&COMPARISONS, comparisons);
    }
    text
}

const LATENCY: [(&str, Align); 11] = [
    ("SCENARIO", Align::Left),
    ("MODE", Align::Left),
    ("IP", Align::Left),
    ("FLOWS", Align::Right),
    ("LOAD", Align::Right),
    ("M/S", Align::Right),
    ("WHAT", Align::Name),
    ("P50", Align::Right),
    ("P99", Align::Right),
    ("P99.9", Align::Right),
    ("MAX", Align::Right),
];

const AGEING: [(&str, Align); 9] = [
    ("SCENARIO", Align::Name),
    ("MODE", Align::Left),
    ("IP", Align::Left),
    ("FLOWS", Align::Right),
    ("CYCLES", Align::Right),
    ("MIN", Align::Right),
    ("MAX", Align::Right),
    ("A CALL", Align::Right),
    ("EXPIRED", Align::Right),
];

const COMPARISONS: [(&str, Align); 11] = [
    ("SCENARIO", Align::Left),
    ("MODE", Align::Left),
    ("IP", Align::Left),
    ("FLOWS", Align::Right),
    ("CONDITION", Align::Name),
    ("CYCLES", Align::Right),
    ("WITHOUT", Align::Right),
    ("RATIO", Align::Right),
    ("MIN", Align::Right),
    ("MAX", Align::Right),
    ("BOUND", Align::Right),
];

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

fn cost_row(figure: &Figure, dearest: Option<f64>) -> Option<Vec<String>> {
    let cost = figure.cost.as_ref()?;
    let cycles = [cost.cycles.median, cost.cycles.min, cost.cycles.max, cost.nanoseconds];
    let mut row = head(figure);
    row.extend(cycles.map(|value| format!("{value:.1}")));
    row.push(format!("{:.2}", cost.millions_per_second));
    row.push(format!("{:.1}", cost.io_cycles.median));
    let mark = if figure.ratio_to_forwarding == dearest { "*" } else { "" };
    row.push(figure.ratio_to_forwarding.map_or_else(String::new, |ratio| format!("{ratio:.2}{mark}")));
    Some(row)
}

fn memory_row(figure: &Figure) -> Option<Vec<String>> {
    let bytes = figure.bytes_per_flow?;
    let mut row = head(figure);
    row.push(format!("{bytes:.1}"));
    Some(row)
}

fn ageing_row(figure: &Figure) -> Option<Vec<String>> {
    let Ageing { cycles_a_packet: packet, cycles_a_call, cycles_an_expired_flow, .. } =
        figure.ageing.as_ref()?;
    let mut row = head(figure);
    row.extend([packet.median, packet.min, packet.max].map(|value| format!("{value:.3}")));
    row.extend([cycles_a_call.median, *cycles_an_expired_flow].map(|value| format!("{value:.0}")));
    Some(row)
}

fn latency_rows(figure: &Figure) -> Vec<Vec<String>> {
    let Some(Latency { loads, processor_us, .. }) = &figure.latency else { return Vec::new() };
    let row = |load: [String; 2], what: &str, times: &Quantiles| {
        let mut row = head(figure);
        row.extend(load);
        row.push(what.to_owned());
        row.extend([times.p50, times.p99, times.p999, times.max].map(|value| format!("{value:.2}")));
        row
    };
    let mut rows = Vec::new();
    for load in loads {
        let offered = [format!("{} %", load.percent), format!("{:.2}", load.millions_per_second)];
        rows.push(row(offered.clone(), "residence", &load.residence_us));
        rows.push(row(offered, "sojourn", &load.sojourn_us));
    }
    rows.push(row([String::new(), String::new()], "processor", processor_us));
    rows
}

fn comparison_rows(figure: &Figure) -> impl Iterator<Item = Vec<String>> {
    figure.comparisons.iter().map(|comparison| {
        let Comparison { condition, cycles, cycles_without, ratio, ratio_bound, .. } = comparison;
        let mut row = head(figure);
        row.push((*condition).to_owned());
        row.extend([cycles, cycles_without].map(|spread| format!("{:.1}", spread.median)));
        row.extend([ratio.median, ratio.min, ratio.max].map(|value| format!("{value:.3}")));
        row.push(ratio_bound.map_or_else(String::new, |bound| format!("{bound:.3}")));
        row
    })
}

/// A number of flows as it is typed.
fn flows(flows: u32) -> String {
    match flows {
        _ if flows.is_multiple_of(1 << 20) => format!("{}M", flows >> 20),
        _ if flows.is_multiple_of(1 << 10) => format!("{}k", flows >> 10),
        _ => flows.to_string(),
    }
}
