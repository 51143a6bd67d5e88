//! Round trips, as handshakes tell them.
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
use datapath::snapshot::Cookies;
use fixture::{BACKENDS, CLIENTS, Rig};
use meter::Histograms;
use model::{Mode, RoundTrips, Treatment};
use testkit::packets::{ACK, Flags, RST, SYN, SYN_ACK};

const NOTHING: [Vec<u64>; 2] = [Vec::new(), Vec::new()];

fn site(mode: Mode, v6: bool, rtt: RoundTrips, cookies: Cookies) -> Site {
    let mut site = Site::with(Rig::new(), mode, v6, (cookies, Treatment::default()));
    site.rig.publish(|snapshot| {
        let servers = Arc::make_mut(&mut snapshot.virtual_servers);
        servers.iter_mut().flatten().for_each(|server| server.rtt = rtt);
    });
    site
}

/// What was measured over all virtual servers, of clients and of backends.
fn measured(site: &Site) -> [Vec<u64>; 2] {
    let all = |histograms: &Histograms| {
        let of =
            |id: usize| histograms.read(id).enumerate().map(|(at, count)| (Histograms::middle(at), count));
        let counts = (0..site.rig.snapshot.virtual_servers.len()).flat_map(of);
        counts.flat_map(|(value, count)| (0..count).map(move |_| value)).collect()
    };
    [all(&site.rig.meters.client_round_trips), all(&site.rig.meters.server_round_trips)]
}

/// The client's segment when the clock says so many microseconds; what it is from as the backend sees it.
fn client(site: &mut Site, micros: u64, flags: Flags, numbers: [u32; 2]) -> std::net::SocketAddr {
    site.rig.state.tick(micros);
    let segment = site.of_client(flags, numbers, &[], b"");
    read(&site.rig.forwarded(CLIENTS, &segment, BACKENDS)).from.unwrap()
}

fn backend(site: &mut Site, micros: u64, to: std::net::SocketAddr, flags: Flags) {
    site.rig.state.tick(micros);
    let segment = site.of_backend(to, flags, [7000, 1001], &[]);
    site.rig.forwarded(BACKENDS, &segment, CLIENTS);
}

#[test]
fn a_handshake_tells_both_round_trips() {
    for (mode, v6) in both_modes() {
        for (rtt, expected) in [
            (RoundTrips::BOTH, [vec![5], vec![12]]),
            (RoundTrips { from_client: false, ..RoundTrips::BOTH }, [vec![], vec![12]]),
            (RoundTrips { from_server: false, ..RoundTrips::BOTH }, [vec![5], vec![]]),
            (RoundTrips::NONE, [vec![], vec![]]),
        ] {
            let mut site = site(mode, v6, rtt, Cookies::OFF);
            let source = client(&mut site, 100, SYN, [1000, 0]);
            backend(&mut site, 112, source, SYN_ACK);
            client(&mut site, 117, ACK, [1001, 7001]);
            client(&mut site, 900, ACK, [1001, 7001]);
            backend(&mut site, 990, source, ACK);
            assert_eq!(measured(&site), expected, "{mode:?}, IPv6: {v6}");
            site.rig.assert_conserved();
        }
    }
}

#[test]
fn what_comes_twice_says_nothing() {
    let mut site = site(Mode::Nat, false, RoundTrips::BOTH, Cookies::OFF);
    let source = client(&mut site, 100, SYN, [1000, 0]);
    client(&mut site, 1000, SYN, [1000, 0]);
    backend(&mut site, 1010, source, SYN_ACK);
    client(&mut site, 1020, ACK, [1001, 7001]);
    assert_eq!(measured(&site), NOTHING);
    site.port = 9;
    let source = client(&mut site, 2000, SYN, [1000, 0]);
    backend(&mut site, 2009, source, SYN_ACK);
    backend(&mut site, 3000, source, SYN_ACK);
    client(&mut site, 3005, ACK, [1001, 7001]);
    assert_eq!(measured(&site), [vec![], vec![9]]);
}

#[test]
fn a_syn_that_is_answered_again_by_a_syn_is_no_round_trip_of_the_client() {
    let mut site = site(Mode::FullNat, false, RoundTrips::BOTH, Cookies::OFF);
    let source = client(&mut site, 100, SYN, [1000, 0]);
    backend(&mut site, 104, source, SYN_ACK);
    client(&mut site, 1100, SYN, [1000, 0]);
    client(&mut site, 1101, ACK, [1001, 7001]);
    assert_eq!(measured(&site), [vec![], vec![4]]);
}

#[test]
fn a_refusal_tells_how_far_the_backend_is() {
    let mut site = site(Mode::Nat, true, RoundTrips::BOTH, Cookies::OFF);
    let source = client(&mut site, 100, SYN, [1000, 0]);
    backend(&mut site, 103, source, Flags { ack: true, ..RST });
    assert_eq!(measured(&site), [vec![], vec![3]]);
}

#[test]
fn of_a_handshake_with_a_cookie_the_backends_half_is_measured() {
    let mut site = site(Mode::Nat, false, RoundTrips::BOTH, ALWAYS);
    site.rig.state.tick(50);
    let answer = site.ask(1000, &[]);
    site.rig.state.tick(90);
    let syn = site.bring(1000, &answer, &[]);
    site.rig.state.tick(98);
    site.agree(syn.from.unwrap(), [7000, 1001], &[]);
    client(&mut site, 500, ACK, [1001, answer.numbers[0].wrapping_add(1)]);
    assert_eq!(measured(&site), [vec![], vec![8]]);
}

#[test]
fn in_dsr_nothing_is_measured() {
    let mut site = site(Mode::Dsr, false, RoundTrips::NONE, Cookies::OFF);
    client(&mut site, 100, SYN, [1000, 0]);
    client(&mut site, 117, ACK, [1001, 7001]);
    assert_eq!(measured(&site), NOTHING);
}
