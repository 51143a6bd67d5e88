//! `tidegate bench`: that it measures everything, says what it measured, and refuses what it cannot measure. How fast it is,
//! no test depends on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

use std::collections::BTreeSet;

use assert_cmd::Command;
use serde_json::Value;

/// As little of everything as there is.
const TINY: [&str; 6] = ["--flows", "256", "--rounds", "1", "--seconds", "0.01"];

/// What the command did: its exit code, and what it printed where.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn bench(arguments: &[&str]) -> Outcome {
    let output =
        Command::cargo_bin("tidegate").unwrap().arg("bench").args(TINY).args(arguments).output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The figures that a command printed.
fn figures(arguments: &[&str]) -> Vec<Value> {
    let outcome = bench(arguments);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    for key in ["version", "commit", "processor", "tsc_hertz", "rounds", "seconds", "burst"] {
        assert!(!report[key].is_null(), "{key} is not in {report}");
    }
    report["figures"].as_array().unwrap().clone()
}

#[test]
fn every_scenario_is_measured_in_all_its_modes_and_families() {
    let figures = figures(&["-o", "json"]);
    let text = |figure: &Value, key: &str| figure[key].as_str().unwrap_or_default().to_owned();
    let found: BTreeSet<[String; 3]> =
        figures.iter().map(|figure| ["scenario", "mode", "family"].map(|key| text(figure, key))).collect();
    for (scenario, modes) in [
        ("established", &["nat", "full_nat", "dsr"][..]),
        ("replies", &["nat"]),
        ("new", &["nat", "full_nat", "dsr"]),
        ("connections", &["nat"]),
        ("drops", &["nat"]),
        ("memory", &["nat"]),
        ("flood", &["nat"]),
        ("ageing", &["nat"]),
        ("idle", &["nat"]),
        ("latency", &["nat"]),
    ] {
        for mode in modes {
            for family in ["v4", "v6"] {
                let key = [scenario, mode, family].map(str::to_owned);
                assert!(found.contains(&key), "{key:?} is not among {found:?}");
            }
        }
    }
    assert_eq!(figures.iter().filter(|figure| figure["drop"].is_string()).count(), 5);
    figures.iter().for_each(check_figure);
}

/// That a figure has all that it is to have.
fn check_figure(figure: &Value) {
    assert_eq!(figure["flows"], 256, "{figure}");
    if figure["scenario"] == "memory" {
        assert!(figure["bytes_per_flow"].is_number() && figure["cycles"].is_null(), "{figure}");
        return;
    }
    if let Some(comparisons) = figure["comparisons"].as_array() {
        return comparisons.iter().for_each(check_comparison);
    }
    if figure["scenario"] == "ageing" {
        check_spreads(&figure["ageing"], &["cycles_a_call", "cycles_a_packet"]);
        assert_eq!(figure["ageing"]["packets_a_call"], 32_768, "{figure}");
        return;
    }
    if figure["scenario"] == "latency" {
        return check_latency(&figure["latency"]);
    }
    check_spreads(figure, &["cycles", "io_cycles", "all_cycles"]);
    for key in ["nanoseconds", "millions_per_second"] {
        assert!(figure[key].is_number(), "{key} is not in {figure}");
    }
    let is_connections = figure["scenario"] == "connections";
    assert_eq!(figure["unit"], if is_connections { "connection" } else { "packet" });
    assert_eq!(figure["verified"], if is_connections { 2560 } else { 256 });
    assert_eq!(figure["drop"].is_string(), figure["ratio_to_forwarding"].is_number(), "{figure}");
}

/// That all of these are there, from the least to the greatest.
fn check_spreads(figure: &Value, keys: &[&str]) {
    for key in keys {
        for part in ["median", "min", "max"] {
            assert!(figure[key][part].is_number(), "{key}.{part} is not in {figure}");
        }
    }
}

/// That each load has its times, and that they are told from the machine's own.
fn check_latency(latency: &Value) {
    let loads = latency["loads"].as_array().unwrap();
    assert_eq!(loads.iter().map(|load| load["percent"].as_u64().unwrap()).collect::<Vec<_>>(), [10, 50, 90]);
    let times = loads.iter().flat_map(|load| [&load["residence_us"], &load["sojourn_us"]]);
    for times in times.chain([&latency["processor_us"]]) {
        for part in ["p50", "p99", "p999", "max"] {
            assert!(times[part].is_number(), "{part} is not in {latency}");
        }
    }
    assert!(latency["processor_stolen"].is_number(), "{latency}");
}

fn check_comparison(comparison: &Value) {
    check_spreads(comparison, &["cycles", "cycles_without", "ratio"]);
    assert!(comparison["condition"].is_string(), "{comparison}");
    assert!(comparison["verified"].as_u64().unwrap() >= 512, "{comparison}");
    assert!(comparison["ratio_bound"].is_null(), "one round has no bound: {comparison}");
}

#[test]
fn two_workers_are_compared_where_there_are_two_processors() {
    let outcome = bench(&["workers", "--family", "v4", "-o", "json"]);
    if std::thread::available_parallelism().unwrap().get() < 2 {
        assert_eq!(outcome.code, 1, "{}", outcome.err);
        assert!(outcome.err.contains("two processors"), "{}", outcome.err);
        return;
    }
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    let comparisons = report["figures"][0]["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 2);
    comparisons.iter().for_each(check_comparison);
}

#[test]
fn what_control_does_is_measured() {
    let outcome = bench(&["publication", "start", "-o", "json"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    let publication = &report["publication"];
    assert!(publication["build_ms"]["median"].as_f64() > Some(0.0), "{publication}");
    assert!(publication["reader_cycles"]["median"].is_number(), "{publication}");
    assert_eq!(publication["seen"]["all"]["publications"], 250);
    let changes = publication["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2);
    for change in changes {
        // A change of health looks at its pool only, one of the configuration at everything.
        let median = |what: &str| change[what]["median"].as_f64().unwrap();
        assert!(median("health_us") < median("configuration_us") / 4.0, "{change}");
    }
    let starts = report["starts"].as_array().unwrap();
    let sizes: Vec<_> = starts.iter().map(|start| (&start["pools"], &start["backends"])).collect();
    assert_eq!(sizes, [(&1.into(), &1000.into()), (&1000.into(), &10_000.into())]);
    for start in starts {
        assert!(start["table_bytes"].as_u64() < Some(300 << 20), "{start}");
        assert!(start["all_ms"].as_f64() > start["compile_ms"].as_f64(), "{start}");
    }
}

#[test]
fn the_table_fits_and_progress_is_told_elsewhere() {
    let scenarios = ["established", "drops", "memory", "flood", "ageing", "idle", "latency"];
    let outcome = bench(&[&scenarios[..], &["--family", "v4"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.out.lines().all(|line| line.chars().count() <= 100), "{}", outcome.out);
    for part in [
        "established",
        "full_nat",
        "CYCLES",
        "BYTES A FLOW",
        "A CALL",
        "BOUND",
        "mixed in, table full",
        "P99.9",
        "sojourn",
    ] {
        assert!(outcome.out.contains(part), "{part} is not in\n{}", outcome.out);
    }
    assert!(!outcome.out.contains("IPv6"), "{}", outcome.out);
    assert!(outcome.err.contains("established nat IPv4, 256 flows"), "{}", outcome.err);
}

#[test]
fn a_gateway_can_know_many_backends_and_virtual_servers() {
    let arguments = ["established", "--mode", "nat", "--backends", "20", "--services", "5", "-o", "json"];
    for figure in figures(&arguments) {
        assert_eq!(
            (figure["backends"].as_u64(), figure["services"].as_u64()),
            (Some(20), Some(5)),
            "{figure}"
        );
        check_figure(&figure);
    }
}

#[test]
fn yaml_says_the_same_as_json() {
    let outcome = bench(&["established", "--mode", "dsr", "--family", "v6", "-o", "yaml"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    for line in ["scenario: established", "mode: dsr", "family: v6", "unit: packet"] {
        assert!(outcome.out.contains(line), "{line} is not in\n{}", outcome.out);
    }
}

#[test]
fn what_cannot_be_measured_is_a_usage_error() {
    for arguments in [
        &["jitter"][..],
        &["established", "--mode", "bridge"],
        &["replies", "--mode", "dsr"],
        &["established", "--family", "v5"],
        &["established", "-o", "xml"],
    ] {
        let outcome = bench(arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}: {}", outcome.err);
    }
    for arguments in [
        ["--flows", "12"],
        ["--flows", "100M"],
        ["--rounds", "0"],
        ["--seconds", "0"],
        ["--backends", "0"],
        ["--services", "20000"],
    ] {
        let output = Command::cargo_bin("tidegate").unwrap().arg("bench").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
