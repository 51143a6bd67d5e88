//! IPv4, RFC 791.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{
    Refusal, U16,
    checksum::{self, Sum},
    ethernet::{self, Ethernet},
    fragment::{self, Fragment},
    protocol,
    tcp::{self, Tcp},
    udp,
};

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Bytes of the longest header: 15 words.
pub const LONGEST: usize = 60;

/// The reserved flag, bit 0 of the flags (RFC 791, 3.1).
const RESERVED: u16 = 0x8000;
/// It must not be fragmented.
const DO_NOT_FRAGMENT: u16 = 0x4000;
/// In [`Ipv4::fragment`]: more fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// In [`Ipv4::fragment`]: routers must not fragment it.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// The fragment offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

/// The header without options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in words (4 bits).
    pub version_and_length: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of header and payload.
    pub total_length: U16,
    /// Which datagram a fragment is of.
    pub identification: U16,
    /// Flags (3 bits) and fragment offset (13 bits).
    pub fragment: U16,
    /// Hops that are left.
    pub ttl: u8,
    /// What it carries.
    pub protocol: u8,
    /// One's complement checksum of the header.
    pub checksum: U16,
    /// Whom the packet is from.
    pub source: [u8; 4],
    /// Whom it is for.
    pub destination: [u8; 4],
}

/// The headers of nearly all frames: Ethernet without a tag, IPv4 without options, TCP.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EthernetIpv4Tcp {
    /// The Ethernet header.
    pub link: Ethernet,
    /// The IPv4 header.
    pub network: Ipv4,
    /// The TCP header.
    pub transport: Tcp,
}

/// Addresses and ports, as they lie one behind the other in a packet without IP options.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ends {
    /// Who sends.
    pub source: [u8; 4],
    /// Whom it is for.
    pub destination: [u8; 4],
    /// The sender's port.
    pub source_port: U16,
    /// The receiver's port.
    pub destination_port: U16,
}

/// Bytes of [`Ends`].
const ENDS: usize = 12;
/// Where they begin in a frame without a tag.
const ENDS_OFFSET: usize = ethernet::HEADER + HEADER - 8;

impl Ends {
    /// Whether both are the same. As whole words: for two addresses and two ports there would be four comparisons.
    #[inline(always)]
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let [ours, theirs]: [[u8; ENDS]; 2] = [zerocopy::transmute!(*self), zerocopy::transmute!(*other)];
        ours == theirs
    }

    /// Those of packets in the opposite direction.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

impl EthernetIpv4Tcp {
    /// The packet's addresses and ports.
    #[inline(always)]
    #[must_use]
    pub fn ends(&self) -> Ends {
        let bytes: &[u8; Self::LENGTH] = zerocopy::transmute_ref!(self);
        let ends = bytes.get(ENDS_OFFSET..).and_then(|bytes| bytes.first_chunk::<ENDS>());
        // There always are that many.
        ends.map_or_else(Ends::default, |ends| zerocopy::transmute!(*ends))
    }

    /// Writes both.
    #[inline(always)]
    pub fn set_ends(&mut self, ends: Ends) {
        let bytes: &mut [u8; Self::LENGTH] = zerocopy::transmute_mut!(self);
        if let Some(place) = bytes.get_mut(ENDS_OFFSET..).and_then(|bytes| bytes.first_chunk_mut::<ENDS>()) {
            *place = zerocopy::transmute!(ends);
        }
    }

    const LENGTH: usize = ethernet::HEADER + HEADER + tcp::HEADER;
}

/// Some bytes of plain headers as they are compared: many fields at once.
#[derive(Clone, Copy)]
struct Pattern {
    offset: usize,
    mask: u32,
    value: u32,
}

impl Pattern {
    /// Four bytes at `offset` of a frame, of which those bits count that are set in `mask`.
    const fn new(offset: usize, mask: [u8; 4], value: [u8; 4]) -> Self {
        Self { offset, mask: u32::from_ne_bytes(mask), value: u32::from_ne_bytes(value) }
    }

    #[inline(always)]
    fn matches(self, headers: &[u8; EthernetIpv4Tcp::LENGTH]) -> bool {
        let word = headers.get(self.offset..).and_then(|bytes| bytes.first_chunk::<4>());
        word.is_some_and(|word| u32::from_ne_bytes(*word) & self.mask == self.value)
    }
}

/// EtherType, version and header length. The fourth byte is the type of service.
const KIND: Pattern = Pattern::new(12, [0xff, 0xff, 0xff, 0], [0x08, 0x00, 0x45, 0]);
/// Flags and fragment offset, of which only "do not fragment" may be set, and the protocol. The third byte is the TTL.
const fn whole(protocol: u8) -> Pattern {
    Pattern::new(20, [!(DO_NOT_FRAGMENT >> 8) as u8, 0xff, 0, 0xff], [0, 0, 0, protocol])
}
const WHOLE_TCP: Pattern = whole(protocol::TCP);
const WHOLE_UDP: Pattern = whole(protocol::UDP);

/// Whether headers say that they are of that plain kind, be they right or not.
#[inline(always)]
#[must_use]
pub fn claims_plain_tcp(headers: &EthernetIpv4Tcp) -> bool {
    let bytes: &[u8; EthernetIpv4Tcp::LENGTH] = zerocopy::transmute_ref!(headers);
    KIND.matches(bytes) && headers.network.protocol == protocol::TCP
}

/// Whether headers are of that plain kind, and nothing is wrong with them in a frame of `length` bytes. What is not plain
/// may still be right: [`check`] and [`tcp::check`] say.
#[inline(always)]
#[must_use]
pub fn is_plain(headers: &EthernetIpv4Tcp, length: usize) -> bool {
    let bytes: &[u8; EthernetIpv4Tcp::LENGTH] = zerocopy::transmute_ref!(headers);
    let EthernetIpv4Tcp { network, transport, .. } = headers;
    let total = usize::from(network.total_length.get());
    KIND.matches(bytes)
        && WHOLE_TCP.matches(bytes)
        && network.ttl != 0
        && total + ethernet::HEADER <= length
        && tcp::is_plain(transport, HEADER, total)
        && is_checksum_right(network)
}

/// The same for UDP, whose header lies where that of TCP would. As a frame has more than 54 bytes, some of these are data.
#[inline]
#[must_use]
pub fn is_plain_udp(headers: &EthernetIpv4Tcp, length: usize) -> bool {
    let bytes: &[u8; EthernetIpv4Tcp::LENGTH] = zerocopy::transmute_ref!(headers);
    let Some(datagram) = bytes.get(ethernet::HEADER + HEADER..) else { return false };
    let network = &headers.network;
    let total = usize::from(network.total_length.get());
    KIND.matches(bytes)
        && WHOLE_UDP.matches(bytes)
        && network.ttl != 0
        && total >= HEADER
        && total + ethernet::HEADER <= length
        && udp::check(datagram, total - HEADER, false).is_ok()
        && is_checksum_right(network)
}

/// Whether the checksum of a header without options is right.
#[inline(always)]
fn is_checksum_right(header: &Ipv4) -> bool {
    let bytes: &[u8; HEADER] = zerocopy::transmute_ref!(header);
    checksum::is_right(bytes)
}

/// What a header says of the fragment that it is of.
#[must_use]
pub const fn fragment(header: &Ipv4) -> Fragment {
    let field = header.fragment.get();
    Fragment {
        identification: header.identification.get() as u32,
        offset: (field & OFFSET) * fragment::UNIT as u16,
        has_more: field & MORE_FRAGMENTS != 0,
    }
}

/// Whether a packet must not be fragmented.
#[must_use]
pub const fn must_not_be_fragmented(header: &Ipv4) -> bool {
    header.fragment.get() & DO_NOT_FRAGMENT != 0
}

/// Whether a packet is a part of one, the first or a later one.
#[must_use]
pub const fn is_fragment(header: &Ipv4) -> bool {
    header.fragment.get() & (MORE_FRAGMENTS | OFFSET) != 0
}

/// Those of a header's options that all fragments of its packet carry (RFC 791, 3.1), filled up to whole words, and how many bytes they
/// are. What is malformed ends them.
#[cold]
#[must_use]
pub fn copied_options(mut options: &[u8]) -> ([u8; LONGEST - HEADER], usize) {
    const COPIED: u8 = 0x80;
    let (mut copied, mut count) = ([0; LONGEST - HEADER], 0);
    while let &[kind, ref rest @ ..] = options {
        let length = match (kind, rest) {
            (0, _) => break,
            (1, _) => 1,
            (_, &[length, ..]) if length >= 2 => usize::from(length),
            _ => break,
        };
        let Some((option, others)) = options.split_at_checked(length) else { break };
        if kind & COPIED != 0
            && let Some(place) = copied.get_mut(count..count + length)
        {
            place.copy_from_slice(option);
            count += length;
        }
        options = others;
    }
    (copied, count.next_multiple_of(4))
}

/// Where things lie in a packet.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The header without options.
    pub header: &'a Ipv4,
    /// Bytes of the header with options: 20 to 60.
    pub length: usize,
    /// Bytes of the packet; not less than `length`, not more than the frame has.
    pub total: usize,
    /// Whether it is a part of a datagram, the first or a later one.
    pub is_fragment: bool,
}

/// Checks the packet at the beginning of `bytes`, of which the frame has `available` (more than lie here when the frame
/// has several segments). The numbers are those of RFC 1812, 5.2.2.
///
/// # Errors
/// What is wrong with the header.
#[inline]
pub fn check(bytes: &[u8], available: usize) -> Result<Layout<'_>, Refusal> {
    // (1) the link layer says that there is room for a header
    let header: &Ipv4 = crate::header(bytes, 0).ok_or(Refusal::Ipv4Truncated)?;
    // (3) the version is 4
    if header.version_and_length >> 4 != 4 {
        return Err(Refusal::Ipv4Version);
    }
    // (4) the header length is at least 20 bytes
    let length = usize::from(header.version_and_length & 0x0f) * 4;
    if length < HEADER {
        return Err(Refusal::Ipv4HeaderLengthTooSmall);
    }
    let with_options = bytes.get(..length).ok_or(Refusal::Ipv4HeaderLengthBeyondFrame)?;
    // (5) the total length holds the header, and the frame holds the total length
    let total = usize::from(header.total_length.get());
    if total < length {
        return Err(Refusal::Ipv4TotalLengthTooSmall);
    }
    if total > available {
        return Err(Refusal::Ipv4TotalLengthBeyondFrame);
    }
    // (2) the checksum is right
    let is_right =
        if length == HEADER { is_checksum_right(header) } else { Sum::of(with_options).fold() == 0xffff };
    if !is_right {
        return Err(Refusal::Ipv4HeaderChecksum);
    }
    let fragment = header.fragment.get();
    if fragment & RESERVED != 0 {
        return Err(Refusal::Ipv4ReservedFlag);
    }
    if header.ttl == 0 {
        return Err(Refusal::Ipv4TtlZero);
    }
    if length > HEADER {
        check_options(with_options.get(HEADER..).unwrap_or_default())?;
    }
    Ok(Layout { header, length, total, is_fragment: fragment & (MORE_FRAGMENTS | OFFSET) != 0 })
}

/// RFC 791, 3.1: an option is one byte (end of list, no operation), or type, length and data. Source routes are refused
/// (RFC 7126, 4.3 and 4.4).
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), Refusal> {
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, _) => return Ok(()),
            (1, _) => rest,
            (&(LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE), _) => return Err(Refusal::Ipv4SourceRoute),
            (_, [length, ..]) if *length >= 2 => {
                options.get(usize::from(*length)..).ok_or(Refusal::Ipv4OptionMalformed)?
            }
            _ => return Err(Refusal::Ipv4OptionMalformed),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_packet_are_its_addresses_and_ports() {
        let mut bytes: [u8; EthernetIpv4Tcp::LENGTH] = std::array::from_fn(|position| position as u8);
        let headers: &mut EthernetIpv4Tcp = crate::header_mut(&mut bytes, 0).unwrap();
        let ends = headers.ends();
        assert_eq!((ends.source, ends.destination), (headers.network.source, headers.network.destination));
        assert_eq!(ends.source_port, headers.transport.source_port);
        assert_eq!(ends.destination_port, headers.transport.destination_port);
        headers.set_ends(ends.reversed());
        assert_eq!((ends.destination, ends.source), (headers.network.source, headers.network.destination));
        assert!(headers.ends().reversed().is(&ends) && !headers.ends().is(&ends));
    }

    /// RFC 1071's method gives this header the checksum 0xb861.
    const PACKET: [u8; 20] =
        [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 192, 168, 0, 1, 192, 168, 0, 199];

    /// The packet with some bytes changed and its checksum made right again.
    fn changed(change: impl Fn(&mut [u8; 20])) -> [u8; 20] {
        let mut packet = PACKET;
        change(&mut packet);
        packet[10..12].copy_from_slice(&[0, 0]);
        let checksum = !Sum::of(&packet).fold();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    fn with_options(options: &[u8]) -> Vec<u8> {
        let mut packet = PACKET.to_vec();
        packet.extend(options);
        packet[0] = 0x40 | (packet.len() / 4) as u8;
        packet[10..12].copy_from_slice(&[0, 0]);
        let checksum = !Sum::of(&packet).fold();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    #[test]
    fn fragments_carry_the_options_that_say_so() {
        let (copied, count) = copied_options(&[1, 0x82, 4, 7, 8, 7, 3, 4, 0x83, 3, 9, 0]);
        assert_eq!(&copied[..count], [0x82, 4, 7, 8, 0x83, 3, 9, 0]);
        for options in
            [&[][..], &[1, 1, 1, 1], &[0, 0x82, 4, 7], &[7, 3, 4, 0], &[0x82, 9, 1, 1], &[0x82, 1, 1, 1]]
        {
            assert_eq!(copied_options(options).1, 0, "{options:?}");
        }
        assert_eq!(copied_options(&[0x94; 40]), ([0; 40], 0), "longer than they are");
    }

    fn refusal(packet: &[u8]) -> Refusal {
        check(packet, 1500).unwrap_err()
    }

    #[test]
    fn a_good_packet_is_laid_out() {
        let layout = check(&PACKET, 0x73).unwrap();
        assert_eq!((layout.length, layout.total, layout.is_fragment), (20, 0x73, false));
        assert_eq!(layout.header.as_bytes(), PACKET);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(check(&PACKET[..19], 1500).unwrap_err(), Refusal::Ipv4Truncated);
        assert_eq!(refusal(&changed(|packet| packet[0] = 0x44)), Refusal::Ipv4HeaderLengthTooSmall);
        assert_eq!(refusal(&changed(|packet| packet[0] = 0x46)), Refusal::Ipv4HeaderLengthBeyondFrame);
        assert_eq!(refusal(&changed(|packet| packet[3] = 19)), Refusal::Ipv4TotalLengthTooSmall);
        assert_eq!(check(&PACKET, 0x72).unwrap_err(), Refusal::Ipv4TotalLengthBeyondFrame);
    }

    #[test]
    fn fields_that_lie_are_refused() {
        assert_eq!(refusal(&changed(|packet| packet[0] = 0x65)), Refusal::Ipv4Version);
        assert_eq!(refusal(&changed(|packet| packet[8] = 0)), Refusal::Ipv4TtlZero);
        assert_eq!(refusal(&changed(|packet| packet[6] = 0x80)), Refusal::Ipv4ReservedFlag);
        let mut packet = PACKET;
        packet[19] ^= 1;
        assert_eq!(refusal(&packet), Refusal::Ipv4HeaderChecksum);
    }

    #[test]
    fn first_and_later_fragments_are_told() {
        for fragment in [[0x20, 0], [0, 1], [0x20, 1]] {
            let packet = changed(|packet| packet[6..8].copy_from_slice(&fragment));
            assert!(check(&packet, 1500).unwrap().is_fragment);
        }
    }

    #[test]
    fn harmless_options_pass() {
        for options in [[1, 1, 1, 1], [0, 9, 9, 9], [7, 3, 4, 0], [68, 4, 5, 0]] {
            assert_eq!(check(&with_options(&options), 1500).unwrap().length, 24);
        }
    }

    #[test]
    fn options_that_lie_or_route_are_refused() {
        for options in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
            assert_eq!(refusal(&with_options(&options)), Refusal::Ipv4OptionMalformed);
        }
        for options in [[131, 3, 4, 0], [137, 3, 4, 0], [1, 131, 3, 4]] {
            assert_eq!(refusal(&with_options(&options)), Refusal::Ipv4SourceRoute);
        }
    }
}
