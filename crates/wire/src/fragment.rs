//! Parts of packets: RFC 791, 3.2, and RFC 8200, 4.5.

use crate::{Refusal, protocol, tcp, udp};

/// Bytes that offsets count in.
pub const UNIT: usize = 8;
/// Bytes of the largest packet's payload, whatever its header.
const LARGEST: usize = 65_535;

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Which packet it is of, among those of one source, destination and protocol.
    pub identification: u32,
    /// Where in the packet's payload it begins, in bytes.
    pub offset: u16,
    /// Whether further fragments follow it.
    pub has_more: bool,
}

impl Fragment {
    /// Whether it is the first, which has the L4 header.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Whether it is all of its packet (RFC 6946).
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.has_more
    }

    /// Checks it against its number of bytes.
    ///
    /// # Errors
    /// When it cannot be a part of any packet, or lies where it would overwrite or hide what the first one says.
    pub fn check(&self, length: usize) -> Result<(), Refusal> {
        if self.has_more && !length.is_multiple_of(UNIT) {
            return Err(Refusal::FragmentLength);
        }
        // A fragment without bytes says nothing, and never completes a packet.
        if length == 0 || usize::from(self.offset) + length > LARGEST {
            return Err(Refusal::FragmentBeyondPacket);
        }
        // RFC 3128, 2: what begins within the shortest L4 header.
        if usize::from(self.offset) == UNIT { Err(Refusal::FragmentTiny) } else { Ok(()) }
    }
}

/// What an IPv6 fragment header says, whose eight bytes `bytes` begins with; of what is missing, zeros.
pub(crate) fn of_v6(bytes: &[u8]) -> Fragment {
    let &[_, _, high, low, a, b, c, d, ..] = bytes else {
        return Fragment { identification: 0, offset: 0, has_more: false };
    };
    let field = u16::from_be_bytes([high, low]);
    Fragment {
        identification: u32::from_be_bytes([a, b, c, d]),
        offset: field & !7,
        has_more: field & 1 == 1,
    }
}

/// Bytes of an IPv6 fragment header.
pub const HEADER_V6: usize = 8;
/// Its number among the extension headers.
pub const NUMBER_V6: u8 = 44;

/// The IPv6 fragment header of a fragment, before whose payload a header with the number `next` stood.
#[must_use]
pub const fn header_v6(fragment: &Fragment, next: u8) -> [u8; HEADER_V6] {
    let [high, low] = (fragment.offset | fragment.has_more as u16).to_be_bytes();
    let [a, b, c, d] = fragment.identification.to_be_bytes();
    [next, 0, high, low, a, b, c, d]
}

/// Ports and TCP flags (0 for UDP) of a first fragment, whose payload, of which there are `available` bytes, `bytes` begins
/// with; `None` when its protocol is neither.
///
/// # Errors
/// When the L4 header is not all there, or something is wrong with it.
pub fn check_first(
    number: u8,
    bytes: &[u8],
    available: usize,
    over_ipv6: bool,
) -> Result<Option<([u16; 2], u8)>, Refusal> {
    match number {
        protocol::TCP => {
            let header = tcp::check(bytes, available).map_err(|refusal| match refusal {
                Refusal::TcpTruncated | Refusal::TcpDataOffsetBeyondPacket => Refusal::FragmentTiny,
                refusal => refusal,
            })?;
            let ports = [header.source_port, header.destination_port].map(|port| port.get());
            Ok(Some((ports, header.flags)))
        }
        protocol::UDP => {
            let header = udp::check_first(bytes, available, over_ipv6)?;
            Ok(Some(([header.source_port, header.destination_port].map(|port| port.get()), 0)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn part(offset: u16, has_more: bool) -> Fragment {
        Fragment { identification: 7, offset, has_more }
    }

    #[test]
    fn parts_that_fit_into_a_packet_are_right() {
        for (offset, has_more, length) in
            [(0, true, 1480), (1480, true, 8), (2960, false, 1), (65_528, false, 7)]
        {
            assert_eq!(part(offset, has_more).check(length), Ok(()), "{offset}");
        }
    }

    #[test]
    fn parts_of_no_packet_are_refused() {
        assert_eq!(part(0, true).check(1479), Err(Refusal::FragmentLength));
        assert_eq!(part(65_528, false).check(8), Err(Refusal::FragmentBeyondPacket), "the ping of death");
        assert_eq!(part(1480, false).check(0), Err(Refusal::FragmentBeyondPacket));
        assert_eq!(part(8, false).check(20), Err(Refusal::FragmentTiny));
    }

    #[test]
    fn a_first_part_has_the_whole_l4_header() {
        let mut segment = [0; 24];
        segment[..4].copy_from_slice(&[0x9c, 0x41, 0, 80]);
        (segment[12], segment[13]) = (0x60, tcp::flags::SYN);
        assert_eq!(check_first(6, &segment, 24, false), Ok(Some(([40_001, 80], tcp::flags::SYN))));
        assert_eq!(check_first(6, &segment[..16], 16, false), Err(Refusal::FragmentTiny));
        assert_eq!(check_first(6, &segment, 23, false), Err(Refusal::FragmentTiny), "without its options");
        let datagram = [0x9c, 0x41, 0, 53, 0x20, 0, 0x12, 0x34];
        assert_eq!(
            check_first(17, &datagram, 8, false),
            Ok(Some(([40_001, 53], 0))),
            "its length is the whole's"
        );
        assert_eq!(check_first(17, &datagram[..7], 7, false), Err(Refusal::FragmentTiny));
        assert_eq!(check_first(1, &datagram, 8, false), Ok(None));
    }
}
