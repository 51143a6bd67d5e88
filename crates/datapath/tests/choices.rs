//! Which backend a new flow gets where more than its hash decides, and what becomes of flows whose backend is down.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use balance::{Chooser, Level, Table};
use datapath::{
    Arrival, Colleagues, DropReason, Persistence, Verdict,
    snapshot::{Backend, Pool, Snapshot, VirtualServer},
};
use fixture::{
    BACKEND, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, snapshot,
    virtual_address,
};
use model::{BackendId, Method, Millis, Mode, OnBackendDown, WorkerId};
use testkit::packets::{self, ACK, Flags, Link, RST, SYN, SYN_ACK};

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_BACKEND: Link = (BACKEND_MAC, BACKENDS_MAC);
/// Backends of the pool: the machine's ports from 9000 on.
const NUMBER: u16 = 4;
/// Bits of a TCP segment.
const RESET: u8 = 4;
const ACKNOWLEDGES: u8 = 16;
/// The id of the first.
const FIRST: u32 = 2;

fn segment(mode: Mode, client: u16, flags: Flags) -> Vec<u8> {
    let client = SocketAddr::new(CLIENT.parse().unwrap(), client);
    let server = SocketAddr::new(virtual_address(mode, false).parse().unwrap(), 80);
    packets::tcp(TO_GATEWAY, client, server, flags, b"")
}

fn reply(backend: u16, client: u16, flags: Flags) -> Vec<u8> {
    let backend = SocketAddr::new(BACKEND.parse().unwrap(), 9000 + backend);
    packets::tcp(FROM_BACKEND, backend, SocketAddr::new(CLIENT.parse().unwrap(), client), flags, b"")
}

fn chooser(method: Method, weights: &[u16]) -> Chooser {
    Chooser::of(method, &Table::maglev([1; 16], &[], 1), weights, &[Level::FULL; NUMBER as usize])
}

/// A gateway in which the IPv4 pool has four backends and this method.
fn with_method(workers: u8, chooser: &Chooser) -> Snapshot {
    let mut snapshot = snapshot(workers);
    let first = snapshot.backends[0].unwrap();
    let more = (0..NUMBER).map(|number| Some(Backend { port: 9000 + number, ..first }));
    snapshot.backends = snapshot.backends.iter().copied().chain(more).collect();
    let members: Vec<_> = (FIRST..FIRST + u32::from(NUMBER)).map(BackendId).collect();
    members.iter().for_each(|&id| snapshot.up.set(id, true));
    snapshot.pools[0] = Arc::new(Pool::new(chooser.clone(), members, vec![Level::FULL; usize::from(NUMBER)]));
    snapshot
}

/// Workers that see each other.
fn rigs(workers: u8, chooser: &Chooser) -> Vec<Rig> {
    let mut rigs: Vec<Rig> =
        (0..workers).map(|id| Rig::with(with_method(workers, chooser), WorkerId(id))).collect();
    let meters = rigs.iter().map(|rig| Arc::clone(&rig.meters)).collect();
    let colleagues = Colleagues { workers: meters, ..Colleagues::default() };
    for rig in &mut rigs {
        rig.join(colleagues.clone());
    }
    rigs
}

/// The port of the backend that a client's first packet leaves for.
fn chosen(rig: &mut Rig, client: u16) -> u16 {
    // Handed over already, so that each worker keeps what it is given.
    let arrival = Arrival { port: CLIENTS, is_handed_over: true };
    assert_eq!(rig.arrive(arrival, &[&segment(Mode::Nat, client, SYN)]), [Verdict::Transmit(BACKENDS)]);
    let sent = rig.sent().remove(0).1;
    u16::from_be_bytes([sent[36], sent[37]]) - 9000
}

fn open_flows(rigs: &[Rig]) -> Vec<u64> {
    let open = |rig: &Rig, id| {
        let meters = rig.meters.backend(BackendId(id)).unwrap();
        meters.flows_opened.read() - meters.flows_closed.read()
    };
    (FIRST..FIRST + u32::from(NUMBER)).map(|id| rigs.iter().map(|rig| open(rig, id)).sum()).collect()
}

#[test]
fn the_fewest_flows_are_those_of_all_workers() {
    let mut rigs = rigs(2, &chooser(Method::LeastConnections, &[1, 1, 1, 1]));
    for client in 1..=64 {
        // One worker has three times as many clients as the other.
        let worker = usize::from(client % 4 == 0);
        chosen(&mut rigs[worker], client);
        let open = open_flows(&rigs);
        let most = open.iter().max().unwrap() - open.iter().min().unwrap();
        assert!(most <= 1, "{open:?}");
    }
    assert_eq!(open_flows(&rigs), [16; 4]);
}

#[test]
fn flows_that_have_ended_do_not_count() {
    let mut rigs = rigs(1, &chooser(Method::LeastConnections, &[1, 1, 1, 1]));
    let rig = &mut rigs[0];
    let backends: Vec<u16> = (1..=8).map(|client| chosen(rig, client)).collect();
    let of_two: Vec<u16> = (1..=8).filter(|client| backends[usize::from(client - 1)] == 2).collect();
    for &client in &of_two {
        rig.burst(CLIENTS, &[&segment(Mode::Nat, client, RST)]);
    }
    rig.now = Millis(rig.now.0 + 5001);
    // The others go on.
    for client in (1..=8).filter(|client| !of_two.contains(client)) {
        rig.burst(CLIENTS, &[&segment(Mode::Nat, client, ACK)]);
    }
    rig.keep_house();
    rig.sent();
    assert_eq!([chosen(rig, 101), chosen(rig, 102)], [2, 2]);
}

#[test]
fn weights_count_where_the_method_says_so() {
    let mut rigs = rigs(2, &chooser(Method::WeightedLeastConnections, &[1, 2, 3, 4]));
    for client in 1..=100 {
        chosen(&mut rigs[usize::from(client % 2)], client);
    }
    assert_eq!(open_flows(&rigs), [10, 20, 30, 40]);
}

#[test]
fn workers_take_turns_each_by_itself() {
    let mut rigs = rigs(2, &chooser(Method::RoundRobin, &[1, 5, 5, 5]));
    let turns = |rig: &mut Rig, clients: std::ops::Range<u16>| -> Vec<u16> {
        clients.map(|client| chosen(rig, client)).collect()
    };
    assert_eq!(turns(&mut rigs[0], 1..6), [0, 1, 2, 3, 0]);
    assert_eq!(turns(&mut rigs[1], 11..16), [1, 2, 3, 0, 1], "the other begins with the next");
}

#[test]
fn first_packets_of_a_burst_take_turns_and_count_for_each_other() {
    for method in [Method::RoundRobin, Method::LeastConnections, Method::Adaptive, Method::Fastest] {
        let mut rigs = rigs(1, &chooser(method, &[1; 4]));
        let frames: Vec<Vec<u8>> = (1..=32).map(|client| segment(Mode::Nat, client, SYN)).collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        rigs[0].burst(CLIENTS, &frames);
        assert_eq!(open_flows(&rigs), [8; 4], "{method:?}");
        rigs[0].assert_conserved();
    }
}

#[test]
fn what_control_has_found_out_counts_with_adaptive() {
    let mut rigs = rigs(1, &chooser(Method::Adaptive, &[1; 4]));
    let colleagues = Colleagues { workers: vec![Arc::clone(&rigs[0].meters)], ..Colleagues::default() };
    colleagues.capacities.set(BackendId(FIRST), balance::CAPACITY_AS_WEIGHED / 4);
    rigs[0].join(colleagues);
    for client in 1..=52 {
        chosen(&mut rigs[0], client);
    }
    assert_eq!(open_flows(&rigs), [4, 16, 16, 16]);
}

#[test]
fn who_answers_syns_the_fastest_gets_new_flows() {
    let mut rigs = rigs(1, &chooser(Method::Fastest, &[1; 4]));
    let rig = &mut rigs[0];
    let mut ticks = 0;
    for client in 1..=4 {
        let backend = chosen(rig, client);
        ticks += if backend == 2 { 100 } else { 500 };
        rig.state.tick(ticks);
        rig.forwarded(BACKENDS, &reply(backend, client, SYN_ACK), CLIENTS);
    }
    let chosen: Vec<u16> = (10..74).map(|client| chosen(rig, client)).collect();
    let fast = chosen.iter().filter(|backend| **backend == 2).count();
    assert!((56..64).contains(&fast), "nearly all, and a few to try the others: {chosen:?}");
}

#[test]
fn a_client_s_address_leads_all_that_it_sends_to_one_backend() {
    let slots: Arc<[u32]> = (0..1024).map(|slot| slot % u32::from(NUMBER)).collect();
    let mut rigs = rigs(1, &Chooser::Source(slots));
    let first = chosen(&mut rigs[0], 1);
    assert!((2..40).all(|client| chosen(&mut rigs[0], client) == first));
}

#[test]
fn clients_of_a_network_keep_their_backend_whichever_worker_they_meet_until_it_takes_no_more() {
    let mut rigs = rigs(2, &chooser(Method::RoundRobin, &[1; 4]));
    let keep = |snapshot: &mut Snapshot| {
        let servers = snapshot.virtual_servers.iter().cloned().map(|server| {
            let persistence = Some(Persistence { source: 24, timeout: 60 });
            server.map(|server| VirtualServer { persistence, ..server })
        });
        snapshot.virtual_servers = servers.collect();
    };
    rigs.iter_mut().for_each(|rig| rig.publish(keep));
    let first = chosen(&mut rigs[0], 1);
    assert!((2..10).all(|client| chosen(&mut rigs[usize::from(client % 2)], client) == first));

    // Another method changes nothing for those who are known; a backend that takes no new flows does.
    let change = |levels: Vec<Level>| {
        let table = Table::maglev([1; 16], &[], 1);
        let chooser = Chooser::of(Method::LeastConnections, &table, &[1; 4], &levels);
        move |snapshot: &mut Snapshot| {
            let members = snapshot.pools[0].members.clone();
            snapshot.pools[0] = Arc::new(Pool::new(chooser, members, levels));
        }
    };
    rigs[0].publish(change(vec![Level::FULL; 4]));
    assert_eq!(chosen(&mut rigs[0], 20), first);
    let mut levels = vec![Level::FULL; 4];
    levels[usize::from(first)] = Level::NONE;
    rigs[0].publish(change(levels));
    let second = chosen(&mut rigs[0], 21);
    assert!(second != first && chosen(&mut rigs[0], 22) == second);

    rigs[0].now = Millis(rigs[0].now.0 + 61_000);
    let third = chosen(&mut rigs[0], 23);
    assert!(![first, second].contains(&third), "the fewest flows decide again");
}

/// A gateway with an established flow, whose backend then goes down.
fn with_backend_down(on_down: OnBackendDown) -> (Rig, u16) {
    let mut rig = rigs(1, &chooser(Method::RoundRobin, &[1; 4])).remove(0);
    rig.publish(|snapshot| {
        let backends = snapshot.backends.iter().map(|backend| backend.map(|b| Backend { on_down, ..b }));
        snapshot.backends = backends.collect();
    });
    let backend = chosen(&mut rig, 1);
    rig.forwarded(BACKENDS, &reply(backend, 1, SYN_ACK), CLIENTS);
    rig.forwarded(CLIENTS, &segment(Mode::Nat, 1, ACK), BACKENDS);
    rig.publish(|snapshot| snapshot.up.set(BackendId(FIRST + u32::from(backend)), false));
    (rig, backend)
}

#[test]
fn flows_of_a_backend_that_is_down_stay_end_or_go_elsewhere() {
    let (mut rig, backend) = with_backend_down(OnBackendDown::None);
    let sent = rig.forwarded(CLIENTS, &segment(Mode::Nat, 1, ACK), BACKENDS);
    assert_eq!(sent[36..38], (9000 + backend).to_be_bytes());

    let (mut rig, backend) = with_backend_down(OnBackendDown::Drop);
    rig.dropped(CLIENTS, &segment(Mode::Nat, 1, ACK), DropReason::BackendDown);
    rig.dropped(CLIENTS, &segment(Mode::Nat, 1, ACK), DropReason::NoFlow);
    rig.dropped(BACKENDS, &reply(backend, 1, ACK), DropReason::NoFlow);

    let (mut rig, backend) = with_backend_down(OnBackendDown::Reset);
    assert_eq!(rig.burst(CLIENTS, &[&segment(Mode::Nat, 1, ACK)]), [Verdict::Transmit(CLIENTS)]);
    let (told, mut sent): (Vec<_>, Vec<_>) = rig.sent().into_iter().partition(|(port, _)| *port == BACKENDS);
    assert_eq!([sent.remove(0).1[47], told[0].1[47]], [RESET, RESET | ACKNOWLEDGES]);
    assert_eq!(rig.burst(BACKENDS, &[&reply(backend, 1, ACK)]), [Verdict::Transmit(BACKENDS)]);
    assert_eq!(rig.sent().remove(0).1[47], RESET, "who goes on hears it again");
    rig.assert_conserved();

    let (mut rig, backend) = with_backend_down(OnBackendDown::Reselect);
    let sent = rig.forwarded(CLIENTS, &segment(Mode::Nat, 1, ACK), BACKENDS);
    assert_eq!(sent[36..38], (9000 + (backend + 1) % NUMBER).to_be_bytes(), "the next in turn");
    let again = rig.forwarded(CLIENTS, &segment(Mode::Nat, 1, ACK), BACKENDS);
    assert_eq!(sent[36..38], again[36..38], "and there it stays");
    rig.assert_conserved();
}
