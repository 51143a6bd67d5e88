//! The words by which a packet is described on the command line: `tcp 10.0.0.7:40001 > 198.51.100.10:443 syn`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use model::Protocol;
use wire::tcp::flags;

/// How packets are described, for messages.
const GRAMMAR: &str = "\
tcp ADDRESS:PORT > ADDRESS:PORT [FLAG ...]   (of syn ack fin rst psh urg; without: syn)
udp ADDRESS:PORT > ADDRESS:PORT
icmp ADDRESS > ADDRESS                       (an echo request)
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
        let &[protocol, from, arrow, to, ref rest @ ..] = words.as_slice() else {
            return Err(NotationError(format!("`{text}` is not of the form PROTOCOL SOURCE > DESTINATION")));
        };
        if arrow != ">" {
            return Err(NotationError(format!("`{arrow}` stands where `>` should")));
        }
        match protocol {
            "tcp" => balanced(Protocol::Tcp, from, to, tcp_flags(rest)?),
            "udp" => none_left(rest).and_then(|()| balanced(Protocol::Udp, from, to, 0)),
            "icmp" => {
                none_left(rest)?;
                let (from, to) = (parse(from, "an address")?, parse(to, "an address")?);
                same_family(from, to)?;
                Ok(Self::Echo { from, to })
            }
            other => Err(NotationError(format!("the protocol `{other}` is none of tcp, udp, icmp"))),
        }
    }
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
            ("sctp 10.0.0.7:1 > 10.0.0.8:1", "`sctp`"),
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
