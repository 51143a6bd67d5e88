//! A backend dies and comes back.

use std::time::{Duration, Instant};

use model::Mode;
use testkit::netns::{Device, Plan, Transfer, object, wait_until};

use crate::site::{LIMIT, Site};

const DEAD: &str = "backend2";

#[test]
fn new_connections_avoid_a_dead_backend_and_those_on_others_go_on() {
    let mut site = Site::start(Plan::new(Device::AfPacket, Mode::Nat, 3), "");
    let content = object(5, 768 << 10);
    site.offer("object", &content);
    let transfers: Vec<_> =
        (0..60).map(|_| Transfer::get(site.dial(false), "/slow/object").unwrap()).collect();
    let all = site.gateway.backends_up().unwrap();

    let killed = Instant::now();
    site.topology.backends[1].nginx.kill();
    for v6 in [false, true] {
        wait_until(LIMIT, "all requests are answered", || site.try_round(v6).is_ok()).unwrap();
    }
    let elapsed = killed.elapsed();
    println!("new connections avoid a dead backend after {elapsed:?} at most");
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    for v6 in [false, true] {
        assert_eq!(site.serving(v6), ["backend1", "backend3"]);
    }
    // Its machine is in four pools.
    assert_eq!(site.gateway.backends_up().unwrap(), all - 4);

    let (broken, whole): (Vec<_>, Vec<_>) =
        transfers.into_iter().map(Transfer::finish).partition(|outcome| outcome.is_err());
    assert!((1..60).contains(&broken.len()), "{} of 60 broke off", broken.len());
    for answer in whole.into_iter().map(Result::unwrap) {
        assert_ne!(answer.backend, DEAD);
        assert!(answer.body == content);
    }

    let backend = &mut site.topology.backends[1];
    backend.nginx.restart(&backend.namespace).unwrap();
    wait_until(LIMIT, "it is back", || site.gateway.backends_up().unwrap() == all).unwrap();
    site.gateway.wait_until_settled(LIMIT).unwrap();
    assert_eq!(site.serving(false), ["backend1", DEAD, "backend3"]);
    site.stop();
}
