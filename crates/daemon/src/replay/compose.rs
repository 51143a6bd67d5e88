//! A frame made of its description.

use std::net::IpAddr;

use model::{Address, MacAddress, Protocol};
use wire::{
    U16, U32,
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet::{self, Ethernet, ether_type},
    icmpv4::{self, Icmpv4},
    icmpv6::{self, Icmpv6},
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    protocol,
    tcp::{self, Tcp},
    udp::{self, Udp},
};

use super::notation::Notation;

/// TTL and hop limit.
const TTL: u8 = 64;
/// Bytes of an ICMPv6 echo message without data, as of an ICMP one.
const ECHO: usize = icmpv4::HEADER;
/// Bytes behind the IP header of what has no ports.
const PORTLESS: usize = 8;

/// The packet of `description` in a frame between two MAC addresses, with all its checksums.
///
/// `None` only when its addresses are of different families, which no [`Notation`] has.
pub(crate) fn compose(description: &Notation, from: MacAddress, to: MacAddress) -> Option<Vec<u8>> {
    let (source, destination, number, length) = match *description {
        Notation::Balanced { protocol: Protocol::Tcp, from, to, .. } => {
            (from.ip(), to.ip(), protocol::TCP, tcp::HEADER)
        }
        // The notation knows no other.
        Notation::Balanced { from, to, .. } => (from.ip(), to.ip(), protocol::UDP, udp::HEADER),
        Notation::Portless { protocol, from, to } => (from, to, protocol, PORTLESS),
        Notation::Echo { from, to } if from.is_ipv4() => (from, to, protocol::ICMP, ECHO),
        Notation::Echo { from, to } => (from, to, protocol::ICMPV6, ECHO),
    };
    let v6 = destination.is_ipv6();
    let transport = ethernet::HEADER + if v6 { ipv6::HEADER } else { ipv4::HEADER };
    let mut frame = vec![0; transport + length];
    *wire::header_mut(&mut frame, 0)? = Ethernet {
        destination: to.0,
        source: from.0,
        ether_type: U16::new(if v6 { ether_type::IPV6 } else { ether_type::IPV4 }),
    };
    let pseudo = network(&mut frame, source, destination, number, length as u16)?;
    write_transport(&mut frame, transport, description)?;
    if matches!(description, Notation::Portless { .. }) {
        return Some(frame);
    }
    let sum = if number == protocol::ICMP { Sum::default() } else { pseudo };
    let checksum = !sum.plus(Sum::of(frame.get(transport..)?)).fold();
    write_checksum(&mut frame, transport, number, checksum)?;
    Some(frame)
}

/// Writes the IP header; the sum of its pseudo-header.
fn network(frame: &mut [u8], from: IpAddr, to: IpAddr, number: u8, length: u16) -> Option<Sum> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let (source, destination) = (from.octets(), to.octets());
            *wire::header_mut(frame, ethernet::HEADER)? = Ipv4 {
                version_and_length: 0x45,
                tos: 0,
                total_length: U16::new(ipv4::HEADER as u16 + length),
                identification: U16::new(0),
                fragment: U16::new(0x4000), // not to be fragmented
                ttl: TTL,
                protocol: number,
                checksum: U16::new(0),
                source,
                destination,
            };
            let sum = Sum::of(frame.get(ethernet::HEADER..ethernet::HEADER + ipv4::HEADER)?);
            wire::header_mut::<Ipv4>(frame, ethernet::HEADER)?.checksum = U16::new(!sum.fold());
            Some(pseudo_v4(&source, &destination, number, length))
        }
        (IpAddr::V6(_), IpAddr::V6(_)) => {
            let (source, destination) = (Address::from(from).octets(), Address::from(to).octets());
            *wire::header_mut(frame, ethernet::HEADER)? = Ipv6 {
                version_class_label: [0x60, 0, 0, 0],
                payload_length: U16::new(length),
                next_header: number,
                hop_limit: TTL,
                source,
                destination,
            };
            Some(pseudo_v6(&source, &destination, number, length.into()))
        }
        _ => None,
    }
}

/// Writes the L4 header but for its checksum.
fn write_transport(frame: &mut [u8], offset: usize, description: &Notation) -> Option<()> {
    match *description {
        Notation::Balanced { protocol: Protocol::Tcp, from, to, flags } => {
            let has_ack = flags & tcp::flags::ACK != 0;
            *wire::header_mut(frame, offset)? = Tcp {
                source_port: U16::new(from.port()),
                destination_port: U16::new(to.port()),
                sequence: U32::new(1),
                acknowledgement: U32::new(u32::from(has_ack)),
                offset: 0x50,
                flags,
                window: U16::new(u16::MAX),
                checksum: U16::new(0),
                urgent: U16::new(0),
            };
        }
        Notation::Balanced { from, to, .. } => {
            *wire::header_mut(frame, offset)? = Udp {
                source_port: U16::new(from.port()),
                destination_port: U16::new(to.port()),
                length: U16::new(udp::HEADER as u16),
                checksum: U16::new(0),
            };
        }
        Notation::Portless { .. } => {}
        Notation::Echo { from, .. } => {
            let kind = if from.is_ipv4() { icmpv4::ECHO_REQUEST } else { icmpv6::ECHO_REQUEST };
            *wire::header_mut(frame, offset)? =
                Icmpv4 { kind, code: 0, checksum: U16::new(0), rest: [0, 1, 0, 1] };
        }
    }
    Some(())
}

fn write_checksum(frame: &mut [u8], offset: usize, number: u8, checksum: u16) -> Option<()> {
    let field = U16::new(checksum);
    match number {
        protocol::TCP => wire::header_mut::<Tcp>(frame, offset)?.checksum = field,
        protocol::UDP if checksum == 0 => wire::header_mut::<Udp>(frame, offset)?.checksum = U16::new(0xffff),
        protocol::UDP => wire::header_mut::<Udp>(frame, offset)?.checksum = field,
        _ => wire::header_mut::<Icmpv6>(frame, offset)?.checksum = field,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use testkit::packets::check_checksums;

    use super::*;

    #[test]
    fn another_decoder_finds_the_checksums_right() {
        let (from, to) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
        for text in [
            "tcp 10.0.0.7:40001 > 198.51.100.10:443 syn",
            "tcp [2001:db8::7]:40001 > [2001:db8::10]:443 rst ack",
            "udp 10.0.0.7:40001 > 198.51.100.10:443",
            "udp [2001:db8::7]:1 > [2001:db8::10]:65535",
            "icmp 10.0.0.7 > 198.51.100.10",
            "icmp 2001:db8::7 > 2001:db8::10",
        ] {
            let frame = compose(&text.parse().unwrap(), from, to).unwrap();
            check_checksums(&frame).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        }
    }
}
