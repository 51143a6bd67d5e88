//! ICMP errors about packets that have crossed from one family to the other, on their way back (RFC 7915, 4.2, 4.3, 5.2, 5.3).
//!
//! The quoted packet is as the gateway has sent it; it becomes the one that its sender knows, and the error one of that sender's
//! family. What has no counterpart there is dropped.

use flow::{FlowKey, Hit};
use model::Address;
use nic::Frame;
use wire::{
    U16,
    checksum::{Delta, Sum, pseudo_v6},
    icmpv4, icmpv6,
    ipv4::{self, Ipv4},
    ipv6::Ipv6,
    protocol, quote, tcp, udp,
};

use super::{Internet, LONGER, header_length, reshape, write};
use crate::{DropReason, neighbour::Link, packet::Packet, quote::Error, rewrite};

/// Bytes of the largest error over IPv6 (RFC 4443, 2.4 (c)).
const LONGEST_V6: usize = 1280;
/// The smallest MTU over IPv6 (RFC 8200, 5).
const SMALLEST_MTU_V6: u16 = 1280;
/// MTUs that there are, for routers that do not say theirs (RFC 1191, 7.1).
const PLATEAUS: [u16; 10] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];

/// Writes all that changes in an error. One that is refused is unchanged.
pub(crate) fn error<F: Frame>(
    frame: &mut F,
    (packet, error): (&Packet, &Error),
    flow: &Hit<'_>,
    link: &Link<'_>,
) -> Result<(), DropReason> {
    let (network, end) =
        (usize::from(packet.network), usize::from(packet.network) + usize::from(packet.length));
    if !frame.pull(end) {
        return Err(DropReason::HeadersScattered);
    }
    let (outer, quoted) = read(frame.head(), packet, error)?;
    let message = frame.head().get(usize::from(packet.transport)..).unwrap_or_default();
    let beginning = beginning(message, packet.v6, (error, link))?;
    let (v6, old) = (!packet.v6, error.at + error.quote.transport - network);
    let new = header_length(v6, false) + quote::OFFSET + header_length(v6, false);
    let longest = if v6 { LONGEST_V6 } else { usize::MAX };
    let rest = (end - network - old).min(longest - new);
    if new + rest > usize::from(link.mtu) {
        return Err(DropReason::FrameOverMtu);
    }
    if outer.hops <= 1 {
        return Err(DropReason::TtlExpired);
    }
    reshape(frame, network, old, new)?;
    if !frame.resize(network + new + rest) {
        return Err(DropReason::NoHeadroom);
    }
    let original = flow.hot.key(flow.side.opposite(), flow.wide);
    let number = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
    let payload = new + rest - header_length(v6, false);
    let outer = Internet { hops: outer.hops.wrapping_sub(1), protocol: number, payload, ..outer };
    put(frame.head_mut(), packet, (&outer, &quoted, beginning), (error, &original))
        .ok_or(DropReason::HeadersScattered)?;
    rewrite::write_link(frame.head_mut(), *link.to, *link.from);
    Ok(())
}

/// What the headers of an error and of the packet that it quotes say.
fn read(head: &[u8], packet: &Packet, error: &Error) -> Result<(Internet, Internet), DropReason> {
    let outer = header(head, usize::from(packet.network), packet.v6);
    let quoted = header(head, error.at, packet.v6);
    let (outer, quoted) = outer.zip(quoted).ok_or(DropReason::HeadersScattered)?;
    // Of the quoted packet's length its headers are not part.
    let behind = error.quote.transport - header_length(packet.v6, false);
    let payload = quoted.payload.saturating_sub(behind);
    Ok((outer, Internet { payload, protocol: error.quote.protocol, ..quoted }))
}

/// What a header says. Which part of a packet it is of is not: hosts know packets by their ports.
fn header(head: &[u8], at: usize, v6: bool) -> Option<Internet> {
    if v6 {
        let header: &Ipv6 = wire::header(head, at)?;
        let payload = usize::from(header.payload_length.get());
        let (class, hops) = (header.class(), header.hop_limit);
        return Some(Internet { class, hops, protocol: header.next_header, payload, fragment: None });
    }
    let header: &Ipv4 = wire::header(head, at)?;
    let payload = usize::from(header.total_length.get()).saturating_sub(ipv4::HEADER);
    Some(Internet { class: header.tos, hops: header.ttl, protocol: header.protocol, payload, fragment: None })
}

/// The eight bytes before the quote, without a checksum.
fn beginning(message: &[u8], v6: bool, (error, link): (&Error, &Link<'_>)) -> Result<[u8; 8], DropReason> {
    let Some(&[kind, code, _, _, a, b, c, d]) = message.first_chunk::<8>() else {
        return Err(DropReason::HeadersScattered);
    };
    let quoted = message.get(quote::OFFSET..).unwrap_or_default();
    let translated = if v6 {
        let word = u32::from_be_bytes([a, b, c, d]);
        to_v4((kind, code), word, link.mtu)
    } else {
        let sent = wire::header::<Ipv4>(quoted, 0).map_or(0, |header| header.total_length.get());
        to_v6((kind, code), [a, b, c, d], (sent, link.mtu))
    };
    let ([kind, code], [a, b, c, d]) = translated.ok_or(DropReason::IcmpUnsupported)?;
    debug_assert!(error.at > 0, "a quote lies behind headers");
    Ok([kind, code, 0, 0, a, b, c, d])
}

/// RFC 7915, 4.2. `sent`: bytes of the quoted packet; `mtu`: of the link that the error leaves by.
fn to_v6(
    (kind, code): (u8, u8),
    [pointer, _, high, low]: [u8; 4],
    (sent, mtu): (u16, u16),
) -> Option<([u8; 2], [u8; 4])> {
    let unreachable = |code| Some(([icmpv6::DESTINATION_UNREACHABLE, code], [0; 4]));
    let problem = |code, pointer| Some(([icmpv6::PARAMETER_PROBLEM, code], [0, 0, 0, pointer]));
    match (kind, code) {
        (icmpv4::DESTINATION_UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => unreachable(0),
        // The protocol: an unrecognised next header, which is named in the byte 6.
        (icmpv4::DESTINATION_UNREACHABLE, 2) => problem(1, 6),
        (icmpv4::DESTINATION_UNREACHABLE, 3) => unreachable(4),
        (icmpv4::DESTINATION_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED) => {
            let said = match u16::from_be_bytes([high, low]) {
                0 => PLATEAUS.into_iter().find(|plateau| *plateau < sent)?,
                said => said,
            };
            let most = said.saturating_add(LONGER).min(mtu).max(SMALLEST_MTU_V6);
            Some(([icmpv6::PACKET_TOO_BIG, 0], u32::from(most).to_be_bytes()))
        }
        (icmpv4::DESTINATION_UNREACHABLE, 9 | 10 | 13 | 15) => unreachable(1),
        (icmpv4::TIME_EXCEEDED, code) => Some(([icmpv6::TIME_EXCEEDED, code], [0; 4])),
        (icmpv4::PARAMETER_PROBLEM, 0 | 2) => {
            // RFC 7915, figure 3
            let pointer = match pointer {
                0 => 0,
                1 => 1,
                2 | 3 => 4,
                8 => 7,
                9 => 6,
                12..=15 => 8,
                16..=19 => 24,
                _ => return None,
            };
            problem(0, pointer)
        }
        _ => None,
    }
}

/// RFC 7915, 5.2
fn to_v4((kind, code): (u8, u8), word: u32, mtu: u16) -> Option<([u8; 2], [u8; 4])> {
    let unreachable = |code| Some(([icmpv4::DESTINATION_UNREACHABLE, code], [0; 4]));
    match (kind, code) {
        (icmpv6::DESTINATION_UNREACHABLE, 0 | 2 | 3) => unreachable(1),
        (icmpv6::DESTINATION_UNREACHABLE, 1) => unreachable(10),
        (icmpv6::DESTINATION_UNREACHABLE, 4) => unreachable(3),
        (icmpv6::PACKET_TOO_BIG, _) => {
            let said = u16::try_from(word).unwrap_or(u16::MAX);
            let [high, low] = said.saturating_sub(LONGER).min(mtu).to_be_bytes();
            let kind = [icmpv4::DESTINATION_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED];
            Some((kind, [0, 0, high, low]))
        }
        (icmpv6::TIME_EXCEEDED, code) => Some(([icmpv4::TIME_EXCEEDED, code], [0; 4])),
        (icmpv6::PARAMETER_PROBLEM, 0) => {
            // RFC 7915, figure 6
            let pointer = match word {
                0 => 0,
                1 => 1,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..=23 => 12,
                24..=39 => 16,
                _ => return None,
            };
            Some(([icmpv4::PARAMETER_PROBLEM, 0], [pointer, 0, 0, 0]))
        }
        (icmpv6::PARAMETER_PROBLEM, 1) => unreachable(2),
        _ => None,
    }
}

/// Writes both headers, the beginning of the message, what changes in the quoted L4 header, and the checksum.
fn put(
    head: &mut [u8],
    packet: &Packet,
    (outer, quoted, beginning): (&Internet, &Internet, [u8; 8]),
    (error, original): (&Error, &FlowKey),
) -> Option<()> {
    let (network, length) = (usize::from(packet.network), header_length(!packet.v6, false));
    let transport = network + length;
    let quote = transport + quote::OFFSET;
    // Who says so is not to be seen from outside: it is whom the packet was for.
    let addresses = [original.destination, original.source];
    write_quoted(head.get_mut(quote..)?, packet, quoted, original)?;
    translate_transport(head.get_mut(quote + length..)?, error, original)?;
    write(head, network, (outer, packet), addresses)?;
    let message = head.get_mut(transport..transport + outer.payload)?;
    message.first_chunk_mut::<8>()?.copy_from_slice(&beginning);
    let pseudo = if packet.v6 {
        Sum::default()
    } else {
        let [from, to] = addresses.map(|address| address.octets());
        pseudo_v6(&from, &to, protocol::ICMPV6, outer.payload as u32)
    };
    let checksum = !pseudo.plus(Sum::of(message)).fold();
    message.get_mut(2..4)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

fn write_quoted(bytes: &mut [u8], packet: &Packet, quoted: &Internet, original: &FlowKey) -> Option<()> {
    let addresses = [original.source, original.destination];
    if packet.v6 {
        super::write_v4(bytes, quoted, addresses, 0)
    } else {
        super::write_v6(bytes, quoted, addresses)
    }
}

/// Writes the quoted packet's ports, and repairs its checksum if that is there.
fn translate_transport(bytes: &mut [u8], error: &Error, original: &FlowKey) -> Option<()> {
    let ports: &mut [U16; 2] = wire::header_mut(bytes, 0)?;
    *ports = [U16::new(original.source_port), U16::new(original.destination_port)];
    let is_udp = error.quote.protocol == protocol::UDP;
    let at = if is_udp { udp::CHECKSUM } else { tcp::CHECKSUM };
    if error.quote.checksum.is_some()
        && let Some(field) = wire::header_mut::<U16>(bytes, at)
    {
        let change = Delta::between(sum(&error.key), sum(original));
        let repaired = if is_udp { change.apply_udp(field.get()) } else { change.apply(field.get()) };
        *field = U16::new(repaired);
    }
    Some(())
}

/// Of all of a key that is in a checksum.
fn sum(key: &FlowKey) -> Sum {
    let of = |address: Address| {
        if address.is_v4() { Sum::of(&address.v4()) } else { Sum::of(&address.octets()) }
    };
    let ports = Sum::default().plus_word(key.source_port).plus_word(key.destination_port);
    of(key.source).plus(of(key.destination)).plus(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ipv4_error_says_is_said_over_ipv6() {
        let said =
            |kind, code| to_v6((kind, code), [0; 4], (1500, 1500)).map(|([kind, code], _)| (kind, code));
        let reachable = [Some((1, 0)), Some((1, 0)), Some((4, 1)), Some((1, 4)), Some((2, 0)), Some((1, 0))];
        assert_eq!([0, 1, 2, 3, 4, 5].map(|code| said(3, code)), reachable);
        assert_eq!([6, 7, 8, 11, 12].map(|code| said(3, code)), [Some((1, 0)); 5]);
        assert_eq!([9, 10, 13, 15].map(|code| said(3, code)), [Some((1, 1)); 4]);
        assert_eq!([14, 16].map(|code| said(3, code)), [None; 2]);
        assert_eq!([0, 1].map(|code| said(11, code)), [Some((3, 0)), Some((3, 1))]);
        assert_eq!([0, 1, 2].map(|code| said(12, code)), [Some((4, 0)), None, Some((4, 0))]);
        assert_eq!(said(4, 0), None);
    }

    #[test]
    fn what_an_ipv6_error_says_is_said_over_ipv4() {
        let said = |kind, code| to_v4((kind, code), 1400, 1500).map(|([kind, code], _)| (kind, code));
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|code| said(1, code)),
            [Some((3, 1)), Some((3, 10)), Some((3, 1)), Some((3, 1)), Some((3, 3)), None]
        );
        assert_eq!((said(2, 0), said(3, 1)), (Some((3, 4)), Some((11, 1))));
        assert_eq!([1, 2].map(|code| said(4, code)), [Some((3, 2)), None]);
    }

    #[test]
    fn pointers_point_at_the_same_field() {
        let there = |at| to_v6((12, 0), [at, 0, 0, 0], (0, 0)).map(|(_, word)| word[3]);
        let back = |at| to_v4((4, 0), at, 0).map(|(_, word)| word[0]);
        for (field, fields) in [(0, 0), (1, 1), (2, 4), (8, 7), (9, 6), (12, 8), (16, 24)] {
            assert_eq!(there(field), Some(fields));
            assert_eq!(back(fields.into()), Some(field));
        }
        assert_eq!([4, 5, 6, 7, 10, 11, 20].map(there), [None; 7]);
        assert_eq!([2, 3, 40].map(back), [None; 3]);
    }

    #[test]
    fn an_mtu_is_that_of_the_other_family() {
        let to_v6 = |said: u16, sent, mtu| {
            let [high, low] = said.to_be_bytes();
            let (_, word) = to_v6((3, 4), [0, 0, high, low], (sent, mtu)).unwrap();
            u32::from_be_bytes(word)
        };
        assert_eq!([to_v6(1400, 1500, 9000), to_v6(1400, 1500, 1410)], [1420, 1410]);
        assert_eq!(to_v6(576, 1500, 9000), 1280, "no IPv6 link takes less");
        assert_eq!([to_v6(0, 1500, 9000), to_v6(0, 1492, 9000)], [1512, 1280], "a router that does not say");
        let to_v4 = |said, mtu| to_v4((2, 0), said, mtu).unwrap().1;
        assert_eq!((to_v4(1400, 9000), to_v4(1400, 1300)), ([0, 0, 0x05, 0x64], [0, 0, 0x05, 0x14]));
    }
}
