//! Each mode carries HTTP, uploads and datagrams of both families to three backends and back.

use model::Mode;
use testkit::netns::{Device, Plan};

use crate::site::Site;

fn clients_reach_all_backends(mode: Mode) {
    let site = Site::start(Plan::new(Device::AfPacket, mode, 3), "");
    for v6 in [false, true] {
        assert_eq!(site.serving(v6), ["backend1", "backend2", "backend3"]);
        site.exchange_objects(v6);
        site.exchange_datagrams(v6);
    }
    assert_eq!(site.topology.client.resets().unwrap(), 0);
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
fn dsr_takes_clients_to_all_backends() {
    clients_reach_all_backends(Mode::Dsr);
}
