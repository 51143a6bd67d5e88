//! The kernel's interfaces before the gateway takes them: they must be there, up, and of no use to the kernel.

use std::net::IpAddr;

use ipnet::IpNet;
use model::Port;

use super::{device::PortDevice, host_twin};
use crate::{
    failure::Failure,
    kernel::{self, Link, Taken},
};

/// Sees to it that nothing stands in the way, and takes the interfaces that the ports use.
///
/// # Errors
/// When an interface is missing, down, has addresses, or is another gateway's; when an address is somebody else's on
/// this machine; when the process may not. What was taken until then is given back.
pub(crate) fn take(ports: &[Port], devices: &[PortDevice]) -> Result<Vec<Taken>, Failure> {
    if ports.iter().any(|port| port.host) {
        host_twin::check_local_ports()?;
    }
    check_addresses(ports)?;
    let taken =
        ports.iter().zip(devices).filter_map(|(port, device)| Some((port, device.taken_interface()?)));
    taken.map(|(port, interface)| take_one(port, interface)).collect()
}

fn take_one(port: &Port, interface: &str) -> Result<Taken, Failure> {
    let link = Link::find(interface).map_err(|error| refused(interface, &error))?;
    let Some(link) = link else {
        return Err(Failure::device(format_args!("port {}: there is no interface {interface}", port.name))
            .remedy(
                "see `ip link` for those of this network namespace, and name one in the port's `device`",
            ));
    };
    if !link.up {
        return Err(Failure::device(format_args!("port {}: the interface {interface} is down", port.name))
            .remedy(format_args!("ip link set dev {interface} up")));
    }
    check_unused(port, &link)?;
    let taken = Taken::take(link).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::device(format_args!(
            "port {}: another tidegate has taken the interface {interface}",
            port.name
        ))
        .remedy("stop it, or give this port another interface"),
        _ => refused(interface, &error),
    })?;
    if !taken.switched_off().is_empty() {
        let features = taken.switched_off().join(", ");
        tracing::info!("switched off on {}, until the end: {features}", taken.name());
    }
    Ok(taken)
}

/// An interface with addresses is one that the kernel uses, and it would answer what is for the gateway.
fn check_unused(port: &Port, link: &Link) -> Result<(), Failure> {
    let addresses = kernel::addresses(link).map_err(|error| refused(&link.name, &error))?;
    if addresses.is_empty() {
        return Ok(());
    }
    let list = addresses.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ");
    let what = format_args!(
        "port {}: the interface {name} has addresses of the kernel's ({list}), which would answer for itself",
        port.name,
        name = link.name
    );
    let mut remedy = Vec::new();
    if addresses.iter().any(|network| !is_link_local(network.addr())) {
        remedy.push(format!("ip addr flush dev {}", link.name));
    }
    if addresses.iter().any(|network| network.addr().is_ipv6()) {
        remedy.push(format!("sysctl -w net.ipv6.conf.{}.disable_ipv6=1", link.name.replace('.', "/")));
    }
    Err(Failure::device(what).remedy(remedy.join("\n")))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The gateway's own addresses must not be the kernel's as well.
fn check_addresses(ports: &[Port]) -> Result<(), Failure> {
    let holders = kernel::holders().map_err(|error| refused("(all)", &error))?;
    for port in ports {
        for address in &port.addresses {
            if let Some((interface, _)) = holders.iter().find(|(_, held)| held.addr() == address.addr()) {
                let address = address.addr();
                let what = format_args!(
                    "port {}: {address} is also an address of the interface {interface}",
                    port.name
                );
                return Err(Failure::device(what).remedy(format_args!(
                    "remove it there (`ip addr del {address} dev {interface}`), or give the port another; what runs on \
                     this machine uses the port's addresses by way of `host: true`"
                )));
            }
        }
    }
    Ok(())
}

fn refused(interface: &str, error: &std::io::Error) -> Failure {
    let failure = Failure::device(format_args!("the interface {interface} cannot be prepared: {error}"));
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            failure.remedy("run tidegate as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW")
        }
        _ => failure.remedy("see the kernel's log (`dmesg`)"),
    }
}
