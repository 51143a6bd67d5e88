//! Random packets of flows of all kinds: the checksums that were repaired are those that a sender of the new packet would have computed.
//! `REWRITES=100000000 cargo test --release -p datapath --test rewrites` does that so often; a test run less.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{env, net::IpAddr, sync::Arc};

use datapath::{Verdict, snapshot::VirtualServer};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, SELF,
    SELF_6, address, virtual_address,
};
use model::{Df, Mode, PoolId, PortId, Timestamps, Treatment, Ttl, WindowScale};

const FLOWS: u64 = 96;
const TCP: u8 = 6;
const UDP: u8 = 17;

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.roll() >> 33) % limit
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&self.roll().to_be_bytes()[..chunk.len()]));
    }
}

/// The sum of RFC 1071, word by word.
fn sum(bytes: &[u8], from: u32) -> u32 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    words.fold(from, |sum, word| sum + word)
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Addresses, ports and protocol of a packet.
#[derive(Clone, Copy)]
struct Ends {
    addresses: [IpAddr; 2],
    ports: [u16; 2],
    protocol: u8,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A packet with random contents.
fn packet(dice: &mut Dice, ends: Ends, (from, to): ([u8; 6], [u8; 6]), flags: u8) -> Vec<u8> {
    let is_v4 = ends.addresses[0].is_ipv4();
    let options = if ends.protocol == TCP { [0, 4, 12, 20][dice.below(4) as usize] } else { 0 };
    let (header, data) = (if ends.protocol == TCP { 20 } else { 8 }, dice.below(48) as usize);
    let mut transport = vec![0; header + options + data];
    dice.fill(&mut transport);
    transport[..2].copy_from_slice(&ends.ports[0].to_be_bytes());
    transport[2..4].copy_from_slice(&ends.ports[1].to_be_bytes());
    let length = transport.len() as u16;
    if ends.protocol == TCP {
        (transport[12], transport[13]) = (((20 + options) as u8 / 4) << 4, flags);
        // Options that are changed, in random order of their bytes' parity.
        let known: &[u8] = &[2, 4, 5, 180, 1, 3, 3, 7, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2];
        if options > 0 && dice.below(4) > 0 {
            transport[20..20 + options].copy_from_slice(&known[..options]);
        }
    } else {
        transport[4..6].copy_from_slice(&length.to_be_bytes());
    }
    let mut frame = [&to[..], &from].concat();
    if is_v4 {
        frame.extend([8, 0, 0x45, dice.below(256) as u8]);
        frame.extend((20 + length).to_be_bytes());
        frame.extend((dice.below(3) as u16).to_be_bytes());
        frame.extend([[0, 0x40][dice.below(2) as usize], 0, 2 + dice.below(250) as u8, ends.protocol, 0, 0]);
    } else {
        frame.extend([0x86, 0xdd, 0x60 | dice.below(16) as u8, dice.below(256) as u8, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([ends.protocol, 2 + dice.below(250) as u8]);
    }
    ends.addresses.iter().for_each(|&address| frame.extend(octets(address)));
    frame.extend(transport);
    let wanted = checksums(&frame);
    write(&mut frame, wanted);
    frame
}

/// Where a packet's header and its L4 header's checksum lie.
fn layout(frame: &[u8]) -> (bool, usize, usize) {
    let is_v4 = frame[12..14] == [8, 0];
    let (transport, protocol) = if is_v4 { (34, frame[23]) } else { (54, frame[20]) };
    (is_v4, transport, transport + if protocol == TCP { 16 } else { 6 })
}

/// The checksums that a sender computes: of the header, and of what it carries.
fn checksums(frame: &[u8]) -> (u16, u16) {
    let (is_v4, transport, at) = layout(frame);
    let (protocol, addresses) = if is_v4 { (frame[23], &frame[26..34]) } else { (frame[20], &frame[22..54]) };
    let of = |words: u32| !folded(words);
    let stored = |at: usize| u32::from(!u16::from_be_bytes([frame[at], frame[at + 1]]));
    let network = if is_v4 { of(sum(&frame[14..34], stored(24))) } else { 0 };
    let carried = &frame[transport..];
    let pseudo = sum(addresses, u32::from(protocol) + carried.len() as u32);
    match of(sum(carried, pseudo + stored(at))) {
        0 if protocol == UDP => (network, 0xffff),
        checksum => (network, checksum),
    }
}

fn write(frame: &mut [u8], (network, transport): (u16, u16)) {
    let (is_v4, _, at) = layout(frame);
    if is_v4 {
        frame[24..26].copy_from_slice(&network.to_be_bytes());
    }
    frame[at..at + 2].copy_from_slice(&transport.to_be_bytes());
}

fn written(frame: &[u8]) -> (u16, u16) {
    let (is_v4, _, at) = layout(frame);
    let read = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    (if is_v4 { read(24) } else { 0 }, read(at))
}

fn treatment(dice: &mut Dice) -> Treatment {
    if dice.below(3) == 0 {
        return Treatment::default();
    }
    let tos = [dice.below(2), dice.below(2)].map(|is_set| (is_set == 1).then(|| dice.below(64) as u8 * 4));
    Treatment {
        mss_override: [0, 536][dice.below(2) as usize],
        mss_clamp: dice.below(2) == 0,
        strip_sack: dice.below(2) == 0,
        window_scale: [WindowScale::Preserve, WindowScale::Rewrite(3), WindowScale::Strip]
            [dice.below(3) as usize],
        timestamps: [Timestamps::Preserve, Timestamps::Rewrite, Timestamps::Strip][dice.below(3) as usize],
        generate_isn: dice.below(2) == 0,
        ttl: [Ttl::Decrement, Ttl::Preserve, Ttl::Set { v4: 7, v6: 9 }][dice.below(3) as usize],
        df: [Df::Preserve, Df::Set, Df::Clear, Df::Pmtu][dice.below(4) as usize],
        tos_to_client: tos[0],
        tos_to_server: tos[1],
        ..Treatment::default()
    }
}

/// What a client sends, and what its backend answers to.
#[derive(Clone, Copy)]
struct Flow {
    client: Ends,
    backend: Ends,
}

fn forwarded(rig: &mut Rig, from: PortId, frame: &[u8], to: PortId) -> Vec<u8> {
    let (verdict, mut sent) = rig.one(from, frame);
    assert_eq!((verdict, sent.len()), (Verdict::Transmit(to), 1));
    let sent = sent.remove(0).1;
    let (found, computed) = (written(&sent), checksums(&sent));
    assert_eq!(found, computed, "{frame:02x?} became {sent:02x?}");
    sent
}

fn open(rig: &mut Rig, dice: &mut Dice) -> Flow {
    let (v6, mode) = (dice.below(2) == 1, [Mode::Nat, Mode::FullNat][dice.below(2) as usize]);
    let mut client = [0; 16];
    dice.fill(&mut client);
    client[..2].copy_from_slice(if v6 { &[0x20, 1] } else { &[10, 10] });
    let source: IpAddr = if v6 { client.into() } else { <[u8; 4]>::try_from(&client[..4]).unwrap().into() };
    let protocol = if dice.below(3) == 0 { UDP } else { TCP };
    let addresses = [source, virtual_address(mode, v6).parse().unwrap()];
    let ends = Ends { addresses, ports: [1 + dice.below(65_535) as u16, 80], protocol };
    let sent = forwarded(rig, CLIENTS, &packet(dice, ends, (CLIENT_MAC, CLIENTS_MAC), 2), BACKENDS);
    let (is_v4, transport, _) = layout(&sent);
    let source: IpAddr = if is_v4 {
        <[u8; 4]>::try_from(&sent[26..30]).unwrap().into()
    } else {
        <[u8; 16]>::try_from(&sent[22..38]).unwrap().into()
    };
    let port = u16::from_be_bytes([sent[transport], sent[transport + 1]]);
    let backend = (if is_v4 { BACKEND } else { BACKEND_6 }).parse().unwrap();
    let reply = Ends { addresses: [backend, source], ports: [8080, port], protocol };
    forwarded(rig, BACKENDS, &packet(dice, reply, (BACKEND_MAC, BACKENDS_MAC), 18), CLIENTS);
    Flow { client: ends, backend: reply }
}

/// Gives a virtual server the backends of the other family.
fn cross(server: &mut VirtualServer) {
    let v6 = server.pool == PoolId(0);
    server.pool = PoolId(v6.into());
    let source = address(if v6 { SELF_6 } else { SELF });
    server.snat.iter_mut().for_each(|range| range.address = source);
}

#[test]
fn repaired_checksums_are_those_that_are_computed_anew() {
    const ROUND: u64 = 200_000;
    let rewrites: u64 = env::var("REWRITES").map_or(40_000, |rewrites| rewrites.parse().unwrap());
    let mut dice = Dice(7);
    for round in 0..rewrites.div_ceil(ROUND) {
        let mut rig = Rig::new();
        rig.publish(|snapshot| {
            let servers = Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten();
            for server in servers {
                server.treatment = treatment(&mut dice);
                server.extent = VirtualServer::extent_of(&server.treatment, &server.tcp);
                if server.mode == Mode::FullNat && dice.below(2) == 0 {
                    cross(server);
                }
            }
        });
        let flows: Vec<Flow> = (0..FLOWS).map(|_| open(&mut rig, &mut dice)).collect();
        for _ in 0..ROUND.min(rewrites - round * ROUND) {
            let flow = flows[dice.below(FLOWS) as usize];
            if dice.below(2) == 0 {
                let sent = packet(&mut dice, flow.client, (CLIENT_MAC, CLIENTS_MAC), 16);
                forwarded(&mut rig, CLIENTS, &sent, BACKENDS);
            } else {
                let sent = packet(&mut dice, flow.backend, (BACKEND_MAC, BACKENDS_MAC), 16);
                forwarded(&mut rig, BACKENDS, &sent, CLIENTS);
            }
        }
    }
}
