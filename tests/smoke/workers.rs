//! Two workers on two-queue ports: replies that land on the other worker are handed over, and no connection notices.

use model::Mode;
use testkit::netns::{Device, Plan};

use crate::site::Site;

const TWO_WORKERS: &str = "workers: { lcores: [0, 1] }\n";

fn two_workers_carry_200_connections(device: Device, mode: Mode) {
    let site = Site::start(Plan { device, mode, backends: 3 }, TWO_WORKERS);
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
