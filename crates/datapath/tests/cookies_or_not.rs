//! When SYNs are answered with cookies, and whose are not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod cookie_site;
mod fixture;

use std::sync::Arc;

use cookie_site::*;
use datapath::{DropReason, snapshot::Cookies};
use fixture::{BACKENDS, CLIENTS, Rig};
use model::{BackendId, Mode, OnBackendDown, Treatment, WorkerId};
use testkit::packets::{ACK, Flags, RST, SYN, SYN_ACK};

#[test]
fn mid_stream_is_adopted_only_by_loose_initiation_and_a_cookie_counts_all_the_same() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    site.rig.publish(|snapshot| {
        Arc::make_mut(&mut snapshot.virtual_servers)
            .iter_mut()
            .flatten()
            .for_each(|s| s.loose_initiation = true);
    });
    let ack = site.of_client(ACK, [1, 2], &[], b"data");
    let sent = read(&site.rig.forwarded(CLIENTS, &ack, BACKENDS));
    assert_eq!((&sent.flags[..], sent.numbers, sent.data), ("A", [1, 2], 4), "adopted as it is");
    site.port = 8;
    let answer = site.ask(1000, &[]);
    assert_eq!(site.bring(1000, &answer, &[]).numbers[0], 1000);
}

#[test]
fn auto_answers_with_cookies_from_too_many_open_handshakes_to_half_of_them() {
    for (mode, v6) in both_modes() {
        let rig = Rig::with_room_for(64, testkit::gateway::snapshot(1), WorkerId(0));
        let mut site = Site::with(rig, mode, v6, (AUTO, Treatment::default()));
        for port in 0..32 {
            site.port = 1000 + port;
            let syn = site.of_client(SYN, [1, 0], &[], b"");
            site.rig.forwarded(CLIENTS, &syn, BACKENDS);
        }
        for port in 0..200 {
            site.port = 2000 + port;
            site.ask(1, &[]);
        }
        assert_eq!(site.flows(), 32);
        let read_meters = |site: &Site| {
            let meters = &site.rig.meters;
            (meters.cookies_engaged.read(), meters.embryonic_flows.read(), meters.cookies_given.read())
        };
        assert_eq!(read_meters(&site), (1, 32, 200));
        // Who was there before is not disturbed, and who brings a cookie is let in.
        site.port = 1000;
        let syn = site.of_client(SYN, [1, 0], &[], b"");
        site.rig.forwarded(CLIENTS, &syn, BACKENDS);
        site.port = 5000;
        let (cookie, _) = site.connect(1000, 7000);
        assert_eq!((site.flows(), site.rig.meters.cookies_accepted.read()), (33, 1));
        assert_eq!(read_meters(&site), (1, 32, 201), "its flow is not one of them");
        // The handshakes end, and with them the flood.
        site.rig.now.0 += 5001;
        site.rig.keep_house();
        site.rig.keep_house();
        assert_eq!(read_meters(&site), (0, 0, 201));
        site.port = 6000;
        let syn = site.of_client(SYN, [1, 0], &[], b"");
        site.rig.forwarded(CLIENTS, &syn, BACKENDS);
        // Of cookies that were given the bearers are still let in, and what is none is still told from them.
        site.port = 5000;
        let ack = site.of_client(ACK, [1001, cookie.wrapping_add(1)], &[], b"data");
        assert_eq!(read(&site.rig.forwarded(CLIENTS, &ack, BACKENDS)).numbers[1], 7001);
        site.port = 6001;
        let ack = site.of_client(ACK, [1001, 1], &[], b"");
        site.rig.dropped(CLIENTS, &ack, DropReason::CookieFalse);
        site.rig.now.0 += 128_000;
        site.rig.keep_house();
        site.rig.dropped(CLIENTS, &ack, DropReason::NoFlow);
        site.rig.assert_conserved();
    }
}

#[test]
fn the_count_of_open_handshakes_follows_them_all() {
    let mut site = Site::new(Mode::Nat, false, AUTO);
    let embryonic = |site: &mut Site| {
        site.rig.keep_house();
        site.rig.meters.embryonic_flows.read()
    };
    let open = |site: &mut Site, port| {
        site.port = port;
        let syn = site.of_client(SYN, [1000, 0], &[], b"");
        read(&site.rig.forwarded(CLIENTS, &syn, BACKENDS)).from.unwrap()
    };
    let source = open(&mut site, 1);
    assert_eq!(embryonic(&mut site), 1);
    let agreement = site.of_backend(source, SYN_ACK, [7000, 1001], &[]);
    site.rig.forwarded(BACKENDS, &agreement, CLIENTS);
    assert_eq!(embryonic(&mut site), 1, "answered, not complete");
    let ack = site.of_client(ACK, [1001, 7001], &[], b"");
    site.rig.forwarded(CLIENTS, &ack, BACKENDS);
    assert_eq!(embryonic(&mut site), 0);
    let source = open(&mut site, 2);
    assert_eq!(embryonic(&mut site), 1);
    let reset = site.of_backend(source, Flags { ack: true, ..RST }, [0, 1001], &[]);
    site.rig.forwarded(BACKENDS, &reset, CLIENTS);
    assert_eq!(embryonic(&mut site), 0, "refused");
    open(&mut site, 3);
    site.rig.now.0 += 5001;
    assert_eq!(embryonic(&mut site), 0, "expired");
    open(&mut site, 5);
    site.rig.publish(|snapshot| {
        let backends = Arc::make_mut(&mut snapshot.backends);
        backends.iter_mut().flatten().for_each(|backend| backend.on_down = OnBackendDown::Reset);
        snapshot.up.set(BackendId(0), false);
    });
    let segment = site.of_client(ACK, [1001, 1], &[], b"");
    site.rig.one(CLIENTS, &segment);
    assert_eq!(embryonic(&mut site), 0, "given up");
    site.rig.publish(|snapshot| snapshot.up.set(BackendId(0), true));
    // Over a broken one.
    let source = open(&mut site, 4);
    let agreement = site.of_backend(source, SYN_ACK, [7000, 1001], &[]);
    site.rig.forwarded(BACKENDS, &agreement, CLIENTS);
    let ack = site.of_client(ACK, [1001, 7001], &[], b"");
    site.rig.forwarded(CLIENTS, &ack, BACKENDS);
    let reset = site.of_backend(source, Flags { ack: true, ..RST }, [7001, 1001], &[]);
    site.rig.forwarded(BACKENDS, &reset, CLIENTS);
    open(&mut site, 4);
    site.rig.forwarded(BACKENDS, &agreement, CLIENTS);
    assert_eq!(embryonic(&mut site), 1, "begun anew");
    site.rig.forwarded(CLIENTS, &ack, BACKENDS);
    assert_eq!(embryonic(&mut site), 0);
}

#[test]
fn a_full_table_makes_room_for_none_that_has_shown_that_it_is_there() {
    let rig = Rig::with_room_for(1, testkit::gateway::snapshot(1), WorkerId(0));
    let mut site = Site::with(rig, Mode::Nat, false, (ALWAYS, Treatment::default()));
    let first = site.ask(1000, &[]);
    site.bring(1000, &first, &[]);
    site.port = 8;
    let second = site.ask(1000, &[]);
    let ack = site.of_client(ACK, [1001, second.numbers[0].wrapping_add(1)], &[], b"");
    site.rig.dropped(CLIENTS, &ack, DropReason::FlowTableFull);
    assert_eq!(site.flows(), 1);
}

#[test]
fn a_source_that_was_there_lately_goes_around_cookies() {
    let mut site = Site::new(Mode::FullNat, false, Cookies { allowlist: 30_000, ..ALWAYS });
    site.connect(1000, 7000);
    site.port = 8;
    let syn = site.of_client(SYN, [1, 0], &[], b"");
    assert_eq!(read(&site.rig.forwarded(CLIENTS, &syn, BACKENDS)).numbers[0], 1);
    site.port = 9;
    site.rig.now.0 += 30_000;
    site.ask(1, &[]);
}

#[test]
fn every_worker_takes_every_workers_cookies() {
    let mut workers = [0, 1].map(|id| {
        let rig = Rig::with(testkit::gateway::snapshot(2), WorkerId(id));
        Site::with(rig, Mode::FullNat, false, (ALWAYS, Treatment::default()))
    });
    let cookie = workers[0].ask(1000, &[]);
    assert_eq!(&workers[1].bring(1000, &cookie, &[]).flags[..], "S");
}

#[test]
fn who_may_not_open_a_flow_gets_no_cookie() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    site.rig.publish(|snapshot| {
        snapshot.pools[0] = Arc::new(datapath::snapshot::Pool::with_slots([u32::MAX], vec![]));
    });
    let syn = site.of_client(SYN, [1000, 0], &[], b"");
    site.rig.dropped(CLIENTS, &syn, DropReason::NoBackend);
}

#[test]
fn other_modes_and_datagrams_have_no_cookies() {
    for mode in [Mode::Dsr, Mode::Ipip, Mode::Gue] {
        let mut site = Site::new(mode, false, ALWAYS);
        let syn = site.of_client(SYN, [1000, 0], &[], b"");
        site.rig.forwarded(CLIENTS, &syn, BACKENDS);
    }
}
