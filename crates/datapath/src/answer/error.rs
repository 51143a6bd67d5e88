//! ICMP errors of our own: time exceeded and packet too big (RFC 792, RFC 1191, RFC 4443; RFC 1812, 4.3).
//!
//! The error is written in place of the packet that it is about, which it quotes as it arrived. It has 28 bytes more than a short
//! packet (48 over IPv6), as the standards want it; that is why there are so few of them ([`super::allowance`]).

use flow::{FlowKey, Tracked};
use nic::Frame;
use wire::{
    U16,
    checksum::{Sum, pseudo_v6},
    icmpv4, icmpv6,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    protocol, quote,
};

use super::{TTL, turn_round};
use crate::{
    DropReason, Verdict, cross,
    packet::{Packet, Step},
    parse::is_group,
    plan::Plan,
    resolve,
    serve::Occasion,
    snapshot::is_martian_source,
    state::Memory,
    translation, tunnel,
};

/// Bytes of the largest error over IPv4 (RFC 1812, 4.3.2.3).
const LONGEST_V4: usize = 576;
/// Bytes of the largest error over IPv6, and what all links take (RFC 4443, 2.4 (c); RFC 8200, 5).
const LONGEST_V6: usize = 1280;
/// Internetwork control (RFC 1812, 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
/// That a packet must not be fragmented.
const DO_NOT_FRAGMENT: u16 = 0x4000;

/// Why a packet does not go on, where its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Its TTL ended here.
    TtlExpired,
    /// It is larger than what it would leave in takes.
    TooBig {
        /// Bytes of the largest packet that would pass.
        mtu: u16,
    },
}

impl Trouble {
    /// Why a packet is dropped whose sender is not told.
    pub(crate) const fn reason(self) -> DropReason {
        match self {
            Self::TtlExpired => DropReason::TtlExpired,
            Self::TooBig { .. } => DropReason::FrameOverMtu,
        }
    }

    const fn message_v4(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::TtlExpired => (icmpv4::TIME_EXCEEDED, 0, [0; 4]),
            Self::TooBig { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                (icmpv4::DESTINATION_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED, [0, 0, high, low])
            }
        }
    }

    fn message_v6(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::TtlExpired => (icmpv6::TIME_EXCEEDED, 0, [0; 4]),
            Self::TooBig { mtu } => {
                (icmpv6::PACKET_TOO_BIG, 0, u32::from(mtu).max(LONGEST_V6 as u32).to_be_bytes())
            }
        }
    }
}

/// What becomes of a packet of a flow with this key that is to be dropped for `reason`: an error to its sender, if one is due.
pub(crate) fn instead<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    key: &FlowKey,
    reason: DropReason,
) -> Result<Step, DropReason> {
    if !packet.has_flow() {
        return Err(reason);
    }
    let trouble = match reason {
        DropReason::TtlExpired => Trouble::TtlExpired,
        DropReason::FrameOverMtu => {
            let (mtu, crosses) = mtu(memory, occasion, key).ok_or(reason)?;
            let across = || cross::largest(frame.head(), packet, mtu).ok_or(reason);
            Trouble::TooBig { mtu: if crosses { across()? } else { mtu } }
        }
        _ => return Err(reason),
    };
    let verdict = report(memory, occasion, frame, packet, trouble)?;
    if let Trouble::TooBig { mtu } = trouble
        && let Some(found) = memory.flows.find(key)
        && let Some(Tracked { hot, numbers, .. }) = memory.flows.tracked(found.index)
    {
        // If it sends as much again, it does not know that it does, and the packet is cut.
        numbers.lower_path_mtu(mtu, hot.created);
    }
    Ok(Step::Done(verdict))
}

/// The largest packet with this key that leaves: the MTU of the port that it leaves by, without the outer headers that it gets; and whether
/// it leaves as one of the other family.
fn mtu<F>(memory: &mut Memory<F>, occasion: &Occasion<'_>, key: &FlowKey) -> Option<(u16, bool)> {
    let snapshot = occasion.snapshot;
    let (port, outer, crosses) =
        match memory.flows.find(key).and_then(|found| Some((memory.flows.flow(found.index)?, found.side))) {
            Some((flow, side)) => {
                let backend = snapshot.backend(flow.backend)?;
                let outer = tunnel::overhead(flow.mode, backend.address);
                (resolve::egress(snapshot, &flow, side)?, outer, flow.crosses())
            }
            None => {
                let plan = Plan::find(snapshot, key)?;
                let (server, backend) =
                    (snapshot.virtual_server(plan.server)?, snapshot.backend(plan.backend?)?);
                let port = snapshot.routes.route(backend.route?)?.port;
                let outer = tunnel::overhead(server.mode, backend.address);
                (port, outer, translation::crosses(server, backend, key))
            }
        };
    Some((snapshot.port(port)?.mtu.saturating_sub(outer), crosses))
}

/// Writes an error over the packet that it is about, and sends it back. The packet must be as it arrived, and the first fragment
/// if it is one.
///
/// # Errors
/// Why the packet is dropped without a word: [`Trouble::reason`] where none is due (RFC 1122, 3.2.2; RFC 4443, 2.4 (e)), or
/// that too many were sent of late.
pub(crate) fn report<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    trouble: Trouble,
) -> Result<Verdict, DropReason> {
    let snapshot = occasion.snapshot;
    let key = packet.key(frame.head(), occasion.domain);
    let port = snapshot.port(occasion.arrival.port).ok_or(DropReason::NoRoute)?;
    let is_group_frame = frame.head().first().is_some_and(|octet| octet & 1 == 1);
    let is_nobody = is_martian_source(key.source) || occasion.addresses().is_ours(key.source);
    // What is larger than its own link takes was made by a sender that leaves cutting it up to a card: it knows the MTU.
    let is_offloaded = matches!(trouble, Trouble::TooBig { .. }) && packet.length > port.mtu;
    if is_group_frame || is_nobody || is_group(key.destination) || is_offloaded {
        return Err(trouble.reason());
    }
    let senders = port.senders;
    let has_sender = if packet.v6 { senders.v6.is_some() } else { senders.v4.is_some() };
    if !has_sender {
        return Err(trouble.reason());
    }
    if !memory.allowance.take(occasion.now) {
        return Err(DropReason::IcmpLimited);
    }
    let written = match (packet.v6, senders.v4, senders.v6) {
        (false, Some(us), _) => write_v4(frame, packet, trouble, us),
        (true, _, Some(us)) => write_v6(frame, packet, trouble, us),
        _ => None,
    };
    written.ok_or(DropReason::NoRoomForAnswer)?;
    memory.meters.icmp_errors.add(1);
    Ok(turn_round(occasion, frame, packet))
}

/// Moves at most `longest` bytes of a packet back by as many bytes as the headers have that come before it, and cuts the rest;
/// how many these are. `None` when there is no room.
fn quote<F: Frame>(frame: &mut F, packet: &Packet, headers: usize, longest: usize) -> Option<usize> {
    let network = usize::from(packet.network);
    let quoted = usize::from(packet.length).min(longest - headers);
    let is_one_piece = frame.resize(network + quoted) && frame.pull(network + quoted);
    let length = network + headers + quoted;
    if !is_one_piece || !frame.resize(length) || !frame.pull(length) {
        return None;
    }
    let bytes = frame.head_mut().get_mut(network..length)?;
    bytes.copy_within(..quoted, headers);
    Some(quoted)
}

fn write_v4<F: Frame>(frame: &mut F, packet: &Packet, trouble: Trouble, us: [u8; 4]) -> Option<()> {
    const HEADERS: usize = ipv4::HEADER + quote::OFFSET;
    let network = usize::from(packet.network);
    let them = wire::header::<Ipv4>(frame.head(), network)?.source;
    let length = HEADERS + quote(frame, packet, HEADERS, LONGEST_V4)?;
    let header = Ipv4 {
        version_and_length: 0x45,
        tos: PRECEDENCE,
        total_length: U16::new(length as u16),
        identification: U16::ZERO,
        fragment: U16::new(DO_NOT_FRAGMENT),
        ttl: TTL,
        protocol: protocol::ICMP,
        checksum: U16::ZERO,
        source: us,
        destination: them,
    };
    let head = frame.head_mut();
    let written: &mut Ipv4 = wire::header_mut(head, network)?;
    *written = header;
    written.checksum = U16::new(!Sum::of(zerocopy::IntoBytes::as_bytes(&header)).fold());
    write_message(
        head.get_mut(network + ipv4::HEADER..network + length)?,
        trouble.message_v4(),
        Sum::default(),
    )
}

fn write_v6<F: Frame>(frame: &mut F, packet: &Packet, trouble: Trouble, us: [u8; 16]) -> Option<()> {
    const HEADERS: usize = ipv6::HEADER + quote::OFFSET;
    let network = usize::from(packet.network);
    let them = wire::header::<Ipv6>(frame.head(), network)?.source;
    let length = quote::OFFSET + quote(frame, packet, HEADERS, LONGEST_V6)?;
    let head = frame.head_mut();
    *wire::header_mut::<Ipv6>(head, network)? = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_length: U16::new(length as u16),
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        source: us,
        destination: them,
    };
    let pseudo = pseudo_v6(&us, &them, protocol::ICMPV6, length as u32);
    let message = head.get_mut(network + ipv6::HEADER..network + ipv6::HEADER + length)?;
    write_message(message, trouble.message_v6(), pseudo)
}

/// Writes the eight bytes before the quote.
fn write_message(message: &mut [u8], (kind, code, rest): (u8, u8, [u8; 4]), pseudo: Sum) -> Option<()> {
    let [a, b, c, d] = rest;
    message.first_chunk_mut::<8>()?.copy_from_slice(&[kind, code, 0, 0, a, b, c, d]);
    let checksum = !pseudo.plus(Sum::of(message)).fold();
    message.get_mut(2..4)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}
