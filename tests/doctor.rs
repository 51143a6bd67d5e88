//! `tidegate doctor` on machines of files: what it finds, what it says helps, and the exit code.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

const CARD: &str = "0000:3b:02.0";
const PARENT: &str = "0000:3b:00.0";
const LARGE: &str = "framesz=65408,blocksz=2093056,framecnt=512";

/// A machine whose `/sys` and `/proc` are files of a directory.
struct Machine {
    directory: TempDir,
}

impl Machine {
    /// Eight processors on two NUMA nodes, huge pages on both, an IOMMU, a card that is a virtual function and bound to vfio-pci, an interface that is
    /// virtual, and nothing to complain about.
    fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        machine.write("proc/cpuinfo", "vendor_id : GenuineIntel\nflags : fpu\n");
        machine.write("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-7\n");
        machine.write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
        machine.write("proc/sys/net/ipv4/conf/all/rp_filter", "0\n");
        machine.write("proc/net/if_inet6", "fe800000000000000000000000000001 02 40 20 80 eth9\n");
        machine.write("dev/net/tun", "");
        machine.write("sys/devices/system/cpu/online", "0-7\n");
        machine.write("sys/devices/system/cpu/isolated", "4-5\n");
        for cpu in 0..8 {
            let directory = format!("sys/devices/system/cpu/cpu{cpu}");
            machine.write(&format!("{directory}/cpufreq/scaling_governor"), "performance\n");
            machine.write(&format!("{directory}/topology/thread_siblings_list"), &format!("{cpu}\n"));
        }
        machine.pages("sys/kernel/mm/hugepages", 4096, 4096);
        for (node, list) in [(0, "0-3\n"), (1, "4-7\n")] {
            machine.write(&format!("sys/devices/system/node/node{node}/cpulist"), list);
            machine.pages(&format!("sys/devices/system/node/node{node}/hugepages"), 2048, 2048);
        }
        machine.write("sys/kernel/iommu_groups/7/type", "DMA\n");
        machine.card();
        machine.interface("eth0");
        machine
    }

    fn card(&self) {
        let directory = format!("sys/bus/pci/devices/{CARD}");
        self.write(&format!("{directory}/numa_node"), "1\n");
        self.write(&format!("{directory}/class"), "0x020000\n");
        self.link(&format!("{directory}/driver"), "../../drivers/vfio-pci");
        self.link(&format!("{directory}/physfn"), &format!("../{PARENT}"));
        self.link(&format!("sys/bus/pci/drivers/vfio-pci/{CARD}"), &format!("../../devices/{CARD}"));
        self.write(&format!("sys/bus/pci/devices/{PARENT}/net/ens1/mtu"), "1500\n");
        self.write("sys/class/net/ens1/flags", "0x1003\n");
    }

    fn interface(&self, name: &str) {
        self.write(&format!("sys/class/net/{name}/flags"), "0x1003\n");
        self.write(&format!("sys/class/net/{name}/carrier"), "1\n");
        self.write(&format!("sys/class/net/{name}/queues/rx-0/rps_cpus"), "0\n");
    }

    fn pages(&self, directory: &str, all: u32, free: u32) {
        self.write(&format!("{directory}/hugepages-2048kB/nr_hugepages"), &all.to_string());
        self.write(&format!("{directory}/hugepages-2048kB/free_hugepages"), &free.to_string());
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        let _ = fs::remove_file(self.path(path)); // there may be none yet
        symlink(to, self.path(path)).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.path(path);
        let is_directory = path.symlink_metadata().unwrap().is_dir();
        if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// What the doctor prints, and its exit code.
    fn ask(&self, configuration: Option<&str>, format: &str) -> (String, i32) {
        let mut command = Command::cargo_bin("tidegate").unwrap();
        command.args(["doctor", "-o", format, "--root"]).arg(self.directory.path());
        if let Some(text) = configuration {
            let file = self.path("tidegate.yaml");
            fs::write(&file, text).unwrap();
            command.arg("-c").arg(file);
        }
        let output = command.output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
    }

    /// The findings, each as `severity check: finding => remedy`.
    fn findings(&self, configuration: Option<&str>) -> Vec<String> {
        let (text, code) = self.ask(configuration, "json");
        let report: Value = serde_json::from_str(&text).unwrap();
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(
            (report["well"].as_bool().unwrap(), code),
            (findings.is_empty(), i32::from(!findings.is_empty()))
        );
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let line = |finding: &Value| {
            let [severity, check, what, remedy] =
                ["severity", "check", "finding", "remedy"].map(|key| text(finding, key));
            format!("{severity} {check}: {what} => {remedy}")
        };
        findings.iter().map(line).collect()
    }

    /// Asserts that there is one finding, that it says all of this, and that this is its remedy.
    fn finds(&self, configuration: &str, parts: &[&str], remedy: &str) {
        let findings = self.findings(Some(configuration));
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let (what, found) = findings[0].split_once(" => ").unwrap();
        assert!(parts.iter().all(|part| what.contains(part)), "{what}");
        assert_eq!(found, remedy);
    }
}

/// A gateway with a port on this device.
fn gateway(device: &str, more: &str) -> String {
    format!(
        "version: 1\n{more}\nports:\n  - {{ name: uplink, device: \"{device}\", addresses: [192.0.2.2/24] }}\n"
    )
}

fn with_card() -> String {
    gateway(CARD, "workers: { lcores: [4, 5] }")
}

fn with_interface() -> String {
    gateway(&format!("net_af_packet0,iface=eth0,{LARGE}"), "workers: { lcores: [1] }")
}

fn with_host(more: &str) -> String {
    let port = format!("addresses: [192.0.2.2/24], host: true{more}");
    with_interface().replace("addresses: [192.0.2.2/24]", &port)
}

#[test]
fn a_machine_that_has_all_that_is_wanted_is_well() {
    let machine = Machine::new();
    for configuration in [None, Some(with_card()), Some(with_interface()), Some(with_host(""))] {
        let (text, code) = machine.ask(configuration.as_deref(), "table");
        assert_eq!((text.as_str(), code), ("all is well\n", 0));
        assert_eq!(machine.findings(configuration.as_deref()), [""; 0]);
    }
}

#[test]
fn too_few_huge_pages_are_found_as_badly_as_they_are_wanted() {
    let machine = Machine::new();
    machine.pages("sys/kernel/mm/hugepages", 10, 4);
    let remedy = |more: &str, severity: &str| {
        let findings =
            machine.findings(Some(&with_interface().replace("version: 1", &format!("version: 1\n{more}"))));
        assert!(findings[0].starts_with(&format!("{severity} hugepages: ")), "{findings:?}");
        assert!(
            findings[0].contains("and 8 MiB of huge pages are free => sysctl -w vm.nr_hugepages="),
            "{findings:?}"
        );
        findings[0].rsplit_once('=').unwrap().1.parse::<u32>().unwrap()
    };
    let pages = remedy("", "warning");
    assert_eq!(remedy("eal: { hugepages: \"on\" }", "error"), pages);
    // What is asked for is enough.
    machine.pages("sys/kernel/mm/hugepages", pages, pages - 6);
    assert_eq!(machine.findings(Some(&with_interface())), [""; 0]);
    machine.remove("sys/kernel/mm/hugepages");
    assert_eq!(
        machine.findings(None),
        [
            "warning hugepages: no huge pages are free: packet memory lies in ordinary pages, which are slower => sysctl -w vm.nr_hugepages=128"
        ]
    );
    let without = format!("{}eal: {{ hugepages: \"off\" }}\n", with_interface());
    assert_eq!(machine.findings(Some(&without)), [""; 0]);
}

#[test]
fn huge_pages_are_wanted_where_the_card_is() {
    let machine = Machine::new();
    machine.pages("sys/devices/system/node/node1/hugepages", 0, 0);
    let findings = machine.findings(Some(&with_card()));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains("0 MiB of huge pages are free on NUMA node 1"), "{findings:?}");
    assert!(
        findings[0].ends_with("> /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages")
    );
    let without = with_card().replace("version: 1", "version: 1\neal: { hugepages: \"off\" }");
    machine.finds(&without, &["warning hugepages", CARD], "in the configuration: eal: { hugepages: auto }");
}

#[test]
fn a_card_that_is_not_there_may_be_a_virtual_function_that_nobody_has_made() {
    let machine = Machine::new();
    machine.remove(&format!("sys/bus/pci/devices/{CARD}"));
    machine.finds(
        &with_card(),
        &["error card: port uplink: there is no card", CARD],
        "lspci -D | grep -i ethernet",
    );
    machine.write(&format!("sys/bus/pci/devices/{PARENT}/sriov_totalvfs"), "8\n");
    machine.write(&format!("sys/bus/pci/devices/{PARENT}/sriov_numvfs"), "0\n");
    let remedy = format!("echo 4 > /sys/bus/pci/devices/{PARENT}/sriov_numvfs");
    machine.finds(&with_card(), &["error vfs", CARD, "could have virtual functions"], &remedy);
}

#[test]
fn a_card_wants_the_right_driver() {
    let machine = Machine::new();
    let driver = format!("sys/bus/pci/devices/{CARD}/driver");
    let bind = format!("dpdk-devbind.py --bind=vfio-pci {CARD}");
    machine.link(&driver, "../../drivers/iavf");
    machine.write(&format!("sys/bus/pci/devices/{CARD}/net/ens1v0/mtu"), "1500");
    machine.finds(&with_card(), &["error driver", "with the driver iavf, as ens1v0"], &bind);
    machine.remove(&driver);
    machine.finds(&with_card(), &["error driver", "has no driver"], &bind);
    for fit in ["mlx5_core", "igb_uio"] {
        machine.link(&driver, &format!("../../drivers/{fit}"));
        assert_eq!(machine.findings(Some(&with_card())), [""; 0], "{fit}");
    }
}

#[test]
fn vfio_wants_its_module_and_an_iommu() {
    let machine = Machine::new();
    machine.remove("sys/kernel/iommu_groups");
    let boot = |arguments: &str| {
        format!("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{arguments} /' /etc/default/grub && update-grub && reboot")
    };
    machine.finds(&with_card(), &["error iommu", "the IOMMU is off"], &boot("intel_iommu=on iommu=pt"));
    machine.write("proc/cpuinfo", "vendor_id : AuthenticAMD\n");
    machine.finds(&with_card(), &["error iommu"], &boot("amd_iommu=on iommu=pt"));
    machine.write("proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : fpu hypervisor\n");
    let unsafe_mode = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    machine.finds(&with_card(), &["error iommu", "virtual machine"], &format!("echo Y > /{unsafe_mode}"));
    machine.write(unsafe_mode, "Y\n");
    assert_eq!(machine.findings(Some(&with_card())), [""; 0]);
    machine.remove("sys/bus/pci/drivers/vfio-pci");
    machine.finds(&with_card(), &["error vfio", "not loaded"], "modprobe vfio-pci");
    // Without cards nobody asks.
    assert_eq!(machine.findings(Some(&with_interface())), [""; 0]);
}

#[test]
fn the_card_of_a_virtual_function_must_be_up() {
    let machine = Machine::new();
    machine.write("sys/class/net/ens1/flags", "0x1002\n");
    machine.finds(&with_card(), &["error vfs", "ens1", PARENT, "down"], "ip link set dev ens1 up");
}

#[test]
fn workers_belong_to_the_numa_node_of_their_card() {
    let machine = Machine::new();
    machine.write("sys/devices/system/cpu/isolated", "1-6\n");
    let far = with_card().replace("[4, 5]", "[1, 4]");
    machine.finds(
        &far,
        &["warning numa", "NUMA node 1", "another one: 1"],
        "in the configuration: workers: { lcores: [4, 5] }",
    );
    machine.write(&format!("sys/bus/pci/devices/{CARD}/numa_node"), "-1\n");
    assert_eq!(machine.findings(Some(&far)), [""; 0], "a machine without NUMA");
}

#[test]
fn processors_that_are_slowed_down_are_found() {
    let machine = Machine::new();
    for cpu in [1, 4, 5] {
        machine.write(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"), "powersave\n");
    }
    let files = |cpus: &str| {
        format!("echo performance | tee /sys/devices/system/cpu/cpu{cpus}/cpufreq/scaling_governor")
    };
    machine.finds(&with_card(), &["warning governor", "powersave", "4-5"], &files("{4,5}"));
    machine.finds(&with_interface(), &["warning governor", "powersave", ": 1"], &files("1"));
    let in_general = machine.findings(None);
    assert_eq!(in_general.len(), 1);
    assert!(in_general[0].contains("1,4-5"), "{in_general:?}");
}

#[test]
fn workers_of_cards_want_processors_of_their_own() {
    let machine = Machine::new();
    machine.write("sys/devices/system/cpu/isolated", "\n");
    machine.finds(
        &with_card(),
        &["warning isolation", "4-5"],
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&isolcpus=4-5 nohz_full=4-5 rcu_nocbs=4-5 /' /etc/default/grub && update-grub && reboot",
    );
    assert_eq!(machine.findings(Some(&with_interface())), [""; 0]);
}

#[test]
fn two_workers_on_one_core_are_found() {
    let machine = Machine::new();
    for (cpu, siblings) in
        [(0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3"), (4, "4-5"), (5, "4-5"), (6, "6-7"), (7, "6-7")]
    {
        machine.write(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
    }
    machine.finds(
        &with_card(),
        &["warning lcores", "processors 4-5 are two threads"],
        "in the configuration: workers: { lcores: [2, 4] }",
    );
}

#[test]
fn processors_that_are_not_there_are_found() {
    let machine = Machine::new();
    let text = with_interface().replace("[1]", "[1, 8, 9]").replace("iface=eth0", "iface=eth0,qpairs=3");
    machine.finds(
        &text,
        &["error lcores", "not there: 8-9"],
        "in the configuration, of 0-7: workers: { lcores: […] }",
    );
}

#[test]
fn an_interface_must_be_there_up_connected_and_nobodys() {
    let machine = Machine::new();
    machine.write("proc/net/if_inet6", "fe800000000000000000000000000001 02 40 20 80     eth0\n");
    machine.finds(
        &with_interface(),
        &["error interface", "IPv6 addresses on eth0"],
        "sysctl -w net.ipv6.conf.eth0.disable_ipv6=1",
    );
    machine.remove("proc/net/if_inet6");
    machine.write("sys/class/net/eth0/carrier", "0\n");
    machine.finds(&with_interface(), &["error interface", "no carrier"], "ethtool eth0");
    machine.write("sys/class/net/eth0/flags", "0x1002\n");
    machine.finds(&with_interface(), &["error interface", "eth0 is down"], "ip link set dev eth0 up");
    machine.remove("sys/class/net/eth0");
    machine.finds(&with_interface(), &["error interface", "no interface eth0"], "ip -brief link");
}

#[test]
fn slots_that_are_too_small_for_what_an_interface_hands_over_are_found() {
    let machine = Machine::new();
    let small = gateway("net_af_packet0,iface=eth0", "workers: { lcores: [1] }");
    let remedy = format!("in the configuration: device: \"net_af_packet0,iface=eth0,{LARGE}\"");
    machine.finds(&small, &["warning slots", "eth0 is virtual", "take 10240 bytes"], &remedy);
    let directory = "sys/class/net/eth0/device";
    machine.link(&format!("{directory}/driver"), "../../../bus/virtio/drivers/virtio_net");
    machine.finds(&small, &["warning slots", "eth0 is virtio's"], &remedy);
    machine.link(&format!("{directory}/driver"), "../../../bus/pci/drivers/ixgbe");
    assert_eq!(machine.findings(Some(&small)), [""; 0], "a card that does not join, or can be kept from it");
    machine.write(
        "ethtool/eth0",
        "Features for eth0:\ngeneric-receive-offload: on\nlarge-receive-offload: on [fixed]\n",
    );
    machine.finds(&small, &["warning slots", "joins received frames"], &remedy);
    assert_eq!(machine.findings(Some(&with_interface())), [""; 0], "slots that take all");
}

#[test]
fn af_xdp_wants_one_queue() {
    let machine = Machine::new();
    let text = gateway("net_af_xdp0,iface=eth0", "workers: { lcores: [1] }");
    assert_eq!(machine.findings(Some(&text)), [""; 0]);
    machine.write("sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n");
    machine.finds(&text, &["error queues", "2 queues"], "ethtool -L eth0 combined 1");
}

#[test]
fn a_host_twin_wants_its_share_of_the_kernel() {
    let machine = Machine::new();
    machine.write("proc/sys/net/ipv4/conf/all/rp_filter", "1\n");
    assert_eq!(machine.findings(Some(&with_host(""))), [""; 0], "nobody is behind a router");
    let routed = with_host(", gateway: [192.0.2.1]");
    machine.finds(&routed, &["warning rp_filter", "port uplink"], "sysctl -w net.ipv4.conf.all.rp_filter=2");
    machine.write("proc/sys/net/ipv4/conf/all/rp_filter", "2\n");
    machine.write("proc/sys/net/ipv4/ip_local_port_range", "10000\t60999\n");
    machine.finds(
        &routed,
        &["error host", "from 10000 on"],
        "sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"",
    );
    machine.write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
    machine.remove("dev/net/tun");
    machine.finds(&routed, &["error host", "/dev/net/tun"], "modprobe tun");
    assert_eq!(machine.findings(Some(&with_interface())), [""; 0]);
}

#[test]
fn the_table_is_for_people_with_the_worst_first_and_the_rest_for_programs() {
    let machine = Machine::new();
    machine.remove("sys/kernel/iommu_groups");
    machine.remove("sys/kernel/mm/hugepages");
    machine.write("sys/devices/system/cpu/isolated", "\n");
    let (table, code) = machine.ask(Some(&with_card()), "table");
    assert_eq!(code, 1);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.starts_with("error    iommu      the IOMMU is off"), "{table}");
    assert!(table.ends_with("1 error, 2 warnings; the indented lines are remedies\n"), "{table}");
    // A command of several lines is one to a shell.
    let remedies: String = table
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
        .map(|line| format!("{line}\n"))
        .collect();
    let shell = Command::new("bash").args(["-n", "-c", &remedies]).output().unwrap();
    assert!(shell.status.success(), "{remedies}");
    let (yaml, code) = machine.ask(Some(&with_card()), "yaml");
    let (json, _) = machine.ask(Some(&with_card()), "json");
    let report: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!((&report, code), (&serde_json::from_str::<Value>(&json).unwrap(), 1));
    let severities =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["severity"].as_str().unwrap());
    assert_eq!(severities.collect::<Vec<_>>(), ["error", "warning", "warning"]);
}

#[test]
fn cards_that_are_given_to_dpdk_are_looked_at_without_a_configuration() {
    let machine = Machine::new();
    machine.remove("sys/kernel/iommu_groups");
    let findings = machine.findings(None);
    assert!(findings.len() == 1 && findings[0].starts_with("error iommu: the IOMMU is off"), "{findings:?}");
}

#[test]
fn a_mistaken_configuration_is_told_as_by_check() {
    let machine = Machine::new();
    let file = machine.path("tidegate.yaml");
    fs::write(&file, "version: 2\n").unwrap();
    let output = Command::cargo_bin("tidegate").unwrap().args(["doctor", "-c"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("version"));
}

#[test]
fn the_machine_at_hand_can_be_examined() {
    let output = Command::cargo_bin("tidegate").unwrap().args(["doctor", "-o", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_well = report["well"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!is_well)));
}
