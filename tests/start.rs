//! Starting and ending the real gateway: every refusal has a remedy and its exit code, and nothing is left behind.
//!
//! Needs root; each test has network namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::{fs, net::UdpSocket, path::Path, process::Command, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use testkit::netns::{Namespace, Tidegate, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A host with the interface `lan`, cabled to another host.
struct Host {
    namespace: Namespace,
    peer: Namespace,
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let (namespace, peer) = (Namespace::create("host").unwrap(), Namespace::create("peer").unwrap());
        testkit::netns::connect((&namespace, "lan"), (&peer, "lan")).unwrap();
        // As an interface is that the kernel does not use.
        namespace.run("sysctl -qw net.ipv6.conf.lan.disable_ipv6=1").unwrap();
        namespace.run("ethtool -K lan gro on").unwrap();
        Self { namespace, peer, directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A gateway's configuration with one port on this device.
    fn configuration(&self, device: &str, more: &str) -> String {
        let socket = Tidegate::socket(self.path());
        format!(
            "version: 1\ncontrol: {{ socket: {} }}\nworkers: {{ flows: 4096 }}\n\
             ports:\n  - {{ name: lan, device: \"{device}\", addresses: [10.9.0.1/24, \"fd00:9::1/64\"]{more} }}\n\
             pools:\n  - {{ name: web, backends: [{{ address: \"10.9.0.11:80\" }}] }}\n\
             virtual_servers:\n  - {{ name: web, address: 198.51.100.10, port: 80, protocol: tcp, type: fastl4, \
             mode: nat, pool: web }}\n",
            socket.display()
        )
    }

    fn start(&self, configuration: &str) -> Tidegate {
        Tidegate::start(&self.namespace, program(), self.path(), configuration).unwrap()
    }

    fn running(&self, configuration: &str) -> Tidegate {
        let mut gateway = self.start(configuration);
        gateway.wait_until_ready(LIMIT).unwrap();
        gateway
    }

    /// Starts what must not start; what it said. Nothing may be different afterwards.
    fn refusal(&self, configuration: &str) -> String {
        self.refusal_with(5, configuration)
    }

    /// As [`Host::refusal`], with another exit code.
    fn refusal_with(&self, code: i32, configuration: &str) -> String {
        let before = self.state();
        let mut gateway = self.start(configuration);
        let status = gateway.process().wait(LIMIT).unwrap();
        let log = gateway.log();
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains("remedy: "), "{log}");
        assert_eq!(self.state(), before);
        log
    }

    /// All that a gateway might leave behind.
    fn state(&self) -> String {
        let of_namespace = [
            "ip -o link",
            "ip -o addr",
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ethtool -k lan",
        ];
        let settings = "sysctl net.ipv4.conf.lan.rp_filter net.ipv4.conf.lan.arp_ignore net.ipv4.conf.lan.forwarding \
                        net.ipv6.conf.lan.disable_ipv6";
        let mut state: String = of_namespace
            .iter()
            .chain([&settings])
            .map(|words| self.namespace.run(words).unwrap_or_default())
            .collect();
        state += &listing(self.path(), ".sock");
        state += &listing(Path::new("/dev/hugepages"), "tidegate");
        state
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tidegate"))
}

/// The names in a directory that contain `part`.
fn listing(directory: &Path, part: &str) -> String {
    let entries =
        fs::read_dir(directory).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(part)).collect()
}

const LAN: &str = "net_af_packet0,iface=lan";

#[test]
fn an_interface_that_is_not_there_is_refused() {
    let host = Host::new();
    let log = host.refusal(&host.configuration("net_af_packet0,iface=wan", ""));
    assert!(log.contains("there is no interface wan"), "{log}");
}

#[test]
fn an_interface_that_is_down_is_refused() {
    let host = Host::new();
    host.namespace.ip("link set lan down").unwrap();
    let log = host.refusal(&host.configuration(LAN, ""));
    assert!(log.contains("is down") && log.contains("ip link set dev lan up"), "{log}");
}

#[test]
fn an_interface_with_addresses_is_refused_with_the_commands_that_remove_them() {
    let host = Host::new();
    host.namespace.ip("addr add 10.9.0.77/24 dev lan").unwrap();
    let log = host.refusal(&host.configuration(LAN, ""));
    assert!(log.contains("10.9.0.77/24") && log.contains("ip addr flush dev lan"), "{log}");

    host.namespace.ip("addr flush dev lan").unwrap();
    host.namespace.run("sysctl -qw net.ipv6.conf.lan.disable_ipv6=0").unwrap();
    host.namespace.ip("addr add fe80::77/64 dev lan nodad").unwrap();
    let log = host.refusal(&host.configuration(LAN, ""));
    assert!(
        log.contains("sysctl -w net.ipv6.conf.lan.disable_ipv6=1") && !log.contains("addr flush"),
        "{log}"
    );
}

#[test]
fn an_address_that_another_interface_has_is_refused() {
    let host = Host::new();
    host.namespace.ip("addr add 10.9.0.1/32 dev lo").unwrap();
    let log = host.refusal(&host.configuration(LAN, ""));
    assert!(log.contains("10.9.0.1 is also an address of the interface lo"), "{log}");
}

#[test]
fn a_socket_that_cannot_be_made_is_a_mistake_of_the_configuration_told_with_one_remedy() {
    let host = Host::new();
    let file = host.path().join("data");
    fs::write(&file, "precious").unwrap();
    let configuration = host.configuration(LAN, "");
    let socket = Tidegate::socket(host.path());
    for path in [Path::new("/proc/tidegate.sock"), &file, &file.join("tidegate.sock")] {
        let configuration = configuration.replace(socket.to_str().unwrap(), path.to_str().unwrap());
        let log = host.refusal_with(3, &configuration);
        assert!(log.contains(path.to_str().unwrap()), "{log}");
        assert_eq!(log.matches("`control.socket`").count(), 1, "{log}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let host = Host::new();
    let log = host.refusal(&host.configuration("net_nonsense0", ""));
    assert!(log.contains("net_nonsense0"), "{log}");
    let log = host.refusal(&host.configuration("0000:ff:1f.7", ""));
    assert!(log.contains("lspci"), "{log}");
}

#[test]
fn what_dpdk_says_is_told_once() {
    let host = Host::new();
    let log = host.refusal(&host.configuration("net_nonsense0", ""));
    assert_eq!(log.matches("failed to parse device").count(), 1, "{log}");
    let log = host.refusal(&host.configuration("net_pcap0,rx_pcap=/nowhere", ""));
    assert_eq!(log.matches("Couldn't open /nowhere").count(), 1, "{log}");
    assert!(!log.contains("not permitted"), "{log}");
    let log = host.refusal(&format!("{}eal: {{ args: [--nonsense] }}\n", host.configuration(LAN, "")));
    assert_eq!(log.matches("unrecognized option '--nonsense'").count(), 1, "{log}");
    assert_eq!(log.matches("Invalid 'command line' arguments").count(), 1, "{log}");
}

#[test]
fn an_argument_that_eal_does_not_know_is_refused() {
    let host = Host::new();
    let configuration = format!("{}eal: {{ args: [--nonsense] }}\n", host.configuration(LAN, ""));
    let log = host.refusal(&configuration);
    assert!(log.contains("DPDK did not start"), "{log}");
}

#[test]
fn more_huge_pages_than_there_are_are_refused() {
    let host = Host::new();
    let configuration = host.configuration(LAN, "").replace("flows: 4096", "flows: 4096, mbufs: 30000000");
    let log = host.refusal(&format!("{configuration}eal: {{ hugepages: \"on\" }}\n"));
    assert!(log.contains("MiB of huge pages are needed") && log.contains("nr_hugepages"), "{log}");
}

#[test]
fn a_processor_that_is_not_there_is_refused() {
    let host = Host::new();
    let configuration = host.configuration(LAN, "");
    let log = host.refusal(&configuration.replace("flows: 4096", "flows: 4096, lcores: [1000]"));
    assert!(log.contains("processor 1000"), "{log}");
}

#[test]
fn kernel_ports_that_snat_uses_are_refused_beside_a_host_twin() {
    let host = Host::new();
    let range = || fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 60999");
    host.namespace.enter(range).unwrap().unwrap();
    let log = host.refusal(&host.configuration(LAN, ", host: true"));
    assert!(log.contains("net.ipv4.ip_local_port_range=\"32768 60999\""), "{log}");
}

#[test]
fn a_second_gateway_is_refused_and_the_first_one_goes_on() {
    let host = Host::new();
    let configuration = host.configuration(LAN, "");
    let first = host.running(&configuration);
    let other = Host { directory: tempfile::tempdir().unwrap(), ..Host::new() };

    // The same socket, then the same interface.
    for (configuration, what) in [
        (configuration.clone(), "another tidegate answers on this socket"),
        (
            configuration.replace(host.path().to_str().unwrap(), other.path().to_str().unwrap()),
            "has taken the interface",
        ),
    ] {
        let mut second = Tidegate::start(&host.namespace, program(), other.path(), &configuration).unwrap();
        let status = second.process().wait(LIMIT).unwrap();
        assert_eq!(status.code(), Some(5), "{}", second.log());
        assert!(second.log().contains(what) && second.log().contains("remedy: "), "{}", second.log());
    }
    assert_eq!(first.list("worker").unwrap().len(), 1);
}

#[test]
fn who_may_not_is_told_so() {
    let host = Host::new();
    let file = host.path().join("tidegate.yaml");
    fs::write(&file, host.configuration(LAN, "")).unwrap();
    let as_nobody = || {
        let mut command = host.namespace.command(Path::new("setpriv"));
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(copy_for_everybody(&host));
        command
    };
    let outcome = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    open_for_everybody(host.path(), 0o777);
    open_for_everybody(&file, 0o600);
    let (code, text) = outcome(as_nobody().arg("check").arg(&file));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("Permission denied"), "{text}");
    open_for_everybody(&file, 0o644);
    let (code, text) = outcome(as_nobody().args(["run", "-c"]).arg(&file));
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("as root"), "{text}");
}

fn open_for_everybody(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The program where nobody may read it, too.
fn copy_for_everybody(host: &Host) -> std::path::PathBuf {
    let copy = host.path().join("tidegate");
    if !copy.exists() {
        fs::copy(program(), &copy).unwrap();
        open_for_everybody(&copy, 0o755);
    }
    copy
}

#[test]
fn a_gateway_ends_as_if_it_had_never_been() {
    for (device, more) in [
        (LAN, ""),
        (LAN, ", host: true"),
        ("net_af_xdp0,iface=lan", ""),
        ("net_tap0,iface=tap0", ", host: true"),
    ] {
        let host = Host::new();
        let before = host.state();
        let gateway = host.running(&host.configuration(device, more));
        assert_ne!(host.state(), before);
        let log = gateway.log();
        let mut gateway = gateway;
        gateway.process().signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = gateway.process().wait(LIMIT).unwrap();
        let log = log + &gateway.log();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("every packet is accounted for"), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
        assert_eq!(host.state(), before, "{device}{more}\n{log}");
    }
}

#[test]
fn the_host_twin_is_the_kernels_way_to_the_ports_network() {
    let host = Host::new();
    host.peer.ip("addr add 10.9.0.11/24 dev lan").unwrap();
    host.peer.ip("addr add fd00:9::11/64 dev lan nodad").unwrap();
    let gateway = host.running(&host.configuration(LAN, ", host: true"));
    // Whatever the host says of reverse paths, the interface itself answers nothing: its copies go unheard.
    for reverse_path in ["0", "1", "2"] {
        host.namespace.run(&format!("sysctl -qw net.ipv4.conf.all.rp_filter={reverse_path}")).unwrap();
        for (from, to) in [("10.9.0.1", "10.9.0.11"), ("fd00:9::1", "fd00:9::11")] {
            let said = host.namespace.run(&format!("ping -c 2 -i 0.2 -W 5 -I {from} {to}")).unwrap();
            assert!(!said.contains("DUP"), "{said}");
        }
    }
    assert!(host.namespace.run("ip rule").unwrap().contains("from 10.9.0.1"));
    drop(gateway);
}

#[test]
fn every_list_can_be_read_by_people_and_by_programs() {
    let host = Host::new();
    let gateway = host.running(&host.configuration(LAN, ""));
    let socket = Tidegate::socket(host.path());
    for noun in ["virtual-server", "pool", "backend", "flow", "worker", "drop"] {
        let list = |format: &str| {
            let output =
                Command::new(program()).args([noun, "list", "-o", format, "--socket"]).arg(&socket).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{noun} {format}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let table = list("table");
        assert!(!table.is_empty() && table.lines().all(|line| line.chars().count() <= 100), "{table}");
        let answer: Value = serde_json::from_str(&list("json")).unwrap();
        let rows = answer.get("flows").unwrap_or(&answer).as_array().unwrap();
        // What arrived by itself, from neighbours that look for routers, may have been dropped.
        assert!(rows.is_empty() == (noun == "flow") || noun == "drop", "{noun}: {rows:?}");
        assert!(!list("yaml").trim().is_empty(), "{noun}");
    }
    assert_eq!(gateway.list("pool").unwrap()[0]["name"], "web");
}

#[test]
fn a_list_of_flows_says_how_many_it_does_not_show() {
    let host = Host::new();
    host.peer.ip("addr add 10.9.0.11/24 dev lan").unwrap();
    host.peer.ip("route add 198.51.100.10 via 10.9.0.1").unwrap();
    let gateway = host.running(&host.configuration(LAN, "").replace("protocol: tcp", "protocol: udp"));
    let send = || {
        // Each from a port of its own.
        (0..3).all(|_| UdpSocket::bind("10.9.0.11:0").unwrap().send_to(b"x", "198.51.100.10:80").is_ok())
    };
    assert!(host.peer.enter(send).unwrap());
    wait_until(LIMIT, "three flows", || gateway.list("flow").unwrap().len() == 3).unwrap();
    let list = |arguments: &[&str]| {
        let socket = Tidegate::socket(host.path());
        let output =
            Command::new(program()).args(["flow", "list", "--socket"]).arg(socket).args(arguments).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let table = list(&["--limit", "2"]);
    assert!(table.lines().count() == 4 && table.ends_with("2 of 3 flows; --limit 3 shows more\n"), "{table}");
    assert_eq!(list(&["--limit", "3"]).lines().count(), 4);
    let answer: Value = serde_json::from_str(&list(&["--limit", "2", "-o", "json"])).unwrap();
    assert_eq!((&answer["total"], &answer["shown"]), (&3.into(), &2.into()), "{answer}");
}

#[test]
fn a_reload_takes_up_what_changed_and_refuses_what_is_wrong() {
    let host = Host::new();
    let configuration = host.configuration(LAN, "");
    let gateway = host.running(&configuration);
    let backends = || gateway.list("backend").unwrap().len();
    let added =
        configuration.replace("\"10.9.0.11:80\" }", "\"10.9.0.11:80\" }, { address: \"10.9.0.12:80\" }");
    gateway.reload(&added).unwrap();
    wait_until(LIMIT, "the second backend", || backends() == 2).unwrap();
    gateway.reload("version: 2\n").unwrap();
    wait_until(LIMIT, "the refusal", || gateway.log().contains("reload refused")).unwrap();
    assert_eq!(backends(), 2);
}
