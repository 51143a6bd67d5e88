//! `tidegate replay` and `tidegate explain`: what they refuse, with which exit code, and that they do not depend on chance.
//!
//! What becomes of packets is in `tests/golden`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::{fs, path::PathBuf, time::Duration};

use assert_cmd::Command;
use pcap_file::{
    DataLink, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter},
};
use serde_json::Value;
use tempfile::TempDir;
use testkit::packets::{SYN, tcp};

const CONFIGURATION: &str = "\
version: 1
ports:
  - name: uplink
    device: net_null0
    addresses: [192.0.2.2/24]
    neighbours: [{ address: 192.0.2.11, mac: \"02:00:00:00:00:11\" }]
  - { name: other, device: net_null1, addresses: [192.0.3.2/24] }
pools:
  - { name: objects, backends: [{ address: \"192.0.2.11:9000\" }], monitors: [{ type: tcp }] }
virtual_servers:
  - { name: s3, address: 198.51.100.10, port: 443, protocol: tcp, mode: full_nat, pool: objects }
";
const PACKET: &str = "tcp 203.0.113.7:40001 > 198.51.100.10:443 syn";

/// A directory with a configuration and a capture of one packet, twice.
struct Desk(TempDir);

/// What a command did: its exit code, and what it printed where.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::write(desk.file("c.yaml"), CONFIGURATION).unwrap();
        desk.capture(PcapHeader::default());
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn capture(&self, header: PcapHeader) {
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        // The first port's MAC address where the configuration gives none.
        let link = ([2, 0, 0, 0, 0, 7], [0x02, 0x70, 0x63, 0x61, 0x70, 0x00]);
        let frame =
            tcp(link, "203.0.113.7:40001".parse().unwrap(), "198.51.100.10:443".parse().unwrap(), SYN, b"");
        for seconds in [1, 2] {
            let time = Duration::new(seconds, 123_456_789);
            writer.write_packet(&PcapPacket::new(time, frame.len() as u32, &frame)).unwrap();
        }
        fs::write(self.file("a.pcap"), writer.into_writer()).unwrap();
    }

    fn tidegate(&self, arguments: &str) -> Outcome {
        let mut command = Command::cargo_bin("tidegate").unwrap();
        let output = command.current_dir(self.0.path()).args(arguments.split(' ')).output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn explain(&self, packet: &str, more: &[&str]) -> Outcome {
        let mut command = Command::cargo_bin("tidegate").unwrap();
        command.current_dir(self.0.path()).args(["explain", "-c", "c.yaml", "--packet", packet]).args(more);
        let output = command.output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_replay_does_not_depend_on_chance() {
    let desk = Desk::new();
    let replay = |out: &str| {
        let outcome = desk.tidegate(&format!("replay -c c.yaml --in a.pcap --out {out} -o json"));
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        (outcome.out, fs::read(desk.file(out)).unwrap())
    };
    let (said, sent) = replay("b.pcap");
    assert_eq!(replay("c.pcap"), (said.clone(), sent));
    let said: Value = serde_json::from_str(&said).unwrap();
    let first = &said["packets"][0];
    assert_eq!(first["summary"], PACKET);
    assert_eq!((&first["virtual_server"], &first["backend"]), (&"s3".into(), &"192.0.2.11:9000".into()));
    assert_eq!((&said["totals"]["transmitted"], &said["totals"]["balanced"]), (&2.into(), &true.into()));
}

#[test]
fn a_frame_has_the_time_of_the_packet_that_caused_it() {
    for (ts_resolution, nanoseconds) in
        [(TsResolution::MicroSecond, 123_456_000), (TsResolution::NanoSecond, 123_456_789)]
    {
        let desk = Desk::new();
        desk.capture(PcapHeader { ts_resolution, ..PcapHeader::default() });
        assert_eq!(desk.tidegate("replay -c c.yaml --in a.pcap --out b.pcap").code, 0);
        let bytes = fs::read(desk.file("b.pcap")).unwrap();
        let mut reader = PcapReader::new(&bytes[..]).unwrap();
        let mut times = Vec::new();
        while let Some(packet) = reader.next_packet() {
            times.push(packet.unwrap().timestamp);
        }
        assert_eq!(times, [Duration::new(1, nanoseconds), Duration::new(2, nanoseconds)]);
    }
}

#[test]
fn what_cannot_be_replayed_is_told_with_its_remedy() {
    let desk = Desk::new();
    fs::write(desk.file("bad.yaml"), "version: 2\n").unwrap();
    fs::write(desk.file("text.pcap"), "no capture at all").unwrap();
    let whole = fs::read(desk.file("a.pcap")).unwrap();
    fs::write(desk.file("cut.pcap"), &whole[..whole.len() - 1]).unwrap();
    for (arguments, code, part) in [
        ("--in a.pcap --out b.pcap --port lan", 2, "uplink, other"),
        ("--in a.pcap --out a.pcap", 2, "is the input as well"),
        ("--in none.pcap --out b.pcap", 1, "none.pcap cannot be read"),
        ("--in text.pcap --out b.pcap", 1, "no capture"),
        ("--in cut.pcap --out b.pcap", 1, "ends within packet 2"),
        ("--in a.pcap --out none/b.pcap", 1, "none/b.pcap cannot be written"),
    ] {
        let outcome = desk.tidegate(&format!("replay -c c.yaml {arguments}"));
        assert_eq!(outcome.code, code, "{arguments}: {}", outcome.err);
        assert!(
            outcome.err.contains(part) && outcome.err.contains("remedy: "),
            "{arguments}: {}",
            outcome.err
        );
    }
    assert_eq!(desk.tidegate("replay -c bad.yaml --in a.pcap --out b.pcap").code, 3);
    assert_eq!(desk.tidegate("replay -c none.yaml --in a.pcap --out b.pcap").code, 3);
    desk.capture(PcapHeader { datalink: DataLink::LINUX_SLL, ..PcapHeader::default() });
    let outcome = desk.tidegate("replay -c c.yaml --in a.pcap --out b.pcap");
    assert!(outcome.code == 1 && outcome.err.contains("not of Ethernet frames"), "{}", outcome.err);
}

#[test]
fn the_exit_code_of_explain_tells_whether_the_packet_passes() {
    let desk = Desk::new();
    let passes = desk.explain(PACKET, &[]);
    assert_eq!(passes.code, 0, "{}", passes.err);
    assert!(
        passes.out.contains("s3, mode full_nat") && passes.out.contains("192.0.2.11:9000"),
        "{}",
        passes.out
    );
    let dropped = desk.explain(&PACKET.replace("443", "444"), &["-o", "json"]);
    assert_eq!((dropped.code, dropped.err.as_str()), (1, ""));
    let said: Value = serde_json::from_str(&dropped.out).unwrap();
    assert_eq!((&said["verdict"], &said["drop"]["reason"]), (&"drop".into(), &"no_virtual_server".into()));
    for (packet, more) in [("tcp 203.0.113.7 > 198.51.100.10:443", &[][..]), (PACKET, &["--port", "lan"])] {
        let outcome = desk.explain(packet, more);
        assert_eq!(outcome.code, 2, "{}", outcome.err);
    }
}
