//! Showing the backends of `full_nat` who the client is.
//!
//! - **PROXY protocol, version 2**: a header in front of the first byte that the client sends. It goes out with the first segment behind
//!   the handshake, so a backend that speaks first need not wait for data. From then on the client's numbers are moved by the header's
//!   length. Until the backend has acknowledged the header, every segment with the client's first number has it in front again: so a
//!   header that was lost comes with what the client repeats. Backends say a smaller MSS, so that there is room; who does not heed it
//!   has its first segment cut down to the header, and repeats the rest.
//! - **TOA**: a TCP option, kind 254, with the client's port and address (8 bytes for IPv4, 20 for IPv6), as the modules of LVS, DPVS and
//!   others read it, in the client's segments behind the SYN until the backend has said something. A segment without room goes without.
//!
//! Both say what the client's own packets say: the address that it has and the one that it sends to, whatever the backend's family is.

use flow::{FlowIndex, FlowKey, FlowState, FlowTable, Numbers, Side, Tracked};
use model::ShowClient;
use nic::Frame;
use wire::{
    U16,
    checksum::{Delta, Sum},
    ipv4::Ipv4,
    ipv6::{self, Ipv6},
    tcp::{self, Tcp, flags},
};

use crate::{
    DropReason, Snapshot, WorkerMeters, complete, cookie,
    packet::Packet,
    segment::{Segment, is_at_or_after},
    snapshot::VirtualServer,
    track,
    treat::{self, option},
};

/// What a header begins with: its signature, version 2, command PROXY.
const BEGINNING: [u8; 13] = *b"\r\n\r\n\0\r\nQUIT\n\x21";
/// The kind of the TOA option (RFC 4727, 4: for experiments).
const TOA: u8 = 254;
/// Bytes of the longest header.
const LONGEST: usize = 52;
/// Bytes of the options of a TCP header, at most.
const OPTIONS: usize = 40;

/// How a client is shown.
#[derive(Clone, Copy)]
pub(crate) struct Show<'a> {
    how: ShowClient,
    /// The key of the client's packets.
    client: &'a FlowKey,
}

impl<'a> Show<'a> {
    /// `None` if it is not.
    pub(crate) fn of(how: ShowClient, client: &'a FlowKey) -> Option<Self> {
        (how != ShowClient::None).then_some(Self { how, client })
    }

    /// Bytes that the client's numbers are moved by on the way to the backend.
    pub(crate) fn shift(self) -> u32 {
        if self.how == ShowClient::ProxyV2 { self.header_length() } else { 0 }
    }

    const fn header_length(self) -> u32 {
        if is_v4(self.client) { 28 } else { LONGEST as u32 }
    }

    /// The header of the PROXY protocol.
    fn header(self) -> arrayvec::ArrayVec<u8, LONGEST> {
        let FlowKey { source, destination, source_port, destination_port, .. } = self.client;
        let mut header = arrayvec::ArrayVec::new();
        let mut add = |bytes: &[u8]| header.try_extend_from_slice(bytes).is_ok();
        // TCP over IPv4 or IPv6, and how many bytes follow.
        let (family, length) = if is_v4(self.client) { (0x11, 12) } else { (0x21, 36) };
        let mut fits = add(&BEGINNING) && add(&[family, 0, length]);
        for address in [source, destination] {
            fits = fits && if is_v4(self.client) { add(&address.v4()) } else { add(&address.octets()) };
        }
        fits = fits && add(&source_port.to_be_bytes()) && add(&destination_port.to_be_bytes());
        debug_assert!(fits, "a header has 52 bytes at most");
        header
    }

    /// The TOA option.
    fn option(self) -> arrayvec::ArrayVec<u8, 20> {
        let FlowKey { source, source_port, .. } = self.client;
        let [high, low] = source_port.to_be_bytes();
        let mut option = arrayvec::ArrayVec::new();
        let fits = if is_v4(self.client) {
            option.try_extend_from_slice(&[TOA, 8, high, low]).is_ok()
                && option.try_extend_from_slice(&source.v4()).is_ok()
        } else {
            option.try_extend_from_slice(&[TOA, 20, high, low]).is_ok()
                && option.try_extend_from_slice(&source.octets()).is_ok()
        };
        debug_assert!(fits, "an option has 20 bytes at most");
        option
    }

    /// A packet of the backend's, before anything else is done to it: what it acknowledges is what the client has sent.
    pub(crate) fn hear(self, head: &mut [u8], packet: &Packet, numbers: &mut Numbers) -> Option<()> {
        let transport = usize::from(packet.transport);
        let header = wire::header_mut::<Tcp>(head, transport)?;
        let said = header.acknowledgement.get();
        if packet.flags & flags::SYN != 0 {
            numbers.show_from(said);
            return Some(());
        }
        let (shift, is_waiting, first) = (self.shift(), !numbers.is_shown(), numbers.first());
        if shift == 0 || is_waiting && is_at_or_after(said, first.wrapping_add(shift)) {
            numbers.set_shown();
        }
        if shift == 0 || packet.flags & flags::ACK == 0 {
            return Some(());
        }
        let back = |number: u32| match number.wrapping_sub(first) {
            within if is_waiting && within < shift => first,
            _ => number.wrapping_sub(shift),
        };
        header.acknowledgement.set(back(said));
        let delta = Delta::of(&said.to_be_bytes(), &back(said).to_be_bytes());
        treat::repair(head, transport, delta)?;
        treat::for_each_option(head, packet, |kind, option| {
            if kind == option::SACK {
                let (_, edges) = option.split_at_mut_checked(2)?;
                for edge in edges.as_chunks_mut::<4>().0 {
                    *edge = back(u32::from_be_bytes(*edge)).to_be_bytes();
                }
            }
            Some(())
        })
    }

    /// Makes a backend's SYN-ACK say an MSS that leaves room for the header.
    pub(crate) fn leave_room(self, head: &mut [u8], packet: &Packet) -> Packet {
        let less = self.shift() as u16;
        treat::for_each_option(head, packet, |kind, option| {
            if let (option::MSS, [_, _, high, low]) = (kind, option) {
                let size = u16::from_be_bytes([*high, *low]).saturating_sub(less);
                [*high, *low] = size.to_be_bytes();
            }
            Some(())
        });
        *packet
    }

    /// A packet of the client's, when all else but its addresses is as it leaves: shows the client in it, if it is time. What the packet
    /// is then. `largest`: bytes of the largest one that fits.
    pub(crate) fn tell<F: Frame>(
        self,
        frame: &mut F,
        packet: &Packet,
        Tracked { hot, numbers, .. }: Tracked<'_>,
        (largest, meters): (u16, &WorkerMeters),
    ) -> Result<Packet, DropReason> {
        let transport = usize::from(packet.transport);
        let header = *wire::header::<Tcp>(frame.head(), transport).ok_or(DropReason::HeadersScattered)?;
        let number = header.sequence.get();
        if packet.flags & flags::SYN != 0 {
            // Over an old conversation the backend decides whether this is a new one: `hear`.
            if hot.state() == FlowState::Handshake {
                numbers.show_from(number.wrapping_add(1));
            }
            self.forbid_data(frame.head_mut(), packet);
            return Ok(*packet);
        }
        let says_something = packet.flags & (flags::ACK | flags::RST) == flags::ACK;
        let is_time = !numbers.is_shown() && says_something && is_whole(frame.head(), packet);
        match self.how {
            ShowClient::Toa if is_time => Ok(self.add_option(frame, packet, largest).unwrap_or_else(|| {
                meters.clients_not_shown.add(1);
                *packet
            })),
            ShowClient::ProxyV2 if is_time && number == numbers.first() => {
                self.add_header(frame, packet, largest).ok_or(DropReason::NoHeadroom)
            }
            ShowClient::ProxyV2 => {
                shift(frame.head_mut(), transport, self.shift()).ok_or(DropReason::HeadersScattered)?;
                Ok(*packet)
            }
            ShowClient::Toa | ShowClient::None => Ok(*packet),
        }
    }

    /// Data in a SYN (TCP Fast Open, RFC 7413) would come before the header.
    fn forbid_data(self, head: &mut [u8], packet: &Packet) {
        if self.how == ShowClient::ProxyV2 {
            treat::for_each_option(head, packet, |kind, option| {
                if kind == option::FAST_OPEN {
                    option.fill(option::NOTHING);
                }
                Some(())
            });
        }
    }

    fn add_header<F: Frame>(self, frame: &mut F, packet: &Packet, largest: u16) -> Option<Packet> {
        let header = self.header();
        let data = data_offset(frame.head(), packet)?;
        let has_room = u32::from(packet.length) + header.len() as u32 <= u32::from(largest);
        let packet = if has_room { *packet } else { cut(frame, packet, data)? };
        let packet = insert(frame, &packet, data, &header)?;
        // To be given on at once.
        set_flags(frame.head_mut(), &packet, packet.flags | flags::PSH)?;
        Some(packet)
    }

    fn add_option<F: Frame>(self, frame: &mut F, packet: &Packet, largest: u16) -> Option<Packet> {
        let option = self.option();
        let transport = usize::from(packet.transport);
        let data = data_offset(frame.head(), packet)?;
        let fits_header = data - transport + option.len() <= tcp::HEADER + OPTIONS;
        let fits_packet = u32::from(packet.length) + option.len() as u32 <= u32::from(largest);
        if !fits_header || !fits_packet {
            return None;
        }
        // In front of the others, which may end with one that says that nothing follows.
        let packet = insert(frame, packet, transport + tcp::HEADER, &option)?;
        let header = wire::header_mut::<Tcp>(frame.head_mut(), transport)?;
        let (old, new) = (header.offset, header.offset.wrapping_add((option.len() as u8 / 4) << 4));
        header.offset = new;
        treat::repair(frame.head_mut(), transport, Delta::of(&[old, 0], &[new, 0]))?;
        Some(packet)
    }
}

/// Whether the backend has yet to be shown who the client is.
pub(crate) fn is_awaited(server: &VirtualServer, numbers: &Numbers) -> bool {
    server.show_client != ShowClient::None && !numbers.is_shown()
}

/// A flow was opened: its client is shown from the SYN on. If it has begun without one, elsewhere, that was done there.
pub(crate) fn begin(flows: &mut FlowTable, index: FlowIndex, server: &VirtualServer) {
    if server.show_client != ShowClient::None
        && let Some(flow) = flows.tracked(index)
    {
        match flow.hot.state() {
            FlowState::Handshake => flow.numbers.show_from(0),
            _ => flow.numbers.set_shown(),
        }
    }
}

const fn is_v4(key: &FlowKey) -> bool {
    matches!(key.source.octets(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
}

/// The numbers of a segment of one side's, as the other side knows them.
pub(crate) fn moved(show: Option<Show<'_>>, side: Side, [sequence, acknowledgement]: [u32; 2]) -> [u32; 2] {
    let shift = show.map_or(0, Show::shift);
    match side {
        Side::Client => [sequence.wrapping_add(shift), acknowledgement],
        Side::Backend => [sequence, acknowledgement.wrapping_sub(shift)],
    }
}

/// A segment whose acknowledgement is in the numbers of the side that is acknowledged, as that one has said them.
pub(crate) fn in_own_numbers(
    snapshot: &Snapshot,
    server: Option<&VirtualServer>,
    (flow, side): (&Tracked<'_>, Side),
    segment: Segment,
) -> Segment {
    let is_translated = track::is_translated(flow.hot);
    let are_moved = |server: &&VirtualServer| {
        server.treatment.generate_isn || server.show_client == ShowClient::ProxyV2 || is_translated
    };
    let Some(server) = server.filter(are_moved) else { return segment };
    let client = flow.key(Side::Client);
    let numbers = [segment.sequence, segment.acknowledgement];
    let of = (side, &client, cookie::Translation::of(flow));
    let numbers = treat::moved(snapshot, of, &server.treatment, numbers);
    let [_, acknowledgement] = moved(Show::of(server.show_client, &client), side, numbers);
    Segment { acknowledgement, ..segment }
}

/// Whether a packet is no fragment, and has nothing between its IP and its TCP header that might say so.
fn is_whole(head: &[u8], packet: &Packet) -> bool {
    let network = usize::from(packet.network);
    if packet.v6 {
        return usize::from(packet.transport) == network + ipv6::HEADER;
    }
    let header = wire::header::<Ipv4>(head, network);
    header.is_some_and(|header| wire::ipv4::fragment(header).is_atomic())
}

/// Where the data of a segment begins in the frame.
fn data_offset(head: &[u8], packet: &Packet) -> Option<usize> {
    let transport = usize::from(packet.transport);
    Some(transport + usize::from(wire::header::<Tcp>(head, transport)?.offset >> 4) * 4)
}

/// Adds to the number of a segment.
fn shift(head: &mut [u8], transport: usize, by: u32) -> Option<()> {
    let header = wire::header_mut::<Tcp>(head, transport)?;
    let old = header.sequence;
    header.sequence.set(old.get().wrapping_add(by));
    let delta = Delta::of(&old.to_bytes(), &header.sequence.to_bytes());
    treat::repair(head, transport, delta)
}

fn set_flags(head: &mut [u8], packet: &Packet, flags: u8) -> Option<()> {
    let transport = usize::from(packet.transport);
    let header = wire::header_mut::<Tcp>(head, transport)?;
    let delta = Delta::of(&[0, header.flags], &[0, flags]);
    header.flags = flags;
    treat::repair(head, transport, delta)
}

/// Takes the data out of a segment, and with it the end of all data.
fn cut<F: Frame>(frame: &mut F, packet: &Packet, data: usize) -> Option<Packet> {
    let removed = complete::payload_sum(frame, data);
    let shorter = Packet {
        length: (data - usize::from(packet.network)) as u16,
        flags: packet.flags & !flags::FIN,
        ..*packet
    };
    if !frame.resize(data) {
        return None;
    }
    let before = Sum::default().plus_word(packet.length).plus(removed);
    let head = frame.head_mut();
    set_length(head, packet, shorter.length)?;
    treat::repair(
        head,
        packet.transport.into(),
        Delta::between(before, Sum::default().plus_word(shorter.length)),
    )?;
    set_flags(head, &shorter, shorter.flags)?;
    Some(shorter)
}

/// Puts an even number of bytes into a segment.
fn insert<F: Frame>(frame: &mut F, packet: &Packet, at: usize, bytes: &[u8]) -> Option<Packet> {
    debug_assert!(bytes.len().is_multiple_of(2), "what follows keeps its place in words");
    let length = packet.length.checked_add(bytes.len() as u16)?;
    if !frame.prepend(bytes.len()) {
        return None;
    }
    let head = frame.head_mut();
    head.copy_within(bytes.len()..bytes.len() + at, 0);
    head.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
    set_length(head, packet, length)?;
    let before = Sum::default().plus_word(packet.length);
    let after = Sum::of(bytes).plus_word(length);
    treat::repair(head, packet.transport.into(), Delta::between(before, after))?;
    Some(Packet { length, ..*packet })
}

/// Writes the length of a packet into its IP header.
fn set_length(head: &mut [u8], packet: &Packet, length: u16) -> Option<()> {
    let network = usize::from(packet.network);
    if packet.v6 {
        let header = wire::header_mut::<Ipv6>(head, network)?;
        header.payload_length = U16::new(length.saturating_sub(ipv6::HEADER as u16));
        return Some(());
    }
    let header = wire::header_mut::<Ipv4>(head, network)?;
    let delta = Delta::of(&header.total_length.to_bytes(), &length.to_be_bytes());
    header.total_length = U16::new(length);
    header.checksum = U16::new(delta.apply(header.checksum.get()));
    Some(())
}
