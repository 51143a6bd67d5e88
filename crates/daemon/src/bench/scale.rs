//! Large configurations.

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
};

use control::{Facts, PortFacts};
use datapath::snapshot::DeviceTraits;
use model::Generation;

use super::{
    Family,
    gateway::{PORT_MAC, backend_mac, service},
};

/// The first backend's address.
const BACKENDS: u32 = 0x0a01_0000;
/// The first virtual server's address but one; the very first has the one that clients send to.
const SERVERS: u32 = 0xc633_6500;
/// Virtual servers of an address.
const PORTS: usize = 10;
const SEED: [u8; 16] = *b"tidegate bench..";

/// How much of everything a configuration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Scale {
    /// Virtual servers.
    pub(crate) virtual_servers: usize,
    /// Pools; virtual servers take them in turns.
    pub(crate) pools: usize,
    /// Backends of each pool.
    pub(crate) backends_per_pool: usize,
}

impl Scale {
    /// A configuration file. All backends are watched, but those of the first pool, whose MAC addresses are known, so that it
    /// forwards from the beginning.
    pub(super) fn text(self) -> String {
        let mut text = "version: 1\nports:\n  - name: wire\n    device: net_null0\n".to_owned();
        text += "    addresses: [10.0.0.1/8]\n    neighbours:\n";
        for number in 0..self.backends_per_pool {
            let (address, mac) = (self.backend(0, number), backend_mac(0));
            // Writing to a string does not fail.
            let _ = writeln!(text, "      - {{ address: {}, mac: \"{mac}\" }}", address.ip());
        }
        text += "profiles: [{ name: bench, loose_initiation: true }]\npools:\n";
        for pool in 0..self.pools {
            let monitors = if pool == 0 { "" } else { "{ type: tcp }" };
            let _ = writeln!(text, "  - name: pool-{pool}\n    monitors: [{monitors}]\n    backends:");
            for number in 0..self.backends_per_pool {
                let _ = writeln!(text, "      - {{ address: \"{}\" }}", self.backend(pool, number));
            }
        }
        text += "virtual_servers:\n";
        for number in 0..self.virtual_servers {
            let (address, pool) = (server(number), number % self.pools);
            let _ = writeln!(
                text,
                "  - {{ name: server-{number}, address: {}, port: {}, protocol: tcp, mode: nat, profile: bench, pool: pool-{pool} }}",
                address.ip(),
                address.port(),
            );
        }
        text
    }

    fn backend(self, pool: usize, number: usize) -> SocketAddr {
        let number = (pool * self.backends_per_pool + number) as u32;
        SocketAddr::new(Ipv4Addr::from_bits(BACKENDS + number).into(), 8080)
    }
}

fn server(number: usize) -> SocketAddr {
    let first = service(Family::V4, 0);
    match number {
        0 => first,
        _ => SocketAddr::new(
            Ipv4Addr::from_bits(SERVERS + (number / PORTS) as u32).into(),
            1000 + (number % PORTS) as u16,
        ),
    }
}

/// What is known of the machine besides.
pub(super) fn facts(generation: u64) -> Facts {
    let port = PortFacts {
        mac: PORT_MAC,
        mtu: 1500,
        device: DeviceTraits::default(),
        offloads: vec![],
        spread: None,
    };
    Facts { generation: Generation(generation), workers: 1, seed: SEED, ports: vec![port] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_as_much_as_it_is_to_have() {
        let scale = Scale { virtual_servers: 300, pools: 20, backends_per_pool: 3 };
        let configuration = config::parse(&scale.text(), "bench").unwrap();
        let gateway = configuration.gateway;
        assert_eq!((gateway.virtual_servers.len(), gateway.pools.len()), (300, 20));
        assert!(gateway.pools.iter().all(|pool| pool.backends.len() == 3));
    }
}
