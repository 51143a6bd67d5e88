//! Small configurations for the tests of this crate.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use config::Configuration;
use datapath::{Snapshot, WorkerMeters};
use model::{
    AdminState, Backend, Facing, Gateway, Generation, MacAddress, Mode, Monitor, Pool, PoolId, Port, Profile,
    Protocol, Snat, VirtualServer,
};

use publish::Reader;
use tempfile::TempDir;

use crate::{
    Plane,
    compile::{Facts, PortFacts, Registry, compile},
    health::Health,
    traffic::{Fleet, Member},
};

/// A whole file: one port, one pool, one virtual server.
pub(crate) const FILE: &str = r#"
version: 1
ports:
  - name: uplink
    device: net_null0
    addresses: [10.0.0.254/24, "2001:db8::fe/64"]
pools:
  - name: objects
    backends:
      - { address: "10.0.0.1:80" }
      - { address: "10.0.0.2:80" }
virtual_servers:
  - { name: web, address: 192.0.2.1, port: 80, protocol: tcp, type: fastl4, mode: nat, pool: objects }
"#;

/// Compiles with everything up that was never checked.
pub(crate) fn compiled(gateway: &Gateway, registry: &mut Registry) -> Snapshot {
    compile(gateway, registry, &Health::optimistic(), &facts())
}

/// A file with this content; it goes away with the directory.
pub(crate) fn file(content: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.yaml");
    fs::write(&path, content).unwrap();
    (directory, path)
}

/// A configuration with this gateway and everything else as it is by default.
pub(crate) fn configuration(gateway: Gateway) -> Configuration {
    let (_directory, path) = file(FILE);
    Configuration { gateway, ..config::read(&path).unwrap() }
}

/// Two workers that have counted nothing.
pub(crate) fn fleet() -> Fleet {
    let members = (1..=2).map(|lcore| Member { lcore, meters: Arc::new(WorkerMeters::new()) }).collect();
    Fleet { members, cycles_per_second: 1_000_000_000, capacities: Arc::default() }
}

/// A plane with two workers, and what the workers would read with.
pub(crate) fn plane(gateway: Gateway) -> (Arc<Plane>, Vec<Reader<Snapshot>>) {
    let (plane, readers) = Plane::new(configuration(gateway), facts(), fleet());
    (Arc::new(plane), readers)
}

/// Two workers that do nothing but take up what is published.
pub(crate) fn read_on(mut readers: Vec<Reader<Snapshot>>) {
    tokio::spawn(async move {
        loop {
            for reader in &mut readers {
                reader.current();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// Waits until it is so, at most half a minute.
pub(crate) async fn eventually(what: &str, so: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

/// A backend of weight 1.
pub(crate) fn backend(address: &str) -> Backend {
    Backend {
        address: address.parse().unwrap(),
        weight: 1,
        priority: 1,
        state: AdminState::Enabled,
        server_id: None,
        limits: model::Limits::NONE,
    }
}

/// A pool with backends at 10.0.0.1:80 and up.
pub(crate) fn pool(name: &str, backends: u8) -> Pool {
    let backends = (1..=backends).map(|n| backend(&format!("10.0.0.{n}:80"))).collect();
    Pool { name: name.to_owned(), backends, ..Pool::default() }
}

/// The same with a monitor.
pub(crate) fn monitored_pool(name: &str, backends: u8) -> Pool {
    Pool { monitors: vec![monitor()], ..pool(name, backends) }
}

/// A pool with backends at these addresses and a monitor.
pub(crate) fn pool_at(name: &str, addresses: &[SocketAddr]) -> Pool {
    let backends = addresses.iter().map(|address| backend(&address.to_string())).collect();
    Pool { name: name.to_owned(), backends, monitors: vec![monitor()], ..Pool::default() }
}

/// A fast one.
pub(crate) fn monitor() -> Monitor {
    Monitor {
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        fall: 3,
        rise: 2,
        port: None,
    }
}

/// A port at 10.0.0.254/24 and 2001:db8::fe/64.
pub(crate) fn port(name: &str) -> Port {
    Port {
        name: name.to_owned(),
        device: format!("net_null_{name}"),
        addresses: vec!["10.0.0.254/24".parse().unwrap(), "2001:db8::fe/64".parse().unwrap()],
        gateways: vec!["10.0.0.253".parse().unwrap(), "2001:db8::fd".parse().unwrap()],
        routes: Vec::new(),
        last_hop: true,
        mac: None,
        queues: None,
        facing: Facing::Both,
        host: false,
        host_limit: None,
        neighbours: Vec::new(),
        mtu: 1500,
        domain: 0,
        vlans: Vec::new(),
        offloads: true,
    }
}

/// A `nat` virtual server on TCP port 80 of 192.0.2.1.
pub(crate) fn virtual_server(name: &str, pool: u32) -> VirtualServer {
    VirtualServer {
        name: name.to_owned(),
        address: "192.0.2.1".parse().unwrap(),
        length: 32,
        port: 80,
        protocol: Protocol::Tcp,
        mode: Mode::Nat,
        snat: Snat::Auto,
        show_client: model::ShowClient::None,
        outer_sources: Vec::new(),
        profile: Profile::default(),
        persistence: None,
        quic_rotation: None,
        pool: PoolId(pool),
        domain: 0,
        sources: model::Sources::default(),
        limits: model::Limits::NONE,
    }
}

/// One port and these pools, each behind a virtual server of its name, at TCP ports 80 and up.
pub(crate) fn gateway(pools: impl IntoIterator<Item = Pool>) -> Gateway {
    let pools: Vec<_> = pools.into_iter().collect();
    let numbered = (0u16..).zip(&pools);
    let virtual_servers = numbered
        .map(|(n, pool)| VirtualServer { port: 80 + n, ..virtual_server(&pool.name, n.into()) })
        .collect();
    Gateway { ports: vec![port("uplink")], pools, virtual_servers, route_domains: Vec::new() }
}

/// Facts that fit it.
pub(crate) fn facts() -> Facts {
    let port = PortFacts {
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        device: Default::default(),
        offloads: vec![],
        spread: None,
    };
    Facts { generation: Generation(1), workers: 2, seed: [7; 16], ports: vec![port] }
}
