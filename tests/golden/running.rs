//! The running gateway on `net_pcap`: packets from a file, packets to a file.
//!
//! Needs root, since DPDK does. It has a network namespace of its own, in which there is nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;
use testkit::netns::{Namespace, Tidegate, wait_until};

use crate::{capture, case};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What the gateway did.
pub(crate) struct Ran {
    /// The frames that left.
    pub(crate) out: Vec<Vec<u8>>,
    /// Dropped packets by reason, without those that did not occur.
    pub(crate) drops: BTreeMap<String, u64>,
}

/// Sends `packets` through the gateway of `gateway.yaml`.
pub(crate) fn run(packets: &[Vec<u8>]) -> Ran {
    let (directory, namespace) = (tempfile::tempdir().unwrap(), Namespace::create("golden").unwrap());
    let [input, output] = ["in.pcap", "out.pcap"].map(|name| directory.path().join(name));
    capture::write(&input, packets, &capture::in_a_row(packets.len()));
    let socket = Tidegate::socket(directory.path());
    let configuration = configuration(&input, &output, &socket);
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate"));
    let mut gateway = Tidegate::start(&namespace, program, directory.path(), &configuration).unwrap();
    gateway.wait_until_ready(LIMIT).unwrap();
    wait_until(LIMIT, "all packets are received", || received(&socket) == Some(packets.len() as u64))
        .unwrap();
    let drops = drops(&gateway);
    // The file is complete when the device is closed.
    let status = gateway.stop(LIMIT).unwrap();
    assert!(status.success(), "{status}");
    Ran { out: capture::read(&output), drops }
}

/// The common configuration with these files and this socket.
fn configuration(input: &Path, output: &Path, socket: &Path) -> String {
    let text = fs::read_to_string(case::folder().join("gateway.yaml")).unwrap();
    let replaced = text
        .replace("rx_pcap=in.pcap", &format!("rx_pcap={}", input.display()))
        .replace("tx_pcap=out.pcap", &format!("tx_pcap={}", output.display()))
        .replace("control: {", &format!("control: {{ socket: {},", socket.display()));
    assert!(replaced.matches(".pcap").count() == 2 && replaced.contains("socket: "), "{replaced}");
    replaced
}

/// Packets received so far, as `/metrics` says.
fn received(socket: &Path) -> Option<u64> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: tidegate\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let line = text.lines().find(|line| !line.starts_with('#') && line.contains("port_rx_frames"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn drops(gateway: &Tidegate) -> BTreeMap<String, u64> {
    let row = |row: &Value| Some((row.get("reason")?.as_str()?.to_owned(), row.get("packets")?.as_u64()?));
    let rows = gateway.list("drop").unwrap();
    rows.iter().filter_map(row).filter(|(_, packets)| *packets > 0).collect()
}
