//! A plain first packet opens its flow in one go where the next hop is known, and by `admit` where it is not: both must come to
//! the same. Here one gateway has a router to its backend, so that the hop is known, and another has it twice: with several
//! routers a flow's hash decides, and every first packet goes to `admit`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc};

use datapath::{
    Arrival, DropReason, Request, Snapshot, Verdict,
    snapshot::{Network, Pool, Route, Routes, Service, VirtualServer},
};
use fixture::{
    BACKEND, BACKEND_6, BACKENDS, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, SELF, address, at, snapshot,
    virtual_address,
};
use flow::FlowKey;
use model::{BackendId, Mode, Protocol, VirtualServerId, WorkerId};
use testkit::packets::{self, ACK, FIN, Flags, RST, SYN, SYN_ACK};

const TO_BACKEND: Verdict = Verdict::Transmit(BACKENDS);
/// What the modes have in common that open flows in one go.
const MODES: [Mode; 2] = [Mode::Nat, Mode::Dsr];

fn segment(from: SocketAddr, to: SocketAddr, flags: Flags, ttl: u8) -> Vec<u8> {
    packets::tcp_with_ttl((CLIENT_MAC, CLIENTS_MAC), from, to, flags, b"payload", ttl)
}

/// From port 40000 of the client.
fn to(mode: Mode, flags: Flags) -> Vec<u8> {
    from(at(CLIENT, 40_000), mode, flags)
}

fn from(client: SocketAddr, mode: Mode, flags: Flags) -> Vec<u8> {
    segment(client, at(virtual_address(mode, false), 80), flags, 64)
}

fn key(client: SocketAddr, server: SocketAddr) -> FlowKey {
    FlowKey {
        source: client.ip().into(),
        destination: server.ip().into(),
        source_port: client.port(),
        destination_port: server.port(),
        protocol: 6,
        ..FlowKey::default()
    }
}

/// A gateway whose backend is behind a router, which is named so many times.
fn with_routers(mut snapshot: Snapshot, count: usize) -> Snapshot {
    let on_link = |to: &str, length, port| Route { to: Network::new(address(to), length), port, via: vec![] };
    snapshot.routes = Routes::new(vec![
        on_link("10.10.1.0", 24, CLIENTS),
        Route { via: vec![address(BACKEND); count], ..on_link("10.10.2.0", 24, BACKENDS) },
        on_link("2001:db8:2::", 64, BACKENDS),
    ]);
    let routes = [BACKEND, BACKEND_6].map(|backend| snapshot.routes.best(address(backend)));
    let backends = Arc::make_mut(&mut snapshot.backends).iter_mut().flatten();
    backends.zip(routes).for_each(|(backend, route)| backend.route = route);
    snapshot
}

/// More virtual servers like the one on port 80, with the same backend.
fn with_services(mut snapshot: Snapshot, mode: Mode, ports: RangeInclusive<u16>) -> Snapshot {
    let virtual_address = address(virtual_address(mode, false));
    let first = snapshot.services[&Service::new(virtual_address, 80, Protocol::Tcp)];
    let server = snapshot.virtual_servers[first.0 as usize].clone().unwrap();
    for port in ports {
        let service = Service::new(virtual_address, port, Protocol::Tcp);
        let id = VirtualServerId(snapshot.virtual_servers.len() as u32);
        Arc::make_mut(&mut snapshot.services).insert(service, id);
        let another = Some(VirtualServer { service, ..server.clone() });
        snapshot.virtual_servers = snapshot.virtual_servers.iter().cloned().chain([another]).collect();
    }
    snapshot
}

fn take_down(snapshot: &mut Snapshot) {
    snapshot.up.set(BackendId(0), false);
    snapshot.pools[0] = Arc::new(Pool::with_slots([balance::UNASSIGNED], vec![BackendId(0)]));
}

/// Two workers in the same place; the first opens flows in one go.
struct Twins {
    rigs: [Rig; 2],
}

impl Twins {
    fn new() -> Self {
        Self::with(snapshot(1), 1024)
    }

    fn with(snapshot: Snapshot, flows: usize) -> Self {
        let rig = |routers| Rig::with_room_for(flows, with_routers(snapshot.clone(), routers), WorkerId(0));
        let mut twins = Self { rigs: [rig(1), rig(2)] };
        // A flow by which the first learns the hop. It ends with its backend.
        let server = at(virtual_address(Mode::Dsr, false), 80);
        let first = packets::udp((CLIENT_MAC, CLIENTS_MAC), at("10.10.1.9", 9), server, b"");
        twins.both(|rig| {
            assert_eq!(rig.burst(CLIENTS, &[&first]), [TO_BACKEND]);
            rig.sent();
            rig.publish(|snapshot| {
                Arc::make_mut(&mut snapshot.backends).iter_mut().flatten().for_each(|one| one.incarnation = 1)
            });
            rig.keep_house();
            assert_eq!(rig.meters.flows.read(), 0);
        });
        twins
    }

    fn both<T>(&mut self, act: impl Fn(&mut Rig) -> T) -> [T; 2] {
        self.rigs.each_mut().map(act)
    }

    /// Sends a burst through both; the verdicts.
    fn burst(&mut self, frames: &[Vec<u8>]) -> Vec<Verdict> {
        self.arrive(false, frames)
    }

    fn arrive(&mut self, is_handed_over: bool, frames: &[Vec<u8>]) -> Vec<Verdict> {
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let arrival = Arrival { port: CLIENTS, is_handed_over };
        let [direct, generic] = self.both(|rig| (rig.arrive(arrival, &frames), rig.sent()));
        assert_eq!(direct, generic);
        self.compare();
        direct.0
    }

    /// All that is known of flows, and all that was counted.
    fn compare(&mut self) {
        let [direct, generic] = self.both(|rig| {
            rig.keep_house();
            rig.assert_conserved();
            let mut flows = Vec::new();
            rig.state.answer(Request::ListFlows { from: 0 }, (&rig.snapshot, rig.now), 4096, |row| {
                flows.push(format!("{row:?}"));
            });
            flows.sort();
            let meters = &rig.meters;
            let subjects = meters.backends.iter().take(4).chain(meters.virtual_servers.iter().take(16));
            let counted = subjects.map(|one| {
                let packets = (one.packets_in.read(), one.packets_out.read(), one.bytes_in.read());
                (packets, one.flows_opened.read(), one.flows_closed.read())
            });
            let drops: Vec<u64> = meters.drops.iter().map(|counter| counter.read()).collect();
            (flows, counted.collect::<Vec<_>>(), drops, meters.untracked_packets.read())
        });
        assert_eq!(direct, generic);
    }

    /// All of one flow: also what no list shows.
    fn flow(&mut self, key: &FlowKey) -> Option<String> {
        let [direct, generic] = self.both(|rig| rig.state.flow(key).map(|found| format!("{found:?}")));
        assert_eq!(direct, generic);
        direct
    }

    fn assert_opened(&mut self, mode: Mode) {
        let (client, server) = (at(CLIENT, 40_000), at(virtual_address(mode, false), 80));
        assert!(self.flow(&key(client, server)).is_some());
        let reply = self.flow(&key(at(BACKEND, 8080), client));
        assert_eq!(reply.is_some(), mode == Mode::Nat);
    }

    fn flows(&self) -> u64 {
        self.rigs[0].meters.flows.read()
    }
}

#[test]
fn a_first_segment_opens_its_flow() {
    for mode in MODES {
        let mut twins = Twins::new();
        assert_eq!(twins.burst(&[to(mode, SYN)]), [TO_BACKEND]);
        twins.assert_opened(mode);
        assert_eq!(twins.burst(&[to(mode, ACK)]), [TO_BACKEND]);
        twins.assert_opened(mode);
    }
}

#[test]
fn those_behind_it_in_its_burst_are_of_its_flow() {
    for mode in MODES {
        for next in [SYN, ACK, FIN, RST] {
            let mut twins = Twins::new();
            assert_eq!(twins.burst(&[to(mode, SYN), to(mode, next), to(mode, ACK)]), [TO_BACKEND; 3]);
            twins.assert_opened(mode);
            assert_eq!(twins.flows(), 1);
        }
    }
}

#[test]
fn a_first_segment_after_a_reset_in_its_burst_opens_another_flow() {
    for mode in MODES {
        let mut twins = Twins::new();
        let burst = [SYN, RST, SYN].map(|flags| to(mode, flags));
        assert_eq!(twins.burst(&burst), [TO_BACKEND; 3]);
        twins.assert_opened(mode);
        assert_eq!(twins.flows(), 1);
    }
}

#[test]
fn what_begins_in_the_middle_opens_a_flow_only_where_that_is_wanted() {
    for (mode, is_wanted) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        for flags in [ACK, FIN, SYN_ACK, RST] {
            let mut snapshot = snapshot(1);
            let servers = Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten();
            servers.for_each(|server| server.loose_initiation = is_wanted);
            let mut twins = Twins::with(snapshot, 1024);
            let is_open = is_wanted && (flags.fin || !flags.syn && !flags.rst);
            let verdict = if is_open { TO_BACKEND } else { Verdict::Drop(DropReason::NoFlow) };
            assert_eq!(twins.burst(&[to(mode, flags), to(mode, flags)]), [verdict; 2]);
            assert_eq!(twins.flows(), u64::from(is_open));
        }
    }
}

#[test]
fn a_first_segment_whose_ttl_ends_here_is_answered_and_its_flow_goes_on() {
    for mode in MODES {
        let mut twins = Twins::new();
        let server = at(virtual_address(mode, false), 80);
        let last = segment(at(CLIENT, 40_000), server, SYN, 1);
        let expected = if mode == Mode::Nat { Verdict::Transmit(CLIENTS) } else { TO_BACKEND };
        assert_eq!(twins.burst(&[last, to(mode, SYN)]), [expected, TO_BACKEND]);
        twins.assert_opened(mode);
        assert_eq!(twins.flows(), 1);
    }
}

#[test]
fn a_first_segment_that_is_too_long_for_the_backends_link_is_answered() {
    for mode in MODES {
        let mut snapshot = snapshot(1);
        snapshot.ports[BACKENDS.index()].mtu = 46;
        let mut twins = Twins::with(snapshot, 1024);
        let verdicts = twins.burst(&[to(mode, SYN), to(mode, ACK)]);
        // Who was told and sends as much again leaves it to us to cut it up.
        assert_eq!(verdicts, [Verdict::Transmit(CLIENTS), Verdict::Transmit(BACKENDS)]);
        twins.assert_opened(mode);
    }
}

#[test]
fn sources_that_no_client_has_open_no_flow() {
    use DropReason::{SourceIsOurs, SourceMartian};
    for mode in MODES {
        let mut twins = Twins::new();
        let own =
            [SELF, "10.10.1.1", virtual_address(Mode::Nat, false), virtual_address(Mode::FullNat, false)];
        let martian = ["127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1"];
        for (source, reason) in
            own.map(|ip| (ip, SourceIsOurs)).into_iter().chain(martian.map(|ip| (ip, SourceMartian)))
        {
            let burst = [SYN, ACK].map(|flags| from(at(source, 40_000), mode, flags));
            assert_eq!(twins.burst(&burst), [Verdict::Drop(reason); 2], "{source}");
        }
        assert_eq!(twins.flows(), 0);
    }
}

#[test]
fn a_backend_that_is_down_gets_no_first_segment() {
    for mode in MODES {
        let mut twins = Twins::new();
        assert_eq!(twins.burst(&[from(at(CLIENT, 1), mode, SYN)]), [TO_BACKEND]);
        twins.both(|rig| rig.publish(take_down));
        let burst = [from(at(CLIENT, 1), mode, ACK), to(mode, SYN), from(at(CLIENT, 1), mode, SYN)];
        let refused = Verdict::Drop(DropReason::NoBackend);
        // Where the backend's word passes, it has not agreed to the first flow yet.
        let again = if mode == Mode::Dsr { TO_BACKEND } else { refused };
        assert_eq!(twins.burst(&burst), [TO_BACKEND, refused, again]);
        assert_eq!(twins.flows(), u64::from(mode == Mode::Dsr));
    }
}

#[test]
fn a_backend_without_a_route_gets_no_first_segment() {
    for mode in MODES {
        let mut twins = Twins::new();
        twins.both(|rig| {
            rig.publish(|snapshot| {
                Arc::make_mut(&mut snapshot.backends).iter_mut().flatten().for_each(|one| one.route = None);
            });
        });
        assert_eq!(twins.burst(&[to(mode, SYN)]), [Verdict::Drop(DropReason::NoRoute)]);
        assert_eq!(twins.flows(), 0);
    }
}

#[test]
fn a_full_table_takes_no_flow() {
    for mode in MODES {
        let mut snapshot = snapshot(1);
        let servers = Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten();
        servers.for_each(|server| server.tcp.evicts_embryonic = false);
        let mut twins = Twins::with(snapshot, 1);
        let burst = [from(at(CLIENT, 1), mode, SYN), to(mode, SYN), from(at(CLIENT, 1), mode, ACK)];
        let refused = if mode == Mode::Dsr { TO_BACKEND } else { Verdict::Drop(DropReason::FlowTableFull) };
        assert_eq!(twins.burst(&burst), [TO_BACKEND, refused, TO_BACKEND]);
        assert_eq!(twins.flows(), 1);
    }
}

#[test]
fn two_services_of_one_client_that_a_backend_could_not_tell_apart_are_not_both_served() {
    for mode in MODES {
        let mut twins = Twins::with(with_services(snapshot(1), mode, 81..=81), 1024);
        let other = segment(at(CLIENT, 40_000), at(virtual_address(mode, false), 81), SYN, 64);
        let expected = if mode == Mode::Nat { Verdict::Drop(DropReason::FlowCollision) } else { TO_BACKEND };
        assert_eq!(twins.burst(&[to(mode, SYN), other.clone()]), [TO_BACKEND, expected]);
        assert_eq!(twins.burst(&[other]), [expected]);
        twins.assert_opened(mode);
    }
}

#[test]
fn the_last_flow_of_a_client_with_many_goes_on_when_the_others_are_over() {
    let mut twins = Twins::with(with_services(snapshot(1), Mode::Dsr, 81..=87), 1024);
    let to =
        |port, flags| segment(at(CLIENT, 40_000), at(virtual_address(Mode::Dsr, false), port), flags, 64);
    for port in 80..88 {
        assert_eq!(twins.burst(&[to(port, SYN), to(port, ACK)]), [TO_BACKEND; 2]);
    }
    for port in 80..87 {
        assert_eq!(twins.burst(&[to(port, RST)]), [TO_BACKEND]);
    }
    twins.both(|rig| rig.now.0 += 6000);
    twins.compare();
    assert_eq!(twins.flows(), 1);
    assert_eq!(twins.burst(&[to(87, ACK)]), [TO_BACKEND]);
    assert_eq!(twins.burst(&[to(87, SYN)]), [TO_BACKEND]);
    assert_eq!(twins.flows(), 1);
}

#[test]
fn a_first_segment_goes_to_the_worker_that_owns_its_flow() {
    let mut twins = Twins::with(snapshot(2), 1024);
    let mut handed_over = 0;
    for port in 1..33 {
        let segments = [SYN, SYN, ACK].map(|flags| from(at(CLIENT, port), Mode::Nat, flags));
        let verdicts = twins.burst(&segments);
        if verdicts[0] == Verdict::HandOver(WorkerId(1)) {
            assert_eq!(verdicts, [Verdict::HandOver(WorkerId(1)); 3]);
            // Here it is as if this worker were the owner, and had got them from the other one.
            assert_eq!(twins.arrive(true, &segments), [TO_BACKEND; 3]);
            handed_over += 1;
        } else {
            assert_eq!(verdicts, [TO_BACKEND; 3]);
        }
        assert_eq!(twins.burst(&[from(at(CLIENT, port), Mode::Dsr, SYN)]), [TO_BACKEND]);
    }
    assert!((8..25).contains(&handed_over), "{handed_over} of 32 were another worker's");
    assert_eq!(twins.flows(), 64);
}

/// Numbers that look random and are the same every time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        choices[(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % choices.len()]
    }
}

#[test]
fn conversations_fare_the_same_however_their_flows_were_opened() {
    for (seed, flows, workers) in [(1, 1024, 1), (2, 12, 1), (3, 1024, 2)] {
        let (mut dice, mut twins) = (Dice(seed), Twins::with(snapshot(workers), flows));
        for round in 0..200 {
            let frames: Vec<Vec<u8>> = (0..32)
                .map(|_| {
                    let client =
                        at(dice.one_of(&[CLIENT, "10.10.1.3"]), dice.one_of(&[1, 2, 3, 4, 5, 6, 7, 8, 9]));
                    let server =
                        at(virtual_address(dice.one_of(&MODES), false), dice.one_of(&[80, 80, 80, 80, 81]));
                    let flags = dice.one_of(&[SYN, SYN, SYN, ACK, ACK, SYN_ACK, FIN, RST]);
                    segment(client, server, flags, dice.one_of(&[64, 64, 64, 64, 2, 1]))
                })
                .collect();
            twins.arrive(workers > 1 && round % 3 == 0, &frames);
            let passed = dice.one_of(&[0, 10, 1000, 6000]);
            twins.both(|rig| rig.now.0 += passed);
            if round % 16 == 0 {
                twins.both(|rig| rig.publish(|_| ()));
            }
        }
        let opened = twins.rigs[0].meters.virtual_servers.iter().take(16).map(|one| one.flows_opened.read());
        let opened: u64 = opened.sum();
        assert!(opened > 100, "{opened} flows were opened");
    }
}
