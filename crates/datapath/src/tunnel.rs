//! Packets within packets: the outer headers of `ipip` and `gue`.
//!
//! The client's packet stays as it is but for its TTL, which is one less as behind any router (RFC 2003, 3.1; RFC 2473, 3.1). In front of it
//! comes an IPv4 or IPv6 header, whichever the backend's address is, and in `gue` a UDP header for port 6080: variant 1 of GUE, in which the
//! packet follows at once, as Linux (`ip fou add port 6080 gue`) and Katran's backends take it.
//!
//! - The type of service, ECN included, is the packet's (RFC 6040, 4.1, normal mode).
//! - IPv4: "do not fragment" is set, and the identification, which says nothing then, is 0 (RFC 6864, 4.1).
//! - IPv6: the flow label is of the flow (RFC 6438), so that links are shared by it.
//! - UDP has no checksum: the packet has its own. Over IPv6 RFC 6935 and RFC 6936 allow that for tunnels, whose ends must be
//!   told (Linux's are).
//!
//! What a flow needs for that is computed when it is opened and lies where other modes have the ends of its replies, of which there are
//! none here: see [`outer`].

mod header;

use flow::{Candidate, Hit, Hot, Identity, Repair, Side};
use model::{Address, Mode, PortId};
use nic::Frame;
use wire::{
    U16,
    checksum::Sum,
    ethernet::{self, Ethernet, ether_type},
    ipv4::{self, Ends, EthernetIpv4Tcp, Ipv4},
    ipv6::{self, EthernetIpv6Tcp, Ipv6},
    protocol,
    udp::{self, Udp},
};

use self::header::{DO_NOT_FRAGMENT, GUE_PORT, Inner, OverUdp, TTL, VERSION_AND_LENGTH, Within, Wrapped};
use crate::{
    DropReason, Snapshot,
    neighbour::{Link, NeighbourIndex, Neighbours},
    packet::{Kind, Packet},
    serve::Occasion,
    snapshot::{Backend, VirtualServer},
    state::Memory,
    tally::Tallies,
    track,
};

/// Source ports are from here on: the dynamic ones (RFC 6335, 6), 14 bits of a flow's hash.
const FIRST_PORT: u16 = 0xc000;

/// What a flow remembers of its outer headers: source, destination and UDP source port, and the sum over what is the same in all its IPv4
/// headers.
///
/// Of IPv6 addresses there is no room: the destination is 0.0.0.0 then, nobody's, the source is the flow's share of the hash, and the
/// addresses are looked up with each packet. The destination port is 0, which keeps these from being the ends of any packet.
///
/// `None` when no port has an address of the backend's family.
pub(crate) fn outer(
    snapshot: &Snapshot,
    server: &VirtualServer,
    (backend, egress): (&Backend, PortId),
    (is_v4, hash): (bool, u64),
) -> Option<(Ends, Repair)> {
    // The bits that choose the backend are the lowest ones; a backend's flows have them in common.
    let entropy = (hash >> 32) as u32;
    let source = snapshot.outer_source(Some(server), egress, backend.address.is_v4())?;
    let ends = Ends { source_port: source_port(entropy), ..Ends::default() };
    if !backend.address.is_v4() {
        return Some((Ends { source: entropy.to_be_bytes(), ..ends }, Repair::default()));
    }
    let ends = Ends { source: source.with(entropy).v4(), destination: backend.address.v4(), ..ends };
    let carries = match server.mode {
        Mode::Gue => protocol::UDP,
        _ if is_v4 => protocol::IPV4,
        _ => protocol::IPV6,
    };
    let sum = Sum::of_two(ends.source)
        .plus(Sum::of_two(ends.destination))
        .plus_word(u16::from_be_bytes([VERSION_AND_LENGTH, 0]))
        .plus_word(DO_NOT_FRAGMENT)
        .plus_word(u16::from_be_bytes([TTL, carries]));
    Some((ends, Repair { network: sum.fold(), transport: 0 }))
}

fn source_port(entropy: u32) -> U16 {
    U16::new(FIRST_PORT | entropy as u16 & !FIRST_PORT)
}

/// Passes a packet on whose flow is likely to be the candidate, in `ipip` or `gue`, and steady; the port that it leaves by. `None`, with the
/// packet unchanged, when that is not so, or there is more to it.
#[inline(always)]
pub(crate) fn pass<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let hot = memory.flows.peek(candidate)?;
    if !track::is_steady_in_tunnel(hot, packet, occasion.flow_generation()) {
        return None;
    }
    match packet.kind {
        Kind::PlainV4 => pass_v4(memory, occasion, frame, packet, candidate),
        Kind::PlainV6 => pass_v6(memory, occasion, frame, packet, candidate),
        _ => pass_other(memory, occasion, frame, packet, candidate),
    }
}

#[inline(never)]
fn pass_v4<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let ends = wire::header::<EthernetIpv4Tcp>(frame.head(), 0)?.ends();
    let Memory { flows, neighbours, tallies, .. } = memory;
    let identity = Identity::new(true, packet.protocol(), 0);
    let hot = flows.confirm_v4((candidate, Side::Client), &ends, identity)?;
    send::<F, Ipv4>(hot, (neighbours, tallies), occasion, (frame, ethernet::HEADER), packet)
}

#[inline(never)]
fn pass_v6<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let EthernetIpv6Tcp { network, transport, .. } = wire::header(frame.head(), 0)?;
    let addresses = [network.source, network.destination].map(Address::from_v6);
    let ports = [transport.source_port, transport.destination_port];
    let identity = Identity::new(false, protocol::TCP, 0);
    let Memory { flows, neighbours, tallies, .. } = memory;
    let (hot, _) = flows.confirm_v6((candidate, Side::Client), &addresses, ports, identity)?;
    send::<F, Ipv6>(hot, (neighbours, tallies), occasion, (frame, ethernet::HEADER), packet)
}

#[inline(never)]
fn pass_other<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    candidate: Candidate,
) -> Option<PortId> {
    let Memory { flows, neighbours, tallies, .. } = memory;
    let Hit { hot, .. } = flows.confirm(candidate, &packet.key(frame.head()))?;
    let at = (frame, usize::from(packet.network));
    match packet.v6 {
        true => send::<F, Ipv6>(hot, (neighbours, tallies), occasion, at, packet),
        false => send::<F, Ipv4>(hot, (neighbours, tallies), occasion, at, packet),
    }
}

/// Sends a packet of a flow, which has the header `I` at an offset; the port that it leaves by. `None`, with the packet unchanged, when there is more to it.
#[inline(always)]
pub(crate) fn send<F: Frame, I: Inner>(
    hot: &mut Hot,
    (neighbours, tallies): (&mut Neighbours<F>, &mut Tallies),
    occasion: &Occasion<'_>,
    at: (&mut F, usize),
    packet: &Packet,
) -> Option<PortId> {
    hot.last_seen = occasion.flow_time();
    let link = neighbours.link(NeighbourIndex(hot.neighbour))?;
    wrap::<F, I>(at, packet, hot, &link, occasion.snapshot).ok()?;
    tallies.count((hot.backend, hot.virtual_server()), Side::Client, packet.length);
    Some(link.port)
}

/// Puts a client's packet into another one for the backend. A packet that is refused is unchanged.
pub(crate) fn encapsulate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    hot: &Hot,
    link: &Link<'_>,
    snapshot: &Snapshot,
) -> Result<(), DropReason> {
    let at = (frame, usize::from(packet.network));
    match packet.v6 {
        true => wrap::<F, Ipv6>(at, packet, hot, link, snapshot),
        false => wrap::<F, Ipv4>(at, packet, hot, link, snapshot),
    }
}

/// The same for a packet with the header `I`, at an offset that is known where this is compiled for nearly all packets.
#[inline(always)]
fn wrap<F: Frame, I: Inner>(
    (frame, network): (&mut F, usize),
    packet: &Packet,
    hot: &Hot,
    link: &Link<'_>,
    snapshot: &Snapshot,
) -> Result<(), DropReason> {
    let inner = wire::header::<I>(frame.head(), network).ok_or(DropReason::HeadersScattered)?;
    if inner.hops() <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let (outer, tos) = (hot.ends(Side::Backend), inner.tos());
    let within = |carries, payload| Within { tos, carries, payload };
    let udp = |length| Udp {
        source_port: outer.source_port,
        destination_port: U16::new(GUE_PORT),
        length: U16::new(length),
        checksum: U16::ZERO,
    };
    // Wraps in packets longer than any MTU only, and those are refused.
    let (length, datagram) = (packet.length, packet.length.wrapping_add(size_of::<Udp>() as u16));
    match (outer.destination != [0; 4], hot.mode()) {
        (true, Mode::Gue) => {
            let header =
                OverUdp { network: header::v4(hot, &within(protocol::UDP, datagram)), udp: udp(datagram) };
            put::<F, _, I>((frame, network), packet, link, header, ether_type::IPV4)
        }
        (true, _) => {
            let header = header::v4(hot, &within(I::NUMBER, length));
            put::<F, _, I>((frame, network), packet, link, header, ether_type::IPV4)
        }
        (false, Mode::Gue) => {
            let outer = header::v6(hot, &within(protocol::UDP, datagram), link, snapshot)?;
            put::<F, _, I>(
                (frame, network),
                packet,
                link,
                OverUdp { network: outer, udp: udp(datagram) },
                ether_type::IPV6,
            )
        }
        (false, _) => {
            let header = header::v6(hot, &within(I::NUMBER, length), link, snapshot)?;
            put::<F, _, I>((frame, network), packet, link, header, ether_type::IPV6)
        }
    }
}

/// Puts an outer header in front of a packet, and takes a hop from it.
#[inline(always)]
fn put<F: Frame, H: header::Outer, I: Inner>(
    (frame, network): (&mut F, usize),
    packet: &Packet,
    link: &Link<'_>,
    outer: H,
    kind: u16,
) -> Result<(), DropReason> {
    let added = size_of::<H>();
    if usize::from(packet.length) + added > usize::from(link.mtu) {
        return Err(DropReason::FrameOverMtu);
    }
    if !frame.prepend(added) {
        return Err(DropReason::NoHeadroom);
    }
    let head = frame.head_mut();
    if network != ethernet::HEADER {
        // A priority tag stays between the addresses and the EtherType.
        head.copy_within(added..added + network, 0);
    }
    if let Some(ethernet) = wire::header_mut::<Ethernet>(head, 0) {
        link.address(ethernet);
    }
    // It is there: the frame begins with it, and has grown.
    if let Some(wrapped) = wire::header_mut::<Wrapped<H, I>>(head, network.wrapping_sub(size_of::<U16>())) {
        wrapped.ether_type = U16::new(kind);
        wrapped.outer = outer;
        wrapped.inner.step();
    }
    Ok(())
}

/// Bytes of the outer headers of packets to a backend; none in other modes.
pub(crate) fn overhead(mode: Mode, backend: Address) -> u16 {
    let ip = if backend.is_v4() { ipv4::HEADER } else { ipv6::HEADER };
    match mode {
        Mode::Ipip => ip as u16,
        Mode::Gue => (ip + udp::HEADER) as u16,
        Mode::Nat | Mode::FullNat | Mode::Dsr => 0,
    }
}
