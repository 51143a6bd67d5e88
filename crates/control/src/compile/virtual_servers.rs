//! Virtual servers, and how a packet's destination leads to one.

use std::{sync::Arc, time::Duration};

use datapath::{
    ConnectionIds,
    snapshot::{Broad, Cookies, Lookup, Pool, Service, TcpRules, VirtualServer},
};
use model::{Gateway, Mode, PoolId, Protocol, ShowClient, SynCookies, TcpSettings, VirtualServerId};

use super::{Registry, address};

/// How long a flow may be silent unless its profile says otherwise.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The same of virtual servers for UDP.
const UDP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// All virtual servers, by id.
pub(super) fn virtual_servers(
    gateway: &Gateway,
    registry: &mut Registry,
    pools: &[Arc<Pool>],
) -> Vec<Option<VirtualServer>> {
    let mut by_id = vec![None; registry.virtual_server_ids()];
    for server in &gateway.virtual_servers {
        let id = registry.virtual_server(&server.name);
        if let Some(entry) = id.and_then(|id| by_id.get_mut(id.index())) {
            let (pool, sources) = (pool_of(gateway, server, pools), registry.sources(&server.sources));
            let connection_ids = connection_ids(gateway, server, registry);
            *entry = Some(VirtualServer { pool, sources, connection_ids, ..virtual_server(gateway, server) });
        }
    }
    by_id
}

/// The pool that takes a virtual server's new flows: its own, or that one's fallback while none of its backends does.
pub(super) fn pool_of(gateway: &Gateway, server: &model::VirtualServer, pools: &[Arc<Pool>]) -> PoolId {
    let is_available = |id: &PoolId| pools.get(id.index()).is_some_and(|pool| pool.is_available());
    let fallback = gateway.pools.get(server.pool.index()).and_then(|pool| pool.fallback);
    match fallback.filter(is_available) {
        Some(fallback) if !is_available(&server.pool) => fallback,
        _ => server.pool,
    }
}

/// How QUIC's connection ids name a virtual server's backends.
fn connection_ids(
    gateway: &Gateway,
    server: &model::VirtualServer,
    registry: &Registry,
) -> Option<ConnectionIds> {
    let (rotation, pool) = (server.quic_rotation?, gateway.pools.get(server.pool.index())?);
    let members = pool.backends.iter().zip(registry.members(pool));
    let named = members.filter_map(|(backend, member)| Some((backend.server_id?, member?.0)));
    Some(ConnectionIds::new(rotation, named))
}

fn virtual_server(gateway: &Gateway, server: &model::VirtualServer) -> VirtualServer {
    let default = match server.protocol {
        Protocol::Tcp | Protocol::Any => IDLE_TIMEOUT,
        Protocol::Udp => UDP_IDLE_TIMEOUT,
    };
    let idle = server.profile.idle_timeout.unwrap_or(default);
    let (tcp, treatment) = (tcp_rules(&server.profile.tcp), server.profile.treatment);
    let mut extent = VirtualServer::extent_of(&treatment, &tcp);
    // The client's numbers are moved.
    extent.all |= server.show_client == ShowClient::ProxyV2;
    extent.first |= extent.all;
    VirtualServer {
        service: service(server),
        mode: server.mode,
        pool: server.pool,
        persistence: server.persistence.map(|kept| datapath::Persistence {
            source: kept.source,
            timeout: u32::try_from(kept.timeout.as_secs()).unwrap_or(u32::MAX),
        }),
        connection_ids: None,
        idle_timeout: millis(idle),
        extent,
        tcp,
        cookies: cookies(gateway, server),
        treatment,
        rtt: round_trips(server),
        loose_initiation: server.profile.loose_initiation,
        reassembles: server.profile.reassembles,
        snat: address::snat_ranges(gateway, server),
        sources: None,
        limits: server.limits,
        show_client: server.show_client,
        outer_sources: address::outer_sources(server),
    }
}

fn tcp_rules(settings: &TcpSettings) -> TcpRules {
    TcpRules {
        handshake_timeout: millis(settings.handshake_timeout),
        close_timeout: millis(settings.close_timeout),
        time_wait: millis(settings.time_wait),
        loose_close: settings.loose_close,
        reset_on_timeout: settings.reset_on_timeout,
        keep_alive: settings.keep_alive.map_or(0, millis),
        evicts_embryonic: settings.evicts_embryonic,
    }
}

/// In other modes the backend's half of the handshake is not seen; UDP has none.
fn round_trips(server: &model::VirtualServer) -> model::RoundTrips {
    let is_possible = matches!(server.mode, Mode::Nat | Mode::FullNat) && server.protocol != Protocol::Udp;
    if is_possible { server.profile.rtt } else { model::RoundTrips::NONE }
}

/// In other modes the handshake could not be translated; UDP has none. Where any protocol is taken, TCP has cookies too.
fn cookies(gateway: &Gateway, server: &model::VirtualServer) -> Cookies {
    // What the gateway says in the handshake is of one family, and does not show the client.
    let is_plain = server.show_client == ShowClient::None && !address::crosses(gateway, server);
    let is_possible = matches!(server.mode, Mode::Nat | Mode::FullNat) && server.protocol != Protocol::Udp;
    let is_possible = is_possible && is_plain;
    let SynCookies { use_of, mss, allowlist } = server.profile.cookies;
    if is_possible { Cookies { use_of, mss, allowlist: millis(allowlist) } } else { Cookies::OFF }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// From what clients send to, to those with one address and port.
pub(super) fn services(gateway: &Gateway, registry: &Registry) -> Lookup<Service, VirtualServerId> {
    let exact = gateway.virtual_servers.iter().filter(|server| server.has_one_address() && server.port != 0);
    exact.filter_map(|server| Some((service(server), registry.virtual_server(&server.name)?))).collect()
}

/// Those that more than one address or port leads to.
pub(super) fn broad(gateway: &Gateway, registry: &Registry) -> Broad {
    let mut broad = Broad::default();
    for server in
        gateway.virtual_servers.iter().filter(|server| !server.has_one_address() || server.port == 0)
    {
        if let Some(id) = registry.virtual_server(&server.name) {
            broad.add(service(server), server.length, id);
        }
    }
    broad
}

fn service(server: &model::VirtualServer) -> Service {
    Service::new(server.address.into(), server.port, server.protocol).in_domain(server.domain)
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc};

    use datapath::{
        Snapshot,
        snapshot::{Owned, SnatRange},
    };
    use model::{Address, Mode, PortId, SNAT_PORTS_BESIDE_HOST, Snat};

    use super::*;
    use crate::{
        compile::compile,
        fixture::{self, compiled},
        health::{Cause, Check, Diagnosis, Health},
    };

    /// Its number.
    const TCP: u8 = 6;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn sources_are_shared_by_all_that_have_the_same() {
        let mut gateway =
            fixture::gateway([fixture::pool("a", 1), fixture::pool("b", 1), fixture::pool("c", 1)]);
        let sources = || model::Sources {
            deny: ["10.0.0.0/8".parse().unwrap(), "192.0.2.0/24".parse().unwrap()].into(),
            allow: ["10.1.0.0/16".parse().unwrap()].into(),
        };
        gateway.virtual_servers[0].sources = sources();
        gateway.virtual_servers[1].sources = sources();
        let mut registry = Registry::default();
        let of =
            |snapshot: &Snapshot, number: usize| snapshot.virtual_servers[number].clone().unwrap().sources;
        let before = compiled(&gateway, &mut registry);
        let [a, b, c] = [0, 1, 2].map(|number| of(&before, number));
        assert!(Arc::ptr_eq(a.as_ref().unwrap(), &b.unwrap()) && c.is_none());
        assert!(!a.as_ref().unwrap().permit(address("10.0.0.1")));

        gateway.virtual_servers[0].sources = sources();
        gateway.virtual_servers[1].sources = model::Sources::default();
        let after = compiled(&gateway, &mut registry);
        assert!(Arc::ptr_eq(&a.unwrap(), &of(&after, 0).unwrap()), "what did not change is shared");

        gateway.virtual_servers[0].sources.allow = Arc::default();
        let changed = compiled(&gateway, &mut registry);
        assert!(!of(&changed, 0).unwrap().permit(address("10.1.0.1")));
    }

    #[test]
    fn a_fallback_takes_new_flows_while_nobody_else_does() {
        let mut gateway = fixture::gateway([fixture::monitored_pool("a", 1), fixture::pool("b", 1)]);
        gateway.pools[0].fallback = Some(PoolId(1));
        let (mut registry, mut health) = (Registry::default(), Health::optimistic());
        let pool = |health: &Health, registry: &mut Registry| {
            let snapshot = compile(&gateway, registry, health, &fixture::facts());
            let server = snapshot.virtual_server(registry.virtual_server("a").unwrap()).unwrap();
            (server.pool, snapshot.addresses.owner(server.service.address))
        };
        let available = Some(Owned::Virtual { available: true });
        assert_eq!(pool(&health, &mut registry), (PoolId(0), available));
        let check = Check::of(&gateway.pools[0].backends[0], &gateway.pools[0].monitors[0]);
        health.record(check, Diagnosis::down(Cause::Refused));
        assert_eq!(pool(&health, &mut registry), (PoolId(1), available));
        health.record(check, Diagnosis::UP);
        assert_eq!(pool(&health, &mut registry), (PoolId(0), available));
    }

    #[test]
    fn nat_expects_its_backends_and_has_no_sources() {
        let snapshot = compiled(&fixture::gateway([fixture::pool("a", 1)]), &mut Registry::default());
        assert!(snapshot.addresses.is_nat_backend(address("10.0.0.1")));
        assert!(snapshot.virtual_servers.iter().flatten().all(|server| server.snat.is_empty()));
        let Some(Owned::Port { snat_first, snat_last, .. }) = snapshot.addresses.owner(address("10.0.0.254"))
        else {
            panic!("a port's own address")
        };
        assert!(snat_first > snat_last, "no SNAT ports on it");
    }

    #[test]
    fn full_nat_takes_the_self_addresses_of_its_family_beside_the_host() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        gateway.virtual_servers[0].mode = Mode::FullNat;
        gateway.ports[0].host = true;
        let snapshot = compiled(&gateway, &mut Registry::default());
        assert!(!snapshot.addresses.is_nat_backend(address("10.0.0.1")));
        let ranges = &snapshot.virtual_servers[0].as_ref().unwrap().snat;
        let [SnatRange { port: Some(PortId(0)), address: source, first, last }] = ranges[..] else {
            panic!("one source: {ranges:?}")
        };
        assert_eq!((source, first..=last), (address("10.0.0.254"), SNAT_PORTS_BESIDE_HOST));
        let owner = snapshot.addresses.owner(source).unwrap();
        assert!(owner.is_snat_port(TCP, 1_024) && !owner.is_snat_port(TCP, 32_768));
        let other_family = snapshot.addresses.owner(address("2001:db8::fe")).unwrap();
        assert!(!other_family.is_snat_port(TCP, 1_024));
    }

    #[test]
    fn full_nat_takes_the_self_addresses_of_its_backends_families() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1), fixture::pool("b", 1)]);
        gateway.virtual_servers[0].mode = Mode::FullNat;
        let families = |gateway: &Gateway| {
            let snapshot = compiled(gateway, &mut Registry::default());
            let ranges = &snapshot.virtual_servers[0].as_ref().unwrap().snat;
            let is_source =
                |text: &str| snapshot.addresses.owner(address(text)).unwrap().is_snat_port(TCP, 2_000);
            let owned = [is_source("10.0.0.254"), is_source("2001:db8::fe")];
            let given = [true, false].map(|v4| ranges.iter().any(|range| range.address.is_v4() == v4));
            assert_eq!(owned, given);
            given
        };
        assert_eq!(families(&gateway), [true, false]);
        let of_the_other = "[2001:db8::11]:9000".parse().unwrap();
        gateway.pools[0].backends[0].address = of_the_other;
        assert_eq!(families(&gateway), [false, true]);
        let spare = gateway.pools[1].backends[0].clone();
        gateway.pools[0].backends.push(spare);
        assert_eq!(families(&gateway), [true, true]);
        // Those of the fallback too, if it comes to that.
        gateway.pools[0].backends.truncate(1);
        gateway.pools[0].fallback = Some(PoolId(1));
        assert_eq!(families(&gateway), [true, true]);
    }

    #[test]
    fn the_numbers_of_shown_clients_are_moved_in_all_packets() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        for (how, all) in [(ShowClient::None, false), (ShowClient::Toa, false), (ShowClient::ProxyV2, true)] {
            gateway.virtual_servers[0].show_client = how;
            let snapshot = compiled(&gateway, &mut Registry::default());
            let server = snapshot.virtual_servers[0].as_ref().unwrap();
            assert_eq!((server.show_client, server.extent.all), (how, all));
        }
    }

    #[test]
    fn full_nat_takes_the_addresses_that_it_is_given() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        let server = &mut gateway.virtual_servers[0];
        server.mode = Mode::FullNat;
        server.snat = Snat::Addresses(vec!["10.0.0.100".parse().unwrap()]);
        let snapshot = compiled(&gateway, &mut Registry::default());
        assert_eq!(snapshot.addresses.owner(address("10.0.0.100")), Some(Owned::Snat));
        let server = snapshot.virtual_servers[0].as_ref().unwrap();
        assert_eq!(server.snat.len(), 1);
        assert_eq!((server.snat[0].port, server.snat[0].last), (None, 65_535));
        assert!(!snapshot.addresses.owner(address("10.0.0.254")).unwrap().is_snat_port(TCP, 2_000));
    }

    #[test]
    fn dsr_needs_no_addresses_but_the_virtual_one() {
        let mut gateway = fixture::gateway([fixture::pool("a", 1)]);
        gateway.virtual_servers[0].mode = Mode::Dsr;
        let snapshot = compiled(&gateway, &mut Registry::default());
        assert!(!snapshot.addresses.is_nat_backend(address("10.0.0.1")));
        assert!(snapshot.virtual_servers[0].as_ref().unwrap().snat.is_empty());
        let owner = snapshot.addresses.owner(address("192.0.2.1"));
        assert_eq!(owner, Some(Owned::Virtual { available: true }));
    }

    #[test]
    fn a_silent_flow_lives_by_its_profile_or_its_protocol() {
        let mut gateway =
            fixture::gateway([fixture::pool("a", 1), fixture::pool("b", 1), fixture::pool("c", 1)]);
        gateway.virtual_servers[1].protocol = Protocol::Udp;
        gateway.virtual_servers[2].profile.idle_timeout = Some(Duration::from_millis(1_500));
        let timeouts = |gateway: &Gateway| -> Vec<_> {
            let snapshot = compiled(gateway, &mut Registry::default());
            snapshot.virtual_servers.iter().flatten().map(|server| server.idle_timeout).collect()
        };
        assert_eq!(timeouts(&gateway), [300_000, 60_000, 1_500]);
        gateway.virtual_servers[1].protocol = Protocol::Any;
        assert_eq!(timeouts(&gateway), [300_000, 300_000, 1_500]);
    }
}
