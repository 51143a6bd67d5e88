//! Each mode carries HTTP, uploads and datagrams of both families to three backends and back.

use std::collections::BTreeSet;

use model::Mode;
use testkit::netns::{Device, Plan, Topology, get};

use crate::site::Site;

fn clients_reach_all_backends(mode: Mode) {
    reach_all_backends(Plan::new(Device::AfPacket, mode, 3)).stop();
}

fn reach_all_backends(plan: Plan) -> Site {
    let site = Site::start(plan, "");
    for v6 in [false, true] {
        assert_eq!(site.serving(v6), ["backend1", "backend2", "backend3"]);
        site.exchange_objects(v6);
        site.exchange_datagrams(v6);
    }
    assert_eq!(site.topology.client.resets().unwrap(), 0);
    site
}

/// The same within other packets: by the sources of outer headers each backend could share flows among its queues.
fn backends_take_packets_out_of_others(device: Device, mode: Mode, crosses_families: bool) {
    let site = reach_all_backends(Plan { crosses_families, ..Plan::new(device, mode, 3) });
    for backend in &site.topology.backends {
        let sources = backend.decapsulator.as_ref().unwrap().sources();
        let addresses: BTreeSet<&String> = sources.iter().map(|(address, _)| address).collect();
        assert_eq!(addresses.len(), 2, "one of each family: {addresses:?}");
        let ports: BTreeSet<u16> = sources.iter().map(|(_, port)| *port).collect();
        match mode {
            Mode::Gue => assert!(ports.len() > 10 && !ports.contains(&0), "{ports:?}"),
            _ => assert_eq!(ports, [0].into()),
        }
    }
    site.stop();
}

#[test]
fn nat_takes_clients_to_all_backends() {
    clients_reach_all_backends(Mode::Nat);
}

#[test]
fn full_nat_takes_clients_to_all_backends() {
    clients_reach_all_backends(Mode::FullNat);
}

#[test]
fn full_nat_takes_clients_to_all_backends_of_the_other_family() {
    for device in [Device::AfPacket, Device::Tap] {
        reach_all_backends(Plan { crosses_families: true, ..Plan::new(device, Mode::FullNat, 3) }).stop();
    }
}

/// nginx hears of the client's own address by the PROXY protocol, and takes what follows as if nothing had happened.
fn backends_are_shown_the_client(crosses_families: bool, settings: &str) {
    let plan = Plan { crosses_families, ..Plan::new(Device::AfPacket, Mode::FullNat, 3) };
    let topology = Topology::build(plan).unwrap();
    let shown = topology.configuration(settings).replace(":8080\"", ":8081\"").replace(
        "protocol: tcp, type: fastl4, mode: full_nat,",
        "protocol: tcp, mode: full_nat, show_client: proxy_v2,",
    );
    let site = Site::start_with(topology, &shown);
    for (v6, client) in [(false, "10.10.1.100"), (true, "fd00:10:1::100")] {
        assert_eq!(site.serving(v6), ["backend1", "backend2", "backend3"]);
        let said = get(&site.topology.client, site.topology.http(v6), "/client").unwrap();
        assert_eq!(String::from_utf8_lossy(&said.body), client);
        site.exchange_objects(v6);
        site.exchange_in_parallel(v6, 30);
    }
    assert_eq!(site.topology.client.resets().unwrap(), 0);
    site.stop();
}

#[test]
fn full_nat_shows_backends_the_client() {
    backends_are_shown_the_client(false, "");
}

#[test]
fn full_nat_shows_backends_of_the_other_family_the_client() {
    backends_are_shown_the_client(true, "workers: { lcores: [0, 1] }\n");
}

#[test]
fn dsr_takes_clients_to_all_backends() {
    clients_reach_all_backends(Mode::Dsr);
}

#[test]
fn ipip_takes_clients_to_all_backends() {
    backends_take_packets_out_of_others(Device::AfPacket, Mode::Ipip, false);
}

#[test]
fn ipip_takes_clients_to_all_backends_of_the_other_family() {
    backends_take_packets_out_of_others(Device::AfPacket, Mode::Ipip, true);
}

#[test]
fn ipip_takes_clients_to_all_backends_by_tap_ports() {
    backends_take_packets_out_of_others(Device::Tap, Mode::Ipip, false);
}

#[test]
fn gue_takes_clients_to_all_backends() {
    backends_take_packets_out_of_others(Device::AfPacket, Mode::Gue, false);
}

#[test]
fn gue_takes_clients_to_all_backends_of_the_other_family() {
    backends_take_packets_out_of_others(Device::AfPacket, Mode::Gue, true);
}

#[test]
fn gue_takes_clients_to_all_backends_by_tap_ports() {
    backends_take_packets_out_of_others(Device::Tap, Mode::Gue, true);
}
