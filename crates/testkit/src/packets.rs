//! Packets as other machines make and read them: built and checked by `etherparse`, which shares no code with `wire`.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice, ip_number,
};

/// Ethernet addresses of a frame: source, destination.
pub type Link = ([u8; 6], [u8; 6]);

/// TCP flags of a packet to be built.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Synchronize
    pub syn: bool,
    /// Acknowledge
    pub ack: bool,
    /// Finish
    pub fin: bool,
    /// Reset
    pub rst: bool,
}

/// The first segment of a connection.
pub const SYN: Flags = Flags { syn: true, ack: false, fin: false, rst: false };
/// The second segment of a connection.
pub const SYN_ACK: Flags = Flags { syn: true, ack: true, fin: false, rst: false };
/// Any later segment.
pub const ACK: Flags = Flags { syn: false, ack: true, fin: false, rst: false };
/// The end of one direction.
pub const FIN: Flags = Flags { syn: false, ack: true, fin: true, rst: false };
/// The end of a connection.
pub const RST: Flags = Flags { syn: false, ack: false, fin: false, rst: true };

fn network(link: Link, from: IpAddr, to: IpAddr, ttl: u8) -> PacketBuilderStep<IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(link.0, link.1);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), ttl),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), ttl),
        _ => panic!("{from} and {to} are of different families"),
    }
}

/// A TCP segment in a frame, TTL 64.
///
/// # Panics
/// When the addresses are of different families.
#[must_use]
pub fn tcp(link: Link, from: SocketAddr, to: SocketAddr, flags: Flags, payload: &[u8]) -> Vec<u8> {
    tcp_with_ttl(link, from, to, flags, payload, 64)
}

/// A TCP segment in a frame.
///
/// # Panics
/// When the addresses are of different families.
#[must_use]
pub fn tcp_with_ttl(
    link: Link,
    from: SocketAddr,
    to: SocketAddr,
    flags: Flags,
    payload: &[u8],
    ttl: u8,
) -> Vec<u8> {
    numbered(network(link, from.ip(), to.ip(), ttl), [from, to], flags, ([1000, 2000], b""), payload)
}

/// A TCP segment in a frame, TTL 64, with these numbers: sequence and acknowledgement.
///
/// # Panics
/// When the addresses are of different families.
#[must_use]
pub fn tcp_with_numbers(
    link: Link,
    from: SocketAddr,
    to: SocketAddr,
    flags: Flags,
    numbers: [u32; 2],
    payload: &[u8],
) -> Vec<u8> {
    tcp_with_options(link, from, to, flags, (numbers, b""), payload)
}

/// A TCP segment in a frame, TTL 64, with these numbers and options.
///
/// # Panics
/// When the addresses are of different families, or the options are too long.
#[must_use]
pub fn tcp_with_options(
    link: Link,
    from: SocketAddr,
    to: SocketAddr,
    flags: Flags,
    said: ([u32; 2], &[u8]),
    payload: &[u8],
) -> Vec<u8> {
    numbered(network(link, from.ip(), to.ip(), 64), [from, to], flags, said, payload)
}

fn numbered(
    step: PacketBuilderStep<IpHeaders>,
    [from, to]: [SocketAddr; 2],
    flags: Flags,
    ([sequence, acknowledgement], options): ([u32; 2], &[u8]),
    payload: &[u8],
) -> Vec<u8> {
    let step = step.tcp(from.port(), to.port(), sequence, 64_000);
    let mut step = step.options_raw(options).expect("options of at most 40 bytes");
    if flags.syn {
        step = step.syn();
    }
    if flags.ack {
        step = step.ack(acknowledgement);
    }
    if flags.fin {
        step = step.fin();
    }
    if flags.rst {
        step = step.rst();
    }
    let mut frame = Vec::new();
    step.write(&mut frame, payload).expect("a vector takes all bytes");
    frame
}

/// A UDP datagram in a frame, TTL 64.
///
/// # Panics
/// When the addresses are of different families.
#[must_use]
pub fn udp(link: Link, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let step = network(link, from.ip(), to.ip(), 64).udp(from.port(), to.port());
    step.write(&mut frame, payload).expect("a vector takes all bytes");
    frame
}

/// An echo request in a frame.
///
/// # Panics
/// When the addresses are of different families.
#[must_use]
pub fn echo(link: Link, from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let step = network(link, from, to, 64);
    let written = if from.is_ipv4() {
        step.icmpv4_echo_request(1, 2).write(&mut frame, payload)
    } else {
        step.icmpv6_echo_request(1, 2).write(&mut frame, payload)
    };
    written.expect("a vector takes all bytes");
    frame
}

/// What a frame is, in a line: `tcp 10.0.0.1:80 > 10.0.0.2:9000 ttl 63`.
///
/// # Panics
/// When the frame is no IP packet that an independent decoder understands.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    let packet = SlicedPacket::from_ethernet(frame).expect("a frame that can be decoded");
    let (from, to, ttl): (IpAddr, IpAddr, u8) = match packet.net.as_ref().expect("an IP packet") {
        NetSlice::Ipv4(slice) => {
            let header = slice.header();
            (header.source_addr().into(), header.destination_addr().into(), header.ttl())
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header();
            (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
        }
        NetSlice::Arp(_) => return "arp".to_owned(),
    };
    match packet.transport {
        Some(TransportSlice::Tcp(segment)) => {
            let (from, to) = (
                SocketAddr::new(from, segment.source_port()),
                SocketAddr::new(to, segment.destination_port()),
            );
            format!("tcp {from} > {to} ttl {ttl}")
        }
        Some(TransportSlice::Udp(datagram)) => {
            let (from, to) = (
                SocketAddr::new(from, datagram.source_port()),
                SocketAddr::new(to, datagram.destination_port()),
            );
            format!("udp {from} > {to} ttl {ttl}")
        }
        Some(_) => format!("icmp {from} > {to} ttl {ttl}"),
        None => format!("ip {from} > {to} ttl {ttl}"),
    }
}

/// Checks all checksums of a frame; the name of the first that is wrong.
///
/// # Errors
/// What is wrong, in words.
pub fn check_checksums(frame: &[u8]) -> Result<(), String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    let net = packet.net.as_ref();
    if let Some(NetSlice::Ipv4(slice)) = net {
        let header = slice.header().to_header();
        if header.header_checksum != header.calc_header_checksum() {
            return Err(format!("IPv4 header: {:04x}", header.header_checksum));
        }
    }
    let wrong = |name: &str, found: u16, right: u16| {
        if found == right { Ok(()) } else { Err(format!("{name}: {found:04x} instead of {right:04x}")) }
    };
    match (net, &packet.transport) {
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) => {
            let (from, to) = (ip.header().source(), ip.header().destination());
            wrong("TCP", tcp.checksum(), tcp.calc_checksum_ipv4(from, to).map_err(|error| error.to_string())?)
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Tcp(tcp))) => {
            let (from, to) = (ip.header().source(), ip.header().destination());
            wrong("TCP", tcp.checksum(), tcp.calc_checksum_ipv6(from, to).map_err(|error| error.to_string())?)
        }
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) if udp.checksum() != 0 => {
            let header = udp.to_header();
            let right = header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload());
            wrong("UDP", udp.checksum(), right.map_err(|error| error.to_string())?)
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Udp(udp))) => {
            let header = udp.to_header();
            let right = header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload());
            wrong("UDP", udp.checksum(), right.map_err(|error| error.to_string())?)
        }
        (_, Some(TransportSlice::Icmpv4(icmp))) => {
            let right = icmp.header().icmp_type.calc_checksum(icmp.payload());
            wrong("ICMP", icmp.header().checksum, right)
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
            let (from, to) = (ip.header().source(), ip.header().destination());
            if icmp.is_checksum_valid(from, to) { Ok(()) } else { Err("ICMPv6".to_owned()) }
        }
        _ => Ok(()),
    }
}

/// A frame whose sender left the L4 checksum to a network card: the field holds the pseudo-header's sum.
///
/// # Panics
/// When the frame is no TCP or UDP packet.
#[must_use]
pub fn with_partial_checksum(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).expect("a frame that can be decoded");
    let (addresses, length) = match packet.net.as_ref().expect("an IP packet") {
        NetSlice::Ipv4(ip) => (
            [ip.header().source().to_vec(), ip.header().destination().to_vec()].concat(),
            ip.payload().payload.len(),
        ),
        NetSlice::Ipv6(ip) => (
            [ip.header().source().to_vec(), ip.header().destination().to_vec()].concat(),
            ip.payload().payload.len(),
        ),
        NetSlice::Arp(_) => panic!("ARP has no checksum"),
    };
    let (protocol, offset) = match packet.transport.expect("TCP or UDP") {
        TransportSlice::Tcp(_) => (ip_number::TCP, 16),
        TransportSlice::Udp(_) => (ip_number::UDP, 6),
        _ => panic!("only TCP and UDP are left to a network card"),
    };
    let mut sum: u32 = addresses.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    sum += u32::from(protocol.0) + length as u32;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let mut frame = frame.to_vec();
    let at = frame.len() - length + offset;
    frame[at..at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    frame
}
