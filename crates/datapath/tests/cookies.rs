//! SYN cookies, as a client, a backend and a flood see them.
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
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig,
};
use model::{Mode, Timestamps, Treatment};
use proptest::prelude::*;
use testkit::packets::{ACK, Flags, RST, SYN, SYN_ACK, check_checksums};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever both say of themselves: they agree on all numbers, windows and options, and never know each other's.
    #[test]
    fn both_ends_of_a_connection_with_a_cookie_agree(
        (full, v6, generate, rewrite) in any::<(bool, bool, bool, bool)>(),
        (timed, backend_timed) in any::<(bool, bool)>(),
        [isn, backend_isn, time, backend_time] in any::<[u32; 4]>(),
        mss in 600..1500_u16, (scale, backend_scale) in (0..=14_u8, 0..=14_u8),
        steps in proptest::collection::vec(any::<(bool, u16)>(), 1..12),
    ) {
        let treatment = Treatment {
            generate_isn: generate,
            timestamps: if rewrite { Timestamps::Rewrite } else { Timestamps::Preserve },
            ..Treatment::default()
        };
        let mode = if full { Mode::FullNat } else { Mode::Nat };
        let mut site = Site::with(Rig::new(), mode, v6, (ALWAYS, treatment));
        let answer = site.ask(isn, &syn_options(mss, timed.then_some([time, 0]), scale));
        prop_assert_eq!(site.flows(), 0, "nothing is remembered");
        prop_assert_eq!(answer.mss, Some(if v6 { 1440 } else { 1460 }));
        prop_assert_eq!((answer.sack_permitted, answer.scale), (timed, timed.then_some(7)), "as the timestamp can say");
        prop_assert_eq!(answer.times.map(|[_, echo]| echo), timed.then_some(time));
        let stamp = answer.times.map_or(0, |[value, _]| value);

        let later = timed.then_some([time.wrapping_add(5), stamp]);
        let syn = site.bring(isn, &answer, &times(later));
        let (isn_there, source) = (syn.numbers[0], syn.from.unwrap());
        prop_assert_eq!(isn_there != isn, generate);
        prop_assert_eq!((syn.scale, syn.sack_permitted), (timed.then_some(scale), timed));
        prop_assert!(syn.mss.unwrap() <= mss && syn.mss.unwrap() >= 536);
        prop_assert_eq!(syn.times.is_some(), timed);
        let time_there = syn.times.map_or(0, |[value, _]| value);
        prop_assert_eq!(time_there == time.wrapping_add(5), !timed && time.wrapping_add(5) == 0 || timed && !rewrite);

        // A backend says only what it was offered.
        let backend_timed = backend_timed && timed;
        let options = match (timed, backend_timed) {
            (true, true) => syn_options(1460, Some([backend_time, time_there]), backend_scale),
            (true, false) => syn_options(1460, None, backend_scale),
            _ => vec![2, 4, 5, 180],
        };
        let (update, ack) = site.agree(source, [backend_isn, isn_there.wrapping_add(1)], &options);
        prop_assert_eq!((&update.flags[..], &ack.flags[..]), ("A", "A"));
        let cookie = answer.numbers[0];
        prop_assert_eq!(update.numbers, [cookie.wrapping_add(1), isn.wrapping_add(1)]);
        prop_assert_eq!(ack.numbers, [isn_there.wrapping_add(1), backend_isn.wrapping_add(1)]);
        prop_assert_eq!((update.mss, update.scale, update.sack_permitted), (None, None, false));
        prop_assert_eq!(update.times, backend_timed.then_some([stamp, time.wrapping_add(5)]));
        prop_assert_eq!(ack.times, backend_timed.then_some([time_there, backend_time]));
        prop_assert_eq!(ack.window, WINDOW);
        // The SYN-ACK's window is bytes; the client multiplies what it gets.
        let meant = u32::from(WINDOW) >> if timed { backend_scale } else { 0 } << if timed { backend_scale } else { 0 };
        let got = u32::from(update.window) << if timed { 7 } else { 0 };
        prop_assert!(got <= meant && meant - got < 128, "{} of {}", got, meant);

        for (is_client, more) in steps {
            let more = u32::from(more) + 1;
            let plus = |number: u32| number.wrapping_add(more);
            if is_client {
                let said_times = backend_timed.then_some([plus(time), plus(stamp)]);
                let mut options = times(said_times);
                options.extend([&[1, 1, 5, 10][..], &plus(cookie).to_be_bytes(), &plus(cookie).to_be_bytes()].concat());
                let said = site.of_client(ACK, [plus(isn), plus(cookie)], &options, b"some data");
                let heard = read(&site.rig.forwarded(CLIENTS, &said, BACKENDS));
                prop_assert_eq!(heard.numbers, [plus(isn_there), plus(backend_isn)]);
                prop_assert_eq!(heard.sack, Some((plus(backend_isn), plus(backend_isn))));
                prop_assert_eq!(heard.times, backend_timed.then_some([plus(time_there).wrapping_sub(5), plus(backend_time)]));
                prop_assert_eq!((heard.window, heard.data), (WINDOW, 9));
            } else {
                let said_times = backend_timed.then_some([plus(backend_time), plus(time_there)]);
                let mut options = times(said_times);
                options.extend([&[1, 1, 5, 10][..], &plus(isn_there).to_be_bytes(), &plus(isn_there).to_be_bytes()].concat());
                let said = site.of_backend(source, ACK, [plus(backend_isn), plus(isn_there)], &options);
                let heard = read(&site.rig.forwarded(BACKENDS, &said, CLIENTS));
                prop_assert_eq!(heard.numbers, [plus(cookie), plus(isn)]);
                prop_assert_eq!(heard.sack, Some((plus(isn), plus(isn))));
                prop_assert_eq!(heard.times, backend_timed.then_some([plus(stamp), plus(time).wrapping_add(5)]));
                let meant = u64::from(WINDOW) << if timed { backend_scale } else { 0 };
                let got = u64::from(heard.window) << if timed { 7 } else { 0 };
                prop_assert!(got <= meant && (meant - got < 128 || heard.window == u16::MAX));
            }
        }
        site.rig.assert_conserved();
    }
}

#[test]
fn a_number_that_is_no_cookie_opens_nothing() {
    for (mode, v6) in both_modes() {
        let mut site = Site::new(mode, v6, ALWAYS);
        let answer = site.ask(1000, &[]);
        let cookie = answer.numbers[0];
        for number in [cookie.wrapping_sub(8), cookie.wrapping_add(101), 0, !cookie] {
            let ack = site.of_client(ACK, [1001, number], &[], b"");
            site.rig.dropped(CLIENTS, &ack, DropReason::CookieFalse);
        }
        let other_isn = site.of_client(ACK, [5001, cookie.wrapping_add(1)], &[], b"");
        site.rig.dropped(CLIENTS, &other_isn, DropReason::CookieFalse);
        site.port = 8;
        let other_port = site.of_client(ACK, [1001, cookie.wrapping_add(1)], &[], b"");
        site.rig.dropped(CLIENTS, &other_port, DropReason::CookieFalse);
        assert_eq!(site.flows(), 0);
        site.rig.assert_conserved();
    }
}

#[test]
fn a_cookie_that_is_too_old_opens_nothing() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let cookie = site.ask(1000, &[]).numbers[0];
    let ack = site.of_client(ACK, [1001, cookie.wrapping_add(1)], &[], b"");
    site.rig.now.0 += 2 * 64_000;
    site.rig.dropped(CLIENTS, &ack, DropReason::CookieExpired);
    site.rig.now.0 += 2 * 64_000;
    site.rig.dropped(CLIENTS, &ack, DropReason::CookieFalse);
}

#[test]
fn segments_that_end_here_must_have_a_right_checksum() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let mut syn = site.of_client(SYN, [1000, 0], &[], b"");
    syn[40] ^= 1;
    site.rig.dropped(CLIENTS, &syn, DropReason::TransportChecksum);
    let cookie = site.ask(1000, &[]).numbers[0];
    let mut ack = site.of_client(ACK, [1001, cookie.wrapping_add(1)], &times(Some([1, 2])), b"");
    *ack.last_mut().unwrap() ^= 1;
    site.rig.dropped(CLIENTS, &ack, DropReason::TransportChecksum);
}

#[test]
fn what_comes_before_the_backend_has_agreed_will_come_again() {
    for (mode, v6) in both_modes() {
        let mut site = Site::new(mode, v6, ALWAYS);
        let answer = site.ask(1000, &[]);
        let cookie = answer.numbers[0];
        let syn = site.bring(1000, &answer, &[]);
        let early = site.of_client(ACK, [1001, cookie.wrapping_add(1)], &[], b"early data");
        site.rig.dropped(CLIENTS, &early, DropReason::BackendNotReady);
        let again = site.of_client(SYN, [1000, 0], &[], b"");
        site.rig.dropped(CLIENTS, &again, DropReason::BackendNotReady);
        site.agree(syn.from.unwrap(), [7000, 1001], &[]);
        let sent = read(&site.rig.forwarded(CLIENTS, &early, BACKENDS));
        assert_eq!((sent.numbers, sent.data), ([1001, 7001], 10));
        site.rig.assert_conserved();
    }
}

#[test]
fn data_that_comes_with_the_cookie_will_come_again() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let cookie = site.ask(1000, &[]).numbers[0];
    let ack = site.of_client(ACK, [1001, cookie.wrapping_add(1)], &[], b"much data");
    let syn = read(&site.rig.forwarded(CLIENTS, &ack, BACKENDS));
    assert_eq!((&syn.flags[..], syn.numbers[0], syn.data), ("S", 1000, 0));
}

#[test]
fn a_probe_of_the_window_brings_a_cookie_too_when_its_first_bearer_is_lost() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let cookie = site.ask(1000, &[]).numbers[0];
    let probe = site.of_client(ACK, [1000, cookie.wrapping_add(1)], &[], b"");
    let syn = read(&site.rig.forwarded(CLIENTS, &probe, BACKENDS));
    assert_eq!((&syn.flags[..], syn.numbers[0]), ("S", 1000));
}

#[test]
fn a_syn_that_a_backend_does_not_answer_is_sent_again_until_the_client_is_told() {
    for (mode, v6) in both_modes() {
        for generate_isn in [false, true] {
            let treatment = Treatment { generate_isn, mss_override: 1000, ..Treatment::default() };
            let mut site = Site::with(Rig::new(), mode, v6, (ALWAYS, treatment));
            let answer = site.ask(1000, &syn_options(1460, Some([50, 0]), 9));
            let stamp = answer.times.unwrap()[0];
            let first = site.bring(1000, &answer, &times(Some([51, stamp])));
            assert_eq!((first.mss, first.scale, first.times), (Some(1000), Some(9), Some([51, 0])));
            assert!(site.rig.keep_house().is_empty(), "not at once");
            for _ in 0..4 {
                site.rig.now.0 += 1000;
                let sent = site.rig.keep_house();
                assert_eq!(sent.len(), 1);
                assert_eq!((sent[0].0, read(&sent[0].1)), (BACKENDS, first.clone()));
                assert!(site.rig.keep_house().is_empty(), "once a second");
            }
            site.rig.now.0 += 1001;
            let sent = site.rig.keep_house();
            let (port, told) = (sent[0].0, read(&sent[0].1));
            assert_eq!((sent.len(), port, &told.flags[..]), (1, CLIENTS, "AR"));
            assert_eq!(told.numbers, [answer.numbers[0].wrapping_add(1), 1001]);
            assert_eq!(site.flows(), 0);
            site.rig.assert_conserved();
        }
    }
}

#[test]
fn a_client_believes_the_reset_of_a_backend_that_refuses() {
    for (mode, v6) in both_modes() {
        let treatment = Treatment { generate_isn: true, ..Treatment::default() };
        let mut site = Site::with(Rig::new(), mode, v6, (ALWAYS, treatment));
        let answer = site.ask(1000, &[]);
        let syn = site.bring(1000, &answer, &[]);
        let source = syn.from.unwrap();
        let refusal = Flags { ack: true, ..RST };
        let old = site.of_backend(source, refusal, [0, 77], &[]);
        site.rig.dropped(BACKENDS, &old, DropReason::BackendNotReady);
        let refused = site.of_backend(source, refusal, [0, syn.numbers[0].wrapping_add(1)], &[]);
        let heard = read(&site.rig.forwarded(BACKENDS, &refused, CLIENTS));
        assert_eq!(heard.numbers, [answer.numbers[0].wrapping_add(1), 1001]);
        assert_eq!(&heard.flags[..], "AR");
        // And may ask again.
        site.ask(5000, &[]);
        site.rig.assert_conserved();
    }
}

#[test]
fn a_backend_that_remembers_another_conversation_is_told_that_it_is_over() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let answer = site.ask(1000, &[]);
    let source = site.bring(1000, &answer, &[]).from.unwrap();
    let challenge = site.of_backend(source, ACK, [70_000, 90_000], &[]);
    let reset = read(&site.rig.forwarded(BACKENDS, &challenge, BACKENDS));
    assert_eq!((&reset.flags[..], reset.numbers[0]), ("R", 90_000));
    site.rig.now.0 += 1000;
    assert_eq!(read(&site.rig.keep_house()[0].1).numbers[0], 1000, "the SYN again");
}

#[test]
fn a_backend_that_did_not_hear_our_acknowledgement_gets_it_again() {
    let mut site = Site::new(Mode::FullNat, true, ALWAYS);
    let answer = site.ask(1000, &syn_options(1460, Some([50, 0]), 9));
    let syn = site.bring(1000, &answer, &times(Some([51, answer.times.unwrap()[0]])));
    let source = syn.from.unwrap();
    let (_, first) = site.agree(source, [7000, 1001], &syn_options(1460, Some([900, 51]), 8));
    let (_, second) = site.agree(source, [7000, 1001], &syn_options(1460, Some([1900, 51]), 8));
    assert_eq!((first.numbers, first.times), ([1001, 7001], Some([51, 900])));
    assert_eq!((second.numbers, second.times), ([1001, 7001], Some([51, 1900])));
    // The translation is still that of the first.
    let data = site.of_backend(source, ACK, [7001, 1001], &times(Some([1000, 51])));
    let heard = read(&site.rig.forwarded(BACKENDS, &data, CLIENTS));
    assert_eq!(heard.times.unwrap()[0], answer.times.unwrap()[0].wrapping_add(100));
}

#[test]
fn a_client_that_breaks_off_before_the_backend_agrees_leaves_nothing_behind() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let answer = site.ask(1000, &[]);
    let source = site.bring(1000, &answer, &[]).from.unwrap();
    let reset = site.of_client(RST, [1001, 0], &[], b"");
    assert_eq!(read(&site.rig.forwarded(CLIENTS, &reset, BACKENDS)).numbers[0], 1001);
    let late = site.of_backend(source, SYN_ACK, [7000, 1001], &[]);
    let heard = read(&site.rig.forwarded(BACKENDS, &late, BACKENDS));
    assert_eq!((&heard.flags[..], heard.numbers[0]), ("R", 1001));
    site.rig.now.0 += 5001;
    assert_eq!(site.flows(), 0);
}

#[test]
fn a_client_that_begins_anew_gets_another_cookie() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let answer = site.ask(1000, &[]);
    site.bring(1000, &answer, &[]);
    let again = site.ask(9000, &[]);
    assert_eq!(site.flows(), 0);
    let syn = site.bring(9000, &again, &[]);
    let (update, _) = site.agree(syn.from.unwrap(), [7000, 9001], &[]);
    assert_eq!(update.numbers, [again.numbers[0].wrapping_add(1), 9001]);
}

#[test]
fn a_conversation_over_a_broken_one_is_not_translated() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let (cookie, source) = site.connect(1000, 7000);
    let reset = site.of_backend(source, Flags { ack: true, ..RST }, [7001, 1001], &[]);
    let heard = read(&site.rig.forwarded(BACKENDS, &reset, CLIENTS));
    assert_eq!(heard.numbers[0], cookie.wrapping_add(1));
    let syn = site.of_client(SYN, [80_000, 0], &[], b"");
    site.rig.forwarded(CLIENTS, &syn, BACKENDS);
    let agreement = site.of_backend(source, SYN_ACK, [60_000, 80_001], &[]);
    let heard = read(&site.rig.forwarded(BACKENDS, &agreement, CLIENTS));
    assert_eq!((&heard.flags[..], heard.numbers), ("SA", [60_000, 80_001]));
    let ack = site.of_client(ACK, [80_001, 60_001], &[], b"data");
    assert_eq!(read(&site.rig.forwarded(CLIENTS, &ack, BACKENDS)).numbers, [80_001, 60_001]);
}

/// A reset for which there is no bandwidth ends nothing: the SYN that is sent again, and all behind it, are as if it had not come.
#[test]
fn a_reset_that_does_not_go_on_leaves_the_handshake_as_it_was() {
    for is_client in [true, false] {
        let mut site = Site::new(Mode::Nat, false, ALWAYS);
        site.rig.publish(|snapshot| {
            let servers = Arc::make_mut(&mut snapshot.virtual_servers);
            servers.iter_mut().flatten().for_each(|server| server.limits.bandwidth = 8);
        });
        site.port = 8;
        let (cookie, source) = site.connect(500, 9000);
        let [data, other_data] = [
            site.of_client(ACK, [501, cookie.wrapping_add(1)], &[], &[7; 1400]),
            site.of_backend(source, ACK, [9001, 501], &[]),
        ];
        site.port = 7;
        let answer = site.ask(1000, &syn_options(1460, Some([50, 0]), 7));
        let stamp = answer.times.unwrap()[0];
        let syn = site.bring(1000, &answer, &times(Some([51, stamp])));
        let source = syn.from.unwrap();
        // The other connection takes all that there is.
        for _ in 0..400 {
            site.rig.burst(CLIENTS, &[&data]);
            site.rig.burst(BACKENDS, &[&other_data]);
            site.rig.sent();
        }
        if is_client {
            let reset = site.of_client(RST, [1001, 0], &[], b"");
            site.rig.dropped(CLIENTS, &reset, DropReason::BandwidthLimit);
        } else {
            let reset = site.of_backend(source, Flags { ack: true, ..RST }, [0, 1001], &[]);
            site.rig.dropped(BACKENDS, &reset, DropReason::BandwidthLimit);
        }
        site.rig.now.0 += 1000;
        let again: Vec<_> = site.rig.keep_house().iter().map(|(_, frame)| read(frame)).collect();
        assert_eq!(again, [syn], "reset by the client: {is_client}");
        site.rig.now.0 += 1_000_000;
        let options = syn_options(1460, Some([700, 51]), 7);
        let (update, _) = site.agree(source, [7000, 1001], &options);
        assert_eq!(update.times, Some([stamp, 51]), "reset by the client: {is_client}");
        site.rig.assert_conserved();
    }
}

#[test]
fn a_flow_is_translated_over_every_change() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let (cookie, source) = site.connect(1000, 7000);
    let check = |site: &mut Site| {
        let ack = site.of_client(ACK, [1001, cookie.wrapping_add(1)], &[], b"data");
        assert_eq!(read(&site.rig.forwarded(CLIENTS, &ack, BACKENDS)).numbers, [1001, 7001]);
        let data = site.of_backend(source, ACK, [7001, 1005], &[]);
        let heard = read(&site.rig.forwarded(BACKENDS, &data, CLIENTS));
        assert_eq!(heard.numbers, [cookie.wrapping_add(1), 1005]);
    };
    check(&mut site);
    site.rig.publish(|_| {});
    check(&mut site);
    site.rig.publish(|snapshot| {
        let servers = Arc::make_mut(&mut snapshot.virtual_servers);
        servers.iter_mut().flatten().for_each(|server| server.cookies = Cookies::OFF);
    });
    check(&mut site);
    site.rig.publish(|snapshot| snapshot.virtual_servers = Arc::new([]));
    check(&mut site);
}

#[test]
fn both_ends_of_a_silent_flow_are_reset_with_numbers_that_they_know() {
    let mut site = Site::new(Mode::Nat, false, ALWAYS);
    let (cookie, source) = site.connect(1000, 7000);
    site.rig.now.0 += 300_001;
    assert_eq!(site.rig.keep_house().len(), 2, "both are asked");
    let answer = site.of_client(ACK, [1500, cookie.wrapping_add(600)], &[], b"");
    let (_, sent) = site.rig.one(CLIENTS, &answer);
    let to_backend = read(&sent.iter().find(|(port, _)| *port == BACKENDS).unwrap().1);
    assert_eq!((to_backend.to, to_backend.numbers), (Some(site.end(BACKEND, BACKEND_6, 8080)), [1500, 7600]));
    assert_eq!(to_backend.from, Some(source));
    site.rig.assert_conserved();
}

/// What a router says of a packet that was too big for it, with so many bytes of it.
fn too_big((from, to): ([u8; 6], [u8; 6]), router: &str, frame: &[u8], bytes: usize) -> Vec<u8> {
    let ethernet = etherparse::PacketBuilder::ethernet2(from, to);
    let quote = &frame[14..][..bytes.min(frame.len() - 14)];
    let mut error = Vec::new();
    match (router.parse().unwrap(), read(frame).from.unwrap().ip()) {
        (std::net::IpAddr::V4(router), std::net::IpAddr::V4(sender)) => {
            let ip = ethernet.ipv4(router.octets(), sender.octets(), 60);
            ip.icmpv4_raw(3, 4, [0, 0, 5, 0x14]).write(&mut error, quote)
        }
        (std::net::IpAddr::V6(router), std::net::IpAddr::V6(sender)) => {
            let ip = ethernet.ipv6(router.octets(), sender.octets(), 60);
            ip.icmpv6_raw(2, 0, [0, 0, 5, 0x14]).write(&mut error, quote)
        }
        _ => panic!("other families"),
    }
    .unwrap();
    error
}

/// The sequence number that an ICMP error quotes.
fn quoted_number(error: &[u8], v6: bool) -> u32 {
    check_checksums(error).unwrap();
    let at = if v6 { 14 + 40 + 8 + 40 + 4 } else { 14 + 20 + 8 + 20 + 4 };
    u32::from_be_bytes(error[at..at + 4].try_into().unwrap())
}

#[test]
fn errors_quote_numbers_that_their_receivers_know() {
    for (mode, v6) in both_modes() {
        for generate_isn in [false, true] {
            let treatment = Treatment { generate_isn, ..Treatment::default() };
            let mut site = Site::with(Rig::new(), mode, v6, (ALWAYS, treatment));
            let (cookie, source) = site.connect(1000, 7000);
            let next = cookie.wrapping_add(1);
            let of_client = site.of_client(ACK, [1001, next], &[], &[7; 100]);
            let to_backend = site.rig.forwarded(CLIENTS, &of_client, BACKENDS);
            let there = read(&to_backend).numbers[0].wrapping_add(100);
            let of_backend = site.of_backend(source, ACK, [7001, there], &[]);
            let to_client = site.rig.forwarded(BACKENDS, &of_backend, CLIENTS);
            let header = if v6 { 40 } else { 20 };
            for bytes in [header + 8, header + 20, 1000] {
                let router = if v6 { "2001:db8:2::fe" } else { "10.10.2.254" };
                let error = too_big((BACKEND_MAC, BACKENDS_MAC), router, &to_backend, bytes);
                let told = site.rig.forwarded(BACKENDS, &error, CLIENTS);
                assert_eq!(quoted_number(&told, v6), 1001, "{mode:?}, IPv6: {v6}, {bytes} bytes");
                let router = if v6 { "2001:db8:1::fe" } else { "10.10.1.254" };
                let error = too_big((CLIENT_MAC, CLIENTS_MAC), router, &to_client, bytes);
                let told = site.rig.forwarded(CLIENTS, &error, BACKENDS);
                assert_eq!(quoted_number(&told, v6), 7001, "{mode:?}, IPv6: {v6}, {bytes} bytes");
            }
            // Those of our own, too.
            site.rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].mtu = 1280);
            let large = site.of_client(ACK, [1101, next], &[], &[7; 1400]);
            let told = site.rig.forwarded(CLIENTS, &large, CLIENTS);
            assert_eq!(quoted_number(&told, v6), 1101);
            site.rig.assert_conserved();
        }
    }
}
