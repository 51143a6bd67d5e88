//! Outer headers and the headers that they come in front of.

use flow::{Hot, Side, TTL_STEP};
use wire::{
    U16,
    checksum::{Delta, Sum},
    ipv4::{self, Ipv4},
    ipv6::Ipv6,
    protocol,
    udp::Udp,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{DropReason, Snapshot, neighbour::Link};

/// The port of GUE, as IANA has it.
pub(super) const GUE_PORT: u16 = 6080;
/// The outer header's TTL and hop limit (RFC 1700).
pub(super) const TTL: u8 = 64;
/// "Do not fragment", RFC 791, 3.1.
pub(super) const DO_NOT_FRAGMENT: u16 = 0x4000;
/// Version and header length of IPv4 without options.
pub(super) const VERSION_AND_LENGTH: u8 = 0x45;

/// An outer header and the one behind it, with the EtherType in front.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Wrapped<H, I> {
    pub(super) ether_type: U16,
    pub(super) outer: H,
    pub(super) inner: I,
}

/// An outer header of two.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OverUdp<N> {
    pub(super) network: N,
    pub(super) udp: Udp,
}

/// What goes in front of a packet.
pub(super) trait Outer: Copy + FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {}

impl Outer for Ipv4 {}
impl Outer for Ipv6 {}
impl Outer for OverUdp<Ipv4> {}
impl Outer for OverUdp<Ipv6> {}

/// The header of a packet that goes into another one.
pub(crate) trait Inner: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {
    /// What an outer header says that it carries.
    const NUMBER: u8;

    /// Hops that are left.
    fn hops(&self) -> u8;

    /// DSCP and ECN.
    fn tos(&self) -> u8;

    /// Takes one of its hops.
    fn step(&mut self);
}

impl Inner for Ipv4 {
    const NUMBER: u8 = protocol::IPV4;

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn tos(&self) -> u8 {
        self.tos
    }

    #[inline(always)]
    fn step(&mut self) {
        self.ttl = self.ttl.wrapping_sub(1);
        self.checksum = U16::new(Delta(TTL_STEP).apply(self.checksum.get()));
    }
}

impl Inner for Ipv6 {
    const NUMBER: u8 = protocol::IPV6;

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn tos(&self) -> u8 {
        self.class()
    }

    #[inline(always)]
    fn step(&mut self) {
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }
}

/// What an outer IP header says of a packet.
pub(super) struct Within {
    pub(super) tos: u8,
    pub(super) carries: u8,
    /// Bytes behind it.
    pub(super) payload: u16,
}

/// The outer IPv4 header of a flow's packet.
#[inline(always)]
pub(super) fn v4(hot: &Hot, within: &Within) -> Ipv4 {
    let outer = hot.ends(Side::Backend);
    let total = within.payload.wrapping_add(ipv4::HEADER as u16);
    let sum = Sum::default()
        .plus_word(hot.repair(Side::Client).network)
        .plus_word(total)
        .plus_word(within.tos as u16);
    Ipv4 {
        version_and_length: VERSION_AND_LENGTH,
        tos: within.tos,
        total_length: U16::new(total),
        identification: U16::ZERO,
        fragment: U16::new(DO_NOT_FRAGMENT),
        ttl: TTL,
        protocol: within.carries,
        checksum: U16::new(!sum.fold()),
        source: outer.source,
        destination: outer.destination,
    }
}

/// The outer IPv6 header of a flow's packet.
#[inline(always)]
pub(super) fn v6(
    hot: &Hot,
    within: &Within,
    link: &Link<'_>,
    snapshot: &Snapshot,
) -> Result<Ipv6, DropReason> {
    let entropy = u32::from_be_bytes(hot.ends(Side::Backend).source);
    let server = snapshot.virtual_server(hot.virtual_server());
    let source = snapshot.outer_source(server, link.port, false).ok_or(DropReason::NoRoute)?;
    let backend = snapshot.backend(hot.backend).ok_or(DropReason::BackendRemoved)?;
    let first = 6 << 28 | u32::from(within.tos) << 20 | entropy >> 12;
    Ok(Ipv6 {
        version_class_label: first.to_be_bytes(),
        payload_length: U16::new(within.payload),
        next_header: within.carries,
        hop_limit: TTL,
        source: source.with(entropy).octets(),
        destination: backend.address.octets(),
    })
}
