//! A packet that is cut, and its pieces.

use nic::Frame;
use wire::{
    U16,
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet::{self, Ethernet, ether_type},
    fragment::UNIT,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    protocol,
    tcp::{self, Tcp, flags},
    udp::Udp,
    vlan,
};

use super::is_divisible;
use crate::{complete, packet::Packet};

/// Bytes of data that a piece has at least: less says that the way takes nothing.
const LEAST: usize = UNIT;

/// A packet that is complete but for its size. Offsets count from the first byte of its frame.
pub(super) struct Whole {
    /// Of its first IP header.
    pub(super) network: usize,
    /// Of the IP header of what is cut: behind outer headers, if there are any.
    pub(super) inner: usize,
    /// Of what is divided.
    pub(super) data: usize,
    /// Of the end.
    pub(super) end: usize,
    /// Bytes of that in each piece, but for the last.
    pub(super) share: usize,
    pub(super) how: How,
}

/// What a packet is cut into.
pub(super) enum How {
    Segments {
        /// Of the TCP header.
        transport: usize,
        /// The sum over the whole, all ones if its checksum is right. Pieces of one that is wrong are wrong by as much.
        sum: u16,
    },
    Fragments {
        /// Which one all of them are of.
        identification: u16,
        /// The flags and offset that the whole came with: it may be a fragment itself.
        field: u16,
        /// Options of all but the first, and how many bytes they are.
        options: ([u8; ipv4::LONGEST - ipv4::HEADER], usize),
    },
}

/// One of the pieces.
pub(super) struct Piece {
    /// Which one.
    index: u16,
    /// Where its data begins, behind where that of the whole does.
    start: usize,
    length: usize,
    pub(super) is_last: bool,
}

impl Piece {
    const fn is_first(&self) -> bool {
        self.start == 0
    }
}

/// Whether a packet over IPv4 has the identification 0: none was given to it.
pub(super) fn lacks_identification<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let header = inner(frame, packet).and_then(|inner| wire::header::<Ipv4>(frame.head(), inner));
    !packet.v6 && header.is_some_and(|header| header.identification.get() == 0 && !ipv4::is_fragment(header))
}

/// Where the first IP header is: behind a tag, if there is one by now.
pub(crate) fn network(head: &[u8]) -> Option<usize> {
    let is_tagged = wire::header::<Ethernet>(head, 0)?.ether_type.get() == ether_type::VLAN;
    Some(ethernet::HEADER + if is_tagged { vlan::TAG } else { 0 })
}

/// Where the packet's own IP header is, now that there may be another one in front of it.
fn inner<F: Frame>(frame: &F, packet: &Packet) -> Option<usize> {
    frame.length().checked_sub(usize::from(packet.length))
}

impl Whole {
    /// Finds out how a packet is cut into pieces of at most `size` bytes. `None` when it cannot be.
    pub(super) fn of<F: Frame>(frame: &F, packet: &Packet, size: u16, fresh: Option<u16>) -> Option<Self> {
        let (network, inner) = (network(frame.head())?, inner(frame, packet)?);
        let transport = inner + usize::from(packet.transport.checked_sub(u16::from(packet.network))?);
        let is_segment = is_divisible(packet.flags) && !is_fragment(frame.head(), inner);
        let (how, data) = if is_segment {
            let header: &Tcp = wire::header(frame.head(), transport)?;
            let data = transport + usize::from(header.offset >> 4) * 4;
            (How::Segments { transport, sum: sum(frame, inner, transport)? }, data)
        } else {
            (fragments(frame.head(), inner, fresh)?, transport)
        };
        let room = (network + usize::from(size)).checked_sub(data)?;
        let share = if is_segment { room } else { room / UNIT * UNIT };
        let end = frame.length();
        (share >= LEAST && data < end && data <= frame.head().len()).then_some(Self {
            network,
            inner,
            data,
            end,
            share,
            how,
        })
    }

    /// All pieces, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> + use<> {
        let (all, share) = (self.end - self.data, self.share);
        (0..all).step_by(share).zip(0..).map(move |(start, index)| {
            let length = share.min(all - start);
            Piece { index, start, length, is_last: start + length == all }
        })
    }

    /// Bytes of a piece's frame.
    pub(super) fn length(&self, piece: &Piece) -> usize {
        self.headers(piece) + piece.length
    }

    /// Bytes in front of a piece's data.
    fn headers(&self, piece: &Piece) -> usize {
        match &self.how {
            How::Fragments { options, .. } if !piece.is_first() => self.inner + ipv4::HEADER + options.1,
            _ => self.data,
        }
    }

    /// Writes a piece into a frame of its length.
    pub(super) fn write<F: Frame>(&self, frame: &F, piece: &Piece, new: &mut F) -> Option<()> {
        let (headers, new) = (self.headers(piece), new.head_mut());
        let (front, data) = new.split_at_mut_checked(headers)?;
        front.copy_from_slice(frame.head().get(..headers)?);
        copy(frame, self.data + piece.start, data)?;
        match &self.how {
            How::Segments { transport, sum } => {
                self.count_on(piece, new)?;
                set_length(new, self.inner)?;
                write_segment(new, (self.inner, *transport), piece, *sum)?;
            }
            How::Fragments { identification, field, options } => {
                if !piece.is_first() {
                    let rest = new.get_mut(self.inner + ipv4::HEADER..headers)?;
                    rest.copy_from_slice(options.0.get(..options.1)?);
                }
                let header: &mut Ipv4 = wire::header_mut(new, self.inner)?;
                let words = (headers - self.inner) / 4;
                header.version_and_length = 4 << 4 | words as u8;
                header.identification.set(*identification);
                let more = if piece.is_last { 0 } else { ipv4::MORE_FRAGMENTS };
                // Offsets of a packet's parts end where its length does: the sum fits.
                header.fragment.set((field + (piece.start / UNIT) as u16) | more);
                set_length(new, self.inner)?;
            }
        }
        self.wrap(new)
    }

    /// Each segment over IPv4 has the identification after that of the one before it.
    fn count_on(&self, piece: &Piece, new: &mut [u8]) -> Option<()> {
        if is_v4(new, self.inner)? {
            let header: &mut Ipv4 = wire::header_mut(new, self.inner)?;
            header.identification.set(header.identification.get().wrapping_add(piece.index));
        }
        Some(())
    }

    /// Makes the outer headers, if there are any, those of a piece.
    fn wrap(&self, new: &mut [u8]) -> Option<()> {
        if self.inner == self.network {
            return Some(());
        }
        set_length(new, self.network)?;
        let behind = self.network + if is_v4(new, self.network)? { ipv4::HEADER } else { ipv6::HEADER };
        if self.inner > behind {
            let length = new.len() - behind;
            wire::header_mut::<Udp>(new, behind)?.length = U16::new(length as u16);
        }
        Some(())
    }
}

/// How a packet over IPv4 is cut into fragments.
fn fragments(head: &[u8], inner: usize, fresh: Option<u16>) -> Option<How> {
    if !is_v4(head, inner)? {
        return None;
    }
    let header: &Ipv4 = wire::header(head, inner)?;
    let length = usize::from(header.version_and_length & 0x0f) * 4;
    let options = ipv4::copied_options(head.get(inner + ipv4::HEADER..inner + length)?);
    let identification = fresh.unwrap_or(header.identification.get());
    Some(How::Fragments { identification, field: header.fragment.get(), options })
}

/// Whether a packet is a part of one.
fn is_fragment(head: &[u8], inner: usize) -> bool {
    is_v4(head, inner) == Some(true) && wire::header(head, inner).is_some_and(ipv4::is_fragment)
}

fn is_v4(bytes: &[u8], at: usize) -> Option<bool> {
    Some(bytes.get(at)? >> 4 == 4)
}

/// The sum over a TCP segment of any size, and its pseudo-header.
fn sum<F: Frame>(frame: &F, inner: usize, transport: usize) -> Option<u16> {
    let length = frame.length().checked_sub(transport)?;
    let pseudo = pseudo(frame.head(), inner, length)?;
    Some(pseudo.plus(complete::payload_sum(frame, transport)).fold())
}

pub(super) fn pseudo(head: &[u8], inner: usize, length: usize) -> Option<Sum> {
    Some(if is_v4(head, inner)? {
        let header: &Ipv4 = wire::header(head, inner)?;
        pseudo_v4(&header.source, &header.destination, protocol::TCP, length as u16)
    } else {
        let header: &Ipv6 = wire::header(head, inner)?;
        pseudo_v6(&header.source, &header.destination, protocol::TCP, length as u32)
    })
}

/// Makes a segment of a piece of one.
fn write_segment(
    new: &mut [u8],
    (inner, transport): (usize, usize),
    piece: &Piece,
    sum_of_whole: u16,
) -> Option<()> {
    let pseudo = pseudo(new, inner, new.len().checked_sub(transport)?)?;
    let header: &mut Tcp = wire::header_mut(new, transport)?;
    header.sequence.set(header.sequence.get().wrapping_add(piece.start as u32));
    if !piece.is_last {
        header.flags &= !(flags::FIN | flags::PSH);
    }
    // What is said once of congestion is said once (RFC 3168, 6.1.2).
    if !piece.is_first() {
        header.flags &= !flags::CWR;
    }
    header.checksum = U16::ZERO;
    let sum = pseudo.plus(Sum::of(new.get(transport..)?)).fold();
    let checksum = match sum_of_whole {
        0xffff => !sum,
        wrong => Sum::default().plus_word(wrong).plus_word(!sum).fold(),
    };
    new.get_mut(transport + tcp::CHECKSUM..)?
        .first_chunk_mut::<2>()?
        .copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Writes into an IP header how long its packet is, which ends with the frame.
fn set_length(bytes: &mut [u8], at: usize) -> Option<()> {
    let length = bytes.len().checked_sub(at)?;
    if !is_v4(bytes, at)? {
        let payload = length.checked_sub(ipv6::HEADER)?;
        wire::header_mut::<Ipv6>(bytes, at)?.payload_length = U16::new(payload as u16);
        return Some(());
    }
    let header: &mut Ipv4 = wire::header_mut(bytes, at)?;
    header.total_length = U16::new(length as u16);
    header.checksum = U16::ZERO;
    let words = usize::from(header.version_and_length & 0x0f) * 4;
    let checksum = !Sum::of(bytes.get(at..at + words)?).fold();
    wire::header_mut::<Ipv4>(bytes, at)?.checksum = U16::new(checksum);
    Some(())
}

/// Copies the bytes of a frame from an offset on; `None` when it has not that many.
fn copy<F: Frame>(frame: &F, from: usize, mut to: &mut [u8]) -> Option<()> {
    let (mut index, mut skip) = (0, from);
    while !to.is_empty() {
        let segment = frame.segment(index)?;
        let bytes = segment.get(skip.min(segment.len())..)?;
        skip -= skip.min(segment.len());
        let (now, later) = to.split_at_mut(bytes.len().min(to.len()));
        now.copy_from_slice(bytes.get(..now.len())?);
        (to, index) = (later, index + 1);
    }
    Some(())
}
