//! Frames in words, as `etherparse` reads them, which shares no code with the product.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    ArpOperation, IcmpEchoHeader, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpNumber,
    Ipv4HeaderSlice, Ipv6ExtensionSlice, LaxNetSlice, LaxSlicedPacket, LinkExtSlice, NetSlice, SlicedPacket,
    TcpOptionElement, TcpOptionReadError, TcpSlice, TransportSlice, icmpv4::DestUnreachableHeader,
};
use testkit::packets::check_checksums;

/// What the segments of nearly all cases say.
const USUAL_WINDOW: u16 = 64_000;

/// What a frame is, to whom it goes on the link, how long it is, and what is wrong with its checksums.
pub(crate) fn describe(frame: &[u8]) -> String {
    let packet = match SlicedPacket::from_ethernet(frame) {
        Ok(packet) => packet,
        Err(error) => return format!("undecodable: {error}"),
    };
    if let Some(outer) = outer(&packet) {
        return format!("{outer}, to {}, {} bytes", mac(&frame[..6]), frame.len());
    }
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
            internet(&packet, from, to, header.hop_limit()) + &class(header.traffic_class())
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

/// A packet within another one, and what its outer headers say; `None` when it is no such packet.
fn outer(packet: &SlicedPacket<'_>) -> Option<String> {
    let (from, to, about, number, payload): (IpAddr, IpAddr, String, IpNumber, &[u8]) = match packet
        .net
        .as_ref()?
    {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let right = header.to_header().calc_header_checksum() == header.header_checksum();
            let checksum = if right { "" } else { ", wrong checksum IPv4" };
            let dont_fragment = if header.dont_fragment() { ", df" } else { "" };
            let tos = u8::from(header.dcp()) << 2 | u8::from(header.ecn());
            let (id, ttl) = (header.identification(), header.ttl());
            let about = format!("tos {tos:02x}, id {id}{dont_fragment}, ttl {ttl}{checksum}");
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                about,
                header.protocol(),
                ip.payload().payload,
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let label = header.flow_label().value();
            let about =
                format!("tos {:02x}, label {label:05x}, ttl {}", header.traffic_class(), header.hop_limit());
            let payload = ip.payload();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                about,
                payload.ip_number,
                payload.payload,
            )
        }
        NetSlice::Arp(_) => return None,
    };
    let (what, inner) = match (&packet.transport, number) {
        (Some(TransportSlice::Udp(datagram)), _) if datagram.destination_port() == 6080 => {
            let ends = (SocketAddr::new(from, datagram.source_port()), SocketAddr::new(to, 6080));
            let checksum = if datagram.checksum() == 0 { " without checksum" } else { "" };
            (format!("gue {} > {}{checksum}", ends.0, ends.1), datagram.payload())
        }
        (_, IpNumber::IPV4 | IpNumber::IPV6) => (format!("ip {} {from} > {to}", number.0), payload),
        _ => return None,
    };
    let tags: String = packet.link_exts.iter().map(tag).collect();
    // As a frame of its own.
    let kind: [u8; 2] = if inner.first()? >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
    let inner = describe(&[&[0; 12], &kind[..], inner].concat());
    let inner = inner.replace(", to 00:00:00:00:00:00", "");
    Some(format!("{tags}{what}, {about} [{inner}]"))
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
            let shown = shown(segment.payload());
            format!("tcp {from} > {to}{}{}{}{shown}", flags(segment), numbers_of(segment), options(segment))
        }
        Some(TransportSlice::Udp(datagram)) => {
            let (from, to) = (
                SocketAddr::new(from, datagram.source_port()),
                SocketAddr::new(to, datagram.destination_port()),
            );
            let checksum = if datagram.checksum() == 0 { " without checksum" } else { "" };
            format!("udp {from} > {to}{checksum}")
        }
        Some(TransportSlice::Icmpv4(message)) => message_v4(message, from, to),
        Some(TransportSlice::Icmpv6(message)) => message_v6(message, from, to),
        Some(TransportSlice::Igmp(_)) | None => {
            format!("ip {from} > {to}{}{}", protocol(packet), fragment(packet))
        }
    };
    format!("{what}, ttl {ttl}")
}

/// The class of service, if it is not the common one.
fn class(tos: u8) -> String {
    if tos == 0 { String::new() } else { format!(", tos {tos:#04x}") }
}

/// What is unusual about an IPv4 header.
fn service(header: Ipv4HeaderSlice<'_>) -> String {
    class(header.dcp().value() << 2 | header.ecn().value())
        + if header.dont_fragment() { "" } else { ", may be fragmented" }
}

/// The numbers of a reset, and those of what the gateway asks: nobody else has no window. Of others the window, if it is not the usual one.
fn numbers_of(segment: &TcpSlice<'_>) -> String {
    match segment.window_size() {
        USUAL_WINDOW if !segment.rst() => return String::new(),
        window if !segment.rst() && window != 0 => return format!(" window {window}"),
        _ => {}
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
        Err(TcpOptionReadError::UnknownId(254)) => client(segment.options()),
        Err(error) => format!("{error}"),
    });
    let options = options.collect::<Vec<_>>().join(", ");
    if options.is_empty() { options } else { format!(" <{options}>") }
}

/// The client that the first option says, of the kind 254.
fn client(options: &[u8]) -> String {
    let port = u16::from_be_bytes([options[2], options[3]]);
    let address: IpAddr = match options[1] {
        8 => <[u8; 4]>::try_from(&options[4..8]).unwrap().into(),
        20 => <[u8; 16]>::try_from(&options[4..20]).unwrap().into(),
        other => return format!("an option of {other} bytes"),
    };
    format!("client {}", SocketAddr::new(address, port))
}

/// What a header of the PROXY protocol says, if data begins with one, and how much follows.
fn shown(data: &[u8]) -> String {
    let Some(rest) = data.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n\x21") else { return String::new() };
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let (ends, length) = match rest[..3] {
        [0x11, 0, 12] => {
            let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&rest[at..at + 4]).unwrap());
            ([SocketAddr::new(v4(3), port(11)), SocketAddr::new(v4(7), port(13))], 15)
        }
        [0x21, 0, 36] => {
            let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&rest[at..at + 16]).unwrap());
            ([SocketAddr::new(v6(3), port(35)), SocketAddr::new(v6(19), port(37))], 39)
        }
        _ => return " behind a wrong header".to_owned(),
    };
    format!(" saying it is {} > {}, {} bytes follow", ends[0], ends[1], rest.len() - length)
}

fn message_v4(message: &Icmpv4Slice<'_>, from: IpAddr, to: IpAddr) -> String {
    match message.icmp_type() {
        Icmpv4Type::EchoReply(echo) => format!("icmp {from} > {to} echo reply {}", numbers(echo)),
        Icmpv4Type::DestinationUnreachable(why) => {
            let why = match why {
                DestUnreachableHeader::FragmentationNeeded { next_hop_mtu } => {
                    format!("over {next_hop_mtu} bytes")
                }
                other => format!("{other:?} unreachable").to_lowercase(),
            };
            format!("icmp {from} > {to} {why}{}", about(message.payload()))
        }
        Icmpv4Type::TimeExceeded(_) => {
            format!("icmp {from} > {to} time exceeded{}", about(message.payload()))
        }
        Icmpv4Type::ParameterProblem(_) => {
            format!("icmp {from} > {to} parameter problem{}", about(message.payload()))
        }
        other => format!("icmp {from} > {to} {other:?}"),
    }
}

fn message_v6(message: &Icmpv6Slice<'_>, from: IpAddr, to: IpAddr) -> String {
    match message.icmp_type() {
        Icmpv6Type::EchoReply(echo) => format!("icmp {from} > {to} echo reply {}", numbers(echo)),
        Icmpv6Type::NeighborAdvertisement(flags) => {
            let flags =
                [(flags.router, " router"), (flags.solicited, " solicited"), (flags.r#override, " override")];
            let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
            let (target, option) = discovery(message.payload());
            format!("nd {from} > {to} {target} is at {}{flags}", option_mac(option, 2))
        }
        Icmpv6Type::NeighborSolicitation => {
            let (target, option) = discovery(message.payload());
            format!("nd {from} > {to} who has {target}, tell {}", option_mac(option, 1))
        }
        Icmpv6Type::PacketTooBig { mtu } => {
            format!("icmp {from} > {to} over {mtu} bytes{}", about(message.payload()))
        }
        Icmpv6Type::DestinationUnreachable(why) => {
            format!(
                "icmp {from} > {to} {} unreachable{}",
                format!("{why:?}").to_lowercase(),
                about(message.payload())
            )
        }
        Icmpv6Type::TimeExceeded(_) => {
            format!("icmp {from} > {to} time exceeded{}", about(message.payload()))
        }
        Icmpv6Type::ParameterProblem(_) => {
            format!("icmp {from} > {to} parameter problem{}", about(message.payload()))
        }
        other => format!("icmp {from} > {to} {other:?}"),
    }
}

/// Which protocol is behind the IP header, if it is not one that is known by its ports.
fn protocol(packet: &SlicedPacket<'_>) -> String {
    let number = match &packet.net {
        // What an authentication header protects is not looked into.
        Some(NetSlice::Ipv4(ip)) => ip.header().protocol(),
        Some(NetSlice::Ipv6(ip)) if ip.header().next_header() == IpNumber::AUTHENTICATION_HEADER => {
            IpNumber::AUTHENTICATION_HEADER
        }
        Some(NetSlice::Ipv6(ip)) => ip.payload().ip_number,
        _ => return String::new(),
    };
    if matches!(number, IpNumber::TCP | IpNumber::UDP) {
        return String::new();
    }
    format!(" protocol {}", number.0)
}

/// Which part of a packet a fragment is.
fn fragment(packet: &SlicedPacket<'_>) -> String {
    let (offset, has_more, id) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            (header.fragments_offset(), header.more_fragments(), u32::from(header.identification()))
        }
        Some(NetSlice::Ipv6(ip)) => match ip.extensions().clone().into_iter().next() {
            Some(Ipv6ExtensionSlice::Fragment(part)) => {
                (part.fragment_offset(), part.more_fragments(), part.identification())
            }
            _ => return String::new(),
        },
        _ => return String::new(),
    };
    if offset.value() == 0 && !has_more {
        return String::new();
    }
    let more = if has_more { ", more follow" } else { "" };
    format!(" fragment of {id} at {}{more}", usize::from(offset.value()) * 8)
}

/// What an error's quote is of, and what is wrong with the checksums of it that are there.
fn about(quote: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ip(quote) else { return " about nothing".to_owned() };
    let (from, to): (IpAddr, IpAddr) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            if header.to_header().calc_header_checksum() != header.header_checksum() {
                return " about a packet with a wrong checksum".to_owned();
            }
            (header.source_addr().into(), header.destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => return " about nothing".to_owned(),
    };
    let (protocol, header) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => (ip.payload_ip_number().0, quote.len() - ip.payload().payload.len()),
        Some(LaxNetSlice::Ipv6(ip)) => (ip.payload().ip_number.0, quote.len() - ip.payload().payload.len()),
        _ => (0, 0),
    };
    if !matches!(protocol, 6 | 17) {
        return format!(" about protocol {protocol} {from} > {to} in {} bytes", quote.len());
    }
    let port = |at: usize| u16::from_be_bytes([quote[header + at], quote[header + at + 1]]);
    let protocol = if protocol == 6 { "tcp" } else { "udp" };
    let ends = (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)));
    format!(" about {protocol} {} > {} in {} bytes", ends.0, ends.1, quote.len())
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
