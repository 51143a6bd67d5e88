//! Tenants with the same addresses on one port: each is in a VLAN and a route domain of its own, and nothing crosses.

use std::{path::Path, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use testkit::netns::{
    Namespace, Nginx, Tagger, Tidegate, Transfer, UdpEcho, connect, dial, echoes, get, object, program,
};

use crate::site::LIMIT;

/// Names of the tenants, and the ids of their VLANs.
const TENANTS: [(&str, u16); 2] = [("red", 100), ("blue", 200)];
const SERVICE: &str = "198.51.100.10";

/// A client and a backend, both with the addresses that the other tenant's have.
struct Tenant {
    name: &'static str,
    nginx: Nginx,
    echo: UdpEcho,
    client: Namespace,
    _backend: Namespace,
}

impl Tenant {
    /// On a bridge of the switch of its own, on which the VLAN's interface is too.
    fn build(name: &'static str, switch: &Namespace, directory: &Path) -> Self {
        let bridge = format!("br-{name}");
        switch.ip(&format!("link add {bridge} type bridge mcast_snooping 0")).unwrap();
        switch.ip(&format!("link set {bridge} up")).unwrap();
        switch.ip(&format!("link set {name} master {bridge} up")).unwrap();
        let host = |role: &str, address: &str, router: &str| {
            let namespace = Namespace::create(&format!("{name}-{role}")).unwrap();
            let cable = format!("{name}-{role}");
            connect((&namespace, "eth0"), (switch, &cable)).unwrap();
            switch.ip(&format!("link set {cable} master {bridge}")).unwrap();
            namespace.ip(&format!("address add {address}/24 dev eth0")).unwrap();
            namespace.ip(&format!("route add default via {router}")).unwrap();
            namespace
        };
        let client = host("c", "10.0.1.100", "10.0.1.1");
        let backend = host("b", "10.0.2.11", "10.0.2.1");
        let nginx = Nginx::start(&backend, name, 8080, &directory.join(name)).unwrap();
        let echo = UdpEcho::start(&backend, &["10.0.2.11".parse().unwrap()], 7).unwrap();
        Self { name, nginx, echo, client, _backend: backend }
    }
}

fn configuration(directory: &Path) -> String {
    let socket = Tidegate::socket(directory);
    let mut text = format!(
        "version: 1
control: {{ socket: {} }}
route_domains: [{{ name: red }}, {{ name: blue }}]
ports:
  - name: trunk
    device: \"net_af_packet_trunk,iface=trunk\"
    addresses: [192.0.2.2/24]
    vlans:
",
        socket.display()
    );
    for (name, id) in TENANTS {
        text += &format!(
            "      - {{ id: {id}, name: {name}, route_domain: {name}, addresses: [10.0.1.1/24, 10.0.2.1/24] }}\n"
        );
    }
    text += "pools:\n";
    for (name, _) in TENANTS {
        text += &format!("  - {{ name: {name}, backends: [{{ address: \"10.0.2.11:8080\" }}] }}\n");
        text += &format!("  - {{ name: {name}-echo, backends: [{{ address: \"10.0.2.11:7\" }}] }}\n");
    }
    text += "virtual_servers:\n";
    for (name, _) in TENANTS {
        let head = format!("address: {SERVICE}, mode: nat, route_domain: {name}");
        text += &format!("  - {{ name: {name}, {head}, port: 80, protocol: tcp, pool: {name} }}\n");
        text += &format!("  - {{ name: {name}-echo, {head}, port: 7, protocol: udp, pool: {name}-echo }}\n");
    }
    text
}

#[test]
fn tenants_with_the_same_addresses_are_served_side_by_side_and_nothing_crosses() {
    let directory = TempDir::new().unwrap();
    let (gateway, switch) = (Namespace::create("gateway").unwrap(), Namespace::create("switch").unwrap());
    connect((&gateway, "trunk"), (&switch, "trunk")).unwrap();
    for namespace in [&gateway, &switch] {
        namespace.run("sysctl -qw net.ipv6.conf.trunk.disable_ipv6=1").unwrap();
    }
    let tagger = Tagger::start(&switch, "trunk", &TENANTS, directory.path()).unwrap();
    let tenants = TENANTS.map(|(name, _)| Tenant::build(name, &switch, directory.path()));
    let configuration = configuration(directory.path());
    let mut tidegate =
        Tidegate::start(&gateway, &program().unwrap(), directory.path(), &configuration).unwrap();
    tidegate.wait_until_ready(LIMIT).unwrap();

    exchange_side_by_side(&tenants);
    for tenant in &tenants {
        for number in 0..20 {
            let question = object(number, 1 + 70 * number as usize);
            let echo = format!("{SERVICE}:7").parse().unwrap();
            assert!(echoes(&tenant.client, echo, &question).unwrap(), "{}: {number}", tenant.name);
        }
        assert_eq!(tenant.echo.received(), 20, "{}", tenant.name);
        assert_eq!(tenant.client.resets().unwrap(), 0, "{}", tenant.name);
        // Its gateway, and the virtual server.
        for address in ["10.0.1.1", SERVICE] {
            tenant.client.run(&format!("ping -c 1 -W 5 {address}")).unwrap();
        }
    }
    let flows = tidegate.list("flow").unwrap();
    assert!(flows.len() >= 2, "{flows:?}\n{}", tagger.log());
    tidegate.wait_until_accounted(LIMIT).unwrap();
    tidegate.process().signal(Signal::SIGTERM).unwrap();
    assert!(tidegate.process().wait(LIMIT).unwrap().success(), "{}", tidegate.log());
    assert!(!tagger.log().contains("refused"), "{}", tagger.log());
}

/// Every tenant stores and fetches objects of its own over connections of which the other has the same, at the same time.
fn exchange_side_by_side(tenants: &[Tenant]) {
    let service = format!("{SERVICE}:80").parse().unwrap();
    let objects = [object(1, 3_000_000), object(2, 3_000_000)].map(Arc::new);
    let mut transfers = Vec::new();
    for (tenant, content) in tenants.iter().zip(&objects) {
        tenant.nginx.offer("object", content).unwrap();
        assert_eq!(get(&tenant.client, service, "/").unwrap().backend, tenant.name);
    }
    for round in 0..4 {
        for (tenant, content) in tenants.iter().zip(&objects) {
            let stream = || dial(&tenant.client, service).unwrap();
            let upload = format!("/upload/{round}");
            transfers.push((tenant, content, None, Transfer::get(stream(), "/object").unwrap()));
            let put = Transfer::put(stream(), &upload, content, Duration::ZERO).unwrap();
            transfers.push((tenant, content, Some(round.to_string()), put));
        }
    }
    for (tenant, content, upload, transfer) in transfers {
        let answer = transfer.finish().unwrap_or_else(|failure| panic!("{}: {failure}", tenant.name));
        assert_eq!(answer.backend, tenant.name);
        let there = match upload {
            None => answer.body,
            Some(name) => tenant.nginx.uploaded(&name).unwrap(),
        };
        assert!(there == **content, "{} got another object", tenant.name);
    }
}
