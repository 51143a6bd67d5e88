use std::{fmt::Write, net::SocketAddr};

use model::Mode;

use super::{
    Device, Tidegate, Topology,
    topology::{ECHO, HTTP, IPERF, backend_address, service},
};

/// A virtual server and its pool.
#[derive(Clone, Copy)]
struct Service {
    name: &'static str,
    v6: bool,
    protocol: &'static str,
    port: u16,
}

impl Service {
    const fn new(name: &'static str, v6: bool, protocol: &'static str, port: u16) -> Self {
        Self { name, v6, protocol, port }
    }
}

/// What every topology has.
const SERVICES: [Service; 4] = [
    Service::new("http4", false, "tcp", HTTP),
    Service::new("http6", true, "tcp", HTTP),
    Service::new("echo4", false, "udp", ECHO),
    Service::new("echo6", true, "udp", ECHO),
];
/// What iperf3 needs.
const MEASURED: [Service; 4] = [
    Service::new("iperf4", false, "tcp", IPERF),
    Service::new("iperf6", true, "tcp", IPERF),
    Service::new("iperf4-udp", false, "udp", IPERF),
    Service::new("iperf6-udp", true, "udp", IPERF),
];

impl Topology {
    /// A configuration for this topology, `settings` (further top-level members) included.
    #[must_use]
    pub fn configuration(&self, settings: &str) -> String {
        let all: Vec<u8> = (1..=self.plan.backends).collect();
        self.configuration_for(&all, settings)
    }

    /// The same with only these backends, by number, in the pools.
    #[must_use]
    pub fn configuration_for(&self, backends: &[u8], settings: &str) -> String {
        self.text(&SERVICES.map(|service| (service, backends)), settings, 2)
    }

    /// A configuration for stories that are not about health, whose monitors are patient with a busy machine. It has virtual servers for iperf3,
    /// too, which talks to its server over TCP and over UDP: that is the first backend.
    #[must_use]
    pub fn patient_configuration(&self, settings: &str) -> String {
        let all: Vec<u8> = (1..=self.plan.backends).collect();
        let mut services = SERVICES.map(|service| (service, all.as_slice())).to_vec();
        services.extend(MEASURED.map(|service| (service, [1].as_slice())));
        self.text(&services, settings, 40)
    }

    /// What serves, each with its backends, which are down after so many failures.
    fn text(&self, services: &[(Service, &[u8])], settings: &str, failures: u8) -> String {
        let socket = Tidegate::socket(self.directory());
        let mut text = format!(
            "version: 1\ncontrol: {{ socket: {} }}\n{settings}ports:\n{}{}pools:\n",
            socket.display(),
            self.port("clients", "10.10.1.1/24, \"fd00:10:1::1/64\"", false),
            self.port("backends", "10.10.2.1/24, \"fd00:10:2::1/64\"", true),
        );
        for (service, backends) in services {
            text.push_str(&self.pool(service, backends, failures));
        }
        text.push_str("virtual_servers:\n");
        for (Service { name, v6, protocol, port }, _) in services {
            let (address, mode) = (service(*v6), mode_name(self.plan.mode));
            let _ = writeln!(
                text,
                "  - {{ name: {name}, address: \"{address}\", port: {port}, protocol: {protocol}, type: fastl4, mode: {mode}, pool: {name} }}"
            );
        }
        text
    }

    /// Where backends answer clients directly the port cannot change on the way; elsewhere it does, so that its rewriting is seen.
    pub(super) fn http_port(&self) -> u16 {
        if self.plan.mode.is_direct() { HTTP } else { 8080 }
    }

    fn port(&self, name: &str, addresses: &str, host: bool) -> String {
        let device = match self.plan.device {
            Device::AfPacket => format!("net_af_packet_{name},iface={name}"),
            Device::Tap => format!("net_tap_{name},iface=tap-{name}"),
            Device::AfXdp => format!("net_af_xdp_{name},iface={name}"),
        };
        let mtu = if name == "backends" { self.mtu_to_backends() } else { self.mtu };
        format!(
            "  - {{ name: {name}, device: \"{device}\", addresses: [{addresses}], facing: {name}, host: {host}, mtu: {mtu} }}\n"
        )
    }

    fn pool(&self, service: &Service, backends: &[u8], failures: u8) -> String {
        let http = self.http_port();
        let port = if service.port == HTTP { http } else { service.port };
        let mut text = format!("  - name: {}\n    backends:\n", service.name);
        for &number in backends {
            let address = backend_address(number, service.v6 != self.plan.crosses_families);
            let _ = writeln!(text, "      - {{ address: \"{}\" }}", SocketAddr::from((address, port)));
        }
        let _ = writeln!(
            text,
            "    monitors: [{{ type: tcp, port: {http}, interval: 250ms, timeout: 200ms, fall: {failures}, rise: 2 }}]"
        );
        text
    }
}

/// A mode as configurations write it.
#[must_use]
pub fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Nat => "nat",
        Mode::FullNat => "full_nat",
        Mode::Dsr => "dsr",
        Mode::Ipip => "ipip",
        Mode::Gue => "gue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Plan;

    #[test]
    fn the_configuration_names_what_was_built() {
        let topology = Topology::build(Plan::new(Device::Tap, Mode::FullNat, 1)).unwrap();
        let text = topology.configuration("workers: { lcores: [0, 1] }\n");
        for part in ["iface=tap-clients", "mode: full_nat", "\"[fd00:10:2::11]:8080\"", "lcores: [0, 1]"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
