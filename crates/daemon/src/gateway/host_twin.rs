//! The host twin of a port (`host: true`): a tap interface by which the kernel uses the port's addresses.
//!
//! The gateway passes it what is for the host, and sends what it says. The kernel's end is `tg-` and the port's name,
//! with the port's Ethernet address, MTU and IP addresses, and with routes of its own for sockets that are bound to one
//! of them. The interface goes when the device is closed, the rules when the twin is dropped.

use std::{fs, io};

use dpdk::Device;
use ipnet::{IpNet, Ipv6Net};
use model::{MacAddress, Port, SNAT_PORTS_BESIDE_HOST};

use crate::{
    failure::Failure,
    kernel::{self, Change, Hop, Link, Policy, RoutePlan},
};

/// The longest name of an interface.
const LONGEST_NAME: usize = 15;

/// The kernel's side of a twin; dropping it removes the rules that lead there.
#[derive(Debug)]
pub(crate) struct HostTwin {
    _policy: Policy,
}

/// The name of the kernel's interface: `tg-` and the port's name, cut with its number where that is too long.
pub(crate) fn interface(port: &Port, number: usize) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let name: String = port.name.chars().filter(plain).collect();
    let whole = format!("tg-{name}");
    if whole.len() <= LONGEST_NAME && name == port.name {
        return whole;
    }
    let tail = format!("-{number}");
    let head: String = whole.chars().take(LONGEST_NAME - tail.len()).collect();
    head + &tail
}

/// The device of a port's twin. Its Ethernet address is the port's: the neighbours know one machine.
///
/// # Errors
/// When DPDK would not understand it, which no checked configuration leads to.
pub(crate) fn device(port: &Port, number: usize, mac: MacAddress) -> Result<Device, Failure> {
    let text = format!("net_tap_tg{number},iface={},mac={mac}", interface(port, number));
    Device::parse(&text).map_err(|error| Failure::device(error).remedy("give the port another name"))
}

/// Sees to it that the kernel's own connections leave the ports of SNAT alone.
///
/// # Errors
/// When it takes its ports from among those.
pub(crate) fn check_local_ports() -> Result<(), Failure> {
    let (low, high) = kernel::local_ports().map_err(|error| {
        Failure::device(format_args!("net.ipv4.ip_local_port_range cannot be read: {error}"))
            .remedy("mount /proc")
    })?;
    let last = *SNAT_PORTS_BESIDE_HOST.end();
    if low > last {
        return Ok(());
    }
    let what = format_args!(
        "the kernel takes the ports of its own connections from {low} to {high}, and with `host: true` those up to \
         {last} are for SNAT"
    );
    Err(Failure::device(what)
        .remedy(format_args!("sysctl -w net.ipv4.ip_local_port_range=\"{} 60999\"", u32::from(last) + 1)))
}

/// Keeps the kernel from giving the twin addresses of its own making. To be called before the interface is up.
pub(crate) fn keep_plain(interface: &str) -> io::Result<()> {
    for (name, value) in [("addr_gen_mode", "1"), ("accept_ra", "0"), ("accept_dad", "0")] {
        // It goes with the interface, which is why nothing restores it.
        match fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{name}"), value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {} // a kernel without IPv6
        }
    }
    Ok(())
}

impl HostTwin {
    /// Gives the kernel's interface the port's addresses and routes. The device must be started.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn set_up(port: &Port, number: usize, mac: MacAddress) -> Result<Self, Failure> {
        let name = interface(port, number);
        Self::try_set_up(port, &name, mac).map_err(|error| {
            let failure =
                Failure::device(format_args!("the host twin {name} of port {}: {error}", port.name));
            match error.raw_os_error() {
                Some(EXISTS) => {
                    failure.remedy("another interface has the address: remove it there (`ip addr`)")
                }
                _ => failure.remedy(
                    "see whether something else manages this interface (NetworkManager, systemd-networkd)",
                ),
            }
        })
    }

    fn try_set_up(port: &Port, name: &str, mac: MacAddress) -> io::Result<Self> {
        let link = Link::find(name)?.ok_or(io::ErrorKind::NotFound)?;
        link.change(Change::Mtu(u32::from(port.mtu)))?;
        link.change(Change::Up)?;
        let link_local = link_local(port, mac);
        for address in port.addresses.iter().chain(&link_local) {
            kernel::add_address(&link, *address)?;
        }
        Ok(Self { _policy: Policy::install(&link, &port.addresses, &routes(port))? })
    }
}

const EXISTS: i32 = 17;

/// The twin's own link-local address, if the port has IPv6 and not this very one: what routing protocols speak from.
fn link_local(port: &Port, mac: MacAddress) -> Option<IpNet> {
    const LENGTH: u8 = 64;
    let address = mac.link_local();
    let has_ipv6 = port.addresses.iter().any(|network| network.addr().is_ipv6());
    let is_given = port.addresses.iter().any(|network| network.addr() == address);
    Ipv6Net::new(address, LENGTH).ok().filter(|_| has_ipv6 && !is_given).map(IpNet::V6)
}

/// The port's networks, routes and gateways. Networks come first: routers must be on one of them.
fn routes(port: &Port) -> Vec<RoutePlan> {
    let networks = port.addresses.iter().map(|address| RoutePlan { to: address.trunc(), via: Hop::Link });
    let configured =
        port.routes.iter().map(|route| RoutePlan { to: route.to, via: Hop::Routers(route.via.clone()) });
    let of_family =
        |v4: bool| port.gateways.iter().copied().filter(|router| router.is_ipv4() == v4).collect::<Vec<_>>();
    let everything =
        [(IpNet::V4(ipnet::Ipv4Net::default()), true), (IpNet::V6(ipnet::Ipv6Net::default()), false)];
    let gateways = everything.into_iter().map(|(to, v4)| RoutePlan { to, via: Hop::Routers(of_family(v4)) });
    let reachable = |plan: &RoutePlan| !matches!(&plan.via, Hop::Routers(routers) if routers.is_empty());
    networks.chain(configured).chain(gateways).filter(reachable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::device::tests::port;

    fn named(name: &str) -> Port {
        Port { name: name.to_owned(), ..port("net_null0") }
    }

    #[test]
    fn an_interface_is_named_after_its_port_as_far_as_there_is_room() {
        assert_eq!(interface(&named("uplink"), 0), "tg-uplink");
        assert_eq!(interface(&named("a-very-long-name-of-a-port"), 3), "tg-a-very-lon-3");
        assert_eq!(interface(&named("up link"), 1), "tg-uplink-1");
        for number in [0, 15] {
            assert!(interface(&named("a-very-long-name-of-a-port"), number).len() <= LONGEST_NAME);
        }
    }

    #[test]
    fn a_twin_has_its_ports_ethernet_address() {
        let device = device(&named("uplink"), 1, MacAddress([2, 0, 0, 0, 0, 7])).unwrap();
        assert_eq!(device.to_string(), "net_tap_tg1,iface=tg-uplink,mac=02:00:00:00:00:07");
    }

    #[test]
    fn a_twin_has_the_ports_networks_before_its_gateways() {
        let plans = routes(&port("net_null0"));
        let shown: Vec<_> = plans.iter().map(|plan| plan.to.to_string()).collect();
        assert_eq!(shown, ["192.0.2.0/24", "2001:db8::/64", "0.0.0.0/0"]);
        assert_eq!(plans[2].via, Hop::Routers(vec!["192.0.2.1".parse().unwrap()]));
    }
}
