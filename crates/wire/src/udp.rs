//! UDP, RFC 768.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16};

/// Bytes of the header.
pub const HEADER: usize = 8;
/// Offset of the checksum in the header.
pub const CHECKSUM: usize = 6;

/// The header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// The sender's port; 0 when no answer is expected.
    pub source_port: U16,
    /// The receiver's port.
    pub destination_port: U16,
    /// Bytes of header and data.
    pub length: U16,
    /// One's complement checksum of pseudo-header, header and data; 0: none (IPv4 only).
    pub checksum: U16,
}

/// Checks the beginning of a datagram in a first fragment, of which there are `available` bytes: its length is that of the whole.
///
/// # Errors
/// What is wrong with the header.
pub fn check_first(bytes: &[u8], available: usize, over_ipv6: bool) -> Result<&Udp, Refusal> {
    let header: &Udp =
        crate::header(bytes, 0).filter(|_| available >= HEADER).ok_or(Refusal::FragmentTiny)?;
    check(bytes, available.max(usize::from(header.length.get())), over_ipv6)
}

/// Checks the datagram at the beginning of `bytes`, of which the packet has `available`. A length below what the packet
/// has is accepted: what is behind it is padding. Over IPv6 a checksum is required (RFC 8200, 8.1).
///
/// # Errors
/// What is wrong with the header.
#[inline]
pub fn check(bytes: &[u8], available: usize, over_ipv6: bool) -> Result<&Udp, Refusal> {
    let header: &Udp = crate::header(bytes, 0).ok_or(Refusal::UdpTruncated)?;
    if available < HEADER {
        return Err(Refusal::UdpTruncated);
    }
    let length = usize::from(header.length.get());
    if length < HEADER {
        return Err(Refusal::UdpLengthTooSmall);
    }
    if length > available {
        return Err(Refusal::UdpLengthBeyondPacket);
    }
    if header.destination_port.get() == 0 {
        return Err(Refusal::UdpPortZero);
    }
    if over_ipv6 && header.checksum.get() == 0 {
        return Err(Refusal::UdpChecksumMissing);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: [u8; 9] = [0x9c, 0x41, 0, 53, 0, 9, 0x12, 0x34, 0x55];

    fn with(offset: usize, byte: u8) -> [u8; 9] {
        let mut datagram = DATAGRAM;
        datagram[offset] = byte;
        datagram
    }

    fn refusal(datagram: &[u8]) -> Refusal {
        check(datagram, datagram.len(), false).unwrap_err()
    }

    #[test]
    fn a_good_datagram_is_read() {
        let header = check(&DATAGRAM, 9, true).unwrap();
        assert_eq!(
            (header.source_port.get(), header.destination_port.get(), header.length.get()),
            (40001, 53, 9)
        );
        assert_eq!(header.as_bytes(), &DATAGRAM[..8]);
        assert_eq!(header.checksum.get(), u16::from_be_bytes([DATAGRAM[CHECKSUM], DATAGRAM[CHECKSUM + 1]]));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(refusal(&DATAGRAM[..7]), Refusal::UdpTruncated);
        assert_eq!(refusal(&with(5, 7)), Refusal::UdpLengthTooSmall);
        assert_eq!(refusal(&with(5, 10)), Refusal::UdpLengthBeyondPacket);
        assert!(check(&with(5, 8), 9, false).is_ok(), "what is behind the length is padding");
    }

    #[test]
    fn port_zero_is_refused_for_the_destination_only() {
        assert_eq!(refusal(&with(3, 0)), Refusal::UdpPortZero);
        let mut datagram = DATAGRAM;
        datagram[..2].copy_from_slice(&[0, 0]);
        assert!(check(&datagram, 9, false).is_ok());
    }

    #[test]
    fn a_missing_checksum_is_refused_over_ipv6_only() {
        let mut datagram = DATAGRAM;
        datagram[6..8].copy_from_slice(&[0, 0]);
        assert!(check(&datagram, 9, false).is_ok());
        assert_eq!(check(&datagram, 9, true).unwrap_err(), Refusal::UdpChecksumMissing);
    }
}
