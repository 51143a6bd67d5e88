//! Ports with VLANs: tags are taken off before anything else, and put on after everything else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::sync::Arc;

use datapath::{
    Arrival, DropReason, Snapshot, Verdict,
    snapshot::{Addresses, Backend, Network, Owned, Pool, Port, Route, Routes, VirtualServer},
};
use fixture::{
    BACKEND, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, address, at,
    snapshot, virtual_address,
};
use model::{BackendId, MacAddress, Mode, PoolId, PortId, VirtualServerId, WorkerId};
use testkit::{
    MemoryFrame,
    packets::{self, SYN, SYN_ACK},
};

/// The VLAN of the clients' port that is of route domain 1, its id there, and its machine.
const TENANT: (PortId, u16) = (PortId(2), 7);
const TENANT_MAC: [u8; 6] = [2, 0, 0, 0, 7, 11];

/// The gateway with a tenant on the clients' port, whose virtual server and backend have the addresses of the others.
fn with_tenant(workers: u8, is_known: bool) -> Snapshot {
    let mut snapshot = snapshot(workers);
    let (id, tag) = TENANT;
    let trunk = &mut snapshot.ports[CLIENTS.index()];
    trunk.vlans = vec![(tag, id)];
    let mac = MacAddress(TENANT_MAC);
    let port = Port {
        domain: 1,
        tag: Some((CLIENTS, tag)),
        vlans: vec![],
        neighbours: if is_known { vec![(address(BACKEND), mac)] } else { vec![] },
        ..trunk.clone()
    };
    snapshot.ports.push(port);
    let on_link = |to: &str, length, port| Route { to: Network::new(address(to), length), port, via: vec![] };
    snapshot.routes = Routes::in_domains(vec![
        (0, on_link("10.10.1.0", 24, CLIENTS)),
        (0, on_link("10.10.2.0", 24, BACKENDS)),
        (0, on_link("2001:db8:2::", 64, BACKENDS)),
        (1, on_link("10.10.2.0", 24, id)),
    ]);
    let routes = snapshot.routes.clone();
    for backend in Arc::make_mut(&mut snapshot.backends).iter_mut().flatten() {
        backend.route = routes.best(backend.address);
    }
    let route = routes.best_in(1, address(BACKEND));
    let backend = Backend { route, ..snapshot.backends[0].unwrap() };
    snapshot.backends = snapshot.backends.iter().copied().chain([Some(backend)]).collect();
    let backend = BackendId(snapshot.backends.len() as u32 - 1);
    snapshot.up.set(backend, true);
    snapshot.pools.push(Arc::new(Pool::with_slots([0], vec![backend])));
    let virtual_address = address(virtual_address(Mode::Nat, false));
    let server =
        snapshot.virtual_servers.iter().flatten().find(|server| server.service.address == virtual_address);
    let server = server.unwrap().clone();
    let service = server.service.in_domain(1);
    let pool = PoolId(snapshot.pools.len() as u32 - 1);
    let server = VirtualServer { service, pool, ..server };
    Arc::make_mut(&mut snapshot.services)
        .insert(service, VirtualServerId(snapshot.virtual_servers.len() as u32));
    snapshot.virtual_servers = snapshot.virtual_servers.iter().cloned().chain([Some(server)]).collect();
    let mut addresses = Addresses::default();
    addresses.own(virtual_address, Owned::Virtual { available: true });
    addresses.own(address("10.10.1.1"), Owned::Port { port: id, snat_first: 1, snat_last: 0 });
    addresses.expect_replies_from(address(BACKEND));
    snapshot.tenants = Arc::new([addresses]);
    snapshot
}

fn rig(is_known: bool) -> Rig {
    Rig::with(with_tenant(1, is_known), WorkerId(0))
}

fn syn(port: u16) -> Vec<u8> {
    let server = at(virtual_address(Mode::Nat, false), 80);
    packets::tcp((CLIENT_MAC, CLIENTS_MAC), at(CLIENT, port), server, SYN, b"payload")
}

fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    [&frame[..12], &[0x81, 0, high, low], &frame[12..]].concat()
}

/// Without its tag, which it has.
fn untagged(frame: &[u8], id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    assert_eq!(frame[12..16], [0x81, 0, high, low], "{frame:?}");
    [&frame[..12], &frame[16..]].concat()
}

#[test]
fn a_burst_of_several_vlans_is_served_in_order() {
    let mut rig = rig(true);
    let frames: Vec<Vec<u8>> =
        (1..=8).map(|port| if port % 3 == 0 { syn(port) } else { tagged(&syn(port), TENANT.1) }).collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    rig.burst(CLIENTS, &frames);
    let sent = rig.sent();
    let ports = |on| {
        let of_port = sent.iter().filter(move |(port, _)| *port == on);
        of_port.map(|(port, frame)| {
            let tag = if *port == CLIENTS { 4 } else { 0 };
            u16::from_be_bytes([frame[34 + tag], frame[35 + tag]])
        })
    };
    assert_eq!(ports(BACKENDS).collect::<Vec<_>>(), [3, 6]);
    assert_eq!(ports(CLIENTS).collect::<Vec<_>>(), [1, 2, 4, 5, 7, 8]);
    for (port, frame) in &sent {
        let (frame, to) = match *port {
            CLIENTS => (untagged(frame, TENANT.1), TENANT_MAC),
            _ => (frame.clone(), BACKEND_MAC),
        };
        assert_eq!(frame[..6], to);
        packets::check_checksums(&frame).unwrap();
    }
    rig.assert_conserved();
}

#[test]
fn a_next_hop_in_a_vlan_is_asked_there_and_what_waited_leaves_there() {
    let mut rig = rig(false);
    let (verdict, sent) = rig.one(CLIENTS, &tagged(&syn(1), TENANT.1));
    assert_eq!(verdict, Verdict::Held);
    let [(CLIENTS, question)] = &sent[..] else { panic!("{sent:?}") };
    let question = untagged(question, TENANT.1);
    assert_eq!((&question[..6], &question[12..14]), (&[0xff; 6][..], &[0x08, 0x06][..]));

    // The answer counts where the question was asked, and nowhere else.
    let mut answer = question.clone();
    answer[..6].copy_from_slice(&CLIENTS_MAC);
    answer[6..12].copy_from_slice(&TENANT_MAC);
    answer[21] = 2;
    let (us, them) = (question[22..32].to_vec(), [&TENANT_MAC[..], &question[38..42]].concat());
    answer[22..32].copy_from_slice(&them);
    answer[32..42].copy_from_slice(&us);
    rig.one(CLIENTS, &answer);
    assert_eq!(rig.meters.held_frames.read(), 1);
    let (verdict, _) = {
        let (verdict, sent) = rig.one(CLIENTS, &tagged(&answer, TENANT.1));
        let [(CLIENTS, waited)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(untagged(waited, TENANT.1)[..6], TENANT_MAC);
        (verdict, sent)
    };
    assert_eq!(verdict, Verdict::Absorbed);
    rig.assert_conserved();
}

#[test]
fn flows_of_route_domains_are_other_flows_though_all_their_addresses_are_the_same() {
    let mut rig = rig(true);
    for _ in 0..2 {
        assert_eq!(rig.one(CLIENTS, &syn(1)).0, Verdict::Transmit(BACKENDS));
        assert_eq!(rig.one(CLIENTS, &tagged(&syn(1), TENANT.1)).0, Verdict::Transmit(TENANT.0));
    }
    assert_eq!(rig.meters.virtual_servers.iter().map(|server| server.flows_opened.read()).sum::<u64>(), 2);
    let reply = |link| packets::tcp(link, at(BACKEND, 8080), at(CLIENT, 1), SYN_ACK, b"");
    let (verdict, sent) = rig.one(BACKENDS, &reply((BACKEND_MAC, BACKENDS_MAC)));
    assert_eq!((verdict, sent[0].1[12]), (Verdict::Transmit(CLIENTS), 0x08));
    let (verdict, sent) = rig.one(CLIENTS, &tagged(&reply((TENANT_MAC, CLIENTS_MAC)), TENANT.1));
    assert_eq!(verdict, Verdict::Transmit(TENANT.0));
    assert_eq!(untagged(&sent[0].1, TENANT.1)[..6], CLIENT_MAC);
    rig.assert_conserved();
}

#[test]
fn a_frame_without_room_for_the_tag_is_dropped_and_counted() {
    let mut rig = rig(true);
    // Who sends without tags reaches the tenant only from within: a handed-over frame has lost its tag already.
    let mut frame = MemoryFrame::new(&syn(1));
    frame.headroom = 3;
    rig.arrive_as(Arrival { port: TENANT.0, is_handed_over: true }, [frame]);
    assert!(rig.sent().is_empty());
    assert_eq!(rig.meters.drops[DropReason::NoRoomForTag.index()].read(), 1);
    rig.assert_conserved();
}

#[test]
fn what_another_worker_owns_is_handed_over_as_of_its_vlan() {
    let mut all: Vec<Rig> = (0..2).map(|id| Rig::with(with_tenant(2, true), WorkerId(id))).collect();
    let mut handed_over = 0;
    for port in 1..=40 {
        let frame = tagged(&syn(port), TENANT.1);
        match all[0].one(CLIENTS, &frame).0 {
            Verdict::HandOver(WorkerId(1)) => handed_over += 1,
            verdict => assert_eq!(verdict, Verdict::Transmit(TENANT.0)),
        }
        let verdict = all[1].arrive(Arrival { port: TENANT.0, is_handed_over: true }, &[&syn(port)])[0];
        assert_eq!(verdict, Verdict::Transmit(TENANT.0));
    }
    assert!((8..32).contains(&handed_over), "{handed_over}");
    all.iter_mut().for_each(Rig::assert_conserved);
}
