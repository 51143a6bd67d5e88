//! Peers that leave it to their network cards to cut frames up and to compute checksums, where there is no card: nothing is switched off.

use std::{sync::Arc, time::Duration};

use model::Mode;
use testkit::netns::{Device, Plan, Topology, Transfer, get, object, put};

use crate::site::Site;

/// Slots that hold the largest frames that the kernel makes.
const SLOTS: &str = "framesz=65408,blocksz=2093056,framecnt=512";

fn plan(device: Device, mode: Mode) -> Plan {
    Plan { device, mode, backends: 1, crosses_families: false }
}

/// Switches on what `connect` switches off, at the peers and on the switch; but the switch does not join what it receives, which would make
/// of large frames frames that no ring has room for.
pub(crate) fn leave_all_to_the_card(topology: &Topology) {
    for interface in ["gateway", "backend1"] {
        topology.switch.run(&format!("ethtool -K {interface} tso on gso on")).unwrap();
    }
    for peer in [&topology.client, &topology.backends[0].namespace] {
        peer.run("ethtool -K eth0 tso on gso on gro on").unwrap();
    }
}

/// A configuration whose af_packet ports take the largest frames.
pub(crate) fn with_large_slots(configuration: &str) -> String {
    let with =
        |text: String, port| text.replace(&format!("iface={port}\""), &format!("iface={port},{SLOTS}\""));
    ["clients", "backends"].into_iter().fold(configuration.to_owned(), with)
}

/// Large objects both ways, and several at once.
fn transfers_arrive(site: &Site, v6: bool) {
    let (up, down) = (object(1, 16 << 20), object(2, 16 << 20));
    let (client, server) = (&site.topology.client, site.topology.http(v6));
    let name = format!("of-ipv6-{v6}");
    assert_eq!(put(client, server, &format!("/upload/{name}"), &up).unwrap().status, 201);
    assert!(site.uploaded("backend1", &name) == up, "the stored object is another one");
    site.offer("object", &down);
    assert!(get(client, server, "/object").unwrap().body == down, "the fetched object is another one");
    site.exchange_in_parallel(v6, 6);
}

#[test]
fn transfers_arrive_with_large_frames_through_af_packet() {
    for mode in [Mode::Nat, Mode::FullNat] {
        let topology = Topology::build(plan(Device::AfPacket, mode)).unwrap();
        leave_all_to_the_card(&topology);
        let configuration = with_large_slots(&topology.configuration(""));
        let site = Site::start_with(topology, &configuration);
        for v6 in [false, true] {
            transfers_arrive(&site, v6);
        }
        for reason in ["frame_cut", "frame_over_mtu", "frames_exhausted"] {
            assert_eq!(site.gateway.drops(reason).unwrap(), 0, "{reason}");
        }
        let originated = site.gateway.count("/v1/workers", "/originated").unwrap();
        assert!(originated > 10_000, "{originated} frames came of larger ones");
        site.stop();
    }
}

#[test]
fn transfers_arrive_with_large_frames_through_a_tunnel() {
    let topology = Topology::build(plan(Device::AfPacket, Mode::Ipip)).unwrap();
    leave_all_to_the_card(&topology);
    let configuration = with_large_slots(&topology.configuration(""));
    let site = Site::start_with(topology, &configuration);
    let up = Arc::new(object(1, 16 << 20));
    for v6 in [false, true] {
        let name = format!("of-ipv6-{v6}");
        let upload = Transfer::put(site.dial(v6), &format!("/upload/{name}"), &up, Duration::ZERO).unwrap();
        assert_eq!(upload.finish().unwrap().status, 201);
        assert!(site.uploaded("backend1", &name) == *up, "the stored object is another one");
    }
    for reason in ["frame_cut", "frame_over_mtu", "frames_exhausted"] {
        assert_eq!(site.gateway.drops(reason).unwrap(), 0, "{reason}");
    }
    site.stop();
}

#[test]
fn transfers_arrive_with_large_frames_through_tap() {
    let topology = Topology::build(plan(Device::Tap, Mode::Nat)).unwrap();
    leave_all_to_the_card(&topology);
    let configuration = topology.configuration("");
    let site = Site::start_with(topology, &configuration);
    for v6 in [false, true] {
        transfers_arrive(&site, v6);
    }
    site.stop();
}
