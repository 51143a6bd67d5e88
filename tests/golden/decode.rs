//! Frames in words, as `etherparse` reads them, which shares no code with the product.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    ArpOperation, IcmpEchoHeader, Icmpv4Type, Icmpv6Type, Ipv4HeaderSlice, LinkExtSlice, NetSlice,
    SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice,
};
use testkit::packets::check_checksums;

/// What a frame is, to whom it goes on the link, how long it is, and what is wrong with its checksums.
pub(crate) fn describe(frame: &[u8]) -> String {
    let packet = match SlicedPacket::from_ethernet(frame) {
        Ok(packet) => packet,
        Err(error) => return format!("undecodable: {error}"),
    };
    let tags: String = packet.link_exts.iter().map(tag).collect();
    let what = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let (from, to) = (header.source_addr().into(), header.destination_addr().into());
            internet(&packet, from, to, header.ttl()) + &service(header)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let (from, to) = (header.source_addr().into(), header.destination_addr().into());
            internet(&packet, from, to, header.hop_limit())
        }
        Some(NetSlice::Arp(message)) => {
            let v4 = |bytes: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap());
            let (sender, target) = (v4(message.sender_protocol_addr()), v4(message.target_protocol_addr()));
            match message.operation() {
                ArpOperation::REQUEST => format!("arp who has {target}, tell {sender}"),
                _ => format!("arp {sender} is at {}, told to {target}", mac(message.sender_hw_addr())),
            }
        }
        None => "no packet".to_owned(),
    };
    let checksums = match check_checksums(frame) {
        Ok(()) => String::new(),
        Err(wrong) => format!(", wrong checksum {}", wrong.split(':').next().unwrap_or_default()),
    };
    format!("{tags}{what}, to {}, {} bytes{checksums}", mac(&frame[..6]), frame.len())
}

fn tag(extension: &LinkExtSlice) -> String {
    match extension {
        LinkExtSlice::Vlan(tag) => {
            format!("vlan {} priority {} ", tag.vlan_identifier().value(), tag.priority_code_point().value())
        }
        _ => "link extension ".to_owned(),
    }
}

fn internet(packet: &SlicedPacket<'_>, from: IpAddr, to: IpAddr, ttl: u8) -> String {
    let what = match &packet.transport {
        Some(TransportSlice::Tcp(segment)) => {
            let (from, to) = (
                SocketAddr::new(from, segment.source_port()),
                SocketAddr::new(to, segment.destination_port()),
            );
            format!("tcp {from} > {to}{}{}{}", flags(segment), numbers_of(segment), options(segment))
        }
        Some(TransportSlice::Udp(datagram)) => {
            let (from, to) = (
                SocketAddr::new(from, datagram.source_port()),
                SocketAddr::new(to, datagram.destination_port()),
            );
            let checksum = if datagram.checksum() == 0 { " without checksum" } else { "" };
            format!("udp {from} > {to}{checksum}")
        }
        Some(TransportSlice::Icmpv4(message)) => match message.icmp_type() {
            Icmpv4Type::EchoReply(echo) => format!("icmp {from} > {to} echo reply {}", numbers(echo)),
            other => format!("icmp {from} > {to} {other:?}"),
        },
        Some(TransportSlice::Icmpv6(message)) => match message.icmp_type() {
            Icmpv6Type::EchoReply(echo) => format!("icmp {from} > {to} echo reply {}", numbers(echo)),
            Icmpv6Type::NeighborAdvertisement(flags) => {
                let flags = [
                    (flags.router, " router"),
                    (flags.solicited, " solicited"),
                    (flags.r#override, " override"),
                ];
                let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
                let (target, option) = discovery(message.payload());
                format!("nd {from} > {to} {target} is at {}{flags}", option_mac(option, 2))
            }
            Icmpv6Type::NeighborSolicitation => {
                let (target, option) = discovery(message.payload());
                format!("nd {from} > {to} who has {target}, tell {}", option_mac(option, 1))
            }
            other => format!("icmp {from} > {to} {other:?}"),
        },
        Some(TransportSlice::Igmp(_)) | None => format!("ip {from} > {to}"),
    };
    format!("{what}, ttl {ttl}")
}

/// What is unusual about an IPv4 header.
fn service(header: Ipv4HeaderSlice<'_>) -> String {
    let tos = header.dcp().value() << 2 | header.ecn().value();
    let tos = if tos == 0 { String::new() } else { format!(", tos {tos:#04x}") };
    tos + if header.dont_fragment() { "" } else { ", may be fragmented" }
}

/// The numbers of a reset, and those of what the gateway asks: nobody else has no window.
fn numbers_of(segment: &TcpSlice<'_>) -> String {
    if !segment.rst() && segment.window_size() != 0 {
        return String::new();
    }
    let acknowledgement = segment.ack().then(|| format!(" ack {}", segment.acknowledgment_number()));
    format!(" seq {}{}", segment.sequence_number(), acknowledgement.unwrap_or_default())
}

fn options(segment: &TcpSlice<'_>) -> String {
    use TcpOptionElement::{
        MaximumSegmentSize, Noop, SelectiveAcknowledgement, SelectiveAcknowledgementPermitted, Timestamp,
        WindowScale,
    };
    let options = segment.options_iterator().map(|option| match option {
        Ok(Noop) => "nop".to_owned(),
        Ok(MaximumSegmentSize(size)) => format!("mss {size}"),
        Ok(WindowScale(shift)) => format!("scale {shift}"),
        Ok(SelectiveAcknowledgementPermitted) => "sack".to_owned(),
        Ok(SelectiveAcknowledgement(first, rest)) => {
            let blocks = [Some(first)].into_iter().chain(rest).flatten();
            blocks.map(|(from, to)| format!("sack {from}-{to}")).collect::<Vec<_>>().join(" ")
        }
        Ok(Timestamp(value, echo)) => format!("time {value}/{echo}"),
        Err(error) => format!("{error}"),
    });
    let options = options.collect::<Vec<_>>().join(", ");
    if options.is_empty() { options } else { format!(" <{options}>") }
}

fn flags(segment: &TcpSlice<'_>) -> String {
    let flags = [
        (segment.syn(), " syn"),
        (segment.fin(), " fin"),
        (segment.rst(), " rst"),
        (segment.psh(), " psh"),
        (segment.ack(), " ack"),
        (segment.urg(), " urg"),
    ];
    flags.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect()
}

fn numbers(echo: IcmpEchoHeader) -> String {
    format!("{}/{}", echo.id, echo.seq)
}

/// Target and options of a neighbour discovery message behind its first eight bytes.
fn discovery(payload: &[u8]) -> (Ipv6Addr, &[u8]) {
    let (target, options) = payload.split_first_chunk::<16>().unwrap();
    (Ipv6Addr::from(*target), options)
}

fn option_mac(option: &[u8], kind: u8) -> String {
    assert_eq!((option.len(), option[0], option[1]), (8, kind, 1), "one link-layer address");
    mac(&option[2..])
}

fn mac(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}
