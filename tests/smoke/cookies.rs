//! SYN cookies, with the kernel's TCP on both ends.

use std::{net::TcpStream, thread::sleep, time::Duration};

use model::Mode;
use testkit::netns::{Device, Flood, LossyWire, Plan, Topology, Transfer, get, wait_until};

use crate::site::{LIMIT, Site};

const PLAN: Plan = Plan { device: Device::AfPacket, mode: Mode::Nat, backends: 1, crosses_families: false };
/// All connections are opened with a cookie.
const ALWAYS: &str = "profiles: [{ name: default, syn_cookies: always, syn_allowlist: 0s }]\n";
/// Requests in a flood.
const REQUESTS: u64 = 60;
/// Between them.
const PAUSE: Duration = Duration::from_millis(4);
/// Connections at once.
const MANY: usize = 20;

fn counted(site: &Site, what: &str) -> u64 {
    site.gateway.count("/v1/workers", what).unwrap()
}

/// What the kernel of the client knows of its connections.
fn connections(site: &Site, v6: bool) -> String {
    let family = if v6 { "-6" } else { "-4" };
    site.topology.client.run(&format!("ss -Htin {family} state established dport = :80")).unwrap()
}

#[test]
fn objects_arrive_whole_when_connections_are_opened_with_cookies() {
    for mode in [Mode::Nat, Mode::FullNat] {
        let site = Site::start(Plan { mode, ..PLAN }, ALWAYS);
        site.gateway.wait_until_settled(LIMIT).unwrap();
        for v6 in [false, true] {
            let connection = site.dial(v6);
            // Without timestamps the segments would be twelve bytes longer.
            let mss = if v6 { " mss:1428 " } else { " mss:1448 " };
            let known = connections(&site, v6);
            for agreed in [" wscale:7,", mss] {
                assert!(known.contains(agreed), "{mode:?}, IPv6: {v6}: no{agreed}in\n{known}");
            }
            drop(connection);
            site.exchange_objects(v6);
            site.exchange_in_parallel(v6, MANY);
        }
        let (given, accepted) = (counted(&site, "/cookies_given"), counted(&site, "/cookies_accepted"));
        assert!(given >= accepted && accepted >= 2 * (MANY as u64 + 3), "{given} given, {accepted} accepted");
        assert_eq!(site.topology.client.resets().unwrap(), 0, "{mode:?}");
        assert_eq!(site.gateway.drops("cookie_false").unwrap(), 0, "{mode:?}");
        site.stop();
    }
}

#[test]
fn objects_arrive_whole_when_segments_are_lost() {
    for mode in [Mode::Nat, Mode::FullNat] {
        let topology = Topology::build(Plan { mode, ..PLAN }).unwrap();
        let wire = LossyWire::insert(&topology.gateway, "clients", 100, topology.directory()).unwrap();
        let configuration = topology.configuration(ALWAYS);
        let site = Site::start_with(topology, &configuration);
        site.gateway.wait_until_settled(LIMIT).unwrap();
        for v6 in [false, true] {
            site.exchange_objects(v6);
            site.exchange_in_parallel(v6, MANY);
        }
        assert!(wire.lost() > 100, "{} segments were lost", wire.lost());
        // Both ends know by SACK what was lost, which says so in the numbers that they know.
        for end in [&site.topology.client, &site.topology.backends[0].namespace] {
            let recovered = end.run("nstat -asz TcpExtTCPSackRecovery").unwrap();
            let times: f64 = recovered
                .split_whitespace()
                .skip_while(|word| *word != "TcpExtTCPSackRecovery")
                .nth(1)
                .unwrap()
                .parse()
                .unwrap();
            assert!(times > 0.0, "{mode:?}: {recovered}");
        }
        assert_eq!(site.topology.client.resets().unwrap(), 0, "{mode:?}");
        site.stop();
    }
}

#[test]
fn a_flood_of_syns_keeps_nobody_out_and_disturbs_nobody_who_is_in() {
    for mode in [Mode::Nat, Mode::FullNat] {
        let settings = "profiles: [{ name: default, syn_allowlist: 0s }]\n";
        let site = Site::start(Plan { mode, ..PLAN }, settings);
        site.gateway.wait_until_settled(LIMIT).unwrap();
        site.offer("object", b"something");
        let connected: [TcpStream; 2] = [false, true].map(|v6| site.dial(v6));
        assert_eq!(counted(&site, "/cookies_given"), 0, "no cookies in calm");
        let flood = begin_flood(&site);
        wait_until(LIMIT, "cookies are given", || counted(&site, "/cookies_given") > 0).unwrap();
        for v6 in [false, true] {
            let before = counted(&site, "/cookies_given");
            for _ in 0..REQUESTS {
                assert_eq!(get(&site.topology.client, site.topology.http(v6), "/").unwrap().status, 200);
                // So that the flood is ten times as many, however quick the answers are.
                sleep(PAUSE);
            }
            let given = counted(&site, "/cookies_given") - before;
            println!("{mode:?}, IPv6: {v6}: {REQUESTS} requests among {given} SYNs with cookies");
            assert!(given >= 11 * REQUESTS, "{given} cookies with {REQUESTS} requests");
        }
        assert!(counted(&site, "/cookies_accepted") >= 120);
        for stream in connected {
            let answer = Transfer::get(stream, "/object").unwrap().finish().unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"something"[..]));
        }
        flood.stop();
        wait_until(LIMIT, "cookies are no longer needed", || {
            site.gateway.list("worker").unwrap().iter().all(|worker| worker["cookies_engaged"] == false)
        })
        .unwrap();
        let before = counted(&site, "/cookies_given");
        site.try_round(false).unwrap();
        assert_eq!(counted(&site, "/cookies_given"), before, "calm again");
        site.stop();
    }
}

/// SYNs to both virtual servers.
fn begin_flood(site: &Site) -> Flood {
    let client = &site.topology.client;
    let neighbours = client.ip("neighbour show 10.10.1.1 dev eth0").unwrap();
    let mac = neighbours.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap();
    let services = [false, true].map(|v6| site.topology.http(v6).ip());
    Flood::start(client, ("eth0", mac), (80, &services), site.topology.directory()).unwrap()
}
