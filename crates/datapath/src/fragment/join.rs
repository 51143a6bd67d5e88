//! Puts the parts of a packet together (`reassemble_fragments`): RFC 791, 3.2, and RFC 8200, 4.5.
//!
//! The later ones lose their headers and become further segments of the first one's frame: nothing is copied.

use nic::Frame;
use wire::{
    U16,
    checksum::Sum,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
};

use super::table::{All, Held};
use crate::{DropReason, packet::Packet};

/// Segments that every card sends.
const SEGMENTS: usize = 8;
/// Bytes of the fragment header of IPv6.
const FRAGMENT_HEADER: usize = 8;
/// Congestion was experienced (RFC 3168, 5).
const CONGESTION: u8 = 3;

/// Puts all parts of a packet together.
///
/// # Errors
/// Why all of them are lost.
pub(super) fn join<F: Frame>(mut all: All<F>) -> Result<F, DropReason> {
    all.sort_unstable_by_key(offset);
    let length: usize = all.iter().map(|part| data(&part.packet)).sum();
    let has_congestion = all.iter().any(has_congestion);
    let count = all.len();
    let mut parts = all.into_iter();
    let Some(Held { mut frame, packet, .. }) = parts.next() else { return Err(DropReason::FragmentMissing) };
    // Without the fragment header there may be room for more over IPv6; nobody sends that.
    if usize::from(packet.length) - data(&packet) + length > usize::from(u16::MAX) {
        return Err(DropReason::FragmentsTooLong);
    }
    for part in parts {
        append(&mut frame, part).ok_or(DropReason::HeadersScattered)?;
    }
    let written = match packet.v6 {
        true => write_v6(&mut frame, &packet, has_congestion),
        false => write_v4(&mut frame, &packet, has_congestion),
    };
    written.ok_or(DropReason::HeadersScattered)?;
    // Cards send so many segments and no more; who sends many small parts must not find out how many. What has no room is as it was.
    if count > SEGMENTS {
        let length = frame.length();
        let _ = frame.pull(length);
    }
    Ok(frame)
}

/// Bytes of a part without its headers.
fn data(packet: &Packet) -> usize {
    let headers = usize::from(packet.transport).saturating_sub(usize::from(packet.network));
    usize::from(packet.length).saturating_sub(headers)
}

fn offset<F: Frame>(part: &Held<F>) -> u16 {
    let bytes = part.frame.head().get(usize::from(part.packet.network)..).unwrap_or_default();
    if part.packet.v6 {
        let fragment = ipv6::check_beginning(bytes).ok().and_then(|layout| layout.fragment);
        return fragment.map_or(0, |fragment| fragment.offset);
    }
    wire::header(bytes, 0).map_or(0, |header| ipv4::fragment(header).offset)
}

/// Whether a part says that it has met with congestion; so does the packet then (RFC 3168, 5.3).
fn has_congestion<F: Frame>(part: &Held<F>) -> bool {
    let at = usize::from(part.packet.network) + 1;
    let byte = part.frame.head().get(at).copied().unwrap_or_default();
    let bits = if part.packet.v6 { byte >> 4 } else { byte };
    bits & CONGESTION == CONGESTION
}

/// Puts a later part behind what there is.
fn append<F: Frame>(frame: &mut F, Held { frame: mut part, packet, .. }: Held<F>) -> Option<()> {
    let headers = usize::from(packet.transport);
    (part.pull(headers + 1) && part.behead(headers)).then_some(())?;
    frame.append(part).ok()
}

/// Makes the first part's header that of the whole.
fn write_v4<F: Frame>(frame: &mut F, packet: &Packet, has_congestion: bool) -> Option<()> {
    let network = usize::from(packet.network);
    let length = frame.length().checked_sub(network)?;
    let header: &mut Ipv4 = wire::header_mut(frame.head_mut(), network)?;
    header.total_length = U16::new(length as u16);
    header.fragment.set(header.fragment.get() & ipv4::DONT_FRAGMENT);
    // Who does not know of it does not hear of it.
    if has_congestion && header.tos & CONGESTION != 0 {
        header.tos |= CONGESTION;
    }
    header.checksum = U16::ZERO;
    let words = frame.head().get(network..usize::from(packet.transport))?;
    let checksum = !Sum::of(words).fold();
    wire::header_mut::<Ipv4>(frame.head_mut(), network)?.checksum = U16::new(checksum);
    Some(())
}

/// Takes the fragment header out of the first part, and makes its header that of the whole.
fn write_v6<F: Frame>(frame: &mut F, packet: &Packet, has_congestion: bool) -> Option<()> {
    let network = usize::from(packet.network);
    let head = frame.head_mut();
    let (at, place) = ipv6::fragment_header(head.get(network..)?)?;
    let next = *head.get(network + at)?;
    *head.get_mut(network + place)? = next;
    head.copy_within(..network + at, FRAGMENT_HEADER);
    frame.behead(FRAGMENT_HEADER).then_some(())?;
    let payload = frame.length().checked_sub(network + ipv6::HEADER)?;
    let header: &mut Ipv6 = wire::header_mut(frame.head_mut(), network)?;
    header.payload_length = U16::new(u16::try_from(payload).ok()?);
    let [_, second, ..] = &mut header.version_class_label;
    if has_congestion && *second & CONGESTION << 4 != 0 {
        *second |= CONGESTION << 4;
    }
    Some(())
}
