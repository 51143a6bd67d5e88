//! `ipip` and `gue`: outer headers in all combinations of families, right to the checksum, and the packet within as it was sent.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use datapath::{Arrival, DropReason, Snapshot, Verdict, snapshot::OuterSource};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, SELF, SELF_6, address, at, virtual_address,
};
use model::{Mode, PoolId, WorkerId};
use testkit::{
    MemoryFrame,
    packets::{self, ACK, FIN, Link, SYN, check_checksums, describe},
};

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);

/// A mode, and the families of the virtual server and of its backend.
#[derive(Clone, Copy, Debug)]
struct Way {
    mode: Mode,
    inner_6: bool,
    outer_6: bool,
}

fn all() -> impl Iterator<Item = Way> {
    let modes = [Mode::Ipip, Mode::Gue].into_iter();
    let families = [(false, false), (false, true), (true, false), (true, true)];
    modes.flat_map(move |mode| families.map(|(inner_6, outer_6)| Way { mode, inner_6, outer_6 }))
}

impl Way {
    fn rig(self) -> Rig {
        let mut rig = Rig::new();
        rig.publish(|snapshot| self.lead(snapshot));
        rig
    }

    /// Gives all virtual servers backends of the outer family.
    fn lead(self, snapshot: &mut Snapshot) {
        let servers = snapshot.virtual_servers.iter().cloned().map(|server| {
            server.map(|mut server| {
                if server.mode.is_tunnel() {
                    server.pool = PoolId(u32::from(self.outer_6));
                }
                server
            })
        });
        snapshot.virtual_servers = servers.collect();
    }

    fn ends(self, port: u16) -> (SocketAddr, SocketAddr) {
        (
            at(if self.inner_6 { CLIENT_6 } else { CLIENT }, port),
            at(virtual_address(self.mode, self.inner_6), 80),
        )
    }

    fn tcp(self, port: u16, flags: packets::Flags) -> Vec<u8> {
        let (client, server) = self.ends(port);
        packets::tcp(TO_GATEWAY, client, server, flags, b"hello")
    }

    const fn added(self) -> usize {
        (if self.outer_6 { 40 } else { 20 }) + if matches!(self.mode, Mode::Gue) { 8 } else { 0 }
    }

    /// Checks the outer headers of a frame; source address, UDP source port, type of service and the frame without them.
    fn take_out(self, frame: &[u8]) -> (IpAddr, u16, u8, Vec<u8>) {
        let outer = &frame[14..];
        let carried = match (self.mode, self.inner_6) {
            (Mode::Gue, _) => 17,
            (_, false) => 4,
            (_, true) => 41,
        };
        let word = |offset: usize| u16::from_be_bytes([outer[offset], outer[offset + 1]]);
        let (source, destination, tos): (IpAddr, IpAddr, u8) = if self.outer_6 {
            assert_eq!((outer[0] >> 4, outer[6], outer[7]), (6, carried, 64));
            assert_eq!(usize::from(word(4)) + 40, outer.len());
            let at = |offset: usize| <[u8; 16]>::try_from(&outer[offset..offset + 16]).unwrap().into();
            (at(8), at(24), outer[0] << 4 | outer[1] >> 4)
        } else {
            assert_eq!((outer[0], outer[8], outer[9]), (0x45, 64, carried));
            assert_eq!(usize::from(word(2)), outer.len());
            assert_eq!((word(4), word(6)), (0, 0x4000), "atomic: RFC 6864, 4.1");
            let at = |offset: usize| <[u8; 4]>::try_from(&outer[offset..offset + 4]).unwrap().into();
            (at(12), at(16), outer[1])
        };
        assert_eq!(destination, at(if self.outer_6 { BACKEND_6 } else { BACKEND }, 0).ip());
        let mut port = 0;
        if self.mode == Mode::Gue {
            let header = self.added() - 8;
            port = word(header);
            assert_eq!((word(header + 2), word(header + 6)), (6080, 0));
            assert_eq!(usize::from(word(header + 4)), outer.len() - header);
            assert!(port >= 0xc000);
        }
        let kind = if self.inner_6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let inner = [&frame[..12], &kind, &outer[self.added()..]].concat();
        // The outer IPv4 header's checksum; the UDP one is absent.
        if !self.outer_6 {
            let sum: u32 = (0..10).map(|index| u32::from(word(2 * index))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        }
        check_checksums(&inner).unwrap();
        (source, port, tos, inner)
    }
}

#[test]
fn a_packet_travels_within_another_one_and_stays_as_it_is_but_for_its_ttl() {
    for way in all() {
        for is_tcp in [true, false] {
            let mut rig = way.rig();
            let (client, server) = way.ends(40_001);
            let sent = |flags| match is_tcp {
                true => packets::tcp(TO_GATEWAY, client, server, flags, b"hello"),
                false => packets::udp(TO_GATEWAY, client, server, b"hello"),
            };
            let mut first = None;
            // The first packet opens the flow, the second completes it, the third finds it steady, the fourth ends it.
            for flags in [SYN, ACK, ACK, FIN] {
                let frame = rig.forwarded(CLIENTS, &sent(flags), BACKENDS);
                assert_eq!((&frame[..6], &frame[6..12]), (&BACKEND_MAC[..], &BACKENDS_MAC[..]));
                let (source, port, tos, inner) = way.take_out(&frame);
                assert_eq!(source, at(if way.outer_6 { SELF_6 } else { SELF }, 0).ip(), "{way:?}");
                assert_eq!(tos, 0);
                let protocol = if is_tcp { "tcp" } else { "udp" };
                assert_eq!(describe(&inner), format!("{protocol} {client} > {server} ttl 63"), "{way:?}");
                assert_eq!(inner[inner.len() - 5..], *b"hello");
                assert_eq!(*first.get_or_insert(port), port, "all of a flow come from one port");
            }
            rig.assert_conserved();
        }
    }
}

#[test]
fn the_type_of_service_is_copied_with_its_ecn_bits() {
    for way in all() {
        let mut rig = way.rig();
        for tos in [0x00, 0x03, 0xb8, 0xbb, 0xff] {
            for flags in [SYN, ACK, ACK] {
                let mut frame = way.tcp(40_000 + u16::from(tos), flags);
                if way.inner_6 {
                    frame[14] = 0x60 | tos >> 4;
                    frame[15] = tos << 4 | frame[15] & 0xf;
                } else {
                    let sum = !u16::from_be_bytes([frame[24], frame[25]]);
                    let (sum, carry) = sum.overflowing_add(u16::from(tos));
                    frame[15] = tos;
                    frame[24..26].copy_from_slice(&(!(sum + u16::from(carry))).to_be_bytes());
                }
                let out = rig.forwarded(CLIENTS, &frame, BACKENDS);
                assert_eq!(way.take_out(&out).2, tos, "{way:?}");
            }
        }
    }
}

#[test]
fn flows_come_from_different_ports_and_addresses_where_there_is_room() {
    for way in all() {
        let mut rig = way.rig();
        let network = if way.outer_6 { ("2001:db8:f::", 64) } else { ("10.99.0.0", 16) };
        rig.publish(|snapshot| {
            let servers = snapshot.virtual_servers.iter().cloned().map(|server| {
                server.map(|mut server| {
                    server.outer_sources.set(OuterSource::within(address(network.0), network.1));
                    server
                })
            });
            snapshot.virtual_servers = servers.collect();
        });
        let (mut addresses, mut ports) = (HashSet::new(), HashSet::new());
        for client in 1000..1200 {
            let first = way.take_out(&rig.forwarded(CLIENTS, &way.tcp(client, SYN), BACKENDS));
            let second = way.take_out(&rig.forwarded(CLIENTS, &way.tcp(client, ACK), BACKENDS));
            let third = way.take_out(&rig.forwarded(CLIENTS, &way.tcp(client, ACK), BACKENDS));
            assert_eq!((first.0, first.1), (second.0, second.1));
            assert_eq!((first.0, first.1), (third.0, third.1));
            addresses.insert(first.0);
            ports.insert(first.1);
        }
        assert!(addresses.len() > 180, "{way:?}: {}", addresses.len());
        assert!(addresses.iter().all(|source| match source {
            IpAddr::V4(source) => source.octets()[..2] == [10, 99],
            IpAddr::V6(source) => source.segments()[..4] == [0x2001, 0xdb8, 0xf, 0],
        }));
        assert_eq!(ports.len() > 180, way.mode == Mode::Gue, "{way:?}: {}", ports.len());
    }
}

#[test]
fn who_sends_a_packet_that_is_over_the_mtu_with_its_outer_headers_is_told_what_fits() {
    for way in all() {
        let mut rig = way.rig();
        let (client, server) = way.ends(40_001);
        let headers = if way.inner_6 { 40 } else { 20 } + 20;
        let of = |length: usize, flags| {
            packets::tcp(TO_GATEWAY, client, server, flags, &vec![7; length - headers])
        };
        rig.forwarded(CLIENTS, &of(headers, SYN), BACKENDS);
        {
            let longest = rig.forwarded(CLIENTS, &of(1500 - way.added(), ACK), BACKENDS);
            assert_eq!(longest.len(), 1514);
            let answer = rig.forwarded(CLIENTS, &of(1501 - way.added(), ACK), CLIENTS);
            let (kind, mtu) = if way.inner_6 { (54, 60) } else { (34, 40) };
            assert_eq!(answer[kind], if way.inner_6 { 2 } else { 3 });
            let mtu = usize::from(answer[mtu]) << 8 | usize::from(answer[mtu + 1]);
            assert_eq!(mtu, 1500 - way.added());
        }
        // Now it is steady; and who was told and sends as much again leaves it to us to cut it up.
        let longest = rig.forwarded(CLIENTS, &of(1500 - way.added(), ACK), BACKENDS);
        assert_eq!(longest.len(), 1514);
        let (verdict, sent) = rig.one(CLIENTS, &of(1501 - way.added(), ACK));
        assert_eq!((verdict, sent.len()), (Verdict::Transmit(BACKENDS), 2));
        assert_eq!([sent[0].1.len(), sent[1].1.len()], [1514, 14 + way.added() + headers + 1]);
        rig.assert_conserved();
    }
}

#[test]
fn who_sends_a_packet_whose_ttl_ends_here_is_told() {
    for way in all() {
        let mut rig = way.rig();
        let (client, server) = way.ends(40_001);
        let of = |ttl, flags| packets::tcp_with_ttl(TO_GATEWAY, client, server, flags, b"", ttl);
        let is_told = |rig: &mut Rig, flags| {
            let answer = rig.forwarded(CLIENTS, &of(1, flags), CLIENTS);
            assert_eq!(answer[if way.inner_6 { 54 } else { 34 }], if way.inner_6 { 3 } else { 11 });
        };
        is_told(&mut rig, SYN);
        rig.forwarded(CLIENTS, &of(2, SYN), BACKENDS);
        rig.forwarded(CLIENTS, &of(2, ACK), BACKENDS);
        is_told(&mut rig, ACK);
        rig.assert_conserved();
    }
}

/// Lets one frame arrive as it is.
fn arrive(rig: &mut Rig, frame: MemoryFrame) -> Verdict {
    rig.arrive_as(Arrival { port: CLIENTS, is_handed_over: false }, [frame])[0]
}

#[test]
fn a_frame_without_room_in_front_is_dropped_unchanged() {
    for way in all() {
        let mut rig = way.rig();
        for flags in [SYN, ACK, ACK] {
            rig.forwarded(CLIENTS, &way.tcp(40_001, flags), BACKENDS);
            let mut frame = MemoryFrame::new(&way.tcp(40_001, flags));
            frame.headroom = way.added() - 1;
            assert_eq!(arrive(&mut rig, frame), Verdict::Drop(DropReason::NoHeadroom));
            let mut frame = MemoryFrame::new(&way.tcp(40_001, flags));
            frame.headroom = way.added();
            assert_eq!(arrive(&mut rig, frame), Verdict::Transmit(BACKENDS));
            rig.sent();
        }
        rig.assert_conserved();
    }
}

#[test]
fn a_frame_in_pieces_gets_its_outer_headers_in_front_of_the_first() {
    for way in all() {
        let mut rig = way.rig();
        let (client, server) = way.ends(40_001);
        for flags in [SYN, ACK, ACK] {
            let whole = packets::tcp(TO_GATEWAY, client, server, flags, &[7; 600]);
            let frame = MemoryFrame::scattered(&[&whole[..100], &whole[100..400], &whole[400..]]);
            assert_eq!(arrive(&mut rig, frame), Verdict::Transmit(BACKENDS));
            let (_, sent) = rig.sent().remove(0);
            let (.., inner) = way.take_out(&sent);
            assert_eq!(inner[inner.len() - 600..], [7; 600]);
        }
    }
}

#[test]
fn a_priority_tag_stays_in_front_of_the_outer_headers() {
    for way in all() {
        let mut rig = way.rig();
        for flags in [SYN, ACK, ACK] {
            let plain = way.tcp(40_001, flags);
            let tagged = [&plain[..12], &[0x81, 0x00, 0xa0, 0x00], &plain[12..]].concat();
            let out = rig.forwarded(CLIENTS, &tagged, BACKENDS);
            assert_eq!(out[12..16], [0x81, 0x00, 0xa0, 0x00]);
            let untagged = [&out[..12], &out[16..]].concat();
            assert_eq!(untagged[12..14], if way.outer_6 { [0x86, 0xdd] } else { [0x08, 0x00] });
            way.take_out(&untagged);
        }
    }
}

#[test]
fn a_full_table_lets_packets_go_by_hash_alone() {
    for way in all() {
        let mut rig = Rig::with_room_for(0, fixture::snapshot(1), WorkerId(0));
        rig.publish(|snapshot| way.lead(snapshot));
        let capacity = rig.meters.flows_capacity.read();
        for client in 0..capacity as u16 + 5 {
            let out = rig.forwarded(CLIENTS, &way.tcp(1000 + client, SYN), BACKENDS);
            way.take_out(&out);
        }
        assert_eq!(rig.meters.untracked_packets.read(), 5);
        rig.assert_conserved();
    }
}

#[test]
fn a_flow_stays_in_its_mode_over_a_change_of_its_virtual_server() {
    for way in all() {
        let mut rig = way.rig();
        rig.forwarded(CLIENTS, &way.tcp(40_001, SYN), BACKENDS);
        let before = way.take_out(&rig.forwarded(CLIENTS, &way.tcp(40_001, ACK), BACKENDS));
        rig.publish(|snapshot| snapshot.virtual_servers = [].into());
        for _ in 0..2 {
            let after = way.take_out(&rig.forwarded(CLIENTS, &way.tcp(40_001, ACK), BACKENDS));
            assert_eq!(after, before, "{way:?}");
        }
    }
}

#[test]
fn what_a_backend_sends_is_of_no_flow() {
    for way in all().filter(|way| way.inner_6 == way.outer_6) {
        let mut rig = way.rig();
        let (client, server) = way.ends(40_001);
        rig.forwarded(CLIENTS, &way.tcp(40_001, SYN), BACKENDS);
        let link = (BACKEND_MAC, BACKENDS_MAC);
        rig.dropped(BACKENDS, &packets::tcp(link, server, client, ACK, b""), DropReason::SourceIsOurs);
        let outer = at(if way.outer_6 { SELF_6 } else { SELF }, 40_001);
        let backend = at(if way.outer_6 { BACKEND_6 } else { BACKEND }, 6080);
        rig.dropped(BACKENDS, &packets::udp(link, backend, outer, b""), DropReason::NoFlow);
    }
}
