//! What virtual servers and backends may take, for all workers together.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::sync::Arc;

use datapath::{
    Arrival, Colleagues, DropReason, HashKey, Verdict, WorkerState,
    snapshot::{Backend, Pool},
};
use fixture::{
    BACKEND, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, address, at,
    snapshot, virtual_address,
};
use model::{BackendId, Limits, MacAddress, Millis, Mode, WorkerId};
use testkit::packets::{self, ACK, Flags, SYN};

const PASSED: Verdict = Verdict::Transmit(BACKENDS);

fn from(client: (&str, u16), flags: Flags) -> Vec<u8> {
    let server = at(virtual_address(Mode::Nat, false), 80);
    packets::tcp((CLIENT_MAC, CLIENTS_MAC), at(client.0, client.1), server, flags, b"")
}

fn datagram(client: u16, payload: usize) -> Vec<u8> {
    let server = at(virtual_address(Mode::Nat, false), 80);
    packets::udp((CLIENT_MAC, CLIENTS_MAC), at(CLIENT, client), server, &vec![0; payload])
}

fn answer(client: u16, payload: usize) -> Vec<u8> {
    packets::udp((BACKEND_MAC, BACKENDS_MAC), at(BACKEND, 8080), at(CLIENT, client), &vec![0; payload])
}

/// Workers of one gateway; all virtual servers have these limits.
fn workers(count: u8, limits: Limits) -> Vec<Rig> {
    let mut all: Vec<Rig> = (0..count)
        .map(|id| {
            let mut snapshot = snapshot(count);
            let servers = snapshot.virtual_servers.iter().cloned();
            let limited = servers
                .map(|server| server.map(|server| datapath::snapshot::VirtualServer { limits, ..server }));
            snapshot.virtual_servers = limited.collect();
            Rig::with(snapshot, WorkerId(id))
        })
        .collect();
    join(&mut all);
    all
}

fn join(all: &mut [Rig]) {
    let colleagues = Colleagues {
        workers: all.iter().map(|rig| Arc::clone(&rig.meters)).collect(),
        ..Colleagues::default()
    };
    for rig in all {
        let key = HashKey::from_seed([2; 16], u64::from(rig.state.id().0));
        rig.state =
            WorkerState::new(rig.state.id(), 1024, key, Arc::clone(&rig.meters)).among(colleagues.clone());
        rig.state.adopt(&rig.snapshot);
    }
}

/// What becomes of a packet that its owner gets.
fn sent(rig: &mut Rig, frame: &[u8]) -> Verdict {
    let verdict = rig.arrive(Arrival { port: CLIENTS, is_handed_over: true }, &[frame])[0];
    rig.sent();
    verdict
}

#[test]
fn connections_are_counted_over_all_workers_and_until_they_end() {
    let mut all = workers(2, Limits { connections: 3, ..Limits::NONE });
    for (worker, port, verdict) in [
        (0, 1, PASSED),
        (1, 2, PASSED),
        (0, 3, PASSED),
        (0, 4, Verdict::Drop(DropReason::ConnectionLimit)),
        (1, 5, Verdict::Drop(DropReason::ConnectionLimit)),
        (1, 2, PASSED), // it is open
    ] {
        assert_eq!(sent(&mut all[worker], &from((CLIENT, port), SYN)), verdict, "{worker} {port}");
    }
    // Nobody answers: the first worker's are forgotten after five seconds.
    all[0].now = Millis(60_000);
    for _ in 0..40 {
        all[0].keep_house();
    }
    assert_eq!([6, 7].map(|port| sent(&mut all[1], &from((CLIENT, port), SYN))), [PASSED; 2]);
    assert_eq!(sent(&mut all[0], &from((CLIENT, 8), SYN)), Verdict::Drop(DropReason::ConnectionLimit));
    all.iter_mut().for_each(Rig::assert_conserved);
}

#[test]
fn new_flows_are_opened_at_the_rate_wherever_they_come() {
    let mut all = workers(4, Limits { new_per_second: 100, ..Limits::NONE });
    let mut opened = 0;
    let mut port = 1000;
    // All have looked at all limits once.
    for rig in &mut all {
        (0..10).for_each(|_| {
            rig.keep_house();
        });
    }
    // Half a second quiet for the last worker, then all come to it.
    for milli in 0..3000_u64 {
        for rig in &mut all {
            rig.now = Millis(1000 + milli);
            rig.keep_house();
        }
        let worker = if milli < 1500 { milli as usize % 3 } else { 3 };
        port += 1;
        opened += u64::from(sent(&mut all[worker], &from(("10.10.1.7", port), SYN)) == PASSED);
        assert!(opened <= 100 + (milli + 1) / 10, "{opened} after {milli} ms");
    }
    assert!(opened >= 395, "{opened}");
    let dropped = all.iter().map(|rig| rig.meters.drops[DropReason::ConnectionRateLimit.index()].read());
    assert_eq!(dropped.sum::<u64>(), 3000 - opened);
}

#[test]
fn a_source_opens_as_many_in_a_second_with_all_workers_together() {
    let mut all = workers(2, Limits { new_per_second_per_source: 2, ..Limits::NONE });
    let refused = Verdict::Drop(DropReason::SourceRateLimit);
    let mut from_client = |worker: usize, client, port| sent(&mut all[worker], &from((client, port), SYN));
    assert_eq!(
        [from_client(0, CLIENT, 1), from_client(1, CLIENT, 2), from_client(0, CLIENT, 3)],
        [PASSED, PASSED, refused]
    );
    assert_eq!([from_client(1, CLIENT, 4), from_client(1, "10.10.1.9", 4)], [refused, PASSED]);
    all.iter_mut().for_each(|rig| rig.now = Millis(2000));
    assert_eq!(sent(&mut all[1], &from((CLIENT, 5), SYN)), PASSED);
    all.iter_mut().for_each(Rig::assert_conserved);
}

#[test]
fn a_bandwidth_holds_for_open_flows_in_each_direction() {
    let mut rig = workers(1, Limits { bandwidth: 800_000, ..Limits::NONE }).remove(0);
    let (mut passed, mut answered) = (0, 0);
    for milli in 0..2000 {
        rig.now = Millis(1000 + milli);
        passed += u64::from(sent(&mut rig, &datagram(1, 972)) == PASSED) * 1000;
        let verdict = rig.one(BACKENDS, &answer(1, 472)).0;
        answered += u64::from(verdict == Verdict::Transmit(CLIENTS)) * 500;
    }
    // 100,000 bytes a second, and 12,000 at once.
    assert!((200_000..=213_000).contains(&passed), "{passed}");
    assert!((200_000..=213_000).contains(&answered), "{answered}");
    rig.assert_conserved();
}

#[test]
fn a_flow_without_bandwidth_is_steady_and_gets_one_with_the_next_snapshot() {
    let mut rig = workers(1, Limits::NONE).remove(0);
    for port in [1, 2] {
        assert_eq!(sent(&mut rig, &datagram(port, 1000)), PASSED);
    }
    rig.publish(|snapshot| {
        for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
            server.limits.bandwidth = 8;
        }
    });
    let verdicts: Vec<_> = (0..30).map(|_| sent(&mut rig, &datagram(1, 1000))).collect();
    let dropped = Verdict::Drop(DropReason::BandwidthLimit);
    assert!(verdicts.iter().rev().take(10).all(|verdict| *verdict == dropped), "{verdicts:?}");
    assert_eq!(sent(&mut rig, &datagram(2, 1000)), dropped);
    assert_eq!(sent(&mut rig, &datagram(3, 1000)), dropped, "so is what would open one");
    rig.publish(|snapshot| {
        for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
            server.limits = Limits::NONE;
        }
    });
    assert_eq!(sent(&mut rig, &datagram(1, 1000)), PASSED);
    rig.assert_conserved();
}

/// A second backend beside the first, each with limits.
fn with_backends(rig: &mut Rig, limits: [Limits; 2]) {
    rig.publish(|snapshot| {
        let first = snapshot.backends[0].unwrap();
        let second = Backend { address: address("10.10.2.12"), ..first };
        snapshot.backends = snapshot.backends.iter().copied().chain([Some(second)]).collect();
        let id = BackendId(snapshot.backends.len() as u32 - 1);
        for (id, limits) in [BackendId(0), id].into_iter().zip(limits) {
            Arc::make_mut(&mut snapshot.backends)[id.index()].as_mut().unwrap().limits = limits;
            snapshot.up.set(id, true);
        }
        snapshot.ports[1].neighbours.push((second.address, MacAddress([2, 0, 0, 0, 2, 12])));
        snapshot.pools[0] = Arc::new(Pool::with_slots([0, 1], vec![BackendId(0), id]));
    });
}

#[test]
fn a_backend_that_has_enough_is_passed_over() {
    let mut rig = Rig::new();
    let limits = |connections| Limits { connections, ..Limits::NONE };
    with_backends(&mut rig, [limits(3), limits(5)]);
    let verdicts: Vec<_> = (1..=10).map(|port| sent(&mut rig, &from((CLIENT, port), SYN))).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == PASSED).count(), 8);
    assert_eq!(verdicts[8..], [Verdict::Drop(DropReason::BackendLimit); 2]);
    let opened = [0, 2].map(|id| rig.meters.backends[id].flows_opened.read());
    assert_eq!(opened, [3, 5]);
    assert_eq!(sent(&mut rig, &from((CLIENT, 1), ACK)), PASSED, "open flows go on");
    rig.assert_conserved();
}

#[test]
fn what_a_backend_may_not_take_in_this_second_another_one_takes() {
    let mut rig = Rig::new();
    with_backends(&mut rig, [Limits { new_per_second: 2, ..Limits::NONE }, Limits::NONE]);
    let verdicts: Vec<_> = (1..=40).map(|port| sent(&mut rig, &from((CLIENT, port), SYN))).collect();
    assert_eq!(verdicts, [PASSED; 40]);
    assert_eq!([0, 2].map(|id| rig.meters.backends[id].flows_opened.read()), [2, 38]);
    rig.assert_conserved();
}

#[test]
fn whatever_the_method_a_backend_that_has_enough_is_passed_over() {
    use model::Method;
    for method in [
        Method::Rendezvous,
        Method::SourceHash,
        Method::RoundRobin,
        Method::WeightedRoundRobin,
        Method::LeastConnections,
        Method::WeightedLeastConnections,
        Method::Fastest,
        Method::Adaptive,
    ] {
        let mut rig = Rig::new();
        let limits = |connections| Limits { connections, ..Limits::NONE };
        with_backends(&mut rig, [limits(3), limits(5)]);
        rig.publish(|snapshot| {
            let members = snapshot.pools[0].members.clone();
            let candidate = |number: u8| balance::Candidate {
                address: model::Address::from_v4([10, 0, 0, number]),
                port: 80,
                weight: 1,
            };
            let table = balance::Table::maglev([7; 16], &[candidate(1), candidate(2)], 64);
            let levels = vec![balance::Level::FULL; 2];
            let chooser = balance::Chooser::of(method, &table, &[1, 1], &levels);
            snapshot.pools[0] = Arc::new(Pool::new(chooser, members, levels));
        });
        let verdicts: Vec<_> = (1..=10).map(|port| sent(&mut rig, &from((CLIENT, port), SYN))).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == PASSED).count(), 8, "{method:?}");
        assert_eq!(verdicts[8..], [Verdict::Drop(DropReason::BackendLimit); 2], "{method:?}");
        let opened = [0, 2].map(|id| rig.meters.backends[id].flows_opened.read());
        assert_eq!(opened, [3, 5], "{method:?}");
        rig.assert_conserved();
    }
}
