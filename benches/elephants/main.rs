//! How evenly methods spread elephants: `cargo bench --bench elephants` prints a table, `-- --json` what plots are made of.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a simulation that cannot go on stops")]

mod haproxy;
mod simulation;

use model::Method;
use simulation::{Outcome, Scene, Way, simulate};

const WAYS: [(&str, Way); 4] = [
    ("maglev", Way::Ours(Method::Maglev)),
    ("least_connections", Way::Ours(Method::LeastConnections)),
    ("HAProxy leastconn", Way::Haproxy),
    ("adaptive", Way::Ours(Method::Adaptive)),
];
const SECONDS: f64 = 3600.0;

/// Transfers that a connection carries.
const KEPT: [u32; 3] = [1, 5, 100];

fn main() {
    let is_json = std::env::args().any(|argument| argument == "--json");
    let mut rows = Vec::new();
    for (transfers, slow) in KEPT.into_iter().flat_map(|transfers| [(transfers, false), (transfers, true)]) {
        for (name, way) in WAYS {
            let scene = Scene { backends: 16, concurrent: 64, slow, transfers, seconds: SECONDS };
            let Outcome { goodput, connections, transfers: under_way } = simulate(way, scene);
            let (open, busy) = (connections.peak_to_mean, under_way.peak_to_mean);
            let first = connections.first_to_mean;
            rows.push(if is_json {
                format!(
                    r#"{{"method":"{name}","slow":{slow},"transfers":{transfers},"goodput":{goodput:.4},"connections":{open:.4},"under_way":{busy:.4}}}"#
                )
            } else {
                let slow = if slow { "one at 10 %" } else { "all sound" };
                format!("{transfers:>3}  {slow:<12} {name:<18} {goodput:>7.3} {open:>9.3} {first:>9.3} {busy:>9.3}")
            });
        }
    }
    if is_json {
        println!("[{}]", rows.join(",\n"));
    } else {
        println!(
            "Transfers a connection, backends, method; goodput of the possible; connections by capacity, the most by the mean and the\nfirst backend's by the mean; transfers under way by capacity, the most by the mean.\n"
        );
        println!("{}", rows.join("\n"));
    }
}
