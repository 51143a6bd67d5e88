//! The figures of what control does, as tables.

use super::rendered;
use crate::{
    bench::{Change, Delays, Publication, Report, Spread, Start},
    table::Align,
};

/// All that there is of a report.
pub(super) fn tables(report: &Report) -> String {
    let mut text = String::new();
    if let Some(publication) = &report.publication {
        text += "\n";
        text += &rendered(&FIGURES, figures(publication));
        text += "\nOne pool changes, until it is published, in microseconds of processor time:\n\n";
        text += &rendered(&CHANGES, publication.changes.iter().flat_map(changes).collect());
    }
    if !report.starts.is_empty() {
        text += "\nFrom the text of a configuration to the first packet forwarded, in milliseconds:\n\n";
        text += &rendered(&STARTS, report.starts.iter().map(start).collect());
    }
    text
}

const FIGURES: [(&str, Align); 4] = [
    ("PUBLICATION", Align::Name),
    ("MEDIAN", Align::Right),
    ("MIN, OR 99 OF 100", Align::Right),
    ("MAX", Align::Right),
];

const CHANGES: [(&str, Align); 7] = [
    ("CHANGE", Align::Name),
    ("SERVERS", Align::Right),
    ("POOLS", Align::Right),
    ("BACKENDS", Align::Right),
    ("MEDIAN", Align::Right),
    ("MIN", Align::Right),
    ("MAX", Align::Right),
];

const STARTS: [(&str, Align); 9] = [
    ("SERVERS", Align::Right),
    ("POOLS", Align::Right),
    ("BACKENDS", Align::Right),
    ("READ", Align::Right),
    ("COMPILE", Align::Right),
    ("ALL", Align::Right),
    ("PROCESSOR", Align::Right),
    ("TABLES MB", Align::Right),
    ("RESIDENT MB", Align::Right),
];

fn figures(publication: &Publication) -> Vec<Vec<String>> {
    let row = |what: String, values: [f64; 3], digits: usize| {
        let mut row = vec![what];
        row.extend(values.map(|value| format!("{value:.digits$}")));
        row
    };
    let delays = |what, delays: &Delays| row(what, [delays.p50_us, delays.p99_us, delays.max_us], 1);
    let of = |spread: &Spread| [spread.median, spread.min, spread.max];
    let seen = &publication.seen;
    let beside = if seen.is_apart { "" } else { " on one processor" };
    vec![
        row("build 65536 slots for 1000 backends, ms".to_owned(), of(&publication.build_ms), 2),
        row("reader, cycles a burst".to_owned(), of(&publication.reader_cycles), 1),
        delays(format!("seen by a busy worker{beside}, us, of {}", seen.all.publications), &seen.all),
        delays(format!("the same uninterrupted, of {}", seen.unstolen.publications), &seen.unstolen),
    ]
}

fn changes(change: &Change) -> [Vec<String>; 2] {
    let scale = change.scale;
    [("health", &change.health_us), ("configuration", &change.configuration_us)].map(|(what, spread)| {
        let mut row = vec![what.to_owned()];
        let sizes = [scale.virtual_servers, scale.pools, scale.pools * scale.backends_per_pool];
        row.extend(sizes.map(|size| size.to_string()));
        row.extend([spread.median, spread.min, spread.max].map(|value| format!("{value:.0}")));
        row
    })
}

fn start(start: &Start) -> Vec<String> {
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let mut row: Vec<String> =
        [start.virtual_servers, start.pools, start.backends].iter().map(ToString::to_string).collect();
    let times = [start.read_ms, start.compile_ms, start.all_ms, start.processor_ms];
    row.extend(times.map(|time| format!("{time:.1}")));
    row.extend([start.table_bytes as u64, start.resident_bytes].map(megabytes));
    row
}
