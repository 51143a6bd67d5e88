//! Cards that cut TCP frames: what leaves is the same to the byte, whether the card does it or the gateway.
//!
//! The card is DPDK's tap, which has DPDK's own code cut frames (`rte_gso`).

use std::{fs, time::Duration};

use testkit::{
    netns::{Namespace, Tidegate, connect_as_it_is, program},
    packets::check_checksums,
};

const LIMIT: Duration = Duration::from_secs(60);
const PEER: &str = include_str!("uncut.py");

fn configuration(directory: &std::path::Path, offloads: &str) -> String {
    format!(
        "version: 1
control: {{ socket: {} }}
ports:
  - {{ name: clients, device: \"net_af_packet0,iface=uncut,framesz=65408,blocksz=2093056,framecnt=512\", offloads: {offloads},
      addresses: [10.10.1.1/24, \"fd00:10:1::1/64\"], neighbours: [{{ address: 10.10.1.2, mac: \"02:00:00:00:00:0a\" }}, {{ address: \"fd00:10:1::2\", mac: \"02:00:00:00:00:0a\" }}] }}
  - {{ name: backends, device: \"net_tap0,iface=tap-card\", mac: \"02:00:00:00:02:01\", offloads: {offloads},
      addresses: [10.10.2.1/24, \"fd00:10:2::1/64\"], neighbours: [{{ address: 10.10.2.11, mac: \"02:00:00:00:02:11\" }}, {{ address: \"fd00:10:2::11\", mac: \"02:00:00:00:02:11\" }}] }}
pools:
  - {{ name: p4, backends: [{{ address: \"10.10.2.11:8080\" }}] }}
  - {{ name: p6, backends: [{{ address: \"[fd00:10:2::11]:8080\" }}] }}
virtual_servers:
  - {{ name: v4, address: \"198.51.100.1\", port: 80, protocol: tcp, mode: nat, pool: p4 }}
  - {{ name: v6, address: \"2001:db8:100::1\", port: 80, protocol: tcp, mode: nat, pool: p6 }}
",
        Tidegate::socket(directory).display()
    )
}

/// What came out, a line a frame; what the port to the backends does of its own; and how many frames were made here.
fn run(offloads: &str) -> (String, String, u64) {
    let namespace = Namespace::create("gateway").unwrap();
    connect_as_it_is((&namespace, "uncut"), (&namespace, "peer")).unwrap();
    for interface in ["uncut", "peer"] {
        namespace.run(&format!("sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1")).unwrap();
        namespace.ip(&format!("link set {interface} up")).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(directory.path(), offloads);
    let mut tidegate = Tidegate::start(&namespace, &program().unwrap(), directory.path(), &text).unwrap();
    tidegate.wait_until_ready(LIMIT).unwrap();
    namespace.ip("link set tap-card up").unwrap();
    // Tidegate has given it its port's MTU: frames this large pass between interfaces only if they say that they are several.
    for interface in ["uncut", "peer"] {
        namespace.ip(&format!("link set {interface} mtu 65535")).unwrap();
    }
    let ports = tidegate.list("port").unwrap();
    let of = |port: usize, what: &str| ports[port][what].clone();
    let mac = |port| of(port, "mac").as_str().unwrap().to_owned();
    let script = directory.path().join("uncut.py");
    fs::write(&script, PEER).unwrap();
    let sent = namespace.run(&format!("python3 {} {} {}", script.display(), mac(0), mac(1)));
    let sent = sent.unwrap_or_else(|failure| panic!("{failure}\n{}", tidegate.log()));
    tidegate.wait_until_accounted(LIMIT).unwrap();
    let originated = tidegate.count("/v1/workers", "/originated").unwrap();
    assert!(tidegate.stop(LIMIT).unwrap().success());
    (sent, of(1, "offloads").to_string(), originated)
}

#[test]
fn what_a_tap_cuts_is_the_same_to_the_byte_as_what_is_cut_here() {
    let (by_card, offloads, few) = run("auto");
    let (here, nothing, many) = run("off");
    assert!(offloads.contains("cutting (IPv4)") && nothing == "[]", "{offloads} {nothing}");
    let lines: Vec<(&str, &str)> = here.lines().filter_map(|line| line.split_once(' ')).collect();
    assert!(lines.len() > 150, "{} frames", lines.len());
    for (name, frame) in &lines {
        let bytes: Vec<u8> = (0..frame.len() / 2)
            .map(|at| u8::from_str_radix(&frame[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let size = if name.ends_with("1400") { 1400 } else { 1500 };
        assert!(bytes.len() <= 14 + size, "{name} has {} bytes", bytes.len());
        assert_eq!(check_checksums(&bytes).is_err(), name.starts_with("wrong"), "{name}");
    }
    for (number, (one, other)) in by_card.lines().zip(here.lines()).enumerate() {
        assert_eq!(one, other, "frame {number}");
    }
    assert_eq!(by_card.lines().count(), here.lines().count());
    // At 1,400 bytes over IPv4 the tap does it: whole frames are not larger than its MTU then.
    let cut_by_tap = lines.iter().filter(|(name, _)| {
        name.ends_with("over-ipv4-at-1400") && !name.starts_with("wrong") && !name.starts_with("congested")
    });
    assert_eq!(many - few, cut_by_tap.count() as u64 - 4, "of each of four frames n - 1");
}
