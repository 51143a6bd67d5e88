//! `tidegate replay`, run as an ordinary user.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::unistd::geteuid;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    GATEWAY, capture,
    case::{self, Bytes, Case, Counters},
    decode,
};

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

/// What became of packets.
#[derive(Debug, Deserialize)]
pub(crate) struct Replayed {
    packets: Vec<Row>,
    totals: Totals,
    #[serde(skip)]
    pub(crate) out: Vec<Vec<u8>>,
}

#[derive(Debug, Deserialize)]
struct Row {
    number: usize,
    #[serde(default)]
    meanwhile: Vec<serde_json::Value>,
    verdict: String,
    port: Option<String>,
    reason: Option<String>,
    sent: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Totals {
    #[serde(flatten)]
    counters: Counters,
    balanced: bool,
}

impl Row {
    fn verdict(&self) -> String {
        let about = self.port.as_ref().or(self.reason.as_ref());
        about.map_or(self.verdict.clone(), |about| format!("{} {about}", self.verdict))
    }
}

/// The program, in a directory of its own, since `nobody` may not be able to reach where it was built.
pub(crate) struct Program {
    directory: TempDir,
}

impl Program {
    /// Copies the program that was built.
    pub(crate) fn copy() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_tidegate"), directory.path().join("tidegate")).unwrap();
        Self { directory }
    }

    /// A file of its directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What becomes of the packets of a case.
    pub(crate) fn replay(&self, case: &Case) -> Replayed {
        let (timers, port) = (case.takes_time(), case.port.as_deref());
        let arguments = [timers.then(|| "--timers".to_owned()), port.map(|port| format!("--port={port}"))];
        let health = case.health().into_iter().map(|event| format!("--health={event}"));
        let arguments: Vec<String> = arguments.into_iter().flatten().chain(health).collect();
        self.replay_at((&case.packets_in(), &case.times()), &case.configuration(), &arguments)
    }

    /// What becomes of packets.
    pub(crate) fn replay_at(
        &self,
        (packets, times): (&[Vec<u8>], &[Duration]),
        configuration: &Path,
        arguments: &[String],
    ) -> Replayed {
        let [input, output, copy] = ["in.pcap", "out.pcap", "gateway.yaml"].map(|name| self.file(name));
        capture::write(&input, packets, times);
        fs::copy(configuration, &copy).unwrap();
        for list in ["allowed.txt", "denied.txt"] {
            fs::copy(case::folder().join(list), self.file(list)).unwrap();
        }
        let mut command = Command::new(self.file("tidegate"));
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.arg("replay").arg("-c").arg(copy).arg("--in").arg(&input).arg("--out").arg(&output);
        let result = command.args(["-o", "json"]).args(arguments).output();
        let result = result.unwrap();
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        let replayed: Replayed = serde_json::from_slice(&result.stdout).unwrap();
        Replayed { out: capture::read(&output), ..replayed }
    }
}

impl Replayed {
    /// Compares with what a case says in words, and sees to it that what left is sound.
    pub(crate) fn check(&self, case: &Case) -> Result<(), String> {
        if !self.totals.balanced {
            return Err(format!("packets are unaccounted for: {:?}", self.totals));
        }
        let mut out = self.out.iter();
        for (packet, row) in case.packets.iter().zip(&self.packets) {
            let number = row.number;
            if packet.verdict != row.verdict() {
                return Err(format!("packet {number}: {} instead of {}", row.verdict(), packet.verdict));
            }
            for (when, said, expected) in
                [("before", &row.meanwhile, &packet.meanwhile), ("because of", &row.sent, &packet.sends)]
            {
                let found: Vec<String> =
                    out.by_ref().take(said.len()).map(|frame| decode::describe(frame)).collect();
                let expected: Vec<&String> = expected.iter().map(|frame| &frame.frame).collect();
                if found.iter().collect::<Vec<_>>() != expected {
                    return Err(format!(
                        "sends {when} packet {number}: {found:#?}\ninstead of {expected:#?}"
                    ));
                }
            }
        }
        match self.out.iter().find(|frame| case.is_common() && frame[6..12] != GATEWAY) {
            Some(frame) => Err(format!("a frame from another MAC address: {}", decode::describe(frame))),
            None => Ok(()),
        }
    }

    /// Dropped packets by reason.
    pub(crate) fn drops(&self) -> &BTreeMap<String, u64> {
        &self.totals.counters.drops
    }

    /// Writes bytes and counters into a case.
    pub(crate) fn write_into(&self, case: &mut Case) {
        let mut out = self.out.iter();
        for frame in
            case.packets.iter_mut().flat_map(|packet| packet.meanwhile.iter_mut().chain(&mut packet.sends))
        {
            frame.bytes = Bytes(out.next().cloned().unwrap_or_default());
        }
        case.counters = self.totals.counters.clone();
    }
}
