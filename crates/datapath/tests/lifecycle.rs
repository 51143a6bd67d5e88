//! How flows begin, end and begin again; and what two workers do with one flow.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use datapath::{
    Arrival, DropReason, Verdict,
    snapshot::{Network, Pool, Route, Routes},
};
use fixture::{
    BACKEND, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, address,
    virtual_address,
};
use model::{MacAddress, Millis, Mode, WorkerId};
use testkit::packets::{self, ACK, FIN, Flags, Link, RST, SYN, SYN_ACK, describe};

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_BACKEND: Link = (BACKEND_MAC, BACKENDS_MAC);

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(CLIENT.parse().unwrap(), port)
}

fn server(mode: Mode) -> SocketAddr {
    SocketAddr::new(virtual_address(mode, false).parse().unwrap(), 80)
}

fn backend() -> SocketAddr {
    SocketAddr::new(BACKEND.parse().unwrap(), 8080)
}

fn segment(flags: Flags) -> Vec<u8> {
    packets::tcp(TO_GATEWAY, client(1), server(Mode::Nat), flags, b"")
}

fn reply(flags: Flags) -> Vec<u8> {
    packets::tcp(FROM_BACKEND, backend(), client(1), flags, b"")
}

fn established() -> Rig {
    let mut rig = Rig::new();
    rig.forwarded(CLIENTS, &segment(SYN), BACKENDS);
    rig.forwarded(BACKENDS, &reply(SYN_ACK), CLIENTS);
    rig.forwarded(CLIENTS, &segment(ACK), BACKENDS);
    rig
}

/// The virtual servers, to change their rules.
fn rules(snapshot: &mut datapath::Snapshot) -> Vec<&mut datapath::snapshot::VirtualServer> {
    Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten().collect()
}

/// Lets time pass, with as much housekeeping as there is to do; whether the flow is still known.
fn survives(rig: &mut Rig, millis: u64) -> bool {
    rig.now = Millis(rig.now.0 + millis);
    rig.keep_house();
    rig.meters.flows.read() == 1
}

#[test]
fn a_handshake_that_is_not_completed_is_soon_forgotten() {
    let mut rig = Rig::new();
    rig.forwarded(CLIENTS, &segment(SYN), BACKENDS);
    rig.forwarded(BACKENDS, &reply(SYN_ACK), CLIENTS);
    assert!(survives(&mut rig, 5_000));
    assert!(!survives(&mut rig, 1));
    assert_eq!(rig.meters.flows_expired.read(), 1);
}

#[test]
fn an_established_flow_lives_for_its_idle_timeout() {
    let mut rig = established();
    assert!(survives(&mut rig, 300_000));
    rig.forwarded(BACKENDS, &reply(ACK), CLIENTS);
    assert!(survives(&mut rig, 300_000), "a packet of either side sets the clock back");
    rig.publish(|snapshot| rules(snapshot).iter_mut().for_each(|server| server.tcp.reset_on_timeout = false));
    assert!(!survives(&mut rig, 1));
    rig.dropped(CLIENTS, &segment(ACK), DropReason::NoFlow);
    rig.assert_conserved();
}

#[test]
fn a_flow_is_over_when_both_sides_are_done_or_one_breaks_off() {
    let mut rig = established();
    rig.forwarded(CLIENTS, &segment(FIN), BACKENDS);
    assert!(survives(&mut rig, 100_000), "half closed is not closed");
    rig.forwarded(BACKENDS, &reply(FIN), CLIENTS);
    assert!(survives(&mut rig, 1), "the client has yet to acknowledge the backend's");
    rig.forwarded(CLIENTS, &segment(ACK), BACKENDS);
    assert!(!survives(&mut rig, 1), "all is said");
    let mut rig = established();
    rig.forwarded(BACKENDS, &reply(RST), CLIENTS);
    assert!(survives(&mut rig, 5_000));
    assert!(survives(&mut rig, 1), "the client is asked whether it has believed that");
    assert!(!survives(&mut rig, 5_001));
    rig.assert_conserved();
}

/// A segment of the client's with these numbers.
fn numbered(flags: Flags, numbers: [u32; 2], data: &[u8]) -> Vec<u8> {
    packets::tcp_with_numbers(TO_GATEWAY, client(1), server(Mode::Nat), flags, numbers, data)
}

/// Sequence number, acknowledgement and flags of a segment over IPv4.
fn numbers(frame: &[u8]) -> (u32, u32, u8) {
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    (word(38), word(42), frame[47])
}

#[test]
fn who_was_silent_too_long_is_told_where_it_is() {
    const RESET: u8 = 4;
    let mut rig = established();
    rig.now = Millis(rig.now.0 + 300_001);
    let asked = rig.keep_house();
    assert_eq!(asked.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [CLIENTS, BACKENDS]);
    assert!(asked.iter().all(|(_, frame)| numbers(frame).2 == 2 && packets::check_checksums(frame).is_ok()));
    assert_eq!(describe(&asked[0].1), "tcp 198.51.100.1:80 > 10.10.1.2:1 ttl 64");
    assert_eq!(describe(&asked[1].1), "tcp 10.10.1.2:1 > 10.10.2.11:8080 ttl 64");
    let (verdict, told) = rig.one(CLIENTS, &numbered(ACK, [7000, 9000], b""));
    assert_eq!(verdict, Verdict::Transmit(CLIENTS));
    assert!(told.iter().all(|(_, frame)| packets::check_checksums(frame).is_ok()));
    assert_eq!((told[0].0, numbers(&told[0].1)), (CLIENTS, (9000, 0, RESET)), "what it expects next");
    assert_eq!(
        (told[1].0, numbers(&told[1].1)),
        (BACKENDS, (7000, 9000, RESET | 16)),
        "what the client would say"
    );
    let (_, told) = rig.one(BACKENDS, &reply(ACK));
    assert_eq!((told.len(), told[0].0, numbers(&told[0].1)), (1, BACKENDS, (2000, 0, RESET)));
    assert_eq!(rig.one(BACKENDS, &reply(RST)), (Verdict::Absorbed, vec![]));
    assert!(!survives(&mut rig, 3_001));
    assert_eq!((rig.meters.flows_expired.read(), rig.meters.originated_frames.read()), (1, 3));
    rig.assert_conserved();
}

#[test]
fn a_client_that_was_told_may_begin_anew_at_once() {
    let mut rig = established();
    rig.now = Millis(rig.now.0 + 300_001);
    rig.keep_house();
    rig.forwarded(CLIENTS, &segment(SYN), BACKENDS);
    assert!(survives(&mut rig, 5_000), "the handshake's time runs anew");
}

#[test]
fn a_reset_that_nobody_believes_ends_no_flow() {
    for by_client in [true, false] {
        let mut rig = established();
        if by_client {
            rig.forwarded(CLIENTS, &numbered(RST, [0xdead_beef, 0], b""), BACKENDS);
        } else {
            rig.forwarded(BACKENDS, &reply(RST), CLIENTS);
        }
        rig.now = Millis(rig.now.0 + 5_001);
        let asked = rig.keep_house();
        let (port, to) = if by_client { (BACKENDS, CLIENTS) } else { (CLIENTS, BACKENDS) };
        assert_eq!((asked.len(), asked[0].0, numbers(&asked[0].1).2), (1, port, 16), "who was told is asked");
        let answer = if by_client { reply(ACK) } else { segment(ACK) };
        rig.forwarded(port, &answer, to);
        assert!(survives(&mut rig, 300_000), "by client: {by_client}");
        rig.assert_conserved();
    }
}

#[test]
fn a_reset_that_was_believed_is_confirmed() {
    let mut rig = established();
    rig.forwarded(CLIENTS, &segment(RST), BACKENDS);
    rig.now = Millis(rig.now.0 + 5_001);
    assert_eq!(rig.keep_house().len(), 1);
    rig.forwarded(BACKENDS, &reply(RST), CLIENTS);
    assert!(!survives(&mut rig, 5_001));
}

#[test]
fn a_syn_over_a_flow_that_was_broken_off_is_the_backends_to_answer() {
    let mut rig = established();
    rig.forwarded(CLIENTS, &segment(RST), BACKENDS);
    rig.forwarded(CLIENTS, &numbered(SYN, [5, 0], b""), BACKENDS);
    let backend = Arc::clone(&rig.meters);
    let backend = backend.backend(model::BackendId(0)).unwrap();
    assert_eq!((backend.flows_opened.read(), backend.flows_closed.read()), (1, 0), "nobody knows yet");
    rig.forwarded(BACKENDS, &reply(SYN_ACK), CLIENTS);
    assert_eq!((backend.flows_opened.read(), backend.flows_closed.read()), (2, 1));
    rig.forwarded(CLIENTS, &segment(ACK), BACKENDS);
    assert!(survives(&mut rig, 300_000));
}

#[test]
fn an_old_syn_does_not_take_the_place_of_an_ended_flow() {
    let mut rig = established();
    rig.publish(|snapshot| rules(snapshot).iter_mut().for_each(|server| server.tcp.time_wait = 60_000));
    rig.forwarded(CLIENTS, &numbered(FIN, [7000, 2000], b""), BACKENDS);
    rig.forwarded(
        BACKENDS,
        &packets::tcp_with_numbers(FROM_BACKEND, backend(), client(1), FIN, [2000, 7001], b""),
        CLIENTS,
    );
    rig.forwarded(CLIENTS, &numbered(ACK, [7001, 2001], b""), BACKENDS);
    rig.forwarded(CLIENTS, &numbered(SYN, [6000, 0], b""), BACKENDS);
    assert!(survives(&mut rig, 60_000));
    let opened = |rig: &Rig| rig.meters.backend(model::BackendId(0)).unwrap().flows_opened.read();
    assert_eq!(opened(&rig), 1, "it is of before the end");
    rig.forwarded(CLIENTS, &numbered(SYN, [7001, 0], b""), BACKENDS);
    assert_eq!(opened(&rig), 2, "this one is not");
}

#[test]
fn nobody_but_the_backend_completes_a_handshake() {
    let mut rig = Rig::new();
    rig.forwarded(CLIENTS, &segment(SYN), BACKENDS);
    rig.forwarded(CLIENTS, &segment(ACK), BACKENDS);
    assert!(survives(&mut rig, 5_000));
    assert!(!survives(&mut rig, 1));
    let dsr = |flags| packets::tcp(TO_GATEWAY, client(1), server(Mode::Dsr), flags, b"");
    rig.forwarded(CLIENTS, &dsr(SYN), BACKENDS);
    rig.forwarded(CLIENTS, &dsr(ACK), BACKENDS);
    assert!(survives(&mut rig, 300_000), "where its word does not pass, the client's must do");
}

#[test]
fn a_flow_that_closes_loosely_is_forgotten_with_the_first_fin() {
    let mut rig = established();
    rig.publish(|snapshot| rules(snapshot).iter_mut().for_each(|server| server.tcp.loose_close = true));
    rig.forwarded(CLIENTS, &segment(FIN), BACKENDS);
    rig.dropped(BACKENDS, &reply(FIN), DropReason::NoFlow);
    rig.assert_conserved();
}

#[test]
fn what_came_before_the_syn_in_its_burst_still_belongs_to_the_old_flow() {
    let mut rig = established();
    let verdicts = rig.burst(CLIENTS, &[&segment(RST), &segment(SYN), &segment(ACK)]);
    assert_eq!(verdicts, [Verdict::Transmit(BACKENDS); 3]);
    let expected = describe(&rig.sent()[0].1);
    assert!(expected.starts_with("tcp 10.10.1.2:1 > 10.10.2.11:8080"), "{expected}");
    rig.assert_conserved();
}

#[test]
fn a_syn_over_a_closing_flow_opens_a_new_one() {
    let mut rig = established();
    rig.forwarded(CLIENTS, &segment(FIN), BACKENDS);
    rig.forwarded(BACKENDS, &reply(FIN), CLIENTS);
    let again = packets::tcp_with_numbers(TO_GATEWAY, client(1), server(Mode::Nat), SYN, [1001, 0], b"");
    rig.forwarded(CLIENTS, &again, BACKENDS);
    let backend = rig.meters.backend(model::BackendId(0)).unwrap();
    assert_eq!((backend.flows_opened.read(), backend.flows_closed.read()), (2, 1));
    assert!(survives(&mut rig, 5_000), "the handshake's time runs anew");
}

#[test]
fn a_flow_keeps_its_backend_while_that_is_down_but_a_datagram_does_not() {
    let mut rig = established();
    let datagram = packets::udp(TO_GATEWAY, client(1), server(Mode::Nat), b"");
    rig.forwarded(CLIENTS, &datagram, BACKENDS);
    rig.publish(|snapshot| {
        (0..snapshot.backends.len() as u32).for_each(|id| snapshot.up.set(model::BackendId(id), false));
        snapshot.pools[0] = Arc::new(Pool::with_slots([balance::UNASSIGNED], vec![]));
    });
    rig.forwarded(CLIENTS, &segment(ACK), BACKENDS);
    rig.dropped(CLIENTS, &datagram, DropReason::NoBackend);
    rig.assert_conserved();
}

#[test]
fn a_datagram_leaves_a_backend_that_is_down_although_that_still_answers() {
    let mut rig = Rig::new();
    let datagram = packets::udp(TO_GATEWAY, client(1), server(Mode::Nat), b"");
    rig.forwarded(CLIENTS, &datagram, BACKENDS);
    rig.publish(|snapshot| {
        snapshot.up.set(model::BackendId(0), false);
        snapshot.pools[0] = Arc::new(Pool::with_slots([balance::UNASSIGNED], vec![]));
    });
    rig.forwarded(BACKENDS, &packets::udp(FROM_BACKEND, backend(), client(1), b""), CLIENTS);
    rig.dropped(CLIENTS, &datagram, DropReason::NoBackend);
    rig.assert_conserved();
}

#[test]
fn a_flow_takes_the_new_router_when_its_route_has_changed() {
    const ROUTER: &str = "10.10.2.99";
    const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 99];
    let mut rig = established();
    rig.publish(|snapshot| {
        let to = Network::new(address(BACKEND), 24);
        snapshot.routes = Routes::new(vec![Route { to, port: BACKENDS, via: vec![address(ROUTER)] }]);
        Arc::make_mut(&mut snapshot.backends)[0].as_mut().unwrap().route =
            snapshot.routes.best(address(BACKEND));
        snapshot.ports[BACKENDS.index()].neighbours.push((address(ROUTER), MacAddress(ROUTER_MAC)));
    });
    rig.forwarded(BACKENDS, &reply(ACK), CLIENTS);
    assert_eq!(rig.forwarded(CLIENTS, &segment(ACK), BACKENDS)[..6], ROUTER_MAC);
    rig.publish(|snapshot| Arc::make_mut(&mut snapshot.backends)[0].as_mut().unwrap().route = None);
    rig.dropped(CLIENTS, &segment(ACK), DropReason::NoRoute);
    rig.assert_conserved();
}

#[test]
fn flows_of_a_removed_backend_end() {
    let mut rig = established();
    rig.publish(|snapshot| Arc::make_mut(&mut snapshot.backends)[0] = None);
    rig.dropped(CLIENTS, &segment(RST), DropReason::BackendRemoved);
    rig.dropped(CLIENTS, &segment(ACK), DropReason::NoFlow);
    let mut rig = established();
    rig.publish(|snapshot| Arc::make_mut(&mut snapshot.backends)[0] = None);
    rig.forwarded(CLIENTS, &segment(ACK), CLIENTS);
    rig.dropped(CLIENTS, &segment(ACK), DropReason::NoFlow);
    let mut rig = established();
    rig.publish(|snapshot| Arc::make_mut(&mut snapshot.backends)[0].as_mut().unwrap().incarnation = 1);
    assert_eq!(rig.keep_house().len(), 1, "the client is asked for its numbers, and nobody else");
    assert!(!survives(&mut rig, 3_001), "an id that was reused is another backend");
}

#[test]
fn a_record_that_is_given_up_in_a_burst_is_used_again_in_it() {
    let mut rig = established();
    rig.publish(|snapshot| Arc::make_mut(&mut snapshot.backends)[0].as_mut().unwrap().incarnation = 1);
    let other = |flags| packets::tcp(TO_GATEWAY, client(2), server(Mode::Nat), flags, b"");
    let verdicts = rig.burst(CLIENTS, &[&segment(ACK), &other(SYN), &segment(ACK), &other(ACK)]);
    assert_eq!(
        verdicts,
        [
            Verdict::Transmit(CLIENTS), // a reset
            Verdict::Transmit(BACKENDS),
            Verdict::Drop(DropReason::NoFlow),
            Verdict::Transmit(BACKENDS),
        ]
    );
    rig.assert_conserved();
}

#[test]
fn a_packet_that_expires_is_not_counted_as_passed_on() {
    let mut rig = established();
    let backend = |rig: &Rig| rig.meters.backend(model::BackendId(0)).unwrap().packets_in.read();
    let before = backend(&rig);
    let mut expiring = segment(ACK);
    (expiring[22], expiring[24]) = (1, expiring[24].wrapping_add(63)); // the TTL was 64
    rig.forwarded(CLIENTS, &expiring, CLIENTS);
    assert_eq!(backend(&rig), before);
    rig.forwarded(CLIENTS, &segment(ACK), BACKENDS);
    assert_eq!(backend(&rig), before + 1);
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_old_ones() {
    let mut rig = Rig::new();
    rig.publish(|snapshot| rules(snapshot).iter_mut().for_each(|server| server.tcp.evicts_embryonic = false));
    let open = |rig: &mut Rig, port, mode| {
        rig.one(CLIENTS, &packets::tcp(TO_GATEWAY, client(port), server(mode), SYN, b"")).0
    };
    for port in 1..=1024 {
        assert_eq!(open(&mut rig, port, Mode::Nat), Verdict::Transmit(BACKENDS));
    }
    assert_eq!(open(&mut rig, 2000, Mode::Nat), Verdict::Drop(DropReason::FlowTableFull));
    assert_eq!(open(&mut rig, 2000, Mode::Dsr), Verdict::Transmit(BACKENDS), "by hash alone");
    assert_eq!(rig.meters.untracked_packets.read(), 1);
    let large = packets::tcp(TO_GATEWAY, client(2000), server(Mode::Dsr), SYN, &[0; 1461]);
    let dsr = |rig: &Rig| rig.meters.virtual_server(model::VirtualServerId(4)).unwrap().packets_in.read();
    rig.dropped(CLIENTS, &large, DropReason::FrameOverMtu);
    assert_eq!((rig.meters.untracked_packets.read(), dsr(&rig)), (1, 1), "only what leaves is counted");
    rig.forwarded(CLIENTS, &segment(ACK), BACKENDS);
    rig.assert_conserved();
}

/// Two workers with one snapshot; what one of them hands over the other handles.
struct Pair([Rig; 2]);

impl Pair {
    fn new() -> Self {
        Self([0, 1].map(|id| Rig::with(fixture::snapshot(2), WorkerId(id))))
    }

    /// A frame arrives at `worker`; what leaves by any port of either, and whether it was handed over.
    fn arrive(&mut self, worker: usize, port: model::PortId, frame: &[u8]) -> (Vec<u8>, bool) {
        let (verdict, mut sent) = self.0[worker].one(port, frame);
        let Verdict::HandOver(owner) = verdict else {
            return (sent.remove(0).1, false);
        };
        assert_ne!(owner.index(), worker);
        let other = &mut self.0[owner.index()];
        let verdicts = other.arrive(Arrival { port, is_handed_over: true }, &[frame]);
        assert!(matches!(verdicts[0], Verdict::Transmit(_)), "{verdicts:?}");
        (other.sent().remove(0).1, true)
    }
}

#[test]
fn a_nat_flow_belongs_to_one_worker_wherever_its_packets_arrive() {
    let mut pair = Pair::new();
    let mut handed_over = 0;
    for port in 1..=200 {
        let syn = packets::tcp(TO_GATEWAY, client(port), server(Mode::Nat), SYN, b"");
        let answer = packets::tcp(FROM_BACKEND, backend(), client(port), SYN_ACK, b"");
        for worker in 0..2 {
            handed_over += i32::from(pair.arrive(worker, CLIENTS, &syn).1);
            let (back, crossed) = pair.arrive(worker, BACKENDS, &answer);
            assert!(describe(&back).contains(&format!("> {} ttl 63", client(port))));
            handed_over += i32::from(crossed);
        }
    }
    assert_eq!(handed_over, 400, "every packet that arrives at the wrong one of two");
    let flows: u64 = pair
        .0
        .iter_mut()
        .map(|rig| {
            rig.keep_house();
            rig.meters.flows.read()
        })
        .sum();
    assert_eq!(flows, 200);
    pair.0.iter_mut().for_each(Rig::assert_conserved);
}

#[test]
fn where_queues_spill_over_a_flow_belongs_to_one_worker_in_all_modes() {
    let mut pair = Pair::new();
    for rig in &mut pair.0 {
        rig.snapshot.ports[CLIENTS.index()].device.spills_over = true;
    }
    for (mode, port) in
        [Mode::FullNat, Mode::Dsr].into_iter().flat_map(|mode| (1..=100).map(move |port| (mode, port)))
    {
        let syn = packets::tcp(TO_GATEWAY, client(port), server(mode), SYN, b"");
        let (out, opener_is_other) = pair.arrive(0, CLIENTS, &syn);
        let owner = usize::from(opener_is_other);
        let source: SocketAddr = describe(&out).split(' ').nth(1).unwrap().parse().unwrap();
        for worker in 0..2 {
            let ack = packets::tcp(TO_GATEWAY, client(port), server(mode), ACK, b"");
            assert_eq!(pair.arrive(worker, CLIENTS, &ack).1, worker != owner);
            if mode == Mode::FullNat {
                let answer = packets::tcp(FROM_BACKEND, backend(), source, SYN_ACK, b"");
                assert_eq!(pair.arrive(worker, BACKENDS, &answer).1, worker != owner);
            }
        }
    }
    pair.0.iter_mut().for_each(Rig::assert_conserved);
}

#[test]
fn a_full_nat_reply_finds_the_worker_that_opened_the_flow() {
    let mut pair = Pair::new();
    for port in 1..=200 {
        let opener = usize::from(port) % 2;
        let syn = packets::tcp(TO_GATEWAY, client(port), server(Mode::FullNat), SYN, b"");
        let (out, crossed) = pair.arrive(opener, CLIENTS, &syn);
        assert!(!crossed, "whoever receives the first packet owns the flow");
        let source: SocketAddr = describe(&out).split(' ').nth(1).unwrap().parse().unwrap();
        let answer = packets::tcp(FROM_BACKEND, backend(), source, SYN_ACK, b"");
        for worker in 0..2 {
            let (back, crossed) = pair.arrive(worker, BACKENDS, &answer);
            assert_eq!(crossed, worker != opener);
            assert!(describe(&back).contains(&format!("> {} ttl 63", client(port))));
        }
    }
    pair.0.iter_mut().for_each(Rig::assert_conserved);
}

#[test]
fn a_packet_that_was_handed_over_is_not_handed_on() {
    let mut pair = Pair::new();
    for worker in &mut pair.0 {
        let stray = packets::tcp(FROM_BACKEND, backend(), client(9), ACK, b"");
        let verdicts = worker.arrive(Arrival { port: BACKENDS, is_handed_over: true }, &[&stray]);
        assert_eq!(verdicts, [Verdict::Drop(DropReason::NoFlow)]);
        worker.assert_conserved();
    }
}
