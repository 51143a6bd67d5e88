//! Links that take less, and datagrams that somebody puts together. What else lies between is told in every mode (`stories`).

use model::Mode;
use testkit::netns::{Device, Plan, Topology, Transfer, dial, echoes, object, wait_until};

use crate::{
    offloads,
    site::{LIMIT, Site},
    stories::{NARROW, far_client, learned},
};

const PLAN: Plan = Plan { device: Device::AfPacket, mode: Mode::Nat, backends: 1, crosses_families: false };

#[test]
fn a_link_that_takes_less_is_found_out_for_those_who_leave_cutting_to_a_card() {
    let topology = Topology::build(PLAN).unwrap();
    offloads::leave_all_to_the_card(&topology);
    let configuration = offloads::with_large_slots(&topology.configuration(""));
    let site = Site::start_with(topology, &configuration);
    let far = far_client(&site.topology.client);
    let content = object(7, 8 << 20);
    site.offer("object", &content);
    for (v6, peer) in [(false, "10.10.9.2"), (true, "fd00:10:9::2")] {
        let before = site.gateway.count("/v1/workers", "/originated").unwrap();
        let answer = Transfer::get(dial(&far, site.topology.http(v6)).unwrap(), "/object").unwrap().finish();
        assert!(answer.unwrap().body == content, "the fetched object is another one");
        let backend = &site.topology.backends[0].namespace;
        assert_eq!(learned(backend, peer), Some(NARROW), "the backend was told");
        assert!(site.gateway.count("/v1/workers", "/originated").unwrap() > before + 1000, "frames were cut");
    }
    assert_eq!(site.gateway.drops("frame_cut").unwrap(), 0);
    site.stop();
}

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

#[test]
fn datagrams_that_the_kernel_puts_together_arrive() {
    for mode in [Mode::Nat, Mode::FullNat] {
        datagrams_that_the_kernel_puts_together_arrive_in(mode);
    }
}

fn datagrams_that_the_kernel_puts_together_arrive_in(mode: Mode) {
    let site = Site::start(Plan { mode, backends: 2, ..PLAN }, "");
    let datagrams = 20;
    for v6 in [false, true] {
        for number in 0..datagrams {
            let question = object(number, 8192);
            let has_arrived = echoes(&site.topology.client, site.topology.echo(v6), &question).unwrap();
            assert!(has_arrived, "{mode:?}, v6 {v6}: datagram {number}");
        }
    }
    // Each is six packets, or one that the kernel has put together: it does that over IPv4.
    let packets = || site.gateway.count("/v1/virtual-servers", "/packets_in").unwrap();
    wait_until(LIMIT, "all fragments are counted", || packets() == (1 + 6) * datagrams).unwrap();
    site.stop();
}

#[test]
fn datagrams_that_the_gateway_puts_together_arrive_over_ipv4() {
    let settings = "profiles: [{ name: default, reassemble_fragments: true }]\n";
    let site = Site::start(Plan { device: Device::Tap, backends: 2, ..PLAN }, settings);
    for number in 0..20 {
        let question = object(number, 8192);
        assert!(echoes(&site.topology.client, site.topology.echo(false), &question).unwrap(), "{number}");
    }
    let packets = || site.gateway.count("/v1/virtual-servers", "/packets_in").unwrap();
    wait_until(LIMIT, "all datagrams are counted", || packets() == 20).unwrap();
    assert_eq!(site.gateway.drops("fragment_missing").unwrap(), 0);
    site.stop();
}
