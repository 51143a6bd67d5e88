//! Completes L4 checksums that a sender on this host left to a network card.
//!
//! Such a sender writes the folded sum of the pseudo-header into the field and marks its own buffer; a packet socket or
//! an af_xdp socket does not pass the mark on. So, on such ports only: a field that equals the pseudo-header's sum is a
//! partial checksum, unless the packet happens to be right as it is.

use nic::{Burst, Frame};
use wire::{
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ipv4::Ipv4,
    ipv6::Ipv6,
    protocol, tcp, udp,
};

use crate::{
    WorkerMeters,
    packet::{Packet, Packets, Step},
};

/// Completes the partial checksums of a burst.
#[inline(never)]
pub(crate) fn complete_all<F: Frame>(burst: &mut Burst<F>, packets: &Packets, meters: &WorkerMeters) {
    let mut completed = 0;
    for ((frame, packet), step) in burst.iter_mut().zip(&packets.packets).zip(&packets.steps) {
        if *step == Step::Parsed && packet.is_balanced() {
            completed += u64::from(complete(frame, packet).is_some());
        }
    }
    meters.completed_checksums.add(completed);
}

/// Completes one checksum; `None` when there was nothing to complete.
fn complete<F: Frame>(frame: &mut F, packet: &Packet) -> Option<()> {
    let (pseudo, number) = pseudo_header(frame.head(), packet)?;
    let field = usize::from(packet.transport) + field_offset(number);
    let found = field_at(frame.head(), field)?;
    if found != pseudo.fold() {
        return None;
    }
    let whole = pseudo.plus(payload_sum(frame, usize::from(packet.transport))).fold();
    if whole == 0xffff {
        return None; // right as it is
    }
    // `whole` contains the field itself, so it is taken out again.
    let rest = Sum::of(&[]).plus_word(whole).plus_word(!found).fold();
    let checksum = match !rest {
        0 if number == protocol::UDP => 0xffff, // RFC 768: 0 would say that there is none
        checksum => checksum,
    };
    frame.head_mut().get_mut(field..field + 2)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Whether the L4 checksum of a packet is right.
pub(crate) fn is_right<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let pseudo = pseudo_header(frame.head(), packet);
    pseudo.is_some_and(|(pseudo, _)| {
        pseudo.plus(payload_sum(frame, usize::from(packet.transport))).fold() == 0xffff
    })
}

/// The sum of the pseudo-header, and the protocol.
fn pseudo_header(head: &[u8], packet: &Packet) -> Option<(Sum, u8)> {
    let network = usize::from(packet.network);
    let length =
        u32::from(packet.length).checked_sub(u32::from(packet.transport) - u32::from(packet.network))?;
    if packet.v6 {
        let header: &Ipv6 = wire::header(head, network)?;
        let number = if head_is_tcp(packet) { protocol::TCP } else { protocol::UDP };
        Some((pseudo_v6(&header.source, &header.destination, number, length), number))
    } else {
        let header: &Ipv4 = wire::header(head, network)?;
        Some((
            pseudo_v4(&header.source, &header.destination, header.protocol, length as u16),
            header.protocol,
        ))
    }
}

/// Whether the packet is TCP: every TCP packet that was accepted has a flag set.
const fn head_is_tcp(packet: &Packet) -> bool {
    packet.flags != 0
}

pub(crate) fn payload_sum<F: Frame>(frame: &F, transport: usize) -> Sum {
    let mut sum = Sum::of(frame.head().get(transport..).unwrap_or_default());
    let mut index = 1;
    while let Some(bytes) = frame.segment(index) {
        sum.add(bytes);
        index += 1;
    }
    sum
}

fn field_at(head: &[u8], offset: usize) -> Option<u16> {
    head.get(offset..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

const fn field_offset(number: u8) -> usize {
    if number == protocol::TCP { tcp::CHECKSUM } else { udp::CHECKSUM }
}
