//! Files that are right, and what they mean.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::{fs, path::PathBuf, time::Duration};

use config::{Configuration, Hugepages, Idle};
use model::{AdminState, Facing, Mode, PoolId, Protocol, Snat};

fn accepted(text: &str) -> Configuration {
    config::parse(text, "test.yaml").unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn every_ready_file_is_right() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dpdk-config");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ready: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    assert!(ready.len() >= 3);
    for path in ready {
        config::read(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    }
}

#[test]
fn the_example_of_the_reference_means_what_its_comments_say() {
    let example = accepted(include_str!("../src/example.yaml"));
    assert_eq!(example.shutdown.drain, Duration::from_secs(30));
    let [uplink, storage] = &example.gateway.ports[..] else { panic!("two ports") };
    assert_eq!((uplink.name.as_str(), uplink.facing, uplink.host), ("uplink", Facing::Clients, true));
    assert_eq!(uplink.gateways.len(), 2);
    assert_eq!((storage.mtu, storage.routes[0].via.len(), storage.neighbours.len()), (9000, 2, 1));
    let objects = &example.gateway.pools[0];
    assert_eq!(objects.backends[1].state, AdminState::Drain);
    assert_eq!((objects.backends[0].weight, objects.monitors[0].fall), (10, 3));
    let [s3, s3_v6, telemetry] = &example.gateway.virtual_servers[..] else { panic!("three") };
    assert_eq!((s3.mode, &s3.snat, s3.pool), (Mode::FullNat, &Snat::Auto, PoolId(0)));
    assert_eq!(s3.profile.idle_timeout, Some(Duration::from_secs(600)));
    assert!(s3.profile.loose_initiation);
    assert_eq!((s3_v6.mode, s3_v6.pool), (Mode::Nat, PoolId(1)));
    assert_eq!((telemetry.protocol, telemetry.mode, telemetry.pool), (Protocol::Udp, Mode::Dsr, PoolId(2)));
    assert_eq!(telemetry.profile, model::Profile::default());
}

const SMALLEST: &str = "version: 1\nports: [{ name: a, device: net_null0, addresses: [192.0.2.2/24] }]\n";

#[test]
fn what_a_file_does_not_say_has_its_default() {
    let smallest = accepted(SMALLEST);
    assert_eq!(smallest.eal, config::Eal::default());
    assert_eq!(smallest.eal.hugepages, Hugepages::Auto);
    let workers =
        config::Workers { lcores: None, burst: 32, idle: Idle::Auto, flows: 1_048_576, mbufs: None };
    assert_eq!(smallest.workers, workers);
    let socket = PathBuf::from("/run/tidegate/tidegate.sock");
    assert_eq!(smallest.control, config::Control { lcore: None, socket, seed: None });
    assert_eq!(smallest.shutdown.drain, Duration::ZERO);
    let port = &smallest.gateway.ports[0];
    assert!(port.last_hop && !port.host && port.gateways.is_empty() && port.neighbours.is_empty());
    assert_eq!((port.mac, port.queues, port.facing, port.mtu), (None, None, Facing::Both, 1500));
}

#[test]
fn what_a_file_says_is_what_it_means() {
    let text = "
version: 1
eal: { hugepages: off, telemetry: true, args: [--log-level, 'pmd*:8'] }
workers: { lcores: [1, 3], burst: 64, idle: busy, flows: 1024, mbufs: 8192 }
control: { lcore: 0, socket: /tmp/t.sock, seed: '000102030405060708090a0b0c0d0e0F' }
ports:
- { name: a, device: net_tap0, addresses: [192.0.2.2/24], last_hop: off, mac: '02:00:00:00:00:01', queues: 2, facing: backends }
";
    let said = accepted(text);
    assert_eq!((said.eal.hugepages, said.eal.telemetry), (Hugepages::Off, true));
    assert_eq!(said.eal.args, ["--log-level", "pmd*:8"]);
    let workers = config::Workers {
        lcores: Some(vec![1, 3]),
        burst: 64,
        idle: Idle::Busy,
        flows: 1024,
        mbufs: Some(8192),
    };
    assert_eq!(said.workers, workers);
    assert_eq!(said.control.lcore, Some(0));
    assert_eq!(said.control.seed, Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
    let port = &said.gateway.ports[0];
    assert_eq!((port.last_hop, port.queues, port.facing), (false, Some(2), Facing::Backends));
    assert_eq!(port.mac.unwrap().to_string(), "02:00:00:00:00:01");
}

#[test]
fn a_profile_named_default_holds_for_servers_that_name_none() {
    let text = format!(
        "{SMALLEST}profiles: [{{ name: default, idle_timeout: 7s }}]
pools: [{{ name: p, backends: [{{ address: '192.0.2.9:80', weight: 0 }}] }}]
virtual_servers: [{{ name: v, address: 198.51.100.1, port: 80, protocol: tcp, mode: nat, pool: p }}]"
    );
    let server = &accepted(&text).gateway.virtual_servers[0];
    assert_eq!(server.profile.idle_timeout, Some(Duration::from_secs(7)));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_not_matter() {
    accepted(&format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n")));
}

#[test]
fn a_byte_order_mark_does_not_shift_the_place_of_a_mistake() {
    let text = format!("\u{feff}{}", SMALLEST.replace("name: a", "name: ä"));
    let mistakes = config::parse(&text, "test.yaml").unwrap_err();
    assert!(mistakes.to_string().contains("test.yaml:2:17"), "{mistakes}");
}

#[test]
fn queues_are_as_many_as_workers_whoever_counts_them() {
    let two = "workers: { lcores: [1, 2] }\n";
    for (device, queues, workers) in [
        ("net_null0", 1, ""),
        ("net_null0", 2, two),
        ("'net_af_xdp0,iface=x'", 1, ""),
        ("'0000:3b:02.0'", 8, ""), // as many processors as that machine may have
    ] {
        accepted(&format!(
            "version: 1\n{workers}ports: [{{ name: a, device: {device}, addresses: [192.0.2.2/24], queues: {queues} }}]"
        ));
    }
}

#[test]
fn addresses_beside_which_there_is_nobody_and_link_local_ones_may_be_in_the_network_of_another_port() {
    accepted(
        "version: 1
ports:
- { name: a, device: net_null0, addresses: [192.0.2.2/24, 192.0.2.3/24, 'fe80::1/64'] }
- { name: b, device: net_null1, addresses: [192.0.2.9/32, 192.0.3.1/24, 'fe80::2/64'] }",
    );
}

const SERVER: &str = "pools: [{ name: p, backends: [{ address: '192.0.2.9:80' }] }]
virtual_servers: [{ name: v, address: 198.51.100.1, port: 80, protocol: tcp, mode: nat, pool: p";

#[test]
fn a_list_of_sources_is_read_from_the_file_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.yaml");
    let lists = "# denied\n10.0.0.0/8 # all of it\r\n\n  2001:db8::/32\n192.0.2.7";
    fs::write(folder.path().join("deny.txt"), lists).unwrap();
    let sources = "sources: { deny: [203.0.113.0/24], deny_file: deny.txt, allow: [10.1.0.0/16] }";
    fs::write(&path, format!("{SMALLEST}{SERVER}, {sources} }}]")).unwrap();
    let read = config::read(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let sources = &read.gateway.virtual_servers[0].sources;
    let shown = |list: &[ipnet::IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&sources.deny), ["203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"]);
    assert_eq!(shown(&sources.allow), ["10.1.0.0/16"]);
    fs::write(folder.path().join("deny.txt"), "10.0.0.0/8\n10.0.0.0/33\n10.1.0.0/16\n10.0.0.1/8\n").unwrap();
    let mistakes = config::read(&path).unwrap_err();
    let told: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(told.len(), 3, "{mistakes}");
    for (told, part) in
        told.iter().zip(["line 2 of", "line 4 of", "`10.1.0.0/16` is both allowed and denied"])
    {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn limits_are_what_the_file_says_and_without_it_none() {
    let text = format!(
        "{SMALLEST}{}",
        SERVER.replace(
            "'192.0.2.9:80'",
            "'192.0.2.9:80', max_connections: 5, new_per_second: 6, bandwidth: 2kbps"
        )
    );
    let limits = "limits: { connections: 4294967295, new_per_second_per_source: 2, bandwidth: 10Gbps }";
    let gateway = accepted(&format!("{text}, {limits} }}]")).gateway;
    let none = model::Limits::NONE;
    assert_eq!(
        gateway.virtual_servers[0].limits,
        model::Limits {
            connections: u32::MAX,
            new_per_second_per_source: 2,
            bandwidth: 10_000_000_000,
            ..none
        }
    );
    assert_eq!(
        gateway.pools[0].backends[0].limits,
        model::Limits { connections: 5, new_per_second: 6, bandwidth: 2_000, ..none }
    );
    for nothing in ["limits: { bandwidth: 0 }", "limits: { bandwidth: '0', connections: 0 }"] {
        let gateway = accepted(&format!("{text}, {nothing} }}]")).gateway;
        assert!(gateway.virtual_servers[0].limits.is_none(), "{nothing}");
    }
}

#[test]
fn a_host_twins_limit_is_what_the_file_says_and_without_it_auto() {
    for (text, limit) in [
        ("host: true", None),
        ("host: true, host_limit: auto", None),
        ("host_limit: auto", None),
        ("host: true, host_limit: 7pps", Some(7)),
        ("host: true, host_limit: 20kpps", Some(20_000)),
        ("host: true, host_limit: 1000Mpps", Some(1_000_000_000)),
    ] {
        let gateway = accepted(&format!(
            "version: 1\nports: [{{ name: uplink, device: net_null0, addresses: [192.0.2.2/24], {text} }}]\n"
        ));
        assert_eq!(gateway.gateway.ports[0].host_limit, limit, "{text}");
    }
}

#[test]
fn addresses_may_be_there_again_in_another_route_domain() {
    let gateway = accepted(
        "version: 1
route_domains: [{ name: a }, { name: b }]
ports:
- name: trunk
  device: net_null0
  addresses: [192.0.2.2/24]
  vlans:
  - { id: 100, name: in-a, route_domain: a, addresses: [10.0.0.1/24], gateway: [10.0.0.254], last_hop: off }
  - { id: 200, name: in-b, route_domain: b, addresses: [10.0.0.1/24] }
  - { id: 300, name: none, addresses: [10.0.0.1/24] }
- { name: own, device: net_null1, route_domain: b, addresses: [10.0.1.1/24] }
pools:
- { name: pa, backends: [{ address: '10.0.0.9:80' }] }
- { name: pb, backends: [{ address: '10.0.0.9:80' }] }
virtual_servers:
- { name: va, route_domain: a, address: 192.0.2.2, port: 80, protocol: tcp, mode: nat, pool: pa }
- { name: vb, route_domain: b, address: 192.0.2.2, port: 80, protocol: tcp, mode: full_nat, pool: pb }",
    )
    .gateway;
    assert_eq!(gateway.route_domains, ["a", "b"]);
    let links: Vec<_> = gateway.links().map(|(id, port)| (id.0, port.name.as_str(), port.domain)).collect();
    assert_eq!(links, [(0, "trunk", 0), (1, "own", 2), (2, "in-a", 1), (3, "in-b", 2), (4, "none", 0)]);
    let tags: Vec<_> = gateway.tags().map(|(port, id)| (port.0, id)).collect();
    assert_eq!(tags, [(0, 100), (0, 200), (0, 300)]);
    let in_a = &gateway.ports[0].vlans[0].port;
    assert_eq!((in_a.gateways.len(), in_a.last_hop, in_a.device.as_str()), (1, false, "net_null0"));
    assert_eq!(gateway.virtual_servers.iter().map(|server| server.domain).collect::<Vec<_>>(), [1, 2]);
    assert_eq!([gateway.domain_of_pool(0), gateway.domain_of_pool(1)], [1, 2]);
}

#[test]
fn full_nat_has_backends_of_both_families_and_shows_them_the_client() {
    let gateway = accepted(
        "version: 1
ports:
- { name: uplink, device: net_null0, addresses: [192.0.2.2/24, '2001:db8::2/64'] }
pools:
- { name: both, fallback: four, backends: [{ address: '192.0.2.9:80' }, { address: '[2001:db8::9]:80' }] }
- { name: four, backends: [{ address: '192.0.2.9:81' }] }
virtual_servers:
- { name: a, address: 198.51.100.1, port: 80, protocol: tcp, mode: full_nat, show_client: proxy_v2, pool: both }
- { name: b, address: '2001:db8:1::1', port: 80, protocol: tcp, mode: full_nat, show_client: toa, pool: four }
- { name: c, address: 198.51.100.3, port: 80, protocol: tcp, mode: full_nat, snat: [192.0.2.64, '2001:db8::64'], pool: both }
- { name: d, address: 198.51.100.4, port: 80, protocol: udp, mode: full_nat, show_client: none, pool: both }",
    )
    .gateway;
    use model::ShowClient::{None, ProxyV2, Toa};
    let shown: Vec<_> = gateway.virtual_servers.iter().map(|server| server.show_client).collect();
    assert_eq!(shown, [ProxyV2, Toa, None, None]);
}
