//! Headers as they lie on the wire, and checksum repair.
//!
//! One module a protocol, each of the same shape: the header as a struct over bytes, a `check` that refuses what no
//! accessor could read safely afterwards, and constants by their names in the standards. A check returns where things
//! lie; it never copies and never allocates.
//!
//! What must stay true: whatever the bytes, a check ends, does not panic, and its layout lies inside what it was given.
//!
//! What it leaves to others: meaning. This crate has never heard of a backend.
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod fragment;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod protocol;
pub mod quote;
mod refusal;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use refusal::Refusal;
pub use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header at `offset`; `None` when the bytes end before it does.
#[inline]
#[must_use]
pub fn header<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8], offset: usize) -> Option<&T> {
    T::ref_from_prefix(bytes.get(offset..)?).ok().map(|(header, _)| header)
}

/// The header at `offset`, to change in place; `None` when the bytes end before it does.
#[inline]
#[must_use]
pub fn header_mut<T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &mut [u8],
    offset: usize,
) -> Option<&mut T> {
    T::mut_from_prefix(bytes.get_mut(offset..)?).ok().map(|(header, _)| header)
}
