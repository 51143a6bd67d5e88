//! New connections go to the backends that the pool's method names.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use model::Mode;
use testkit::netns::{Device, Plan, Topology, program};

use crate::site::Site;

const TWO_WORKERS: &str = "workers: { lcores: [0, 1] }\n";

fn with_method(device: Device, mode: Mode, method: &str) -> Site {
    let topology = Topology::build(Plan { device, mode, backends: 3, crosses_families: false }).unwrap();
    let configuration = topology.configuration(TWO_WORKERS);
    let method = format!("    method: {method}\n    backends:\n");
    let configuration = configuration.replace("    backends:\n", &method);
    Site::start_with(topology, &configuration)
}

/// The open connections of each backend of the pool for HTTP.
fn open_connections(site: &Site, v6: bool) -> Vec<u64> {
    let pool = if v6 { "http6" } else { "http4" };
    let rows = site.gateway.list("backend").unwrap();
    let of_pool: BTreeMap<String, u64> = rows
        .iter()
        .filter(|row| row["pool"] == pool)
        .map(|row| (row["address"].to_string(), row["flows"].as_u64().unwrap()))
        .collect();
    of_pool.into_values().collect()
}

#[test]
fn connections_of_two_workers_are_spread_by_how_many_each_backend_has() {
    for (device, mode) in [(Device::Tap, Mode::Nat), (Device::AfPacket, Mode::Dsr)] {
        let site = with_method(device, mode, "least_connections");
        for v6 in [false, true] {
            let connections: Vec<_> = (0..30).map(|_| site.dial(v6)).collect();
            assert_eq!(open_connections(&site, v6), [10; 3], "{device:?}, {mode:?}");
            drop(connections);
        }
        site.stop();
    }
}

#[test]
fn elephants_and_datagrams_arrive_whole_with_adaptive() {
    let site = with_method(Device::Tap, Mode::FullNat, "adaptive");
    for v6 in [false, true] {
        site.exchange_in_parallel(v6, 60);
        site.exchange_datagrams(v6);
    }
    let opened = site.gateway.count("/v1/virtual-servers", "/flows_opened").unwrap();
    assert!(opened >= 160, "{opened}");
    site.stop();
}

/// The short version of `scripts/elephants`, which ends with an error when a transfer breaks off or arrives as another one.
#[test]
fn elephants_under_way_all_the_time_arrive_whole_with_adaptive() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/elephants");
    let scene = ["--seconds", "4", "--warm-up", "1", "--capacity", "500000", "--ways", "adaptive"];
    let output =
        Command::new(script).args(scene).env("TIDEGATE", program().unwrap()).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let completed = said.lines().filter(|line| line.contains("adaptive"));
    let completed: Vec<u64> =
        completed.map(|line| line.split_whitespace().last().unwrap().parse().unwrap()).collect();
    assert!(completed.len() == 4 && completed.iter().all(|&transfers| transfers > 0), "{said}");
}
