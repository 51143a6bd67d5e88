//! TCP, RFC 9293.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16, U32};

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Offset of the checksum in the header.
pub const CHECKSUM: usize = 16;

/// Control bits, RFC 9293, 3.1
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push function.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is significant.
    pub const URG: u8 = 0x20;
    /// Congestion window reduced (RFC 3168, 6.1).
    pub const CWR: u8 = 0x80;
}

/// The header without options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// The sender's port.
    pub source_port: U16,
    /// The receiver's port.
    pub destination_port: U16,
    /// The first data byte's number.
    pub sequence: U32,
    /// The next byte that is expected.
    pub acknowledgement: U32,
    /// Header length in words (4 bits), reserved (4 bits).
    pub offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Bytes that the sender is willing to take.
    pub window: U16,
    /// One's complement checksum of pseudo-header, header and data.
    pub checksum: U16,
    /// Where urgent data ends.
    pub urgent: U16,
}

/// Whether nothing is wrong with a header that lies `before` bytes behind the beginning of a packet of `total` bytes. [`check`] says
/// what is.
#[inline(always)]
#[must_use]
pub(crate) fn is_plain(header: &Tcp, before: usize, total: usize) -> bool {
    let length = usize::from(header.offset >> 4) * 4;
    length >= HEADER && before + length <= total && are_ports_set(header) && are_flags_sound(header.flags)
}

/// Whether neither port is 0. At once: a half of a word is 0 if and only if it borrows when 1 is taken from it, and its highest
/// bit was not set (Hacker's Delight, 6-1).
#[inline(always)]
fn are_ports_set(header: &Tcp) -> bool {
    const ONES: u32 = 0x0001_0001;
    let ports: [u8; 4] = zerocopy::transmute!([header.source_port, header.destination_port]);
    let ports = u32::from_ne_bytes(ports);
    ports.wrapping_sub(ONES) & !ports & (ONES << 15) == 0
}

/// Whether some flag is set, and none that exclude one another.
#[inline]
const fn are_flags_sound(bits: u8) -> bool {
    SOUND_FLAGS >> (bits & ALL) & 1 == 1
}

/// All control bits that have a meaning here; the two above them are ECN's (RFC 3168).
const ALL: u8 = 0x3f;

/// The sound ones among all combinations of six control bits: bit `i` stands for the combination `i`.
const SOUND_FLAGS: u64 = {
    use flags::{FIN, RST, SYN};
    let (mut sound, mut bits) = (0, 1);
    while bits <= ALL {
        if bits & SYN == 0 || bits & (FIN | RST) == 0 {
            sound |= 1 << bits;
        }
        bits += 1;
    }
    sound
};

/// Checks the segment at the beginning of `bytes`, of which the packet has `available`.
///
/// # Errors
/// What is wrong with the header.
#[inline]
pub fn check(bytes: &[u8], available: usize) -> Result<&Tcp, Refusal> {
    use flags::{ACK, FIN, PSH, RST, SYN, URG};
    let header: &Tcp = crate::header(bytes, 0).ok_or(Refusal::TcpTruncated)?;
    if available < HEADER {
        return Err(Refusal::TcpTruncated);
    }
    let length = usize::from(header.offset >> 4) * 4;
    if length < HEADER {
        return Err(Refusal::TcpDataOffsetTooSmall);
    }
    if length > available {
        return Err(Refusal::TcpDataOffsetBeyondPacket);
    }
    if header.source_port.get() == 0 || header.destination_port.get() == 0 {
        return Err(Refusal::TcpPortZero);
    }
    let bits = header.flags & (FIN | SYN | RST | PSH | ACK | URG);
    if bits == 0 {
        return Err(Refusal::TcpFlagsNone);
    }
    if bits & SYN != 0 && bits & (FIN | RST) != 0 {
        return Err(Refusal::TcpFlagsContradict);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: [u8; 20] =
        [0x9c, 0x41, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0x12, 0x34, 0, 0];

    fn with(offset: usize, byte: u8) -> [u8; 20] {
        let mut segment = SYN;
        segment[offset] = byte;
        segment
    }

    fn refusal(segment: &[u8]) -> Refusal {
        check(segment, segment.len()).unwrap_err()
    }

    #[test]
    fn a_good_segment_is_read() {
        let header = check(&SYN, 20).unwrap();
        assert_eq!(
            (header.source_port.get(), header.destination_port.get(), header.flags),
            (40001, 80, flags::SYN)
        );
        assert_eq!(header.as_bytes(), SYN);
        assert_eq!(header.checksum.get(), u16::from_be_bytes([SYN[CHECKSUM], SYN[CHECKSUM + 1]]));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(refusal(&SYN[..19]), Refusal::TcpTruncated);
        assert_eq!(check(&SYN, 19).unwrap_err(), Refusal::TcpTruncated);
        assert_eq!(refusal(&with(12, 0x40)), Refusal::TcpDataOffsetTooSmall);
        assert_eq!(refusal(&with(12, 0x60)), Refusal::TcpDataOffsetBeyondPacket);
    }

    #[test]
    fn ports_and_flags_that_lie_are_refused() {
        assert_eq!(refusal(&with(3, 0)), Refusal::TcpPortZero);
        assert_eq!(refusal(&with(13, 0)), Refusal::TcpFlagsNone);
        assert_eq!(refusal(&with(13, 0xc0)), Refusal::TcpFlagsNone);
        for contradiction in [0x03, 0x06, 0x3f, 0xff] {
            assert_eq!(refusal(&with(13, contradiction)), Refusal::TcpFlagsContradict);
        }
    }
}
