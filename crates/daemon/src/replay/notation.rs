//! The words by which a packet is described on the command line: `tcp 10.0.0.7:40001 > 198.51.100.10:443 syn`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use model::Protocol;
use wire::{protocol, tcp::flags};

/// How packets are described, for messages.
const GRAMMAR: &str = "\
tcp ADDRESS:PORT > ADDRESS:PORT [FLAG ...]   (of syn ack fin rst psh urg; without: syn)
udp ADDRESS:PORT > ADDRESS:PORT
icmp ADDRESS > ADDRESS                       (an echo request)
esp ADDRESS > ADDRESS                        (or ah, etherip, gre, ipip, l2tp, sctp; 8 bytes of zeros)
protocol NUMBER ADDRESS > ADDRESS            (of any other protocol)
IPv6 addresses with ports stand in brackets: [2001:db8::7]:40001";

/// A packet, as described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// A segment or a datagram without data.
    Balanced {
        /// TCP or UDP.
        protocol: Protocol,
        /// Who sends it.
        from: SocketAddr,
        /// Whom it is for, of the same address family.
        to: SocketAddr,
        /// Of a TCP segment.
        flags: u8,
    },
    /// A packet of a protocol whose ports, if it has any, are not looked at.
    Portless {
        /// Its number.
        protocol: u8,
        /// Who sends it.
        from: IpAddr,
        /// Whom it is for, of the same address family.
        to: IpAddr,
    },
    /// An echo request.
    Echo {
        /// Who sends it.
        from: IpAddr,
        /// Whom it is for, of the same address family.
        to: IpAddr,
    },
}

/// Why a description is none, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotationError(String);

impl fmt::Display for NotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; packets are described thus:\n{GRAMMAR}", self.0)
    }
}

impl std::error::Error for NotationError {}

impl FromStr for Notation {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Self, NotationError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        // `protocol 50` stands where other packets have a name.
        let (number, words) = match words.as_slice() {
            ["protocol", rest @ ..] => (rest.first().map(|number| numbered(number)).transpose()?, rest),
            all => (None, all),
        };
        let &[protocol, from, arrow, to, ref rest @ ..] = words else {
            return Err(NotationError(format!("`{text}` is not of the form PROTOCOL SOURCE > DESTINATION")));
        };
        if arrow != ">" {
            return Err(NotationError(format!("`{arrow}` stands where `>` should")));
        }
        if let Some(number) = number.or_else(|| portless(protocol)) {
            none_left(rest)?;
            let (from, to) = addresses(from, to)?;
            return Ok(Self::Portless { protocol: number, from, to });
        }
        match protocol {
            "tcp" => balanced(Protocol::Tcp, from, to, tcp_flags(rest)?),
            "udp" => none_left(rest).and_then(|()| balanced(Protocol::Udp, from, to, 0)),
            "icmp" => {
                none_left(rest)?;
                let (from, to) = addresses(from, to)?;
                Ok(Self::Echo { from, to })
            }
            other => Err(NotationError(format!("the protocol `{other}` has no name here"))),
        }
    }
}

/// The number of a protocol without ports, by its name.
fn portless(name: &str) -> Option<u8> {
    wire::protocol::named(name).filter(|number| !has_words_of_its_own(*number))
}

/// A protocol that is given by its number.
fn numbered(text: &str) -> Result<u8, NotationError> {
    let number = parse(text, "a protocol's number")?;
    if has_words_of_its_own(number) {
        return Err(NotationError(format!("protocol {number} is written by its name")));
    }
    Ok(number)
}

const fn has_words_of_its_own(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6)
}

fn addresses(from: &str, to: &str) -> Result<(IpAddr, IpAddr), NotationError> {
    let (from, to) = (parse(from, "an address")?, parse(to, "an address")?);
    same_family(from, to)?;
    Ok((from, to))
}

fn balanced(protocol: Protocol, from: &str, to: &str, flags: u8) -> Result<Notation, NotationError> {
    let (from, to): (SocketAddr, SocketAddr) =
        (parse(from, "an address with a port")?, parse(to, "an address with a port")?);
    same_family(from.ip(), to.ip())?;
    Ok(Notation::Balanced { protocol, from, to, flags })
}

fn parse<T: FromStr>(text: &str, what: &str) -> Result<T, NotationError> {
    text.parse().map_err(|_| NotationError(format!("`{text}` is not {what}")))
}

fn same_family(from: IpAddr, to: IpAddr) -> Result<(), NotationError> {
    if from.is_ipv4() == to.is_ipv4() {
        return Ok(());
    }
    Err(NotationError(format!("{from} and {to} are of different address families")))
}

fn none_left(rest: &[&str]) -> Result<(), NotationError> {
    rest.first().map_or(Ok(()), |word| Err(NotationError(format!("`{word}` stands behind the packet"))))
}

fn tcp_flags(words: &[&str]) -> Result<u8, NotationError> {
    let mut bits = 0;
    for word in words.iter().flat_map(|words| words.split(',')).filter(|word| !word.is_empty()) {
        bits |= match word {
            "syn" => flags::SYN,
            "ack" => flags::ACK,
            "fin" => flags::FIN,
            "rst" => flags::RST,
            "psh" => flags::PSH,
            "urg" => flags::URG,
            other => {
                return Err(NotationError(format!("`{other}` is no TCP flag")));
            }
        };
    }
    Ok(if bits == 0 { flags::SYN } else { bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Notation>().unwrap_err().to_string()
    }

    #[test]
    fn a_description_is_read() {
        let segment = Notation::Balanced {
            protocol: Protocol::Tcp,
            from: "10.0.0.7:40001".parse().unwrap(),
            to: "198.51.100.10:443".parse().unwrap(),
            flags: flags::SYN | flags::ACK,
        };
        assert_eq!("tcp 10.0.0.7:40001  > 198.51.100.10:443 syn ack".parse(), Ok(segment));
        let datagram = "udp [2001:db8::7]:1 > [2001:db8::10]:2".parse().unwrap();
        assert!(matches!(datagram, Notation::Balanced { protocol: Protocol::Udp, flags: 0, .. }));
        let echo = "icmp 10.0.0.7 > 198.51.100.10".parse().unwrap();
        assert!(matches!(echo, Notation::Echo { from: IpAddr::V4(_), .. }));
        for (text, number) in [("esp", 50), ("sctp", 132), ("protocol 50", 50), ("protocol 254", 254)] {
            let packet = format!("{text} 10.0.0.7 > 198.51.100.10").parse().unwrap();
            assert!(matches!(packet, Notation::Portless { protocol, .. } if protocol == number), "{text}");
        }
    }

    #[test]
    fn flags_may_stand_with_commas() {
        let segment =
            |flags: &str| format!("tcp 10.0.0.7:1 > 10.0.0.8:2 {flags}").parse::<Notation>().unwrap();
        for flags in ["syn,ack", "syn, ack", "syn ,ack"] {
            assert_eq!(segment(flags), segment("syn ack"), "{flags}");
        }
    }

    #[test]
    fn a_segment_without_flags_is_the_first_of_its_connection() {
        let segment = "tcp 10.0.0.7:40001 > 198.51.100.10:443".parse().unwrap();
        assert!(matches!(segment, Notation::Balanced { flags: flags::SYN, .. }));
    }

    #[test]
    fn what_is_wrong_is_quoted() {
        for (text, quoted) in [
            ("", "PROTOCOL SOURCE > DESTINATION"),
            ("tcp 10.0.0.7:1 >", "PROTOCOL SOURCE > DESTINATION"),
            ("tcp 10.0.0.7:1 to 10.0.0.8:1", "`to`"),
            ("sctp 10.0.0.7:1 > 10.0.0.8:1", "`10.0.0.7:1` is not an address"),
            ("dccp 10.0.0.7 > 10.0.0.8", "`dccp`"),
            ("protocol 10.0.0.7 > 10.0.0.8", "`10.0.0.7` is not a protocol's number"),
            ("protocol 17 10.0.0.7 > 10.0.0.8", "protocol 17 is written by its name"),
            ("protocol 300 10.0.0.7 > 10.0.0.8", "`300`"),
            ("esp 10.0.0.7 > 10.0.0.8 syn", "`syn`"),
            ("tcp 10.0.0.7 > 10.0.0.8:1", "`10.0.0.7` is not an address with a port"),
            ("tcp 10.0.0.7:1 > 2001:db8::1:1", "`2001:db8::1:1`"),
            ("icmp 10.0.0.7:1 > 10.0.0.8", "`10.0.0.7:1` is not an address"),
            ("udp 10.0.0.7:1 > [::2]:1", "different address families"),
            ("tcp 10.0.0.7:1 > 10.0.0.8:1 sin", "`sin` is no TCP flag"),
            ("tcp 10.0.0.7:1 > 10.0.0.8:1 syn,ask", "`ask` is no TCP flag"),
            ("udp 10.0.0.7:1 > 10.0.0.8:1 syn", "`syn`"),
        ] {
            assert!(refusal(text).contains(quoted), "{text}: {}", refusal(text));
        }
    }
}
