//! The packet that an ICMP error quotes, as far as it does (RFC 792, RFC 4443; RFC 1812, 4.3.2.3).
//!
//! A quote is the beginning of a packet that somebody was sent, so its lengths and its chain are those of a packet longer than
//! what is here; only what is read is checked.

use crate::{
    Refusal, U16,
    checksum::Sum,
    ipv4::{self, Ipv4},
    ipv6, protocol, tcp, udp,
};

/// Bytes of an ICMP error before the quote.
pub const OFFSET: usize = 8;
/// Bytes of L4 header that are quoted at least (RFC 792).
pub const LEAST: usize = 8;

/// Where things lie in a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Of the L4 header, of which there are eight bytes at least if it is TCP's or UDP's.
    pub transport: usize,
    /// Any but ICMP.
    pub protocol: u8,
    /// The sender's port; 0 if it is neither TCP nor UDP.
    pub source_port: u16,
    /// The receiver's port; 0 likewise.
    pub destination_port: u16,
    /// Where the L4 checksum lies, if it is quoted.
    pub checksum: Option<usize>,
}

impl Quote {
    /// Where that ends of it which may be changed.
    #[must_use]
    pub const fn end(&self) -> usize {
        match self.checksum {
            Some(checksum) => checksum + 2,
            None if self.has_ports() => self.transport + LEAST,
            None => self.transport,
        }
    }

    /// Whether it has ports.
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP)
    }
}

/// Checks an IPv4 packet that begins with `bytes`.
///
/// # Errors
/// Why it cannot be told what it is. A wrong header checksum is one reason (RFC 5508, REQ-4 a).
pub fn check_v4(bytes: &[u8]) -> Result<Quote, Refusal> {
    let header: &Ipv4 = crate::header(bytes, 0).ok_or(Refusal::QuoteTruncated)?;
    let length = usize::from(header.version_and_length & 0x0f) * 4;
    let is_sound = header.version_and_length >> 4 == 4
        && length >= ipv4::HEADER
        && usize::from(header.total_length.get()) >= length;
    if !is_sound {
        return Err(Refusal::QuoteMalformed);
    }
    let with_options = bytes.get(..length).ok_or(Refusal::QuoteTruncated)?;
    if Sum::of(with_options).fold() != 0xffff {
        return Err(Refusal::QuoteMalformed);
    }
    if !ipv4::fragment(header).is_first() {
        return Err(Refusal::QuoteOfLaterFragment);
    }
    transport(bytes, length, header.protocol, protocol::ICMP)
}

/// The same for IPv6.
///
/// # Errors
/// Why it cannot be told what it is.
pub fn check_v6(bytes: &[u8]) -> Result<Quote, Refusal> {
    let layout = ipv6::check_beginning(bytes).map_err(|refusal| match refusal {
        Refusal::Ipv6Truncated | Refusal::Ipv6ChainTruncated => Refusal::QuoteTruncated,
        _ => Refusal::QuoteMalformed,
    })?;
    if layout.fragment.is_some_and(|fragment| !fragment.is_first()) {
        return Err(Refusal::QuoteOfLaterFragment);
    }
    transport(bytes, layout.transport, layout.protocol, protocol::ICMPV6)
}

fn transport(bytes: &[u8], at: usize, number: u8, icmp: u8) -> Result<Quote, Refusal> {
    let field = match number {
        protocol::TCP => tcp::CHECKSUM,
        protocol::UDP => udp::CHECKSUM,
        number if number == icmp => return Err(Refusal::QuoteOfIcmp),
        _ => {
            let ([source_port, destination_port], checksum) = ([0; 2], None);
            return Ok(Quote { transport: at, protocol: number, source_port, destination_port, checksum });
        }
    };
    let rest = bytes.get(at..).filter(|rest| rest.len() >= LEAST).ok_or(Refusal::QuoteTruncated)?;
    let [source_port, destination_port] =
        *crate::header::<[U16; 2]>(rest, 0).ok_or(Refusal::QuoteTruncated)?;
    Ok(Quote {
        transport: at,
        protocol: number,
        source_port: source_port.get(),
        destination_port: destination_port.get(),
        checksum: (rest.len() >= field + 2).then_some(at + field),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 header with a right checksum, and `rest` behind it.
    fn packet(number: u8, change: impl FnOnce(&mut [u8]), rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 5, 0xdc, 0, 7, 0x40, 0, 63, number, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        change(&mut packet);
        let checksum = !Sum::of(&packet).fold();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(rest);
        packet
    }

    fn packet_v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 5, 0, next, 63];
        packet.extend([7; 32]);
        packet.extend(rest);
        packet
    }

    const PORTS: [u8; 8] = [0x9c, 0x41, 0, 80, 0, 0, 3, 0xe8];

    #[test]
    fn eight_bytes_of_a_segment_tell_its_ports_and_not_its_checksum() {
        let expected = |at, checksum| Quote {
            transport: at,
            protocol: 6,
            source_port: 40_001,
            destination_port: 80,
            checksum,
        };
        assert_eq!(check_v4(&packet(6, |_| (), &PORTS)), Ok(expected(20, None)));
        let more = [&PORTS[..], &[0; 10]].concat();
        assert_eq!(check_v4(&packet(6, |_| (), &more)), Ok(expected(20, Some(36))));
        assert_eq!(check_v4(&packet(6, |_| (), &more[..17])), Ok(expected(20, None)));
        assert_eq!(check_v6(&packet_v6(6, &PORTS)), Ok(expected(40, None)));
        let options = [6, 0, 1, 4, 0, 0, 0, 0];
        let chain = [&options[..], &PORTS].concat();
        assert_eq!(check_v6(&packet_v6(60, &chain)), Ok(expected(48, None)));
    }

    #[test]
    fn a_datagrams_checksum_is_always_quoted() {
        assert_eq!(check_v4(&packet(17, |_| (), &PORTS)).unwrap().checksum, Some(26));
        assert_eq!(check_v6(&packet_v6(17, &PORTS)).unwrap().checksum, Some(46));
    }

    #[test]
    fn what_tells_no_ports_is_refused() {
        let good = packet(6, |_| (), &PORTS);
        for length in 0..28 {
            assert_eq!(check_v4(&good[..length]), Err(Refusal::QuoteTruncated), "{length}");
        }
        let good = packet_v6(6, &PORTS);
        for length in 0..48 {
            assert_eq!(check_v6(&good[..length]), Err(Refusal::QuoteTruncated), "{length}");
        }
        for (at, value) in [(0, 0x65), (0, 0x44), (2, 0)] {
            let change = |bytes: &mut [u8]| (bytes[at], bytes[3]) = (value, 0);
            assert_eq!(check_v4(&packet(6, change, &PORTS)), Err(Refusal::QuoteMalformed), "{at}");
        }
        let mut wrong = packet(6, |_| (), &PORTS);
        wrong[10] ^= 1;
        assert_eq!(check_v4(&wrong), Err(Refusal::QuoteMalformed));
        assert_eq!(check_v6(&packet(6, |_| (), &[0; 40])), Err(Refusal::QuoteMalformed));
    }

    #[test]
    fn messages_and_later_fragments_are_refused() {
        assert_eq!(check_v4(&packet(1, |_| (), &PORTS)), Err(Refusal::QuoteOfIcmp));
        assert_eq!(check_v6(&packet_v6(58, &PORTS)), Err(Refusal::QuoteOfIcmp));
        assert_eq!(check_v4(&packet(6, |bytes| bytes[7] = 1, &PORTS)), Err(Refusal::QuoteOfLaterFragment));
        let later = [&[6, 0, 0, 8, 0, 0, 0, 1][..], &PORTS].concat();
        assert_eq!(check_v6(&packet_v6(44, &later)), Err(Refusal::QuoteOfLaterFragment));
    }

    #[test]
    fn other_protocols_have_no_ports_and_need_no_bytes_of_their_own() {
        for number in [50, 51, 132, 0] {
            for rest in [&PORTS[..], &PORTS[..3], &[]] {
                let quote = check_v4(&packet(number, |_| (), rest)).unwrap();
                assert_eq!((quote.protocol, quote.source_port, quote.destination_port), (number, 0, 0));
                assert_eq!((quote.has_ports(), quote.checksum, quote.end()), (false, None, 20));
            }
        }
        let quote = check_v6(&packet_v6(132, &PORTS)).unwrap();
        assert_eq!((quote.protocol, quote.has_ports(), quote.end()), (132, false, 40));
    }
}
