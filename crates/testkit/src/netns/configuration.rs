use std::{fmt::Write, net::SocketAddr};

use model::Mode;

use super::{
    Device, Tidegate, Topology,
    topology::{ECHO, HTTP, backend_address, service},
};

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
        let socket = Tidegate::socket(self.directory());
        let mut text = format!(
            "version: 1\ncontrol: {{ socket: {} }}\n{settings}ports:\n{}{}pools:\n",
            socket.display(),
            self.port("clients", "10.10.1.1/24, \"fd00:10:1::1/64\"", false),
            self.port("backends", "10.10.2.1/24, \"fd00:10:2::1/64\"", true),
        );
        let services = [
            ("http4", false, "tcp"),
            ("http6", true, "tcp"),
            ("echo4", false, "udp"),
            ("echo6", true, "udp"),
        ];
        for (name, v6, protocol) in services {
            text.push_str(&self.pool(name, v6, protocol, backends));
        }
        text.push_str("virtual_servers:\n");
        for (name, v6, protocol) in services {
            let (address, port, mode) = (service(v6), port_of(protocol), mode_name(self.plan.mode));
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
        let mtu = if name == "backends" { self.plan.mtu_to_backends() } else { 1500 };
        format!(
            "  - {{ name: {name}, device: \"{device}\", addresses: [{addresses}], facing: {name}, host: {host}, mtu: {mtu} }}\n"
        )
    }

    fn pool(&self, name: &str, v6: bool, protocol: &str, backends: &[u8]) -> String {
        let http = self.http_port();
        let port = if protocol == "tcp" { http } else { ECHO };
        let mut text = format!("  - name: {name}\n    backends:\n");
        for &number in backends {
            let address = backend_address(number, v6 != self.plan.crosses_families);
            let _ = writeln!(text, "      - {{ address: \"{}\" }}", SocketAddr::from((address, port)));
        }
        let _ = writeln!(
            text,
            "    monitors: [{{ type: tcp, port: {http}, interval: 250ms, timeout: 200ms, fall: 2, rise: 2 }}]"
        );
        text
    }
}

fn port_of(protocol: &str) -> u16 {
    if protocol == "tcp" { HTTP } else { ECHO }
}

fn mode_name(mode: Mode) -> &'static str {
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
