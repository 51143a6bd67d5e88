//! What becomes of a packet does not depend on the burst that it comes in: random packets, all at once and one by one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use datapath::{Arrival, Request, Snapshot, Verdict, snapshot::Pool};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, SELF, at, virtual_address,
};
use model::{BackendId, Millis, Mode, PortId, WorkerId};
use nic::MAX_BURST;
use testkit::packets::{self, ACK, FIN, Link, RST, SYN, SYN_ACK, describe};

/// Numbers that look random and are the same every time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % limit
    }

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A packet of one of a few conversations.
fn spoken(dice: &mut Dice, link: Link, from: SocketAddr, to: SocketAddr, is_udp: bool) -> Vec<u8> {
    let payload = vec![0x55; if dice.once_in(20) { 1452 + dice.below(20) } else { dice.below(30) }];
    if is_udp {
        let mut frame = packets::udp(link, from, to, &payload);
        if dice.once_in(4) && from.is_ipv4() {
            frame[40..42].copy_from_slice(&[0, 0]);
        }
        return frame;
    }
    let flags = dice.one_of(&[SYN, SYN, SYN_ACK, ACK, ACK, ACK, ACK, FIN, RST]);
    let ttl = dice.one_of(&[64, 64, 64, 64, 255, 2, 1]);
    packets::tcp_with_ttl(link, from, to, flags, &payload, ttl)
}

fn from_a_client(dice: &mut Dice, to: [u8; 6]) -> Vec<u8> {
    let v6 = dice.once_in(3);
    let mode = dice.one_of(&[Mode::Nat, Mode::FullNat, Mode::Dsr]);
    let client = at(if v6 { CLIENT_6 } else { CLIENT }, 1 + dice.below(4) as u16);
    let server = at(virtual_address(mode, v6), if dice.once_in(30) { 81 } else { 80 });
    let is_udp = dice.once_in(4);
    spoken(dice, (CLIENT_MAC, to), client, server, is_udp)
}

/// What a backend says: to what it was sent, or out of the blue.
fn from_a_backend(dice: &mut Dice, seen: &[String]) -> Vec<u8> {
    let link = (BACKEND_MAC, BACKENDS_MAC);
    if dice.once_in(8) || seen.is_empty() {
        let v6 = dice.once_in(3);
        let (from, to) = if v6 { (BACKEND_6, CLIENT_6) } else { (BACKEND, CLIENT) };
        let (client, is_udp) = (at(to, 1 + dice.below(4) as u16), dice.once_in(4));
        return spoken(dice, link, at(from, 8080), client, is_udp);
    }
    // "tcp CLIENT > BACKEND ttl 63"
    let words: Vec<&str> = seen[dice.below(seen.len())].split(' ').collect();
    spoken(dice, link, words[3].parse().unwrap(), words[1].parse().unwrap(), words[0] == "udp")
}

fn arp(operation: u8) -> Vec<u8> {
    let ip = |text: &str| match text.parse().unwrap() {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let mut frame = [&BACKENDS_MAC[..], &BACKEND_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    for part in [&BACKEND_MAC[..], &ip(BACKEND), &BACKENDS_MAC, &ip(SELF)] {
        frame.extend(part);
    }
    frame
}

/// Makes an unusual frame of a usual one.
fn spoilt(dice: &mut Dice, mut frame: Vec<u8>) -> Vec<u8> {
    match dice.below(16) {
        0 => {
            let position = dice.below(frame.len().min(80));
            frame[position] = dice.below(256) as u8;
            frame
        }
        1 => [&frame[..12], &[0x81, 0, 0xa0, 0], &frame[12..]].concat(),
        2 => [&frame[..], &[0; 9]].concat(),
        3 => frame[..frame.len() - dice.below(30)].to_vec(),
        _ => frame,
    }
}

fn frame(dice: &mut Dice, port: PortId, seen: &[String]) -> Vec<u8> {
    let frame = match (port, dice.below(10)) {
        (CLIENTS, _) => from_a_client(dice, CLIENTS_MAC),
        (_, 0) => arp(1 + dice.below(2) as u8),
        (_, 1) => from_a_client(dice, BACKENDS_MAC),
        _ => from_a_backend(dice, seen),
    };
    spoilt(dice, frame)
}

/// Changes something that concerns flows: the backends' condition, who they are, or how they are reached.
fn change(rig: &mut Rig, what: usize) {
    rig.publish(|snapshot| match what {
        0 => {
            let backends = Arc::make_mut(&mut snapshot.backends).iter_mut();
            backends.flatten().for_each(|backend| backend.incarnation += 1);
        }
        1..=3 => set_up(snapshot, what == 1),
        4 => snapshot.ports[CLIENTS.index()].last_hop ^= true,
        5 => snapshot.ports[BACKENDS.index()].neighbours.truncate(1),
        6 => snapshot.ports[BACKENDS.index()].mtu ^= 4,
        _ => Arc::make_mut(&mut snapshot.virtual_servers)
            .iter_mut()
            .flatten()
            .for_each(|server| server.loose_initiation ^= true),
    });
}

/// Lets monitors find all backends up, or down: nobody takes new flows then.
fn set_up(snapshot: &mut Snapshot, up: bool) {
    let slot = if up { 0 } else { balance::UNASSIGNED };
    (0..snapshot.backends.len() as u32).for_each(|id| snapshot.up.set(BackendId(id), up));
    for (pool, id) in snapshot.pools.iter_mut().zip(0..) {
        *pool = Arc::new(Pool::with_slots([slot], vec![BackendId(id)]));
    }
}

/// Whether a frame is a question of ours: when it is asked, relative to other frames, is the burst's business.
fn is_question((_, bytes): &(PortId, Vec<u8>)) -> bool {
    bytes[0] & 1 == 1 || bytes[12..14] == [8, 6] && bytes[21] == 1
}

/// Frames leave in order by each port; but what the gateway says by itself it says at a burst's end.
fn order((port, bytes): &(PortId, Vec<u8>)) -> (PortId, Option<Vec<u8>>) {
    (*port, is_said_here(bytes).then(|| bytes.clone()))
}

/// Whether a frame is a TCP segment that the gateway has made: it has no window.
fn is_said_here(bytes: &[u8]) -> bool {
    let transport = if bytes[12..14] == [8, 0] { 34 } else { 54 };
    bytes.len() == transport + 20 && bytes[transport + 14..][..2] == [0, 0]
}

/// All that a worker has counted of flows, and the flows themselves.
fn account(rig: &mut Rig) -> Vec<String> {
    rig.keep_house();
    let mut lines: Vec<String> = Vec::new();
    rig.state.answer(Request::ListFlows { from: 0 }, (&rig.snapshot, rig.now), 4096, |row| {
        lines.push(format!("{row:?}"))
    });
    for (reason, drops) in rig.meters.drops.iter().enumerate() {
        lines.push(format!("drops {reason}: {}", drops.read()));
    }
    let subjects = rig.meters.backends.iter().take(4).chain(rig.meters.virtual_servers.iter().take(16));
    for traffic in subjects {
        let packets = (traffic.packets_in.read(), traffic.packets_out.read());
        let bytes = (traffic.bytes_in.read(), traffic.bytes_out.read());
        let flows = (traffic.flows_opened.read(), traffic.flows_closed.read());
        lines.push(format!("{packets:?} {bytes:?} {flows:?}"));
    }
    lines.push(format!(
        "{} untracked, {} held",
        rig.meters.untracked_packets.read(),
        rig.meters.held_frames.read()
    ));
    lines
}

/// Two workers in the same place, one of which is given its packets one by one.
struct Twins {
    dice: Dice,
    at_once: Rig,
    one_by_one: Rig,
    /// What backends were sent, described.
    seen: Vec<String>,
}

impl Twins {
    fn new(seed: u64, flows: usize, workers: u8) -> Self {
        let rig = || {
            let mut snapshot = fixture::snapshot(workers);
            for port in &mut snapshot.ports {
                port.host = seed.is_multiple_of(2);
                port.device.partial_checksums = seed.is_multiple_of(3);
                port.device.spills_over = seed.is_multiple_of(5);
            }
            Rig::with_room_for(flows, snapshot, WorkerId(0))
        };
        Self { dice: Dice(seed), at_once: rig(), one_by_one: rig(), seen: Vec::new() }
    }

    fn burst(&mut self) {
        let port = self.dice.one_of(&[CLIENTS, BACKENDS]);
        let count = 1 + self.dice.below(MAX_BURST);
        let frames: Vec<Vec<u8>> = (0..count).map(|_| frame(&mut self.dice, port, &self.seen)).collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let is_handed_over = self.at_once.snapshot.workers > 1 && self.dice.once_in(4);
        let arrival = Arrival { port, is_handed_over };
        let verdicts = self.at_once.arrive(arrival, &frames);
        let mut sent = self.at_once.sent();
        let singly: (Vec<Verdict>, Vec<_>) = frames
            .iter()
            .map(|frame| (self.one_by_one.arrive(arrival, &[frame])[0], self.one_by_one.sent()))
            .unzip();
        let mut sent_singly = singly.1.concat();
        for sent in [&mut sent, &mut sent_singly] {
            sent.retain(|frame| !is_question(frame));
            sent.sort_by_key(order);
        }
        assert_eq!(verdicts, singly.0);
        assert!(sent == sent_singly, "{} frames were sent, or {}", sent.len(), sent_singly.len());
        let spoken = sent.iter().filter(|(port, bytes)| *port == BACKENDS && bytes[12..14] != [8, 6]);
        let described = spoken.map(|(_, bytes)| describe(bytes));
        self.seen.extend(described.filter(|line| line.starts_with("tcp") || line.starts_with("udp")));
        self.seen.drain(..self.seen.len().saturating_sub(64));
    }

    fn between(&mut self) {
        let (what, passed) = (self.dice.below(30), self.dice.below(3000) as u64);
        for rig in [&mut self.at_once, &mut self.one_by_one] {
            if what < 8 {
                change(rig, what);
            }
            rig.now = Millis(rig.now.0 + passed);
        }
        for (at_once, one_by_one) in account(&mut self.at_once).iter().zip(account(&mut self.one_by_one)) {
            assert_eq!(*at_once, one_by_one);
        }
        self.at_once.assert_conserved();
        self.one_by_one.assert_conserved();
    }
}

#[test]
fn a_packet_fares_the_same_in_any_burst() {
    let mut sent = 0;
    for (seed, flows, workers) in [(1, 1024, 1), (2, 1024, 2), (3, 6, 1), (4, 2, 1), (15, 1024, 2)] {
        let mut twins = Twins::new(seed, flows, workers);
        for _ in 0..60 {
            twins.burst();
            twins.between();
        }
        sent += twins.at_once.meters.port(BACKENDS).unwrap().tx_frames.read();
    }
    assert!(sent > 1000, "{sent} frames were sent");
}
