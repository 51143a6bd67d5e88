//! Two workers on two-queue ports: replies that land on the other worker are handed over, and no connection notices.

use model::Mode;
use testkit::netns::{Device, Plan, Topology};

use crate::site::Site;

const TWO_WORKERS: &str = "workers: { lcores: [0, 1] }\n";

fn two_workers_carry_200_connections(device: Device, mode: Mode) {
    carry_200_connections(Plan::new(device, mode, 3));
}

fn carry_200_connections(plan: Plan) {
    let Plan { device, mode, .. } = plan;
    let site = Site::start(plan, TWO_WORKERS);
    for v6 in [false, true] {
        site.exchange_in_parallel(v6, 200);
    }
    assert_eq!(site.topology.client.resets().unwrap(), 0);
    let crossed = site.handed_over();
    assert!(crossed > 0, "nothing was handed over");
    let opened = site.gateway.count("/v1/virtual-servers", "/flows_opened").unwrap();
    assert_eq!(opened, 400);
    let drops = site.gateway.list("drop").unwrap();
    let drops: Vec<_> = drops.iter().map(|row| format!("{} {}", row["packets"], row["reason"])).collect();
    println!("{device:?} {mode:?}: {crossed} frames crossed; dropped: {}", drops.join(", "));
    site.stop();
}

#[test]
fn two_workers_on_af_packet_carry_nat() {
    two_workers_carry_200_connections(Device::AfPacket, Mode::Nat);
}

#[test]
fn two_workers_on_af_packet_carry_full_nat() {
    two_workers_carry_200_connections(Device::AfPacket, Mode::FullNat);
}

#[test]
fn two_workers_on_tap_carry_nat() {
    two_workers_carry_200_connections(Device::Tap, Mode::Nat);
}

#[test]
fn two_workers_on_tap_carry_full_nat() {
    two_workers_carry_200_connections(Device::Tap, Mode::FullNat);
}

#[test]
fn two_workers_carry_full_nat_between_families() {
    for device in [Device::AfPacket, Device::Tap] {
        carry_200_connections(Plan { crosses_families: true, ..Plan::new(device, Mode::FullNat, 3) });
    }
}

/// A packet socket whose ring fills up passes packets on to another one, whoever owns their flow.
fn packets_that_spill_over_find_their_flow(mode: Mode) {
    let topology = Topology::build(Plan::new(Device::AfPacket, mode, 3)).unwrap();
    let configuration = topology.configuration(TWO_WORKERS);
    let small_rings = configuration.replace("iface=clients", "iface=clients,framecnt=32");
    let site = Site::start_with(topology, &small_rings);
    for v6 in [false, true] {
        site.exchange_in_parallel(v6, 40);
    }
    assert_eq!(site.gateway.drops("no_flow").unwrap(), 0);
    assert!(site.handed_over() > 0);
    site.stop();
}

#[test]
fn what_spills_over_in_full_nat_finds_its_flow() {
    packets_that_spill_over_find_their_flow(Mode::FullNat);
}

#[test]
fn what_spills_over_in_dsr_finds_its_flow() {
    packets_that_spill_over_find_their_flow(Mode::Dsr);
}

#[test]
fn what_spills_over_in_nat_finds_its_flow() {
    packets_that_spill_over_find_their_flow(Mode::Nat);
}
