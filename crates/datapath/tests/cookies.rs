//! SYN cookies, as a client, a backend and a flood see them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use datapath::{
    DropReason, Verdict,
    snapshot::{Cookies, VirtualServer},
};
use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, virtual_address,
};
use model::{BackendId, Mode, OnBackendDown, PortId, Timestamps, Treatment, UseOfCookies, WorkerId};
use proptest::prelude::*;
use testkit::packets::{self, ACK, Flags, RST, SYN, SYN_ACK, check_checksums};

const ALWAYS: Cookies = Cookies { use_of: UseOfCookies::Always, mss: 0, allowlist: 0 };
const AUTO: Cookies = Cookies { use_of: UseOfCookies::Auto, ..ALWAYS };
/// The window of all segments that are made here.
const WINDOW: u16 = 64_000;

/// A segment as its receiver reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    from: Option<SocketAddr>,
    to: Option<SocketAddr>,
    flags: String,
    numbers: [u32; 2],
    window: u16,
    mss: Option<u16>,
    scale: Option<u8>,
    sack_permitted: bool,
    times: Option<[u32; 2]>,
    sack: Option<(u32, u32)>,
    data: usize,
}

fn read(frame: &[u8]) -> Read {
    check_checksums(frame).unwrap();
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no segment") };
    let ends = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("no packet"),
    };
    let flags = [(tcp.syn(), 'S'), (tcp.ack(), 'A'), (tcp.fin(), 'F'), (tcp.rst(), 'R')];
    let mut read = Read {
        from: Some(SocketAddr::new(ends.0, tcp.source_port())),
        to: Some(SocketAddr::new(ends.1, tcp.destination_port())),
        flags: flags.iter().filter(|(is, _)| *is).map(|(_, letter)| *letter).collect(),
        numbers: [tcp.sequence_number(), tcp.acknowledgment_number()],
        window: tcp.window_size(),
        data: tcp.payload().len(),
        ..Read::default()
    };
    for option in tcp.options_iterator().map(Result::unwrap) {
        match option {
            TcpOptionElement::Noop => {}
            TcpOptionElement::MaximumSegmentSize(size) => read.mss = Some(size),
            TcpOptionElement::WindowScale(shift) => read.scale = Some(shift),
            TcpOptionElement::SelectiveAcknowledgementPermitted => read.sack_permitted = true,
            TcpOptionElement::Timestamp(value, echo) => read.times = Some([value, echo]),
            TcpOptionElement::SelectiveAcknowledgement(block, _) => read.sack = Some(block),
        }
    }
    read
}

/// The options of a Linux host's SYN.
fn syn_options(mss: u16, time: Option<[u32; 2]>, scale: u8) -> Vec<u8> {
    let mut options = [&[2, 4][..], &mss.to_be_bytes(), &[4, 2]].concat();
    match time {
        Some([value, echo]) => {
            options.extend([&[8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat())
        }
        None => options.extend([1, 1]),
    }
    options.extend([1, 3, 3, scale]);
    options
}

fn times(time: Option<[u32; 2]>) -> Vec<u8> {
    let words =
        |[value, echo]: [u32; 2]| [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat();
    time.map_or(vec![], words)
}

/// A client and a backend around a gateway that gives out cookies.
struct Site {
    rig: Rig,
    mode: Mode,
    v6: bool,
    port: u16,
}

impl Site {
    fn new(mode: Mode, v6: bool, cookies: Cookies) -> Self {
        Self::with(Rig::new(), mode, v6, (cookies, Treatment::default()))
    }

    fn with(mut rig: Rig, mode: Mode, v6: bool, (cookies, treatment): (Cookies, Treatment)) -> Self {
        rig.publish(|snapshot| {
            for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
                let is_tcp = server.service.protocol == 6;
                let is_possible = is_tcp && matches!(server.mode, Mode::Nat | Mode::FullNat);
                server.cookies = if is_possible { cookies } else { Cookies::OFF };
                server.treatment = treatment;
                server.extent = VirtualServer::extent_of(&treatment, &server.tcp);
            }
        });
        Self { rig, mode, v6, port: 7 }
    }

    fn end(&self, v4: &str, v6: &str, port: u16) -> SocketAddr {
        SocketAddr::new(if self.v6 { v6 } else { v4 }.parse().unwrap(), port)
    }

    fn service(&self) -> SocketAddr {
        SocketAddr::new(virtual_address(self.mode, self.v6).parse().unwrap(), 80)
    }

    fn of_client(&self, flags: Flags, numbers: [u32; 2], options: &[u8], data: &[u8]) -> Vec<u8> {
        let (link, from) = ((CLIENT_MAC, CLIENTS_MAC), self.end(CLIENT, CLIENT_6, self.port));
        packets::tcp_with_options(link, from, self.service(), flags, (numbers, options), data)
    }

    fn of_backend(&self, to: SocketAddr, flags: Flags, numbers: [u32; 2], options: &[u8]) -> Vec<u8> {
        let (link, from) = ((BACKEND_MAC, BACKENDS_MAC), self.end(BACKEND, BACKEND_6, 8080));
        packets::tcp_with_options(link, from, to, flags, (numbers, options), b"")
    }

    /// What a client's SYN is answered with.
    fn ask(&mut self, isn: u32, options: &[u8]) -> Read {
        let syn = self.of_client(SYN, [isn, 0], options, b"");
        let answer = self.rig.forwarded(CLIENTS, &syn, CLIENTS);
        assert!(answer.len() <= syn.len(), "more bytes than came");
        let answer = read(&answer);
        assert_eq!((&answer.flags[..], answer.window), ("SA", 0));
        assert_eq!(answer.numbers[1], isn.wrapping_add(1));
        assert_eq!(
            (answer.from, answer.to),
            (Some(self.service()), Some(self.end(CLIENT, CLIENT_6, self.port)))
        );
        answer
    }

    /// The SYN that a backend gets when the client brings its cookie back.
    fn bring(&mut self, isn: u32, answer: &Read, options: &[u8]) -> Read {
        let numbers = [isn.wrapping_add(1), answer.numbers[0].wrapping_add(1)];
        let ack = self.of_client(ACK, numbers, options, b"");
        let syn = read(&self.rig.forwarded(CLIENTS, &ack, BACKENDS));
        assert_eq!(&syn.flags[..], "S");
        syn
    }

    /// What client and backend hear when the backend agrees.
    fn agree(&mut self, source: SocketAddr, numbers: [u32; 2], options: &[u8]) -> (Read, Read) {
        let (verdict, sent) = {
            let agreement = self.of_backend(source, SYN_ACK, numbers, options);
            self.rig.one(BACKENDS, &agreement)
        };
        assert_eq!(verdict, Verdict::Transmit(CLIENTS));
        let to = |port: PortId| read(&sent.iter().find(|(to, _)| *to == port).unwrap().1);
        assert_eq!(sent.len(), 2);
        (to(CLIENTS), to(BACKENDS))
    }

    /// Opens a connection without options; what the cookie was, and where the backend sends to.
    fn connect(&mut self, isn: u32, backend_isn: u32) -> (u32, SocketAddr) {
        let answer = self.ask(isn, &[]);
        let syn = self.bring(isn, &answer, &[]);
        let source = syn.from.unwrap();
        self.agree(source, [backend_isn, syn.numbers[0].wrapping_add(1)], &[]);
        (answer.numbers[0], source)
    }

    fn flows(&mut self) -> u64 {
        self.rig.keep_house();
        self.rig.meters.flows.read()
    }
}

fn both_modes() -> impl Iterator<Item = (Mode, bool)> {
    [Mode::Nat, Mode::FullNat].into_iter().flat_map(|mode| [(mode, false), (mode, true)])
}

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
