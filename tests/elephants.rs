//! How evenly `adaptive` spreads elephants. `cargo bench --bench elephants` shows it beside the other methods, for longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

#[path = "../benches/elephants/haproxy.rs"]
mod haproxy;
#[path = "../benches/elephants/simulation.rs"]
mod simulation;

use model::Method;
use simulation::{Outcome, Scene, Way, simulate};

fn outcome(method: Method, slow: bool, transfers: u32) -> Outcome {
    simulate(Way::Ours(method), Scene { backends: 16, concurrent: 64, slow, transfers, seconds: 3600.0 })
}

#[test]
fn adaptive_spreads_elephants_evenly_and_wastes_nothing() {
    for (slow, transfers) in [(false, 1), (true, 1), (false, 5), (true, 5), (false, 100), (true, 100)] {
        let outcome = outcome(Method::Adaptive, slow, transfers);
        let scene = format!("slow: {slow}, transfers a connection: {transfers}: {outcome:?}");
        assert!(outcome.goodput >= 0.95, "{scene}");
        assert!(outcome.connections.peak_to_mean <= 1.10, "{scene}");
    }
}

#[test]
fn a_slow_backend_has_ten_times_its_share_where_only_flows_are_counted_and_more_where_nothing_is() {
    for way in [Way::Ours(Method::LeastConnections), Way::Haproxy] {
        let outcome =
            simulate(way, Scene { backends: 16, concurrent: 64, slow: true, transfers: 1, seconds: 300.0 });
        assert!(outcome.goodput >= 0.99 && outcome.connections.first_to_mean > 9.0, "{outcome:?}");
    }
    let outcome = outcome(Method::Maglev, true, 1);
    assert!(outcome.goodput < 0.5 && outcome.transfers.first_to_mean > 20.0, "{outcome:?}");
}
