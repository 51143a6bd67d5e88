//! ICMP, RFC 792.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16};

/// Bytes of the header.
pub const HEADER: usize = 8;
/// Echo reply
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable
pub const DESTINATION_UNREACHABLE: u8 = 3;
/// Echo request
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem
pub const PARAMETER_PROBLEM: u8 = 12;
/// The code of [`DESTINATION_UNREACHABLE`] for a packet that is too large and must not be fragmented.
pub const FRAGMENTATION_NEEDED: u8 = 4;

/// The header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmpv4 {
    /// What the message says.
    pub kind: u8,
    /// What it says more precisely.
    pub code: u8,
    /// One's complement checksum of the message.
    pub checksum: U16,
    /// Depends on the kind.
    pub rest: [u8; 4],
}

/// Whether a message of this kind is an error: it quotes the packet that it is about.
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, DESTINATION_UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// Checks the message at the beginning of `bytes`, of which the packet has `available`.
///
/// # Errors
/// [`Refusal::IcmpTruncated`]
#[inline]
pub fn check(bytes: &[u8], available: usize) -> Result<&Icmpv4, Refusal> {
    crate::header(bytes, 0).filter(|_| available >= HEADER).ok_or(Refusal::IcmpTruncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];

    #[test]
    fn an_echo_request_is_read() {
        let header = check(&ECHO, 8).unwrap();
        assert_eq!((header.kind, header.code, header.checksum.get()), (ECHO_REQUEST, 0, 0xf7fd));
        assert_eq!(header.as_bytes(), ECHO);
    }

    #[test]
    fn a_truncated_message_is_refused() {
        assert_eq!(check(&ECHO[..7], 8).unwrap_err(), Refusal::IcmpTruncated);
        assert_eq!(check(&ECHO, 7).unwrap_err(), Refusal::IcmpTruncated);
    }
}
