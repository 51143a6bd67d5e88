//! Ethernet II.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16};

/// Bytes of the header.
pub const HEADER: usize = 14;

/// EtherTypes, as IANA lists them.
pub mod ether_type {
    /// IPv4, RFC 894
    pub const IPV4: u16 = 0x0800;
    /// ARP, RFC 826
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag, IEEE 802.1Q
    pub const VLAN: u16 = 0x8100;
    /// IPv6, RFC 2464
    pub const IPV6: u16 = 0x86dd;
    /// LLDP, IEEE 802.1AB
    pub const LLDP: u16 = 0x88cc;
    /// A service VLAN tag, IEEE 802.1ad
    pub const QINQ: u16 = 0x88a8;
}

/// The header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Whom the frame is for.
    pub destination: [u8; 6],
    /// Whom it is from.
    pub source: [u8; 6],
    /// What it carries.
    pub ether_type: U16,
}

/// What the first eight bytes of frames are that one sender sends to one address, as they are compared: all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unicast(u64);

impl Unicast {
    /// The bits that count: the destination, and whether the source is a group, which none can be (IEEE 802.3, 3.2.3).
    const MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]);

    /// Of no frames at all.
    pub const NONE: Self = Self(u64::MAX);

    /// Of frames to this address.
    #[must_use]
    pub const fn to([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self(u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Whether it is of no frames at all.
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    /// Whether this is the header of such a frame.
    #[inline(always)]
    #[must_use]
    pub fn is(self, header: &Ethernet) -> bool {
        let bytes: &[u8; HEADER] = zerocopy::transmute_ref!(header);
        bytes.first_chunk::<8>().is_some_and(|first| u64::from_ne_bytes(*first) & Self::MASK == self.0)
    }
}

/// The header of a frame.
///
/// # Errors
/// [`Refusal::EthernetTruncated`]
#[inline]
pub fn check(frame: &[u8]) -> Result<&Ethernet, Refusal> {
    crate::header(frame, 0).ok_or(Refusal::EthernetTruncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];

    #[test]
    fn a_header_is_read() {
        let header = check(&FRAME).unwrap();
        assert_eq!((header.destination, header.source), ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
        assert_eq!(header.ether_type.get(), ether_type::IPV4);
        assert_eq!(header.as_bytes(), FRAME);
    }

    #[test]
    fn a_frame_from_one_to_one_is_told_from_others() {
        let header = check(&FRAME).unwrap();
        let to_us = Unicast::to(header.destination);
        assert!(to_us.is(header) && !Unicast::to(header.source).is(header));
        for (byte, value) in [(0, 3), (5, 0), (6, 3)] {
            let mut frame = FRAME;
            frame[byte] = value;
            assert!(!to_us.is(check(&frame).unwrap()), "byte {byte}");
        }
        for byte in 7..14 {
            let mut frame = FRAME;
            frame[byte] ^= 0xff;
            assert!(to_us.is(check(&frame).unwrap()), "byte {byte}");
        }
    }

    #[test]
    fn a_frame_shorter_than_its_header_is_refused() {
        for length in 0..HEADER {
            assert_eq!(check(&FRAME[..length]).unwrap_err(), Refusal::EthernetTruncated);
        }
    }
}
