//! A gateway on captures, from its start to its end.

use std::{collections::BTreeMap, path::Path, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use testkit::netns::{Namespace, Tidegate, program};

use crate::traffic;

/// Longer than a million packets take on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// A gateway that reads captures.
pub(crate) struct Run {
    gateway: Tidegate,
    /// Where it runs: nothing of this machine's network is in there.
    _namespace: Namespace,
    _directory: TempDir,
}

impl Run {
    /// Starts it on captures that `write` makes; `device` is what DPDK is told, `@` standing for their directory.
    pub(crate) fn start(workers: &str, device: &str, write: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path());
        let configuration = format!(
            "version: 1\ncontrol: {{ socket: {} }}\nworkers: {{ {workers} }}\n{}",
            Tidegate::socket(directory.path()).display(),
            traffic::configuration(&device.replace('@', &directory.path().display().to_string()))
        );
        let namespace = Namespace::create("capture").unwrap();
        let program = program().unwrap();
        let mut gateway = Tidegate::start(&namespace, &program, directory.path(), &configuration).unwrap();
        gateway.wait_until_ready(LIMIT).unwrap();
        Self { gateway, _namespace: namespace, _directory: directory }
    }

    /// Frames received so far.
    pub(crate) fn received(&self) -> u64 {
        self.gateway.count("/v1/ports", "/rx_frames").unwrap()
    }

    /// Frames sent so far.
    pub(crate) fn forwarded(&self) -> u64 {
        self.gateway.count("/v1/ports", "/tx_frames").unwrap()
    }

    /// Frames that crossed from one worker to another.
    pub(crate) fn crossed(&self) -> u64 {
        self.gateway.count("/v1/workers", "/handed_in").unwrap()
    }

    /// Packets dropped so far, by reason.
    pub(crate) fn drops(&self) -> BTreeMap<String, u64> {
        let rows = self.gateway.list("drop").unwrap();
        let row = |row: &serde_json::Value| {
            (row["reason"].as_str().unwrap().to_owned(), row["packets"].as_u64().unwrap())
        };
        rows.iter().map(row).collect()
    }

    /// Waits until every packet is accounted for, which it is when the captures are at their end.
    pub(crate) fn wait_until_accounted(&self) {
        self.gateway.wait_until_accounted(LIMIT).unwrap();
    }

    /// Ends it. Every packet is accounted for, all packet memory is back, nothing is left.
    pub(crate) fn stop(mut self) {
        let process = self.gateway.process();
        let id = process.id();
        process.signal(Signal::SIGTERM).unwrap();
        let status = process.wait(LIMIT).unwrap();
        let log = self.gateway.log();
        assert_eq!(status.code(), Some(0), "{log}");
        for line in ["every packet is accounted for", " 0 held", "all packet memory was given back"] {
            assert!(log.contains(line), "`{line}` is not in the log:\n{log}");
        }
        assert!(!log.contains("ERROR"), "{log}");
        assert!(Tidegate::leftovers(id).is_empty());
    }
}
