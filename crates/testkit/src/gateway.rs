//! A gateway of two ports: clients behind port 0, backends behind port 1, virtual servers of all modes, in both families.

use std::{net::IpAddr, sync::Arc};

use datapath::{
    CookieKey, HashKey, Snapshot,
    snapshot::{
        Addresses, Backend, Cookies, DeviceTraits, Network, Owned, Pool, Port, Route, Routes, Senders,
        Service, SnatRange, TcpRules, Up, VirtualServer,
    },
};
use model::{
    Address, BackendId, Generation, Limits, MacAddress, Mode, OnBackendDown, PoolId, PortId, Protocol,
    RoundTrips, Treatment, VirtualServerId,
};

/// The port that clients are behind.
pub const CLIENTS: PortId = PortId(0);
/// The port that backends are behind.
pub const BACKENDS: PortId = PortId(1);
/// Where all clients' packets come from.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The gateway on the clients' side.
pub const CLIENTS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The gateway on the backends' side.
pub const BACKENDS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The backends' Ethernet address.
pub const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 2, 11];

/// A client.
pub const CLIENT: &str = "10.10.1.2";
/// A client.
pub const CLIENT_6: &str = "2001:db8:1::2";
/// The IPv4 backend; it takes port 8080.
pub const BACKEND: &str = "10.10.2.11";
/// The IPv6 backend.
pub const BACKEND_6: &str = "2001:db8:2::11";
/// The gateway on the backends' side.
pub const SELF: &str = "10.10.2.1";
/// The gateway on the backends' side.
pub const SELF_6: &str = "2001:db8:2::1";

/// The virtual server's address of a mode and family.
#[must_use]
pub fn virtual_address(mode: Mode, v6: bool) -> &'static str {
    match (mode, v6) {
        (Mode::Nat, false) => "198.51.100.1",
        (Mode::FullNat, false) => "198.51.100.2",
        (Mode::Dsr, false) => "198.51.100.3",
        (Mode::Nat, true) => "2001:db8:100::1",
        (Mode::FullNat, true) => "2001:db8:100::2",
        (Mode::Dsr, true) => "2001:db8:100::3",
        (Mode::Ipip, false) => "198.51.100.4",
        (Mode::Ipip, true) => "2001:db8:100::4",
        (Mode::Gue, false) => "198.51.100.5",
        (Mode::Gue, true) => "2001:db8:100::5",
    }
}

/// An address as the datapath has it.
///
/// # Panics
/// When the text is no address.
#[must_use]
pub fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

/// A gateway's snapshot: TCP and UDP on port 80 of all virtual addresses, one backend a family.
#[must_use]
pub fn snapshot(workers: u8) -> Snapshot {
    let mut snapshot = Snapshot {
        generation: Generation(1),
        workers,
        hash_key: HashKey::from_seed([1; 16], 0),
        cookie_key: CookieKey::from_seed([1; 16]),
        ports: vec![
            port(CLIENTS_MAC, "10.10.1.1", "2001:db8:1::1", vec![]),
            port(BACKENDS_MAC, SELF, SELF_6, vec![BACKEND, BACKEND_6]),
        ],
        addresses: Addresses::default(),
        tenants: Arc::default(),
        routes: Routes::new(vec![
            Route { to: Network::new(address("10.10.1.0"), 24), port: CLIENTS, via: vec![] },
            Route { to: Network::new(address("2001:db8:1::"), 64), port: CLIENTS, via: vec![] },
            Route { to: Network::new(address("10.10.2.0"), 24), port: BACKENDS, via: vec![] },
            Route { to: Network::new(address("2001:db8:2::"), 64), port: BACKENDS, via: vec![] },
        ]),
        services: Arc::default(),
        broad: Arc::default(),
        virtual_servers: Arc::default(),
        pools: vec![],
        backends: Arc::default(),
        up: Up::default(),
    };
    for (port, text) in
        [(CLIENTS, "10.10.1.1"), (CLIENTS, "2001:db8:1::1"), (BACKENDS, SELF), (BACKENDS, SELF_6)]
    {
        snapshot.addresses.own(address(text), Owned::Port { port, snat_first: 1024, snat_last: 65_535 });
    }
    for v6 in [false, true] {
        add_pool(&mut snapshot, if v6 { BACKEND_6 } else { BACKEND });
        for mode in [Mode::Nat, Mode::FullNat, Mode::Dsr, Mode::Ipip, Mode::Gue] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                add_server(&mut snapshot, mode, v6, protocol);
            }
        }
    }
    snapshot
}

fn port(mac: [u8; 6], v4: &str, v6: &str, neighbours: Vec<&str>) -> Port {
    Port {
        mac: MacAddress(mac),
        mtu: 1500,
        last_hop: true,
        host: false,
        device: DeviceTraits::default(),
        senders: Senders { v4: Some(address(v4).v4()), v6: Some(address(v6).octets()) },
        neighbours: neighbours.into_iter().map(|text| (address(text), MacAddress(BACKEND_MAC))).collect(),
        domain: 0,
        tag: None,
        vlans: vec![],
    }
}

fn add_pool(snapshot: &mut Snapshot, backend: &str) {
    let id = BackendId(snapshot.backends.len() as u32);
    let route = snapshot.routes.best(address(backend));
    snapshot.addresses.expect_replies_from(address(backend));
    let backend = Backend {
        address: address(backend),
        port: 8080,
        route,
        incarnation: 0,
        on_down: OnBackendDown::None,
        limits: Limits::NONE,
    };
    snapshot.backends = snapshot.backends.iter().copied().chain([Some(backend)]).collect();
    snapshot.up.set(id, true);
    snapshot.pools.push(Arc::new(Pool::with_slots([0], vec![id])));
}

fn add_server(snapshot: &mut Snapshot, mode: Mode, v6: bool, protocol: Protocol) {
    let id = VirtualServerId(snapshot.virtual_servers.len() as u32);
    let virtual_address = address(virtual_address(mode, v6));
    let service = Service::new(virtual_address, 80, protocol);
    let own = address(if v6 { SELF_6 } else { SELF });
    let snat = SnatRange { port: Some(BACKENDS), address: own, first: 1024, last: 65_535 };
    Arc::make_mut(&mut snapshot.services).insert(service, id);
    snapshot.addresses.own(virtual_address, Owned::Virtual { available: true });
    let server = VirtualServer {
        service,
        mode,
        pool: PoolId(u32::from(v6)),
        persistence: None,
        connection_ids: None,
        idle_timeout: 300_000,
        tcp: TcpRules::default(),
        cookies: Cookies::OFF,
        treatment: Treatment::default(),
        rtt: if matches!(mode, Mode::Nat | Mode::FullNat) { RoundTrips::BOTH } else { RoundTrips::NONE },
        extent: VirtualServer::extent_of(&Treatment::default(), &TcpRules::default()),
        loose_initiation: false,
        reassembles: false,
        snat: if mode == Mode::FullNat { vec![snat] } else { vec![] },
        sources: None,
        limits: Limits::NONE,
        show_client: model::ShowClient::None,
        outer_sources: Default::default(),
    };
    snapshot.virtual_servers = snapshot.virtual_servers.iter().cloned().chain([Some(server)]).collect();
}
