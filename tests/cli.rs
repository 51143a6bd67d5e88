//! The command line: what it prints, and the exit code that says how it went.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::Value;

const GOOD: &str = "\
version: 1
ports:
  - { name: uplink, device: net_null0, addresses: [192.0.2.2/24] }
pools:
  - { name: objects, backends: [{ address: \"192.0.2.11:9000\" }] }
virtual_servers:
  - { name: s3, address: 198.51.100.10, port: 443, protocol: tcp, type: fastl4, mode: nat, pool: objects }
";

/// What a command did: its exit code, and what it printed where.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn tidegate(arguments: &[&str]) -> Outcome {
    let output = Command::cargo_bin("tidegate")
        .unwrap()
        .env_remove("TIDEGATE_SOCKET")
        .args(arguments)
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn file(directory: &Path, text: &str) -> String {
    let path = directory.join("tidegate.yaml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_command_line_that_is_none_is_a_usage_error() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["run"],
        &["run", "-c"],
        &["check"],
        &["pool"],
        &["pool", "frob"],
        &["pool", "list", "-o", "xml"],
        &["pool", "list", "--limit", "5"],
        &["flow", "list", "--limit", "0"],
        &["flow", "list", "--limit", "100001"],
        &["check", "-o", "yaml", "x"],
        &["schema", "x"],
        &["version", "--what"],
    ] {
        let outcome = tidegate(arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}: {}{}", outcome.out, outcome.err);
        assert!(
            outcome.err.contains("Usage") || outcome.err.contains("--help"),
            "{arguments:?}: {}",
            outcome.err
        );
    }
}

#[test]
fn help_names_every_command_and_every_exit_code() {
    let outcome = tidegate(&["--help"]);
    assert_eq!(outcome.code, 0);
    for part in [
        "run",
        "check",
        "doctor",
        "schema",
        "bench",
        "virtual-server",
        "pool",
        "backend",
        "flow",
        "worker",
        "drop",
        "version",
    ] {
        assert!(outcome.out.contains(part), "{part} is not in\n{}", outcome.out);
    }
    assert!(outcome.out.contains("3 configuration invalid"), "{}", outcome.out);
}

#[test]
fn the_version_tells_the_program_and_its_dpdk() {
    let outcome = tidegate(&["version"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.starts_with(&format!("tidegate {}\n", env!("CARGO_PKG_VERSION"))), "{}", outcome.out);
    assert!(outcome.out.contains("\nDPDK     2"), "{}", outcome.out);
}

#[test]
fn an_older_processor_is_refused_with_a_remedy() {
    let emulated = |processor| {
        let mut emulator = Command::new("qemu-x86_64");
        emulator.args(["-cpu", processor, env!("CARGO_BIN_EXE_tidegate"), "version"]).output().unwrap()
    };
    let older = emulated("Nehalem");
    let message = String::from_utf8(older.stderr).unwrap();
    assert_eq!((older.status.code(), older.stdout.len()), (Some(5), 0), "{message}");
    assert!(
        message.contains("lacks x86-64-v3") && message.contains("help: use a newer machine"),
        "{message}"
    );
    assert_eq!(emulated("Haswell").status.code(), Some(0));
}

#[test]
fn the_schema_is_a_json_schema() {
    let outcome = tidegate(&["schema"]);
    assert_eq!(outcome.code, 0);
    let schema: Value = serde_json::from_str(&outcome.out).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    assert!(schema["properties"]["virtual_servers"].is_object());
}

#[test]
fn a_file_without_mistakes_is_summed_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), GOOD);
    let outcome = tidegate(&["check", &file]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    assert!(outcome.out.contains("1 port, 1 virtual server, 1 pool, 1 backend"), "{}", outcome.out);
    let outcome = tidegate(&["check", &file, "-o", "json"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "[]\n"));
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(
        directory.path(),
        &GOOD.replace("pool: objects", "pool: object").replace("mode: nat", "mode: nut"),
    );
    let outcome = tidegate(&["check", &file]);
    assert_eq!((outcome.code, outcome.out.as_str()), (3, ""));
    assert!(outcome.err.contains("tidegate.yaml:7:"), "{}", outcome.err);
    assert!(outcome.err.contains("help:"), "{}", outcome.err);

    let outcome = tidegate(&["check", &file, "-o", "json"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (3, ""));
    let mistakes: Vec<Value> = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(mistakes.len(), 2, "{}", outcome.out);
    for mistake in mistakes {
        assert_eq!(mistake["line"], 7);
        assert!(
            !mistake["message"].as_str().unwrap().is_empty()
                && !mistake["remedy"].as_str().unwrap().is_empty()
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_invalid_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.yaml");
    for path in [missing.to_str().unwrap(), directory.path().to_str().unwrap()] {
        for command in [&["check", path][..], &["run", "-c", path]] {
            let outcome = tidegate(command);
            assert_eq!(outcome.code, 3, "{command:?}: {}", outcome.err);
            assert!(outcome.err.contains(path), "{command:?}: {}", outcome.err);
        }
    }
}

#[test]
fn nothing_runs_with_an_invalid_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let two_workers = format!("workers: {{ lcores: [0, 1] }}\n{GOOD}");
    for text in [
        GOOD.replace("192.0.2.2/24", "nowhere"),
        two_workers.replace("net_null0", "\"net_af_xdp0,iface=x\""),
        two_workers.replace("net_null0", "net_null0, queues: 1"),
    ] {
        let file = file(directory.path(), &text);
        for command in [&["check", &file][..], &["run", "-c", &file]] {
            let outcome = tidegate(command);
            assert_eq!(outcome.code, 3, "{}", outcome.err);
            assert!(outcome.err.contains("1 mistake"), "{}", outcome.err);
        }
    }
}

#[test]
fn a_list_without_a_gateway_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("tidegate.sock");
    let socket = socket.to_str().unwrap();
    for noun in ["virtual-server", "pool", "backend", "flow", "worker", "drop"] {
        let outcome = tidegate(&[noun, "list", "--socket", socket]);
        assert_eq!((outcome.code, outcome.out.as_str()), (4, ""), "{noun}");
        assert!(outcome.err.contains(socket), "{noun}: {}", outcome.err);
        assert!(outcome.err.contains("remedy: start one with `tidegate run"), "{noun}: {}", outcome.err);
    }
}

#[test]
fn the_socket_may_be_named_by_the_environment() {
    let output = Command::cargo_bin("tidegate")
        .unwrap()
        .env("TIDEGATE_SOCKET", "/nowhere/at/all.sock")
        .args(["pool", "list"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at/all.sock"));
}
