//! The end comes when it is asked for, whatever goes on.

use std::{sync::Arc, time::Duration};

use model::Mode;
use testkit::netns::{Device, Plan, Transfer, object, wait_until};

use crate::site::{LIMIT, Site};

#[test]
fn a_gateway_that_is_told_to_end_under_load_ends_with_nothing_left() {
    let workers = "workers: { lcores: [0, 1] }\n";
    let site = Site::start(Plan::new(Device::AfPacket, Mode::Nat, 3), workers);
    let content = Arc::new(vec![7; 256 << 20]);
    let put = |number| {
        Transfer::put(site.dial(false), &format!("/upload/{number}"), &content, Duration::ZERO).unwrap()
    };
    let transfers: Vec<_> = (0..20).map(put).collect();
    wait_until(LIMIT, "10,000 packets", || {
        site.gateway.count("/v1/virtual-servers", "/packets_in").unwrap() > 10_000
    })
    .unwrap();
    assert!(transfers.iter().all(Transfer::is_running));
    site.stop_now("all packet memory was given back");
    transfers.into_iter().for_each(Transfer::abandon);
}

#[test]
fn a_gateway_that_drains_lets_the_transfers_finish() {
    let drain = "shutdown: { drain: 60s }\n";
    let site = Site::start(Plan::new(Device::AfPacket, Mode::FullNat, 2), drain);
    let content = object(8, 512 << 10);
    site.offer("object", &content);
    let transfers: Vec<_> =
        (0..10).map(|_| Transfer::get(site.dial(false), "/slow/object").unwrap()).collect();
    let waiting = std::thread::spawn(move || {
        for transfer in transfers {
            assert!(transfer.finish().unwrap().body == content);
        }
    });
    site.stop_now("all packet memory was given back");
    waiting.join().unwrap();
}
