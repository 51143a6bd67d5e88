//! A frame's chain of segments.
//!
//! What must stay true: every `&rte_mbuf` here is a segment of a chain that one [`Mbuf`] owns, so that its links are
//! valid for as long as the reference; the first segment's totals (`pkt_len`, `nb_segs`) match the chain.

use std::ptr::{self, NonNull};
use std::slice;

use dpdk_sys::rte_mbuf;
use nic::Frame;

use crate::Mbuf;

/// The bytes of one segment.
#[inline]
pub(crate) const fn bytes(segment: &rte_mbuf) -> &[u8] {
    let start = segment.buf_addr.cast::<u8>().wrapping_add(segment.data_off as usize);
    // SAFETY: `data_len` bytes at `data_off` lie inside the segment's memory, which lives as long as the segment.
    unsafe { slice::from_raw_parts(start, segment.data_len as usize) }
}

/// The bytes of one segment, to change.
#[inline]
pub(crate) const fn bytes_mut(segment: &mut rte_mbuf) -> &mut [u8] {
    let start = segment.buf_addr.cast::<u8>().wrapping_add(segment.data_off as usize);
    // SAFETY: as in `bytes`; the segment is borrowed for writing and its memory belongs to it alone.
    unsafe { slice::from_raw_parts_mut(start, segment.data_len as usize) }
}

/// Segment `index` of the chain.
pub(crate) fn nth(first: &rte_mbuf, index: usize) -> Option<&rte_mbuf> {
    let mut segment = first;
    for _ in 0..index {
        // SAFETY: a link is null or points to the next segment, which the same owner holds.
        segment = unsafe { segment.next.as_ref() }?;
    }
    Some(segment)
}

/// Makes the first `length` bytes lie in the first segment; see [`Frame::pull`].
pub(crate) fn pull(first: &mut rte_mbuf, length: usize) -> bool {
    let Some(mut missing) = length.checked_sub(usize::from(first.data_len)) else { return true };
    if length > first.pkt_len as usize || missing > room(first) {
        return false;
    }
    let mut rest = take_next(first);
    while missing > 0 {
        let Some(mut segment) = rest.take() else { break };
        let moved = missing.min(segment.head().len());
        append(first, segment.head().get(..moved).unwrap_or_default());
        cut_front(segment.raw_mut(), moved);
        missing -= moved;
        rest = if segment.head().is_empty() {
            first.nb_segs -= 1;
            take_next(segment.raw_mut())
        } else {
            Some(segment)
        };
    }
    first.next = rest.map_or(ptr::null_mut(), |rest| rest.into_raw().as_ptr());
    missing == 0
}

/// Adds `length` bytes in front of the chain; see [`Frame::prepend`].
#[inline]
pub(crate) fn prepend(first: &mut rte_mbuf, length: usize) -> bool {
    // All three fit: the first is less than it was, and a segment's memory, which holds the second, has at most 65,535 bytes.
    let Some(start) = usize::from(first.data_off).checked_sub(length) else { return false };
    first.data_off = start as u16;
    first.data_len += length as u16;
    first.pkt_len += length as u32;
    true
}

/// Cuts `length` bytes off the front of the chain; see [`Frame::behead`].
#[inline]
pub(crate) fn behead(first: &mut rte_mbuf, length: usize) -> bool {
    if length >= usize::from(first.data_len) {
        return false;
    }
    // It is less than `data_len`, so all three fit.
    first.data_off += length as u16;
    first.data_len -= length as u16;
    first.pkt_len -= length as u32;
    true
}

/// Puts another chain behind this one; see [`Frame::append`].
pub(crate) fn chain(first: &mut rte_mbuf, other: Mbuf) -> Result<(), Mbuf> {
    let segments = first.nb_segs.checked_add(other.raw().nb_segs);
    let bytes = first.pkt_len.checked_add(other.raw().pkt_len);
    let (Some(segments), Some(bytes)) = (segments, bytes) else { return Err(other) };
    last(first).next = other.into_raw().as_ptr();
    (first.nb_segs, first.pkt_len) = (segments, bytes);
    Ok(())
}

/// The last segment of a chain.
fn last(first: &mut rte_mbuf) -> &mut rte_mbuf {
    let mut last = first;
    // SAFETY: a link is null or points to the next segment, which the same owner holds.
    while let Some(next) = unsafe { last.next.as_mut() } {
        last = next;
    }
    last
}

/// Makes the chain `length` bytes long; see [`Frame::resize`].
pub(crate) fn resize(first: &mut rte_mbuf, length: usize) -> bool {
    let present = first.pkt_len as usize;
    let Ok(total) = u32::try_from(length) else { return false };
    let done = if length < present { shrink(first, length) } else { grow(first, length - present) };
    if done {
        first.pkt_len = total;
    }
    done
}

/// Cuts what lies behind the first `length` bytes.
fn shrink(first: &mut rte_mbuf, length: usize) -> bool {
    let mut left = length;
    let mut kept = 1;
    let mut segment = &mut *first;
    while left > usize::from(segment.data_len) {
        left -= usize::from(segment.data_len);
        kept += 1;
        // SAFETY: a link is null or points to the next segment, which the same owner holds.
        let Some(next) = (unsafe { segment.next.as_mut() }) else { return false };
        segment = next;
    }
    segment.data_len = u16::try_from(left).unwrap_or(segment.data_len);
    drop(take_next(segment));
    first.nb_segs = kept;
    true
}

/// Adds `more` zeros to the last segment.
fn grow(first: &mut rte_mbuf, more: usize) -> bool {
    let last = last(first);
    if more > room(last) {
        return false;
    }
    extend(last, more).fill(0);
    true
}

/// Bytes that can be added behind the segment's data.
const fn room(segment: &rte_mbuf) -> usize {
    (segment.buf_len as usize).saturating_sub(segment.data_off as usize + segment.data_len as usize)
}

/// Copies `bytes` behind the segment's data; there is room for them.
fn append(segment: &mut rte_mbuf, bytes: &[u8]) {
    extend(segment, bytes.len()).copy_from_slice(bytes);
}

/// Adds at most `more` bytes to the segment; those bytes.
fn extend(segment: &mut rte_mbuf, more: usize) -> &mut [u8] {
    let before = usize::from(segment.data_len);
    // Fits, because a segment's memory has at most 65,535 bytes.
    segment.data_len = u16::try_from(before + more.min(room(segment))).unwrap_or(segment.data_len);
    bytes_mut(segment).get_mut(before..).unwrap_or_default()
}

/// Takes `count` bytes away from the segment's front.
fn cut_front(segment: &mut rte_mbuf, count: usize) {
    // Fits, because `count` is not more than `data_len`.
    let count = u16::try_from(count).unwrap_or(segment.data_len);
    segment.data_off += count;
    segment.data_len -= count;
}

/// Cuts the chain behind `segment`; the rest of it, which is now somebody else's.
fn take_next(segment: &mut rte_mbuf) -> Option<Mbuf> {
    let next = NonNull::new(std::mem::replace(&mut segment.next, ptr::null_mut()))?;
    // SAFETY: `next` was reachable through `segment` only, and is not any more.
    Some(unsafe { Mbuf::from_raw(next) })
}
