//! Source ports of `full_nat`: whose replies come home, who shares one, and when one is taken again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use datapath::{
    Arrival, DropReason, Snapshot, Verdict,
    snapshot::{Hashed, Spread},
};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, at, virtual_address,
};
use flow::FlowKey;
use model::{Mode, WorkerId};
use proptest::prelude::*;
use testkit::packets::{self, ACK, FIN, Flags, Link, RST, SYN, SYN_ACK, describe};

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_BACKEND: Link = (BACKEND_MAC, BACKENDS_MAC);
const ALL: Hashed = Hashed { tcp_v4: true, udp_v4: true, tcp_v6: true, udp_v6: true };

fn server(v6: bool) -> SocketAddr {
    at(virtual_address(Mode::FullNat, v6), 80)
}

/// The source and the destination of a frame.
fn ends(frame: &[u8]) -> [SocketAddr; 2] {
    let text = describe(frame);
    let words: Vec<&str> = text.split(' ').collect();
    [words[1], words[3]].map(|end| end.parse().unwrap())
}

fn key(is_tcp: bool, [from, to]: [SocketAddr; 2]) -> FlowKey {
    FlowKey {
        source: from.ip().into(),
        destination: to.ip().into(),
        source_port: from.port(),
        destination_port: to.port(),
        protocol: if is_tcp { 6 } else { 17 },
        ..FlowKey::default()
    }
}

/// A gateway of several workers, whose ports have cards that spread what they receive with this key.
fn behind_cards(workers: u8, secret: &[u8], hashed: Hashed) -> (Snapshot, Arc<Spread>) {
    let table: Vec<u16> = (0..512).map(|entry| entry % u16::from(workers)).collect();
    let spread = Arc::new(Spread::try_new(secret, &table, workers, hashed).unwrap());
    let mut snapshot = fixture::snapshot(workers);
    snapshot.ports.iter_mut().for_each(|port| port.spread = Some(Arc::clone(&spread)));
    (snapshot, spread)
}

fn packet(is_tcp: bool, link: Link, from: SocketAddr, to: SocketAddr, flags: Flags) -> Vec<u8> {
    if is_tcp { packets::tcp(link, from, to, flags, b"") } else { packets::udp(link, from, to, b"") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn replies_come_to_the_worker_that_has_the_flow(
        workers in 2_u8..=16, secret in proptest::collection::vec(any::<u8>(), 40..=52),
        (v6, is_tcp) in any::<(bool, bool)>(), clients in proptest::collection::vec(any::<u16>(), 1..40),
    ) {
        let (snapshot, spread) = behind_cards(workers, &secret, ALL);
        let (client, backend) = if v6 { (CLIENT_6, BACKEND_6) } else { (CLIENT, BACKEND) };
        // Who owns them must not matter to which packets a card sends where.
        prop_assume!(secret.iter().any(|byte| *byte != 0));
        let id = WorkerId(clients[0] as u8 % workers);
        let mut rig = Rig::with(snapshot, id);
        let mut elsewhere = Rig::with(rig.snapshot.clone(), WorkerId((id.0 + 1) % workers));
        for port in clients.into_iter().filter(|port| *port != 0) {
            let frame = packet(is_tcp, TO_GATEWAY, at(client, port), server(v6), SYN);
            let (verdict, sent) = rig.one(CLIENTS, &frame);
            if verdict == Verdict::Drop(DropReason::SnatExhausted) {
                // A key of which the low bits say nothing of ports: all replies go to one worker, which is another one.
                continue;
            }
            let [source, to] = ends(&sent[0].1);
            prop_assert_eq!(to, at(backend, 8080));
            prop_assert_eq!(spread.worker(&key(is_tcp, [to, source])), Some(id));
            let reply = packet(is_tcp, FROM_BACKEND, to, source, SYN_ACK);
            prop_assert_eq!(rig.one(BACKENDS, &reply).0, Verdict::Transmit(CLIENTS));
            // Should it come to another one all the same, that one knows whose it is.
            prop_assert_eq!(elsewhere.one(BACKENDS, &reply).0, Verdict::HandOver(id));
        }
        rig.assert_conserved();
    }
}

#[test]
fn where_the_cards_spread_is_not_known_ports_name_the_worker() {
    let secret: Vec<u8> = (0..40).map(|byte: u8| byte.wrapping_mul(37) ^ 0x5b).collect();
    let tcp_only = Hashed { udp_v4: false, ..ALL };
    let (mut snapshot, _) = behind_cards(3, &secret, tcp_only);
    let named = |rig: &mut Rig, is_tcp| {
        let sources: Vec<u16> = (1..100)
            .map(|port| {
                let frame = packet(is_tcp, TO_GATEWAY, at(CLIENT, port), server(false), SYN);
                ends(&rig.forwarded(CLIENTS, &frame, BACKENDS))[0].port()
            })
            .collect();
        sources.iter().all(|port| (port - 1024) % 3 == 2)
    };
    let mut rig = Rig::with(snapshot.clone(), WorkerId(2));
    assert!(!named(&mut rig, true) && named(&mut rig, false), "it hashes no ports of UDP");
    snapshot.ports[BACKENDS.index()].spread = None;
    assert!(named(&mut Rig::with(snapshot, WorkerId(2)), true));
}

#[test]
fn an_address_that_is_no_ports_is_chosen_for_cards_that_are_alike() {
    let secret: Vec<u8> = (0..40).map(|byte: u8| byte.wrapping_mul(37) ^ 0x5b).collect();
    for is_alike in [true, false] {
        let (mut snapshot, spread) = behind_cards(4, &secret, ALL);
        let listed = fixture::address("10.10.2.77");
        snapshot.addresses.own(listed, datapath::snapshot::Owned::Snat);
        for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
            server.snat.iter_mut().filter(|range| range.address.is_v4()).for_each(|range| {
                (range.address, range.port) = (listed, None);
            });
        }
        if !is_alike {
            let table: Vec<u16> = (0..128).map(|entry| entry / 32).collect();
            let other = Spread::try_new(&secret, &table, 4, ALL).unwrap();
            snapshot.ports[CLIENTS.index()].spread = Some(Arc::new(other));
        }
        let mut rig = Rig::with(snapshot, WorkerId(1));
        for port in 1..50 {
            let frame = packet(true, TO_GATEWAY, at(CLIENT, port), server(false), SYN);
            let [source, to] = ends(&rig.forwarded(CLIENTS, &frame, BACKENDS));
            if is_alike {
                assert_eq!(spread.worker(&key(true, [to, source])), Some(WorkerId(1)));
            } else {
                assert_eq!((source.port() - 1024) % 4, 1);
            }
        }
        rig.assert_conserved();
    }
}

/// One worker whose virtual servers have one source port, and wait so long for stragglers.
fn with_one_port(time_wait: u32) -> Rig {
    let mut rig = Rig::new();
    rig.publish(|snapshot| {
        for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
            server.tcp.time_wait = time_wait;
            server.snat.iter_mut().for_each(|range| (range.first, range.last) = (5000, 5000));
        }
    });
    rig
}

fn numbered(port: u16, flags: Flags, sequence: u32) -> Vec<u8> {
    packets::tcp_with_numbers(TO_GATEWAY, at(CLIENT, port), server(false), flags, [sequence, 901], b"")
}

/// A connection from its first to its last segment, whose client begins with a number.
fn whole_connection(rig: &mut Rig, port: u16, first: u32) {
    let (backend, source) = (at(BACKEND, 8080), at(fixture::SELF, 5000));
    let reply =
        |flags, numbers| packets::tcp_with_numbers(FROM_BACKEND, backend, source, flags, numbers, b"");
    rig.forwarded(CLIENTS, &numbered(port, SYN, first), BACKENDS);
    rig.forwarded(BACKENDS, &reply(SYN_ACK, [900, first + 1]), CLIENTS);
    rig.forwarded(CLIENTS, &numbered(port, ACK, first + 1), BACKENDS);
    rig.forwarded(CLIENTS, &numbered(port, FIN, first + 1), BACKENDS);
    rig.forwarded(BACKENDS, &reply(FIN, [901, first + 2]), CLIENTS);
    let last =
        packets::tcp_with_numbers(TO_GATEWAY, at(CLIENT, port), server(false), ACK, [first + 2, 902], b"");
    rig.forwarded(CLIENTS, &last, BACKENDS);
}

#[test]
fn a_port_that_waits_is_taken_again_by_who_comes_after_all_that_there_was() {
    let mut rig = with_one_port(60_000);
    whole_connection(&mut rig, 1, 1000);
    rig.keep_house();
    assert_eq!(rig.meters.flows.read(), 1, "it is remembered");
    // The last number of the old one was 1,001: its FIN.
    for before in [0, 1000, 1001, 0x8000_0000 + 1002] {
        rig.dropped(CLIENTS, &numbered(2, SYN, before), DropReason::SnatExhausted);
    }
    let out = rig.forwarded(CLIENTS, &numbered(3, SYN, 1002), BACKENDS);
    assert_eq!(ends(&out)[0], at(fixture::SELF, 5000));
    rig.keep_house();
    assert_eq!(rig.meters.flows.read(), 1, "the old one made room");
    // What the backend answers is the new one's.
    let reply = packets::tcp(FROM_BACKEND, at(BACKEND, 8080), at(fixture::SELF, 5000), SYN_ACK, b"");
    assert_eq!(ends(&rig.forwarded(BACKENDS, &reply, CLIENTS))[1], at(CLIENT, 3));
    rig.assert_conserved();
}

#[test]
fn a_port_is_not_taken_from_a_connection_that_goes_on_or_was_broken_off() {
    let mut rig = with_one_port(60_000);
    rig.forwarded(CLIENTS, &numbered(1, SYN, 1000), BACKENDS);
    rig.dropped(CLIENTS, &numbered(2, SYN, 5000), DropReason::SnatExhausted);
    let mut rig = with_one_port(60_000);
    rig.forwarded(CLIENTS, &numbered(1, SYN, 1000), BACKENDS);
    rig.forwarded(CLIENTS, &numbered(1, RST, 1001), BACKENDS);
    rig.dropped(CLIENTS, &numbered(2, SYN, 5000), DropReason::SnatExhausted);
    rig.assert_conserved();
}

#[test]
fn a_port_does_not_wait_unless_it_is_told_to() {
    let mut rig = with_one_port(0);
    whole_connection(&mut rig, 1, 1000);
    rig.now.0 += 1;
    rig.keep_house();
    rig.forwarded(CLIENTS, &numbered(2, SYN, 1), BACKENDS);
    rig.assert_conserved();
}

#[test]
fn numbers_that_the_backend_does_not_see_say_nothing_of_its_old_connections() {
    let mut rig = with_one_port(60_000);
    rig.publish(|snapshot| {
        for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
            server.treatment.generate_isn = true;
        }
    });
    let mut plain = with_one_port(60_000);
    whole_connection(&mut plain, 1, 1000);
    plain.publish(|snapshot| *snapshot = rig.snapshot.clone());
    plain.dropped(CLIENTS, &numbered(2, SYN, 5000), DropReason::SnatExhausted);
    plain.assert_conserved();
}

#[test]
fn destinations_and_protocols_share_a_port() {
    let mut rig = with_one_port(0);
    let other = fixture::address("10.10.2.12");
    let frame = |is_tcp, v6| {
        let client = if v6 { CLIENT_6 } else { CLIENT };
        packet(is_tcp, TO_GATEWAY, at(client, 1), server(v6), SYN)
    };
    let mut sources = HashMap::new();
    for (is_tcp, v6) in [(true, false), (false, false), (true, true), (false, true)] {
        let out = rig.forwarded(CLIENTS, &frame(is_tcp, v6), BACKENDS);
        sources.insert((is_tcp, v6), ends(&out));
    }
    // Another backend at the same port of the source.
    rig.publish(|snapshot| {
        for backend in Arc::make_mut(&mut snapshot.backends).iter_mut().flatten() {
            if backend.address.is_v4() {
                (backend.address, backend.port) = (other, 8080);
            }
        }
        let port = &mut snapshot.ports[BACKENDS.index()];
        port.neighbours.push((other, model::MacAddress(BACKEND_MAC)));
    });
    let second = packet(true, TO_GATEWAY, at(CLIENT, 2), server(false), SYN);
    let out = rig.forwarded(CLIENTS, &second, BACKENDS);
    assert_eq!(ends(&out), [at(fixture::SELF, 5000), at("10.10.2.12", 8080)]);
    assert!(sources.values().all(|[source, _]| source.port() == 5000));
    let ports: HashSet<u16> = sources.values().map(|[_, to]| to.port()).collect();
    assert_eq!(ports.len(), 1);
    // But not twice to one.
    let third = packet(true, TO_GATEWAY, at(CLIENT, 3), server(false), SYN);
    let verdict = rig.arrive(Arrival { port: CLIENTS, is_handed_over: false }, &[&third])[0];
    assert_eq!(verdict, Verdict::Drop(DropReason::SnatExhausted));
    rig.assert_conserved();
}
