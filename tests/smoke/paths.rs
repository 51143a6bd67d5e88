//! What lies between the gateway and the others: hops that want to be seen, links that take less, packets in fragments.

use model::Mode;
use testkit::netns::{
    Device, Namespace, Plan, Topology, Transfer, connect, dial, echoes, object, wait_until,
};

use crate::{
    offloads,
    site::{LIMIT, Site},
};

const PLAN: Plan = Plan { device: Device::AfPacket, mode: Mode::Nat, backends: 1, crosses_families: false };
/// Where the client far away is, and where its router is.
const FAR: [(&str, &str); 2] = [("10.10.9.2/24", "10.10.9.1"), ("fd00:10:9::2/64", "fd00:10:9::1")];
/// Bytes of the largest packet that every IPv6 link takes.
const NARROW: usize = 1280;

#[test]
fn traceroute_shows_the_gateway_before_the_virtual_server() {
    for mode in [Mode::Nat, Mode::FullNat] {
        let site = Site::start(Plan { mode, ..PLAN }, "");
        for (family, gateway, server) in
            [("-4", "10.10.1.1", "198.51.100.10"), ("-6", "fd00:10:1::1", "2001:db8:100::10")]
        {
            let command = format!("traceroute {family} -n -T -p 80 -q 1 -m 4 {server}");
            let shown = site.topology.client.run(&command).unwrap();
            let hop = |line: usize| shown.lines().nth(line).and_then(|line| line.split_whitespace().nth(1));
            assert_eq!((hop(1), hop(2)), (Some(gateway), Some(server)), "{shown}");
            assert_eq!(shown.lines().count(), 3, "{shown}");
        }
        site.stop();
    }
}

/// A client behind the client, which is a router now; the link between them takes less on the way there, and nobody tells the
/// ends of it.
fn far_client(topology: &Topology) -> Namespace {
    let (router, far) = (&topology.client, Namespace::create("far").unwrap());
    connect((router, "far"), (&far, "eth0")).unwrap();
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").unwrap();
    router.ip(&format!("link set far mtu {NARROW}")).unwrap();
    for (address, gateway) in FAR {
        let length = address.rsplit('/').next().unwrap();
        router.ip(&format!("address add {gateway}/{length} dev far nodad")).unwrap();
        far.ip(&format!("address add {address} dev eth0 nodad")).unwrap();
        far.ip(&format!("route add default via {gateway}")).unwrap();
    }
    far
}

/// The MTU that a machine has learned of on the way to `address`.
fn learned(namespace: &Namespace, address: &str) -> Option<usize> {
    let route = namespace.ip(&format!("route get {address}")).unwrap();
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1)?.parse().ok()
}

#[test]
fn a_link_to_the_client_that_takes_less_is_found_out() {
    for mode in [Mode::Nat, Mode::FullNat] {
        let site = Site::start(Plan { mode, ..PLAN }, "");
        let far = far_client(&site.topology);
        let content = object(7, 3_000_000);
        site.offer("object", &content);
        for (v6, peer) in [
            (false, if mode == Mode::Nat { "10.10.9.2" } else { "10.10.2.1" }),
            (true, if mode == Mode::Nat { "fd00:10:9::2" } else { "fd00:10:2::1" }),
        ] {
            let answer =
                Transfer::get(dial(&far, site.topology.http(v6)).unwrap(), "/object").unwrap().finish();
            assert!(answer.unwrap().body == content, "the fetched object is another one");
            let backend = &site.topology.backends[0].namespace;
            assert_eq!(learned(backend, peer), Some(NARROW), "{mode:?}: the backend was told");
        }
        assert_eq!(site.gateway.drops("quote_unknown").unwrap(), 0);
        site.stop();
    }
}

#[test]
fn a_link_that_takes_less_is_found_out_for_those_who_leave_cutting_to_a_card() {
    let topology = Topology::build(PLAN).unwrap();
    offloads::leave_all_to_the_card(&topology);
    let configuration = offloads::with_large_slots(&topology.configuration(""));
    let site = Site::start_with(topology, &configuration);
    let far = far_client(&site.topology);
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

fn datagrams_in_fragments_arrive((device, mode): (Device, Mode), settings: &str) {
    let site = Site::start(Plan { device, mode, backends: 2, crosses_families: false }, settings);
    let datagrams = 20;
    for v6 in [false, true] {
        for number in 0..datagrams {
            let question = object(number, 8192);
            let has_arrived = echoes(&site.topology.client, site.topology.echo(v6), &question).unwrap();
            assert!(has_arrived, "{mode:?}, v6 {v6}: datagram {number}");
        }
    }
    // Each is six packets, or one that the kernel has put together: it does that over IPv4.
    let of_both = if device == Device::AfPacket { 1 + 6 } else { 6 + 6 };
    let packets = || site.gateway.count("/v1/virtual-servers", "/packets_in").unwrap();
    wait_until(LIMIT, "all fragments are counted", || packets() == of_both * datagrams).unwrap();
    site.stop();
}

#[test]
fn datagrams_that_the_kernel_puts_together_arrive() {
    for mode in [Mode::Nat, Mode::FullNat] {
        datagrams_in_fragments_arrive((Device::AfPacket, mode), "");
    }
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

#[test]
fn datagrams_in_fragments_arrive_in_nat() {
    datagrams_in_fragments_arrive((Device::Tap, Mode::Nat), "");
}

#[test]
fn datagrams_in_fragments_arrive_in_full_nat_over_two_workers() {
    datagrams_in_fragments_arrive((Device::Tap, Mode::FullNat), "workers: { lcores: [0, 1] }\n");
}

#[test]
fn datagrams_in_fragments_arrive_in_nat_over_two_workers() {
    datagrams_in_fragments_arrive((Device::Tap, Mode::Nat), "workers: { lcores: [0, 1] }\n");
}
