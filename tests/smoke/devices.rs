//! The other software devices.

use model::Mode;
use testkit::netns::{Device, Plan};

use crate::site::Site;

fn start(device: Device) -> Site {
    let site = Site::start(Plan::new(device, Mode::Nat, 2), "");
    for v6 in [false, true] {
        assert_eq!(site.serving(v6), ["backend1", "backend2"]);
        site.exchange_objects(v6);
        site.exchange_datagrams(v6);
    }
    assert_eq!(site.topology.client.resets().unwrap(), 0);
    site
}

#[test]
fn tap_ports_take_clients_to_all_backends() {
    start(Device::Tap).stop();
}

#[test]
fn af_xdp_ports_take_clients_to_all_backends() {
    let site = start(Device::AfXdp);
    site.gateway.wait_until_accounted(crate::site::LIMIT).unwrap();
    site.stop_now("stay with a driver that never gives them back");
}
