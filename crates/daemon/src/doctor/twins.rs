//! What host twins (`host: true`) want of the kernel.

use model::SNAT_PORTS_BESIDE_HOST;

use super::{Finding, machine::Machine, wanted::Wanted};

const CHECK: &str = "host";

pub(super) fn check(machine: &Machine, wanted: &Wanted) -> Vec<Finding> {
    let Some((port, _)) = wanted.ports.iter().find(|(port, _)| port.host) else { return Vec::new() };
    let mut findings = Vec::new();
    if !machine.has("dev/net/tun") {
        let what =
            format!("port {} has a host twin, and there is no /dev/net/tun to make it with", port.name);
        findings.push(Finding::error(CHECK, what, "modprobe tun"));
    }
    findings.extend(local_ports(machine));
    findings.extend(reverse_path(machine, wanted));
    findings
}

fn local_ports(machine: &Machine) -> Option<Finding> {
    let text = machine.text("proc/sys/net/ipv4/ip_local_port_range")?;
    let low: u16 = text.split_whitespace().next()?.parse().ok()?;
    let last = *SNAT_PORTS_BESIDE_HOST.end();
    let what = format!(
        "the kernel takes the ports of its own connections from {low} on, and with `host: true` those up to {last} are for SNAT"
    );
    let remedy = format!("sysctl -w net.ipv4.ip_local_port_range=\"{} 60999\"", u32::from(last) + 1);
    (low <= last).then(|| Finding::error(CHECK, what, remedy))
}

/// Where routers are behind a port, the host gets packets from networks to which its own routes lead elsewhere.
fn reverse_path(machine: &Machine, wanted: &Wanted) -> Option<Finding> {
    const STRICT: i64 = 1;
    let has_routers = |port: &model::Port| !port.gateways.is_empty() || !port.routes.is_empty();
    let (port, _) = wanted.ports.iter().find(|(port, _)| port.host && has_routers(port))?;
    let what = format!(
        "port {} has a host twin and routers, and the kernel refuses packets to which its own routes do not lead back (rp_filter)",
        port.name
    );
    let is_strict = machine.number("proc/sys/net/ipv4/conf/all/rp_filter") == Some(STRICT);
    is_strict.then(|| Finding::warning("rp_filter", what, "sysctl -w net.ipv4.conf.all.rp_filter=2"))
}
