//! ICMPv6, RFC 4443.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16};

/// Bytes of the header.
pub const HEADER: usize = 4;
/// Destination unreachable
pub const DESTINATION_UNREACHABLE: u8 = 1;
/// Packet too big
pub const PACKET_TOO_BIG: u8 = 2;
/// Time exceeded
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo request
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply
pub const ECHO_REPLY: u8 = 129;
/// Multicast listener query, RFC 2710 and RFC 3810
pub const LISTENER_QUERY: u8 = 130;
/// Multicast listener done, RFC 2710
pub const LISTENER_DONE: u8 = 132;
/// Router solicitation, RFC 4861, 4.1
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement, RFC 4861, 4.2
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation, RFC 4861, 4.3
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement, RFC 4861, 4.4
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect, RFC 4861, 4.5
pub const REDIRECT: u8 = 137;
/// Multicast listener report of version 2, RFC 3810
pub const LISTENER_REPORT: u8 = 143;

/// The header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmpv6 {
    /// What the message says.
    pub kind: u8,
    /// What it says more precisely.
    pub code: u8,
    /// One's complement checksum of pseudo-header and message.
    pub checksum: U16,
}

/// Whether a message of this kind is an error that quotes the packet that it is about: of all below 128 (RFC 4443, 2.1)
/// those that are known.
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, DESTINATION_UNREACHABLE | PACKET_TOO_BIG | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// Checks the message at the beginning of `bytes`, of which the packet has `available`.
///
/// # Errors
/// [`Refusal::IcmpTruncated`]
#[inline]
pub fn check(bytes: &[u8], available: usize) -> Result<&Icmpv6, Refusal> {
    crate::header(bytes, 0).filter(|_| available >= HEADER).ok_or(Refusal::IcmpTruncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read() {
        let header = check(&[128, 0, 0x12, 0x34, 0], 5).unwrap();
        assert_eq!((header.kind, header.code, header.checksum.get()), (ECHO_REQUEST, 0, 0x1234));
    }

    #[test]
    fn a_truncated_message_is_refused() {
        assert_eq!(check(&[128, 0, 0], 3).unwrap_err(), Refusal::IcmpTruncated);
        assert_eq!(check(&[128, 0, 0, 0], 3).unwrap_err(), Refusal::IcmpTruncated);
    }
}
