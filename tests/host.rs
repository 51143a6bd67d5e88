//! The host twin with what hosts run on it: routing daemons, LLDP, and floods of either side.
//!
//! Needs root, bird2 and lldpd; each test has network namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::{fs, net::UdpSocket, path::Path, process::Command, time::Duration};

use tempfile::TempDir;
use testkit::netns::{Child, Namespace, Tidegate, wait_until};

/// Longer than anything here takes on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(120);

/// A host whose port `lan` is the gateway's, and its neighbour. Fields are dropped in their order.
struct Site {
    gateway: Tidegate,
    host: Namespace,
    neighbour: Namespace,
    directory: TempDir,
}

impl Site {
    /// With what else there is to say of the port.
    fn start(more: &str) -> Self {
        let (host, neighbour) = (Namespace::create("host").unwrap(), Namespace::create("neighbour").unwrap());
        testkit::netns::connect((&host, "lan"), (&neighbour, "lan")).unwrap();
        host.run("sysctl -qw net.ipv6.conf.lan.disable_ipv6=1").unwrap();
        neighbour.ip("addr add 10.9.0.11/24 dev lan").unwrap();
        neighbour.ip("addr add fd00:9::11/64 dev lan nodad").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let socket = Tidegate::socket(directory.path());
        let configuration = format!(
            "version: 1\ncontrol: {{ socket: {} }}\nworkers: {{ flows: 4096 }}\n\
             ports:\n  - {{ name: lan, device: \"net_af_packet0,iface=lan\", addresses: [10.9.0.1/24, \"fd00:9::1/64\"], \
             host: true{more} }}\n\
             pools:\n  - {{ name: web, backends: [{{ address: \"10.9.0.11:80\" }}] }}\n\
             virtual_servers:\n  - {{ name: web, address: 198.51.100.10, port: 80, protocol: tcp, type: fastl4, \
             mode: full_nat, pool: web }}\n",
            socket.display()
        );
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let mut gateway = Tidegate::start(&host, program, directory.path(), &configuration).unwrap();
        gateway.wait_until_ready(LIMIT).unwrap();
        Self { gateway, host, neighbour, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Starts bird in a namespace, one end of a conversation.
    fn bird(&self, namespace: &Namespace, name: &str, configuration: &str) -> Child {
        fs::write(self.path(&format!("{name}.conf")), configuration).unwrap();
        let words = format!("bird -f -c {0}.conf -s {0}.ctl -P {0}.pid", self.path(name));
        namespace.spawn(&words, Path::new(&self.path(&format!("{name}.log")))).unwrap()
    }

    /// What a bird says to a question; nothing while it does not listen yet.
    fn ask_bird(&self, name: &str, question: &str) -> String {
        let output = Command::new("birdc")
            .arg("-s")
            .arg(self.path(&format!("{name}.ctl")))
            .args(question.split(' '))
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    fn stop(self) {
        self.gateway.wait_until_accounted(LIMIT).unwrap();
        let log = self.gateway.log();
        assert_eq!(self.gateway.stop(LIMIT).unwrap().code(), Some(0), "{log}");
    }
}

/// A router that speaks OSPF over both families, and BGP with BFD, with another one on its link.
fn router(number: u8, interface: &str, own: &str, other: &str) -> String {
    let (own_as, other_as) = (65_000 + u32::from(number), 65_003 - u32::from(number));
    format!(
        "log stderr all;\nrouter id 10.9.9.{number};\nprotocol device {{ scan time 1; }}\n\
         protocol static {{ ipv4; route 10.20.{number}.0/24 blackhole; }}\n\
         protocol static {{ ipv6; route fd00:20:{number}::/48 blackhole; }}\n\
         protocol ospf v2 {{ ipv4 {{ import all; export where source = RTS_STATIC; }};\n\
           area 0 {{ interface \"{interface}\" {{ hello 1; dead 10; }}; }}; }}\n\
         protocol ospf v3 {{ ipv6 {{ import all; export where source = RTS_STATIC; }};\n\
           area 0 {{ interface \"{interface}\" {{ hello 1; dead 10; }}; }}; }}\n\
         protocol bfd {{ interface \"{interface}\" {{ interval 300 ms; multiplier 20; }}; }}\n\
         protocol bgp peer {{ local {own} as {own_as}; neighbor {other} as {other_as}; bfd; hold time 30; connect retry time 1;\n\
           connect delay time 1; error wait time 1, 2; ipv4 {{ import all; export all; }}; }}\n"
    )
}

#[test]
fn routing_daemons_of_the_host_speak_through_its_twin_also_in_a_flood() {
    let site = Site::start(", host_limit: 400pps");
    let _birds = [
        site.bird(&site.host, "ours", &router(1, "tg-lan", "10.9.0.1", "10.9.0.11")),
        site.bird(&site.neighbour, "theirs", &router(2, "lan", "10.9.0.11", "10.9.0.1")),
    ];
    for (name, other) in [("ours", 2), ("theirs", 1)] {
        let say = |question: &str| site.ask_bird(name, question);
        wait_until(LIMIT, "BGP is up", || say("show protocols peer").contains("Established")).unwrap();
        wait_until(LIMIT, "BFD is up", || say("show bfd sessions").contains(" Up ")).unwrap();
        for (protocol, network) in [
            ("ospf1", format!("10.20.{other}.0/24")),
            ("ospf2", format!("fd00:20:{other}::/48")),
            ("peer", format!("10.20.{other}.0/24")),
        ] {
            let routes = || say(&format!("show route protocol {protocol}"));
            wait_until(LIMIT, &format!("{name} has {network} by {protocol}"), || routes().contains(&network))
                .unwrap();
        }
    }
    let since = || {
        let said = site.ask_bird("ours", "show protocols all peer");
        said.lines().find(|line| line.starts_with("peer")).unwrap_or_default().to_owned()
    };
    let before = since();
    // Far more than the twin may get, for as long as BFD and OSPF would take to give the neighbour up.
    let flood = |(from, to): (&str, &str)| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        for _ in 0..120 {
            (0..40).for_each(|_| drop(socket.send_to(&[0; 64], (to, 40_000))));
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    site.neighbour.enter(|| flood(("10.9.0.11", "10.9.0.1"))).unwrap();
    site.host.enter(|| flood(("10.9.0.1", "10.9.0.11"))).unwrap();
    for reason in ["to_host_rate_limit", "from_host_rate_limit"] {
        assert!(site.gateway.drops(reason).unwrap() > 0, "{reason}");
    }
    assert!(before.contains("Established"), "{before}");
    assert_eq!(since(), before);
    let sessions = site.ask_bird("ours", "show bfd sessions");
    assert!(sessions.contains(" Up "), "{sessions}");
    site.stop();
}

#[test]
fn lldp_of_the_host_finds_its_neighbour_through_the_twin() {
    let site = Site::start("");
    let daemon = |namespace: &Namespace, name: &str, interface: &str| {
        let words = format!("lldpd -d -u {0} -I {interface} -C {interface} -S {name}", site.path(name));
        namespace.spawn(&words, Path::new(&site.path(&format!("{name}.log")))).unwrap()
    };
    let _daemons = [daemon(&site.host, "ours", "tg-lan"), daemon(&site.neighbour, "theirs", "lan")];
    for (name, other) in [("ours", "theirs"), ("theirs", "ours")] {
        let neighbours = || {
            let output =
                Command::new("lldpcli").arg("-u").arg(site.path(name)).args(["show", "neighbors"]).output();
            String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
        };
        wait_until(LIMIT, &format!("{name} sees {other}"), || neighbours().contains(other)).unwrap();
    }
    site.stop();
}

#[test]
fn the_host_twin_has_the_link_local_address_of_the_port() {
    let site = Site::start("");
    let own = site.host.ip("-6 addr show dev tg-lan scope link").unwrap();
    let own = own.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap().to_owned();
    site.neighbour.run(&format!("ping -c 2 -i 0.2 -W 20 {own}%lan")).unwrap();
    let theirs = site.neighbour.ip("-6 addr show dev lan scope link").unwrap();
    let theirs = theirs.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap().to_owned();
    site.host.run(&format!("ping -c 2 -i 0.2 -W 20 {theirs}%tg-lan")).unwrap();
    site.stop();
}
