//! Kernel interfaces under ports (`net_af_packet`, `net_af_xdp`).

use model::Port;

use super::{Finding, machine::Machine, wanted::Wanted};
use crate::gateway::{Kind, LARGE_SLOTS, LARGEST_SLOT, PortDevice};

const CHECK: &str = "interface";
/// IFF_UP of netdevice(7)
const UP: u32 = 1;

pub(super) fn check(machine: &Machine, wanted: &Wanted) -> Vec<Finding> {
    let taken =
        wanted.ports.iter().filter_map(|(port, device)| Some((port, device, device.taken_interface()?)));
    taken.flat_map(|(port, device, interface)| one(machine, port, device, interface)).collect()
}

fn one(machine: &Machine, port: &Port, device: &PortDevice, interface: &str) -> Vec<Finding> {
    let (name, directory) = (&port.name, format!("sys/class/net/{interface}"));
    if !machine.has(&directory) {
        let what = format!("port {name}: there is no interface {interface}");
        return vec![Finding::error(CHECK, what, "ip -brief link")];
    }
    let flags = machine.text(&format!("{directory}/flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16);
    if flags.is_ok_and(|flags| flags & UP == 0) {
        let what = format!("port {name}: the interface {interface} is down");
        return vec![Finding::error(CHECK, what, format!("ip link set dev {interface} up"))];
    }
    let mut findings = Vec::new();
    if machine.number(&format!("{directory}/carrier")) == Some(0) {
        let what = format!(
            "port {name}: the interface {interface} has no carrier: nothing is on the other end of the cable"
        );
        findings.push(Finding::error(CHECK, what, format!("ethtool {interface}")));
    }
    findings.extend(addresses(machine, name, interface));
    findings.extend(slots(machine, port, device, interface));
    findings.extend(queues(machine, name, device, interface));
    findings
}

/// With addresses of its own the kernel would answer for itself, which `run` refuses.
fn addresses(machine: &Machine, port: &str, interface: &str) -> Option<Finding> {
    let list = machine.text("proc/net/if_inet6")?;
    let has_ipv6 = list.lines().any(|line| line.split_whitespace().last() == Some(interface));
    let what =
        format!("port {port}: the kernel has IPv6 addresses on {interface}, and would answer for itself");
    let setting = interface.replace('.', "/");
    has_ipv6.then(|| Finding::error(CHECK, what, format!("sysctl -w net.ipv6.conf.{setting}.disable_ipv6=1")))
}

/// Frames that are larger than the slots of a port's ring are cut, and dropped. Senders make them where they leave segmentation to a card, and
/// between virtual interfaces there is none; a card joins received ones, which the gateway switches off as far as it can be.
fn slots(machine: &Machine, port: &Port, device: &PortDevice, interface: &str) -> Option<Finding> {
    let slot = device.longest_frame(port.mtu);
    if device.kind != Kind::AfPacket || slot >= LARGEST_SLOT {
        return None;
    }
    let directory = format!("sys/class/net/{interface}/device");
    let driver = machine.link(&format!("{directory}/driver"));
    let because = match driver.as_deref() {
        None if machine.has(&directory) => return None,
        None => "is virtual, and what sends to it may leave segmentation to it",
        Some("virtio_net") => "is virtio's, and what sends to it may leave segmentation to it",
        Some(_) if machine.joins_for_good(interface) => "joins received frames, which cannot be switched off",
        Some(_) => return None,
    };
    let what = format!(
        "port {}: {interface} {because}: frames of up to 64 KiB come, and the slots of the ring take {slot} bytes",
        port.name
    );
    let device = format!("{},iface={interface},{LARGE_SLOTS}", device.device.name());
    Some(Finding::warning("slots", what, format!("in the configuration: device: \"{device}\"")))
}

/// af_xdp needs an interface with one queue here.
fn queues(machine: &Machine, port: &str, device: &PortDevice, interface: &str) -> Option<Finding> {
    let queues = machine.names(&format!("sys/class/net/{interface}/queues"));
    let receiving = queues.iter().filter(|queue| queue.starts_with("rx-")).count();
    if device.kind != Kind::AfXdp || receiving <= 1 {
        return None;
    }
    let what = format!("port {port}: {interface} has {receiving} queues, and af_xdp hears one of them");
    Some(Finding::error("queues", what, format!("ethtool -L {interface} combined 1")))
}
