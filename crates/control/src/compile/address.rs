//! Which addresses are ours, and which of them are sources of `full_nat`.

use std::{collections::HashSet, net::IpAddr, ops::RangeInclusive, sync::Arc};

use datapath::snapshot::{Addresses, OuterSource, OuterSources, Owned, Pool, Snapshot, SnatRange};
use model::{Address, Gateway, Mode, PortId, SNAT_PORTS, SNAT_PORTS_BESIDE_HOST, Snat, VirtualServer};

use super::virtual_servers::pool_of;

/// First and last of a range with nothing in it.
const NO_PORTS: (u16, u16) = (1, 0);

/// The addresses of all route domains that have a name.
pub(super) fn tenants(gateway: &Gateway, pools: &[Arc<Pool>]) -> Arc<[Addresses]> {
    (1..).zip(&gateway.route_domains).map(|(domain, _)| addresses(gateway, domain, pools)).collect()
}

/// Says anew which virtual addresses are available.
pub(super) fn renew_availability(snapshot: &mut Snapshot, gateway: &Gateway) {
    snapshot.addresses.renew_availability(availability(gateway, 0, &snapshot.pools));
    if !gateway.route_domains.is_empty() {
        let mut tenants = snapshot.tenants.to_vec();
        for (domain, addresses) in (1..).zip(&mut tenants) {
            addresses.renew_availability(availability(gateway, domain, &snapshot.pools));
        }
        snapshot.tenants = tenants.into();
    }
}

/// The addresses that are answered for or expected in a route domain, and why.
pub(super) fn addresses(gateway: &Gateway, domain: u8, pools: &[Arc<Pool>]) -> Addresses {
    let mut addresses = Addresses::default();
    for (id, port, address) in self_addresses(gateway, domain) {
        let (snat_first, snat_last) =
            if is_snat_source(gateway, domain, address) { snat_ports(port).into_inner() } else { NO_PORTS };
        addresses.own(address.into(), Owned::Port { port: id, snat_first, snat_last });
    }
    for address in servers(gateway, domain).flat_map(explicit_sources) {
        addresses.own((*address).into(), Owned::Snat);
    }
    for (server, (address, length, available)) in
        servers(gateway, domain).zip(availability(gateway, domain, pools))
    {
        if server.has_one_address() {
            addresses.own(address, Owned::Virtual { available });
        } else {
            addresses.own_prefix(address, length, available);
        }
    }
    for backend in nat_backends(gateway, domain) {
        addresses.expect_replies_from(backend.into());
    }
    addresses
}

/// The virtual servers of a route domain.
fn servers(gateway: &Gateway, domain: u8) -> impl Iterator<Item = &VirtualServer> + Clone {
    gateway.virtual_servers.iter().filter(move |server| server.domain == domain)
}

/// The address of each virtual server, the length of its prefix, and whether a backend of its takes new flows.
fn availability(
    gateway: &Gateway,
    domain: u8,
    pools: &[Arc<Pool>],
) -> impl Iterator<Item = (Address, u8, bool)> + Clone {
    servers(gateway, domain).map(|server| {
        let available =
            pools.get(pool_of(gateway, server, pools).index()).is_some_and(|pool| pool.is_available());
        (server.address.into(), server.length, available)
    })
}

/// The source addresses of a virtual server in `full_nat`; none in the other modes.
pub(super) fn snat_ranges(gateway: &Gateway, server: &VirtualServer) -> Vec<SnatRange> {
    let range = |port, address: IpAddr, ports: RangeInclusive<u16>| SnatRange {
        port,
        address: address.into(),
        first: *ports.start(),
        last: *ports.end(),
    };
    match &server.snat {
        _ if server.mode != Mode::FullNat => Vec::new(),
        Snat::Auto => self_addresses(gateway, server.domain)
            .filter(|(.., address)| has_backend_like(gateway, server, *address))
            .map(|(id, port, address)| range(Some(id), address, snat_ports(port)))
            .collect(),
        Snat::Addresses(given) => given
            .iter()
            .map(|&address| range(None, address, ports_of_source(gateway, server.domain, address)))
            .collect(),
    }
}

/// The sources of outer headers that a virtual server has.
pub(super) fn outer_sources(server: &VirtualServer) -> OuterSources {
    let mut sources = OuterSources::default();
    for network in &server.outer_sources {
        sources.set(OuterSource::within(network.network().into(), network.prefix_len()));
    }
    sources
}

fn self_addresses(gateway: &Gateway, domain: u8) -> impl Iterator<Item = (PortId, &model::Port, IpAddr)> {
    let ports = gateway.links().filter(move |(_, port)| port.domain == domain);
    ports.flat_map(|(id, port)| port.addresses.iter().map(move |net| (id, port, net.addr())))
}

fn snat_ports(port: &model::Port) -> RangeInclusive<u16> {
    if port.host { SNAT_PORTS_BESIDE_HOST } else { SNAT_PORTS }
}

/// The source ports of an address of the configuration's `snat` list, which may be a port's own.
fn ports_of_source(gateway: &Gateway, domain: u8, source: IpAddr) -> RangeInclusive<u16> {
    let own = self_addresses(gateway, domain).find(|(_, _, address)| *address == source);
    own.map_or(SNAT_PORTS, |(_, port, _)| snat_ports(port))
}

/// Whether `full_nat` uses a port's own address as a source.
fn is_snat_source(gateway: &Gateway, domain: u8, address: IpAddr) -> bool {
    servers(gateway, domain).filter(|server| server.mode == Mode::FullNat).any(|server| match &server.snat {
        Snat::Auto => has_backend_like(gateway, server, address),
        Snat::Addresses(given) => given.contains(&address),
    })
}

fn explicit_sources(server: &VirtualServer) -> &[IpAddr] {
    match &server.snat {
        Snat::Addresses(given) if server.mode == Mode::FullNat => given,
        _ => &[],
    }
}

fn nat_backends(gateway: &Gateway, domain: u8) -> HashSet<IpAddr> {
    let servers = servers(gateway, domain).filter(|server| server.mode == Mode::Nat);
    servers.flat_map(|server| backends(gateway, server)).collect()
}

/// The addresses of all backends that a virtual server may have: its pool's, and the fallback's.
fn backends<'a>(gateway: &'a Gateway, server: &VirtualServer) -> impl Iterator<Item = IpAddr> + use<'a> {
    let own = gateway.pools.get(server.pool.index());
    let fallback = own.and_then(|pool| gateway.pools.get(pool.fallback?.index()));
    own.into_iter().chain(fallback).flat_map(|pool| pool.backends.iter().map(|backend| backend.address.ip()))
}

/// Whether a virtual server has backends of another family than its own.
pub(super) fn crosses(gateway: &Gateway, server: &VirtualServer) -> bool {
    backends(gateway, server).any(|backend| backend.is_ipv4() != server.address.is_ipv4())
}

/// Whether a backend of a virtual server's has an address of this one's family.
fn has_backend_like(gateway: &Gateway, server: &VirtualServer, address: IpAddr) -> bool {
    backends(gateway, server).any(|backend| backend.is_ipv4() == address.is_ipv4())
}
