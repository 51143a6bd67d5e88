//! Frames that get far into the datapath: from clients to virtual servers, and answers to what the gateway has sent.

use std::net::SocketAddr;

use etherparse::PacketBuilder;
use model::Mode;
use testkit::{
    gateway::{
        BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT_MAC, CLIENTS_MAC, SELF, SELF_6,
        virtual_address,
    },
    packets::{self, Flags, Link},
};
use wire::{
    U16,
    arp::{self, Arp},
    ethernet::HEADER,
    icmpv6,
    ipv6::Ipv6,
    nd::{self, Message},
    protocol,
};
use zerocopy::IntoBytes;

use crate::{script::Script, sums};

/// The two ports of the gateway: client, backend.
pub type Side = usize;

/// The addresses of a frame that comes in by a port.
#[must_use]
pub fn link(side: Side) -> Link {
    if side == 0 { (CLIENT_MAC, CLIENTS_MAC) } else { (BACKEND_MAC, BACKENDS_MAC) }
}

/// TCP flags: one bit each.
#[must_use]
pub fn flags(bits: u8) -> Flags {
    Flags { syn: bits & 1 != 0, ack: bits & 2 != 0, fin: bits & 4 != 0, rst: bits & 8 != 0 }
}

/// A packet of one of 256 clients to one of the virtual servers, or of a backend to one of them.
#[must_use]
pub fn template(script: &mut Script<'_>, side: Side) -> Vec<u8> {
    let (what, number, bits) = (script.byte(), script.byte(), script.byte());
    let v6 = what & 1 != 0;
    let mode = [Mode::Nat, Mode::FullNat, Mode::Dsr, Mode::Nat][usize::from(what >> 1 & 3)];
    let port = 1024 + u16::from(number);
    let client =
        if v6 { format!("[2001:db8:1::{number:x}]:{port}") } else { format!("10.10.1.{number}:{port}") };
    let client: SocketAddr = client.parse().expect("an address");
    let virtual_server = SocketAddr::new(virtual_address(mode, v6).parse().expect("an address"), 80);
    let backend = SocketAddr::new(if v6 { BACKEND_6 } else { BACKEND }.parse().expect("an address"), 8080);
    let own = SocketAddr::new(if v6 { SELF_6 } else { SELF }.parse().expect("an address"), port);
    let (from, to) = match (side, mode) {
        (0, _) => (client, virtual_server),
        (_, Mode::FullNat) => (backend, own),
        _ => (backend, client),
    };
    let payload = vec![number; usize::from(bits >> 4) * 8];
    let frame = whole(side, (from, to), (what, bits), &payload);
    if what & 0xc0 == 0xc0 && !v6 { fragment(frame, script.byte()) } else { frame }
}

/// A part of an IPv4 packet: how long, where and whether more follow is a question of some bits.
fn fragment(mut frame: Vec<u8>, bits: u8) -> Vec<u8> {
    let (offset, kept) = (u16::from(bits & 7) * 3, 24 + 8 * usize::from(bits >> 3 & 15));
    frame.truncate(HEADER + 20 + kept);
    let length = (frame.len() - HEADER) as u16;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[18..20].copy_from_slice(&[0, bits & 3]);
    let field = offset | if bits & 0x80 == 0 { 0x2000 } else { 0 };
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    sums::repair(&mut frame);
    frame
}

fn whole(
    side: Side,
    (from, to): (SocketAddr, SocketAddr),
    (what, bits): (u8, u8),
    payload: &[u8],
) -> Vec<u8> {
    match what >> 3 & 7 {
        0..=3 => packets::tcp(link(side), from, to, flags(bits), payload),
        4 | 5 => packets::udp(link(side), from, to, payload),
        6 => packets::echo(link(side), from.ip(), to.ip(), payload),
        _ => question(side, from, to),
    }
}

/// Who has the address of `to`?
fn question(side: Side, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (source, _) = link(side);
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            let (sender, target) = ((source, from.ip().octets()), ([0; 6], to.ip().octets()));
            [&[0xff; 6], &source[..], &[8, 6], Arp::new(arp::REQUEST, sender, target).as_bytes()].concat()
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            let message = Message::solicitation(to.ip().octets(), source);
            let group = nd::solicited_node(to.ip().octets());
            discovery((source, nd::multicast_mac(group)), from.ip().octets(), group, &message)
        }
        _ => vec![],
    }
}

fn discovery(link: Link, source: [u8; 16], destination: [u8; 16], message: &Message) -> Vec<u8> {
    let header = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_length: U16::new(nd::MESSAGE as u16),
        next_header: protocol::ICMPV6,
        hop_limit: nd::HOP_LIMIT,
        source,
        destination,
    };
    let mut frame = [&link.1, &link.0[..], &[0x86, 0xdd], header.as_bytes(), message.as_bytes()].concat();
    sums::repair(&mut frame);
    frame
}

/// What somebody on the link of port `side` says to a frame that the gateway has sent there; `None` when nothing comes to
/// mind.
#[must_use]
pub fn answer(sent: &[u8], side: Side, bits: u8) -> Option<Vec<u8>> {
    let (us, gateway) = link(side);
    if bits & 0x0c == 0x0c
        && let Some(error) = error(sent, side, bits)
    {
        return Some(error);
    }
    let mut frame = sent.to_vec();
    frame[..6].copy_from_slice(&gateway);
    frame[6..12].copy_from_slice(&us);
    match sent.get(12..14)? {
        [8, 6] => {
            let asked: &Arp = wire::header(sent, HEADER)?;
            let (us, them) = ((us, asked.target_address), (asked.sender_mac, asked.sender_address));
            frame.truncate(HEADER);
            frame.extend(Arp::new(arp::REPLY, us, them).as_bytes());
        }
        [8, 0] => {
            let (source, destination) = frame.get_mut(26..34)?.split_at_mut(4);
            source.swap_with_slice(destination);
            turn_transport(&mut frame, HEADER + usize::from(sent[14] & 0x0f) * 4, sent[23], bits)?;
        }
        [0x86, 0xdd] if sent.get(54) == Some(&icmpv6::NEIGHBOUR_SOLICITATION) => {
            let target: [u8; 16] = sent.get(62..78)?.try_into().ok()?;
            let asking: [u8; 16] = sent.get(22..38)?.try_into().ok()?;
            let message = Message::advertisement(bits & 0xe0, target, us);
            return Some(discovery((us, gateway), target, asking, &message));
        }
        [0x86, 0xdd] => {
            let (source, destination) = frame.get_mut(22..54)?.split_at_mut(16);
            source.swap_with_slice(destination);
            turn_transport(&mut frame, HEADER + 40, sent[20], bits)?;
        }
        _ => return None,
    }
    sums::repair(&mut frame);
    Some(frame)
}

/// An ICMP error about a packet that the gateway has sent.
fn error(sent: &[u8], side: Side, bits: u8) -> Option<Vec<u8>> {
    let (us, gateway) = link(side);
    let ethernet = PacketBuilder::ethernet2(us, gateway);
    let quote = &sent[HEADER.min(sent.len())..sent.len().min(HEADER + 28 + 4 * usize::from(bits >> 4))];
    let mut frame = Vec::new();
    match sent.get(12..14)? {
        [8, 0] => {
            let to: [u8; 4] = sent.get(26..30)?.try_into().ok()?;
            let step = ethernet.ipv4([10, 10, 1 + side as u8, 254], to, 9);
            step.icmpv4_raw(3, 4, [0, 0, 5, 0x14]).write(&mut frame, quote).ok()?;
        }
        [0x86, 0xdd] => {
            let to: [u8; 16] = sent.get(22..38)?.try_into().ok()?;
            let step = ethernet.ipv6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], to, 9);
            step.icmpv6_raw(2, 0, [0, 0, 5, 0x14]).write(&mut frame, quote).ok()?;
        }
        _ => return None,
    }
    Some(frame)
}

/// Exchanges the ports, and sets TCP flags.
fn turn_transport(frame: &mut [u8], at: usize, protocol: u8, bits: u8) -> Option<()> {
    let (source, destination) = frame.get_mut(at..at + 4)?.split_at_mut(2);
    source.swap_with_slice(destination);
    if protocol == protocol::TCP {
        let Flags { syn, ack, fin, rst } = flags(bits);
        *frame.get_mut(at + 13)? =
            u8::from(fin) | u8::from(syn) << 1 | u8::from(rst) << 2 | u8::from(ack) << 4;
    }
    Some(())
}

/// The port behind which a side's machines are.
#[must_use]
pub const fn port(side: Side) -> model::PortId {
    if side == 0 { testkit::gateway::CLIENTS } else { BACKENDS }
}
