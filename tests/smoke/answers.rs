//! What the gateway answers itself, and what it says of frames that it cannot forward.

use std::{sync::Arc, time::Duration};

use model::Mode;
use testkit::netns::{Device, Namespace, Plan, Transfer, object, wait_until};

use crate::site::{LIMIT, Site};

const PLAN: Plan = Plan::new(Device::AfPacket, Mode::Nat, 1);

/// Addresses of the gateway and of its virtual servers, and who can reach them.
const ANSWERED: [(&str, bool); 6] = [
    ("198.51.100.10", true),
    ("2001:db8:100::10", true),
    ("10.10.1.1", true),
    ("fd00:10:1::1", true),
    ("10.10.2.1", false),
    ("fd00:10:2::1", false),
];

#[test]
fn the_gateway_answers_for_its_addresses_and_those_of_its_virtual_servers() {
    let site = Site::start(PLAN, "");
    for (address, from_client) in ANSWERED {
        let from = if from_client { &site.topology.client } else { &site.topology.backends[0].namespace };
        for size in [56, 1400] {
            from.run(&format!("ping -c 3 -i 0.01 -W 10 -s {size} {address}")).unwrap();
        }
    }
    let ports = site.gateway.ask("/v1/ports").unwrap();
    let known = |namespace: &Namespace, address: &str, port: usize| {
        let neighbour = namespace.ip(&format!("neigh show {address}")).unwrap();
        let mac = ports[port]["mac"].as_str().unwrap();
        assert!(neighbour.contains(&format!("lladdr {mac}")), "{address} is not at {mac}: {neighbour}");
    };
    for (address, from_client) in &ANSWERED[2..] {
        match from_client {
            true => known(&site.topology.client, address, 0),
            false => known(&site.topology.backends[0].namespace, address, 1),
        }
    }
    // Nobody else is answered for.
    assert!(site.topology.client.run("ping -c 1 -W 1 198.51.100.11").is_err());
    assert!(site.topology.client.run("ping -c 1 -W 1 10.10.1.2").is_err());
    site.stop();
}

#[test]
fn frames_that_the_ring_has_no_room_for_are_dropped_and_the_remedy_is_told_once() {
    let site = Site::start(PLAN, "");
    let advice = "larger than the slots of the port's ring";
    let client = &site.topology.client;
    client.run("ethtool -K eth0 tso on gso on").unwrap();
    let content = Arc::new(object(6, 8 << 20));
    let upload = || Transfer::put(site.dial(false), "/upload/object", &content, Duration::ZERO).unwrap();
    let dropped = || site.gateway.drops("frame_cut").unwrap();
    let mut before = 0;
    for _ in 0..2 {
        let upload = upload();
        wait_until(LIMIT, "a frame is dropped", || dropped() > before).unwrap();
        upload.abandon();
        wait_until(LIMIT, "the advice", || site.gateway.log().contains(advice)).unwrap();
        before = dropped();
    }
    let log = site.gateway.log();
    assert_eq!(log.matches(advice).count(), 1, "{log}");
    assert!(log.contains("ethtool -K INTERFACE tso off gso off"), "{log}");

    // The remedy helps.
    client.run("ethtool -K eth0 tso off gso off gro off").unwrap();
    site.exchange_objects(false);
    site.stop();
}
