use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use model::Mode;
use tempfile::TempDir;

use super::{
    Decapsulator, Failure, Namespace, Nginx, Result, Tidegate, UdpEcho, connect, connect_as_it_is, wait_until,
};

pub(super) const HTTP: u16 = 80;
pub(super) const ECHO: u16 = 7;
pub(super) const IPERF: u16 = 5201;

/// The DPDK device under the gateway's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A packet socket on an interface that exists.
    AfPacket,
    /// An interface that the gateway makes.
    Tap,
    /// An XDP socket on an interface that exists.
    AfXdp,
}

/// What a [`Topology`] is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The device under both ports.
    pub device: Device,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How many backends there are, 1 to 200.
    pub backends: u8,
    /// In `full_nat`, `ipip` and `gue`: whether virtual servers of one family have backends of the other.
    pub crosses_families: bool,
}

impl Plan {
    /// So many backends behind ports on such a device.
    #[must_use]
    pub const fn new(device: Device, mode: Mode, backends: u8) -> Self {
        Self { device, mode, backends, crosses_families: false }
    }
}

/// One machine behind the gateway, with nginx and an echo service.
pub struct Backend {
    /// Its name, which it answers with: `backend1` and so on.
    pub name: String,
    /// Its nginx.
    pub nginx: Nginx,
    /// Its echo service.
    pub echo: UdpEcho,
    /// Takes off outer headers, in the modes that have them.
    pub decapsulator: Option<Decapsulator>,
    /// The machine; declared last, so that it goes last.
    pub namespace: Namespace,
}

/// A client, a gateway without a program yet, and backends, as in the picture of `scripts/demo.d/network.sh`:
///
/// ```text
/// client ─── clients ( gateway ) backends ─── switch ─┬─ backend1
///                                                     └─ backend2 ...
/// ```
///
/// The client is 10.10.1.100 and fd00:10:1::100, backend *n* 10.10.2.(10+n) and fd00:10:2::(10+n), the gateway .1 and
/// ::1 of both networks. The virtual servers are 198.51.100.10 and 2001:db8:100::10: HTTP on port 80, UDP echo on 7.
/// In `dsr`, `ipip` and `gue` the client has a second leg on the backends' network, on which they answer past the gateway.
pub struct Topology {
    /// The backends.
    pub backends: Vec<Backend>,
    /// The client.
    pub client: Namespace,
    /// Where the gateway's program will run; its interfaces `clients` and `backends` have no addresses.
    pub gateway: Namespace,
    /// A bridge that joins the backends.
    pub switch: Namespace,
    pub(super) plan: Plan,
    /// Bytes of the largest packet, but to the backends of tunnels.
    pub(super) mtu: u16,
    directory: TempDir,
}

impl Topology {
    /// Makes all of it and returns when the backends serve.
    ///
    /// # Errors
    /// Without root, or with the message of the command that failed.
    pub fn build(plan: Plan) -> Result<Self> {
        Self::build_with_mtu(plan, 1500)
    }

    /// The same with links that take packets of `mtu` bytes.
    ///
    /// # Errors
    /// As [`Topology::build`].
    pub fn build_with_mtu(plan: Plan, mtu: u16) -> Result<Self> {
        let mut topology = Self {
            backends: Vec::new(),
            client: Namespace::create("client")?,
            gateway: Namespace::create("gateway")?,
            switch: Namespace::create("switch")?,
            plan,
            mtu,
            directory: TempDir::new().map_err(Failure::of("no temporary directory"))?,
        };
        topology.lay_cables()?;
        for number in 1..=plan.backends {
            let backend = topology.build_backend(number)?;
            topology.backends.push(backend);
        }
        Ok(topology)
    }

    /// Where configuration, log and socket of the gateway are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The HTTP virtual server of a family.
    #[must_use]
    pub fn http(&self, v6: bool) -> SocketAddr {
        (service(v6), HTTP).into()
    }

    /// The UDP echo virtual server of a family.
    #[must_use]
    pub fn echo(&self, v6: bool) -> SocketAddr {
        (service(v6), ECHO).into()
    }

    /// Where a backend, by its place, is spoken to: by the virtual server's address in the modes that leave it.
    #[must_use]
    pub fn address_at_backend(&self, place: u8, v6: bool) -> IpAddr {
        if self.plan.mode.is_direct() { service(v6) } else { backend_address(place + 1, v6) }
    }

    /// Starts `program` with `configuration`, joins it to the cables, and returns when it sees its backends up and its
    /// workers know that.
    ///
    /// # Errors
    /// When it ends, does not answer, or sees a backend down, with its log.
    pub fn start(&self, program: &Path, configuration: &str) -> Result<Tidegate> {
        let limit = Duration::from_secs(60);
        let mut tidegate = Tidegate::start(&self.gateway, program, self.directory(), configuration)?;
        tidegate.wait_until_ready(limit)?;
        if self.plan.device == Device::Tap {
            self.join_taps()?;
        }
        let all = |rows: usize| rows > 0 && tidegate.backends_up().is_ok_and(|up| up == rows);
        wait_until(limit, "all backends are up", || {
            tidegate.list("backend").is_ok_and(|rows| all(rows.len()))
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", tidegate.log())))?;
        tidegate.wait_until_settled(limit)?;
        Ok(tidegate)
    }

    /// All that a gateway might leave behind in its namespace: interfaces, addresses, rules, routes, features.
    ///
    /// # Errors
    /// With the message of the command that failed.
    pub fn traces(&self) -> Result<String> {
        let mut traces = String::new();
        for words in ["-o link", "-o address", "rule", "-6 rule", "route show table all"] {
            traces += &self.gateway.ip(words)?;
        }
        for interface in ["clients", "backends"] {
            traces += &self.gateway.run(&format!("ethtool -k {interface}"))?;
        }
        // The kernel takes its time to say that a bridge is up.
        Ok(traces.lines().filter(|line| !line.contains(": br-")).flat_map(|line| [line, "\n"]).collect())
    }

    /// Bytes of the largest packet to the backends: outer headers go in front of what clients send. A tap sends no packet of more than 1,500
    /// bytes; there [clients send smaller ones](Self::mtu_of_clients).
    pub(super) fn mtu_to_backends(&self) -> u16 {
        if self.plan.mode.is_tunnel() && self.plan.device != Device::Tap { self.mtu + 100 } else { self.mtu }
    }

    /// Bytes of the largest packet to the virtual servers.
    fn mtu_of_clients(&self) -> u16 {
        if self.plan.mode.is_tunnel() && self.plan.device == Device::Tap { 1440 } else { self.mtu }
    }

    /// A cable for packets of `mtu` bytes. A tap takes what Linux sends as it is; a packet socket's ring has no place for frames larger than the MTU.
    fn cable(&self, one: (&Namespace, &str), other: (&Namespace, &str), mtu: u16) -> Result<()> {
        let lay = if self.plan.device == Device::Tap { connect_as_it_is } else { connect };
        lay(one, other)?;
        for (namespace, interface) in [one, other] {
            namespace.ip(&format!("link set {interface} mtu {mtu}"))?;
        }
        Ok(())
    }

    fn lay_cables(&self) -> Result<()> {
        self.cable((&self.client, "eth0"), (&self.gateway, "clients"), self.mtu)?;
        self.cable((&self.gateway, "backends"), (&self.switch, "gateway"), self.mtu_to_backends())?;
        add_bridge(&self.switch, "bridge", &["gateway"])?;
        for interface in ["clients", "backends"] {
            remove_ipv6(&self.gateway, interface)?;
            if self.plan.device == Device::Tap {
                let bridge = format!("br-{interface}");
                add_bridge(&self.gateway, &bridge, &[interface])?;
                keep_the_kernel_off(&self.gateway, &bridge)?;
            }
        }
        self.client.ip("address add 10.10.1.100/24 dev eth0")?;
        self.client.ip("address add fd00:10:1::100/64 dev eth0")?;
        let mtu = self.mtu_of_clients();
        self.client.ip(&format!("route add 198.51.100.0/24 via 10.10.1.1 mtu {mtu}"))?;
        self.client.ip(&format!("route add 2001:db8:100::/64 via fd00:10:1::1 mtu {mtu}"))?;
        if self.plan.mode.is_direct() {
            self.cable((&self.client, "direct"), (&self.switch, "client"), self.mtu)?;
            self.switch.ip("link set client master bridge")?;
            self.client.run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.direct.rp_filter=0")?;
            self.client.ip("address add 10.10.2.100/24 dev direct")?;
            self.client.ip("address add fd00:10:2::100/64 dev direct")?;
        }
        Ok(())
    }

    fn build_backend(&self, number: u8) -> Result<Backend> {
        let name = format!("backend{number}");
        let namespace = Namespace::create(&name)?;
        self.cable((&namespace, "eth0"), (&self.switch, &name), self.mtu_to_backends())?;
        self.switch.ip(&format!("link set {name} master bridge"))?;
        let mut addresses = vec![backend_address(number, false), backend_address(number, true)];
        namespace.ip(&format!("address add {}/24 dev eth0", backend_address(number, false)))?;
        namespace.ip(&format!("address add {}/64 dev eth0", backend_address(number, true)))?;
        match self.plan.mode {
            Mode::Nat => add_default_routes(&namespace, ["10.10.2.1", "fd00:10:2::1"], self.mtu)?,
            Mode::FullNat => {}
            Mode::Dsr | Mode::Ipip | Mode::Gue => {
                hold_the_virtual_servers(&namespace)?;
                add_default_routes(&namespace, ["10.10.2.100", "fd00:10:2::100"], self.mtu)?;
                addresses.extend([service(false), service(true)]);
            }
        }
        let nginx = Nginx::start(&namespace, &name, self.http_port(), &self.file(&name))?;
        let echo = UdpEcho::start(&namespace, &addresses, ECHO)?;
        let decapsulator = if self.plan.mode.is_tunnel() {
            Some(Decapsulator::start(&namespace, &self.file(&format!("{name}-inner")))?)
        } else {
            None
        };
        Ok(Backend { name, nginx, echo, decapsulator, namespace })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Joins each tap with its cable, by the bridge that is there. The kernel's end starts with the address of the gateway's end, which
    /// a bridge would take for its own: it gets another. DPDK sets the first again when it starts the port, so the gateway must be ready.
    fn join_taps(&self) -> Result<()> {
        for (number, name) in ["clients", "backends"].into_iter().enumerate() {
            let tap = format!("tap-{name}");
            keep_the_kernel_off(&self.gateway, &tap)?;
            self.gateway.ip(&format!("link set {tap} address 02:00:00:00:7a:0{number}"))?;
            self.gateway.ip(&format!("link set {tap} master br-{name} up"))?;
        }
        Ok(())
    }
}

/// The address of the virtual servers of a family.
pub(super) fn service(v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10).into()
    } else {
        Ipv4Addr::new(198, 51, 100, 10).into()
    }
}

/// 10.10.2.11 and fd00:10:2::11 are backend 1: the last group is written alike, so it is decimal in both.
pub(super) fn backend_address(number: u8, v6: bool) -> IpAddr {
    let last = u16::from(number) + 10;
    if v6 {
        let digits = last / 100 * 0x100 + last / 10 % 10 * 0x10 + last % 10;
        Ipv6Addr::new(0xfd00, 0x10, 2, 0, 0, 0, 0, digits).into()
    } else {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 10, 2, 0)) + u32::from(last)).into()
    }
}

fn add_bridge(namespace: &Namespace, bridge: &str, members: &[&str]) -> Result<()> {
    namespace.ip(&format!("link add {bridge} type bridge mcast_snooping 0"))?;
    namespace.ip(&format!("link set {bridge} up"))?;
    for member in members {
        namespace.ip(&format!("link set {member} master {bridge} up"))?;
    }
    Ok(())
}

/// Tidegate refuses an interface that has addresses; a link-local one would come by itself.
fn remove_ipv6(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace.run(&format!("sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1")).map(drop)
}

/// The gateway's host twins have its addresses in the same namespace: the kernel would take what arrives on another
/// interface for its own, and reset the connections that it does not know. On interfaces that exist before it starts
/// Tidegate sees to that itself.
fn keep_the_kernel_off(namespace: &Namespace, interface: &str) -> Result<()> {
    remove_ipv6(namespace, interface)?;
    let setting = format!("net.ipv4.conf.{interface}");
    namespace.run(&format!("sysctl -qw {setting}.rp_filter=1 {setting}.arp_ignore=8")).map(drop)
}

/// With the MTU on the other side of the router: the link to it may take outer headers besides.
fn add_default_routes(namespace: &Namespace, routers: [&str; 2], mtu: u16) -> Result<()> {
    for router in routers {
        namespace.ip(&format!("route add default via {router} mtu {mtu}"))?;
    }
    Ok(())
}

/// The addresses are on the loopback, and nobody on the network may learn that: the gateway alone answers for them.
fn hold_the_virtual_servers(namespace: &Namespace) -> Result<()> {
    namespace.run("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")?;
    namespace.ip(&format!("address add {}/32 dev lo", service(false)))?;
    namespace.ip(&format!("address add {}/128 dev lo", service(true)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::{echoes, get};

    #[test]
    fn a_backend_has_the_same_number_in_both_families() {
        for (number, v4, v6) in [(1, "10.10.2.11", "fd00:10:2::11"), (200, "10.10.2.210", "fd00:10:2::210")] {
            assert_eq!(backend_address(number, false).to_string(), v4);
            assert_eq!(backend_address(number, true).to_string(), v6);
        }
    }

    #[test]
    fn the_switch_joins_the_backends_and_the_gateway_is_silent_without_a_program() {
        let topology = Topology::build(Plan::new(Device::AfPacket, Mode::Nat, 2)).unwrap();
        let (one, two) = (&topology.backends[0], &topology.backends[1]);
        for v6 in [false, true] {
            let answer = get(&one.namespace, (backend_address(2, v6), 8080).into(), "/").unwrap();
            assert_eq!(answer.backend, two.name);
            assert!(echoes(&one.namespace, (backend_address(2, v6), ECHO).into(), b"question").unwrap());
        }
        assert!(topology.client.run("ping -c 1 -W 1 10.10.1.1").is_err());
    }

    #[test]
    fn in_dsr_a_backend_answers_the_client_as_the_virtual_server() {
        let topology = Topology::build(Plan::new(Device::AfPacket, Mode::Dsr, 1)).unwrap();
        // What the gateway will do, done by the client's routes: the packets reach the backend as they are.
        topology.client.ip("route replace 198.51.100.0/24 via 10.10.2.11").unwrap();
        topology.client.ip("-6 route replace 2001:db8:100::/64 via fd00:10:2::11").unwrap();
        for v6 in [false, true] {
            assert_eq!(get(&topology.client, topology.http(v6), "/").unwrap().body, b"backend1");
            assert!(echoes(&topology.client, topology.echo(v6), b"question").unwrap());
        }
    }
}
