//! A link behind the gateway that takes less. What else lies between is told in every mode (`stories`).

use model::Mode;
use testkit::netns::{Device, Plan, Topology};

use crate::{
    site::Site,
    stories::{NARROW, learned},
};

const PLAN: Plan = Plan { device: Device::AfPacket, mode: Mode::Nat, backends: 1, crosses_families: false };

#[test]
fn a_link_to_the_backends_that_takes_less_is_found_out() {
    let topology = Topology::build(PLAN).unwrap();
    let wide = "facing: backends, host: true, mtu: 1500";
    // Otherwise the client is told in the handshake, by the MSS.
    let configuration = topology.configuration("profiles: [{ name: default, mss_clamp: none }]\n");
    assert!(configuration.contains(wide));
    let narrow = wide.replace("1500", &NARROW.to_string());
    let site = Site::start_with(topology, &configuration.replace(wide, &narrow));
    for v6 in [false, true] {
        site.exchange_objects(v6);
        let server = site.topology.http(v6).ip().to_string();
        assert_eq!(learned(&site.topology.client, &server), Some(NARROW), "the client was told");
    }
    assert!(site.gateway.count("/v1/workers", "/icmp_errors").unwrap() >= 2);
    assert_eq!(site.gateway.drops("frame_over_mtu").unwrap(), 0);
    site.stop();
}
