//! IPv6 and its extension headers, RFC 8200.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{
    Refusal, U16,
    ethernet::{self, Ethernet, ether_type},
    fragment::{self, Fragment},
    protocol,
    tcp::{self, Tcp},
};

/// Bytes of the fixed header.
pub const HEADER: usize = 40;
/// Extension headers that are followed; a sender that is not up to something has two or three.
const CHAIN: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

/// The fixed header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
    pub version_class_label: [u8; 4],
    /// Bytes behind the fixed header.
    pub payload_length: U16,
    /// What follows.
    pub next_header: u8,
    /// Hops that are left.
    pub hop_limit: u8,
    /// Whom the packet is from.
    pub source: [u8; 16],
    /// Whom it is for.
    pub destination: [u8; 16],
}

impl Ipv6 {
    /// The traffic class (RFC 2474): what IPv4 calls type of service.
    #[inline(always)]
    #[must_use]
    pub const fn class(&self) -> u8 {
        (u32::from_be_bytes(self.version_class_label) >> 20) as u8
    }
}

/// The headers of nearly all IPv6 frames: Ethernet without a tag, no extension headers, TCP.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EthernetIpv6Tcp {
    /// The Ethernet header.
    pub link: Ethernet,
    /// The IPv6 header.
    pub network: Ipv6,
    /// The TCP header.
    pub transport: Tcp,
}

/// Whether headers are of that plain kind, and nothing is wrong with them in a frame of `length` bytes. What is not plain
/// may still be right: [`check`] and [`tcp::check`] say.
#[inline]
#[must_use]
pub fn is_plain(headers: &EthernetIpv6Tcp, length: usize) -> bool {
    let EthernetIpv6Tcp { link, network, transport } = headers;
    let payload = usize::from(network.payload_length.get());
    link.ether_type.get() == ether_type::IPV6
        && network.version_class_label[0] >> 4 == 6
        && network.next_header == protocol::TCP
        && network.hop_limit != 0
        && ethernet::HEADER + HEADER + payload <= length
        && tcp::is_plain(transport, 0, payload)
}

/// Where things lie in a packet.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The fixed header.
    pub header: &'a Ipv6,
    /// Offset of the L4 header, or of a fragment's payload.
    pub transport: usize,
    /// The L4 protocol.
    pub protocol: u8,
    /// Bytes of the packet, the fixed header included; not less than `transport`, not more than the frame has.
    pub total: usize,
    /// If it is a part of a packet, which. An atomic fragment (RFC 6946) is a whole packet.
    pub fragment: Option<Fragment>,
}

/// Checks the packet at the beginning of `bytes`, of which the frame has `available`.
///
/// # Errors
/// What is wrong with the header or the chain behind it.
#[inline]
pub fn check(bytes: &[u8], available: usize) -> Result<Layout<'_>, Refusal> {
    let header: &Ipv6 = crate::header(bytes, 0).ok_or(Refusal::Ipv6Truncated)?;
    if header.version_class_label[0] >> 4 != 6 {
        return Err(Refusal::Ipv6Version);
    }
    let payload = usize::from(header.payload_length.get());
    if payload == 0 {
        return Err(Refusal::Ipv6PayloadLengthZero);
    }
    let total = HEADER + payload;
    if total > available {
        return Err(Refusal::Ipv6PayloadLengthBeyondFrame);
    }
    if header.hop_limit == 0 {
        return Err(Refusal::Ipv6HopLimitZero);
    }
    let layout = Layout { header, transport: HEADER, protocol: header.next_header, total, fragment: None };
    if is_extension(header.next_header) { follow(bytes, layout) } else { Ok(layout) }
}

/// Where things lie in a packet of which `bytes` is the beginning, if its chain is as well.
///
/// # Errors
/// What is wrong with it, as [`check`] would say.
pub fn check_beginning(bytes: &[u8]) -> Result<Layout<'_>, Refusal> {
    let header: &Ipv6 = crate::header(bytes, 0).ok_or(Refusal::Ipv6Truncated)?;
    if header.version_class_label[0] >> 4 != 6 {
        return Err(Refusal::Ipv6Version);
    }
    let protocol = header.next_header;
    let layout = Layout { header, transport: HEADER, protocol, total: usize::MAX, fragment: None };
    if is_extension(protocol) { follow(bytes, layout) } else { Ok(layout) }
}

/// Whether a number is that of an extension header that is followed. The authentication header (RFC 4302) is none here: as over IPv4, what it protects is not looked into.
#[must_use]
pub const fn is_extension(number: u8) -> bool {
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | NO_NEXT_HEADER | DESTINATION_OPTIONS)
}

/// Follows the chain of extension headers (RFC 8200, 4.1) to the L4 header, which must be there (RFC 7112).
#[cold]
fn follow<'a>(bytes: &'a [u8], mut layout: Layout<'a>) -> Result<Layout<'a>, Refusal> {
    for position in 0..=CHAIN {
        if !is_extension(layout.protocol) {
            return if layout.transport < layout.total {
                Ok(layout)
            } else {
                Err(Refusal::Ipv6ChainTruncated)
            };
        }
        if layout.protocol == NO_NEXT_HEADER {
            return Err(Refusal::Ipv6NoNextHeader);
        }
        if position == CHAIN {
            break;
        }
        let rest = bytes.get(layout.transport..layout.total.min(bytes.len())).unwrap_or_default();
        let &[next, length, kind, ..] = rest else { return Err(Refusal::Ipv6ChainTruncated) };
        let size = match layout.protocol {
            HOP_BY_HOP if position > 0 => return Err(Refusal::Ipv6HopByHopNotFirst),
            ROUTING if kind == 0 => return Err(Refusal::Ipv6RoutingHeaderZero), // RFC 5095
            FRAGMENT => 8,
            _ => (usize::from(length) + 1) * 8,
        };
        if size > rest.len() {
            return Err(Refusal::Ipv6ChainTruncated);
        }
        if layout.protocol == FRAGMENT {
            if layout.fragment.is_some() {
                return Err(Refusal::Ipv6ChainTooLong);
            }
            layout.fragment = Some(fragment::of_v6(rest)).filter(|fragment| !fragment.is_atomic());
        }
        layout.protocol = next;
        layout.transport += size;
        if layout.fragment.is_some_and(|fragment| fragment.offset > 0) {
            return Ok(layout); // what follows is the inside of the packet
        }
    }
    Err(Refusal::Ipv6ChainTooLong)
}

/// Where the fragment header of a packet lies that `bytes` is the beginning of, and the byte in front of it that says that one follows.
#[cold]
#[must_use]
pub fn fragment_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let header: &Ipv6 = crate::header(bytes, 0)?;
    /// Of the next header in the fixed one.
    const NEXT_HEADER: usize = 6;
    let (mut next, mut place, mut at) = (header.next_header, NEXT_HEADER, HEADER);
    for _ in 0..CHAIN {
        let &[following, length, ..] = bytes.get(at..)? else { return None };
        let size = match next {
            FRAGMENT => return Some((at, place)),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(length) + 1) * 8,
            _ => return None,
        };
        (next, place, at) = (following, at, at + size);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fragment_header_is_found_in_the_chain() {
        let part = [17, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(fragment_header(&packet(FRAGMENT, &[part, [0; 8]].concat())), Some((40, 6)));
        let behind = [extension(FRAGMENT, 1), part, [0; 8]].concat();
        assert_eq!(fragment_header(&packet(HOP_BY_HOP, &behind)), Some((48, 40)));
        assert_eq!(fragment_header(&packet(17, &[0; 8])), None);
        assert_eq!(fragment_header(&packet(HOP_BY_HOP, &extension(FRAGMENT, 1))), None, "cut off");
    }

    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    fn refusal(packet: &[u8]) -> Refusal {
        check(packet, packet.len()).unwrap_err()
    }

    /// An extension header of eight bytes.
    const fn extension(next: u8, third: u8) -> [u8; 8] {
        [next, 0, third, 0, 0, 0, 0, 0]
    }

    #[test]
    fn a_packet_without_extensions_is_laid_out() {
        let packet = packet(17, &[0; 8]);
        let layout = check(&packet, packet.len()).unwrap();
        assert_eq!((layout.transport, layout.protocol, layout.total, layout.fragment), (40, 17, 48, None));
        assert_eq!(layout.header.as_bytes(), &packet[..40]);
    }

    #[test]
    fn the_chain_is_followed_to_the_l4_header() {
        let chain = [extension(DESTINATION_OPTIONS, 1), extension(6, 1), [0; 8]].concat();
        let packet = packet(HOP_BY_HOP, &chain);
        let layout = check(&packet, packet.len()).unwrap();
        assert_eq!((layout.transport, layout.protocol), (56, 6));
        let packet = self::packet(protocol::AUTHENTICATION, &[&[6, 1][..], &[0; 10], &[0; 8]].concat());
        let layout = check(&packet, packet.len()).unwrap();
        assert_eq!((layout.transport, layout.protocol), (40, 51), "not into what is protected");
    }

    #[test]
    fn fragments_are_told() {
        let packet = packet(FRAGMENT, &[extension(17, 0), [0; 8]].concat());
        assert!(check(&packet, packet.len()).unwrap().fragment.is_none(), "an atomic one");
        let part = |offset: u8, more: u8| [17, 0, 0, offset << 3 | more, 0, 0, 0, 9];
        for (offset, more) in [(0, 1), (1, 1), (1, 0)] {
            let packet = self::packet(FRAGMENT, &[part(offset, more), [0; 8]].concat());
            let layout = check(&packet, packet.len()).unwrap();
            let expected = Fragment { identification: 9, offset: u16::from(offset) * 8, has_more: more == 1 };
            assert_eq!((layout.fragment, layout.transport, layout.protocol), (Some(expected), 48, 17));
        }
    }

    #[test]
    fn the_chain_goes_on_behind_the_header_of_a_first_fragment_only() {
        let chain =
            |offset: u8| [[DESTINATION_OPTIONS, 0, 0, offset << 3 | 1, 0, 0, 0, 9], extension(17, 1), [0; 8]];
        let [first, later] = [0, 1].map(|offset| packet(FRAGMENT, &chain(offset).concat()));
        let layout = check(&first, first.len()).unwrap();
        assert_eq!((layout.transport, layout.protocol), (56, 17));
        assert_eq!(check(&later, later.len()).unwrap().transport, 48);
        let twice =
            packet(FRAGMENT, &[[FRAGMENT, 0, 0, 1, 0, 0, 0, 9], [17, 0, 0, 1, 0, 0, 0, 9], [0; 8]].concat());
        assert_eq!(refusal(&twice), Refusal::Ipv6ChainTooLong);
    }

    #[test]
    fn fields_that_lie_are_refused() {
        let good = packet(17, &[0; 8]);
        assert_eq!(refusal(&good[..39]), Refusal::Ipv6Truncated);
        assert_eq!(check(&good, 47).unwrap_err(), Refusal::Ipv6PayloadLengthBeyondFrame);
        assert_eq!(refusal(&packet(17, &[])), Refusal::Ipv6PayloadLengthZero);
        let mut version = good.clone();
        version[0] = 0x45;
        assert_eq!(refusal(&version), Refusal::Ipv6Version);
        let mut hop_limit = good;
        hop_limit[7] = 0;
        assert_eq!(refusal(&hop_limit), Refusal::Ipv6HopLimitZero);
    }

    #[test]
    fn chains_that_lie_are_refused() {
        let options = extension(DESTINATION_OPTIONS, 1);
        assert_eq!(refusal(&packet(DESTINATION_OPTIONS, &extension(17, 1))), Refusal::Ipv6ChainTruncated);
        assert_eq!(
            refusal(&packet(DESTINATION_OPTIONS, &[17, 9, 0, 0, 0, 0, 0, 0])),
            Refusal::Ipv6ChainTruncated
        );
        assert_eq!(refusal(&packet(DESTINATION_OPTIONS, &[17])), Refusal::Ipv6ChainTruncated);
        assert_eq!(refusal(&packet(DESTINATION_OPTIONS, &options.repeat(9))), Refusal::Ipv6ChainTooLong);
        assert_eq!(
            refusal(&packet(DESTINATION_OPTIONS, &[extension(HOP_BY_HOP, 1), options].concat())),
            Refusal::Ipv6HopByHopNotFirst
        );
        assert_eq!(
            refusal(&packet(ROUTING, &[extension(17, 0), [0; 8]].concat())),
            Refusal::Ipv6RoutingHeaderZero
        );
        assert_eq!(refusal(&packet(NO_NEXT_HEADER, &[0; 8])), Refusal::Ipv6NoNextHeader);
    }
}
