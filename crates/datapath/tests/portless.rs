//! Packets of protocols without ports, for virtual servers of any protocol.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::sync::Arc;

use datapath::{Arrival, DropReason, Snapshot, Verdict, snapshot::Service};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, address, snapshot, virtual_address,
};
use flow::FlowKey;
use model::{Address, Mode, Protocol, VirtualServerId, WorkerId};
use proptest::prelude::*;
use testkit::packets::Link;
use wire::checksum::Sum;

/// All but those that `nat` refuses: IP within IP, GRE, ESP, EtherIP, L2TP, SCTP, MPLS.
const TRANSLATED: [u8; 8] = [4, 41, 47, 50, 97, 115, 132, 137];
const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const FROM_GATEWAY: Link = (BACKENDS_MAC, BACKEND_MAC);

/// Lets the virtual servers of a mode take any protocol.
fn of_any_protocol(snapshot: &mut Snapshot, mode: Mode) {
    let mut servers = snapshot.virtual_servers.to_vec();
    for v6 in [false, true] {
        let service = Service::new(address(virtual_address(mode, v6)), 0, Protocol::Any);
        let like = servers.iter().flatten().find(|server| server.service.address == service.address);
        let server = datapath::snapshot::VirtualServer { service, ..like.unwrap().clone() };
        let id = VirtualServerId(servers.len() as u32);
        Arc::make_mut(&mut snapshot.broad).add(service, if v6 { 128 } else { 32 }, id);
        servers.push(Some(server));
    }
    snapshot.virtual_servers = servers.into();
}

fn rig(mode: Mode) -> Rig {
    let mut rig = Rig::new();
    rig.publish(|snapshot| of_any_protocol(snapshot, mode));
    rig
}

/// What there is of a packet besides where it goes.
#[derive(Clone, Debug)]
struct Packet {
    number: u8,
    /// Flags and offset of IPv4; no such field is wrong in itself.
    field: u16,
    ttl: u8,
    payload: Vec<u8>,
}

impl Packet {
    fn frame(&self, (from_mac, to_mac): Link, [from, to]: [&str; 2]) -> Vec<u8> {
        let (from, to) = (address(from), address(to));
        let mut frame = [to_mac, from_mac].concat();
        if from.is_v4() {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + self.payload.len() as u16).to_be_bytes());
            frame.extend([0, 9]);
            frame.extend(self.field.to_be_bytes());
            frame.extend([self.ttl, self.number, 0, 0]);
            frame.extend([from.v4(), to.v4()].concat());
            let checksum = !Sum::of(&frame[14..34]).fold();
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((self.payload.len() as u16).to_be_bytes());
            frame.extend([self.number, self.ttl]);
            frame.extend([from.octets(), to.octets()].concat());
        }
        frame.extend(&self.payload);
        frame
    }
}

fn packets() -> impl Strategy<Value = Packet> {
    let number = prop::sample::select(TRANSLATED.to_vec());
    // Not to be fragmented; whole; the first part; a later one, the last one.
    let field = prop::sample::select(vec![0x4000, 0, 0x2000, 0x2010, 0x0010]);
    let payload = (1..40_usize).prop_flat_map(|units| prop::collection::vec(any::<u8>(), units * 8));
    (number, field, 2..=u8::MAX, payload).prop_map(|(number, field, ttl, payload)| Packet {
        number,
        field,
        ttl,
        payload,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nat_changes_nothing_but_an_address_and_the_ttl(
        sent in prop::collection::vec((packets(), any::<bool>()), 1..8),
        v6: bool,
    ) {
        let mut rig = rig(Mode::Nat);
        let (client, backend) = if v6 { (CLIENT_6, BACKEND_6) } else { (CLIENT, BACKEND) };
        let service = virtual_address(Mode::Nat, v6);
        let mut known = Vec::new();
        for (packet, is_reply) in sent {
            let after = Packet { ttl: packet.ttl - 1, ..packet.clone() };
            if !is_reply {
                let came = packet.frame(TO_GATEWAY, [client, service]);
                let left = rig.forwarded(CLIENTS, &came, BACKENDS);
                prop_assert_eq!(left, after.frame(FROM_GATEWAY, [client, backend]));
                known.push(packet.number);
                continue;
            }
            let came = packet.frame((BACKEND_MAC, BACKENDS_MAC), [backend, client]);
            if known.contains(&packet.number) {
                let left = rig.forwarded(BACKENDS, &came, CLIENTS);
                prop_assert_eq!(left, after.frame((CLIENTS_MAC, CLIENT_MAC), [service, client]));
            } else {
                rig.dropped(BACKENDS, &came, DropReason::NoFlow);
            }
        }
        rig.assert_conserved();
    }

    #[test]
    fn what_nat_does_not_know_it_does_not_change(number: u8, payload in prop::collection::vec(any::<u8>(), 64)) {
        prop_assume!(!TRANSLATED.contains(&number) && ![1, 6, 17].contains(&number));
        let packet = Packet { number, field: 0x4000, ttl: 64, payload };
        let mut rig = rig(Mode::Nat);
        let frame = packet.frame(TO_GATEWAY, [CLIENT, virtual_address(Mode::Nat, false)]);
        rig.dropped(CLIENTS, &frame, DropReason::ProtocolNotTranslated);
        rig.assert_conserved();
    }

    #[test]
    fn a_backend_is_chosen_by_the_addresses_alone(ends: [u32; 2], numbers: [u8; 2], other: u32) {
        let snapshot = snapshot(1);
        let key = |source: u32, protocol| FlowKey {
            source: Address::from_v4(source.to_be_bytes()),
            destination: Address::from_v4(ends[1].to_be_bytes()),
            protocol,
            ..FlowKey::default()
        };
        prop_assume!(numbers.iter().all(|number| ![6, 17].contains(number)) && other != ends[0]);
        let [one, another] = numbers.map(|number| snapshot.hash(&key(ends[0], number)));
        prop_assert_eq!(one, another);
        prop_assert_ne!(one, snapshot.hash(&key(other, numbers[0])));
    }
}

#[test]
fn a_reply_reaches_the_worker_that_has_the_flow() {
    let mut workers = [0, 1].map(|id| Rig::with(snapshot(2), WorkerId(id)));
    for rig in &mut workers {
        rig.publish(|snapshot| of_any_protocol(snapshot, Mode::Nat));
    }
    let packet = Packet { number: 50, field: 0x4000, ttl: 64, payload: vec![7; 32] };
    let mut owners = [0; 2];
    for number in 2..40 {
        let client = format!("10.10.1.{number}");
        let came = packet.frame(TO_GATEWAY, [&client, virtual_address(Mode::Nat, false)]);
        let reply = packet.frame((BACKEND_MAC, BACKENDS_MAC), [BACKEND, &client]);
        let mut owner = 0;
        for (port, frame) in [(CLIENTS, &came), (BACKENDS, &reply)] {
            match workers[owner].one(port, frame).0 {
                Verdict::HandOver(WorkerId(other)) => {
                    let arrival = Arrival { port, is_handed_over: true };
                    let verdict = workers[usize::from(other)].arrive(arrival, &[frame])[0];
                    assert!(matches!(verdict, Verdict::Transmit(_)), "{verdict:?}");
                    owner = usize::from(other);
                }
                verdict => assert!(matches!(verdict, Verdict::Transmit(_)), "{verdict:?}"),
            }
        }
        // The other one hands the reply over.
        let (verdict, _) = workers[1 - owner].one(BACKENDS, &reply);
        assert_eq!(verdict, Verdict::HandOver(WorkerId(owner as u8)));
        owners[owner] += 1;
    }
    assert!(owners.iter().all(|&count| count > 5), "{owners:?}");
    workers.iter_mut().for_each(Rig::assert_conserved);
}

#[test]
fn where_the_table_is_full_the_addresses_alone_say_who_has_it() {
    for mode in [Mode::Dsr, Mode::Ipip, Mode::Gue, Mode::Nat] {
        let mut snapshot = snapshot(1);
        of_any_protocol(&mut snapshot, mode);
        let mut rig = Rig::with_room_for(0, snapshot, WorkerId(0));
        let packet = Packet { number: 50, field: 0x4000, ttl: 64, payload: vec![7; 32] };
        for v6 in [false, true] {
            let client = if v6 { CLIENT_6 } else { CLIENT };
            let frame = packet.frame(TO_GATEWAY, [client, virtual_address(mode, v6)]);
            if mode == Mode::Nat {
                rig.dropped(CLIENTS, &frame, DropReason::FlowTableFull);
            } else {
                rig.forwarded(CLIENTS, &frame, BACKENDS);
            }
        }
        rig.assert_conserved();
    }
}
