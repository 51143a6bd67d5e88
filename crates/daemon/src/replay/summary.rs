//! What a frame is, in a line, and the key of the flow that it may belong to.

use std::net::IpAddr;

use flow::FlowKey;
use model::{Address, MacAddress};
use wire::{
    Refusal, arp,
    ethernet::{self, ether_type},
    icmpv4, icmpv6, ipv4, ipv6, nd, protocol, tcp, udp, vlan,
};

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// In a line, as in `tcp 10.0.0.7:40001 > 198.51.100.10:443 syn`.
    pub(crate) text: String,
    /// The key of its flow; `None` when it has none, or a part of it does not tell.
    pub(crate) key: Option<FlowKey>,
}

impl From<String> for Summary {
    fn from(text: String) -> Self {
        Self { text, key: None }
    }
}

/// What the frame in `bytes` is. Says of malformed headers what is wrong with them.
pub(crate) fn summary(bytes: &[u8]) -> Summary {
    link(bytes).unwrap_or_else(|refusal| format!("malformed: {refusal}").into())
}

fn link(bytes: &[u8]) -> Result<Summary, Refusal> {
    let header = ethernet::check(bytes)?;
    let mut kind = header.ether_type.get();
    let mut rest = bytes.get(ethernet::HEADER..).unwrap_or_default();
    let mut tags = String::new();
    while kind == ether_type::VLAN || kind == ether_type::QINQ {
        let tag = vlan::check(rest)?;
        tags += &format!("vlan {} ", tag.id());
        kind = tag.ether_type.get();
        rest = rest.get(vlan::TAG..).unwrap_or_default();
    }
    let mut found = network(kind, rest, header.source)
        .unwrap_or_else(|refusal| format!("malformed {}: {refusal}", protocol_of(kind)).into());
    found.text.insert_str(0, &tags);
    Ok(found)
}

fn protocol_of(kind: u16) -> String {
    match kind {
        ether_type::IPV4 => "ipv4".to_owned(),
        ether_type::IPV6 => "ipv6".to_owned(),
        ether_type::ARP => "arp".to_owned(),
        other => format!("ethertype {other:04x}"),
    }
}

fn network(kind: u16, bytes: &[u8], sender: [u8; 6]) -> Result<Summary, Refusal> {
    match kind {
        ether_type::IPV4 => {
            let layout = ipv4::check(bytes, bytes.len())?;
            let payload = bytes.get(layout.length..layout.total).unwrap_or_default();
            let addresses =
                (Address::from_v4(layout.header.source), Address::from_v4(layout.header.destination));
            Ok(transport(addresses, (layout.header.protocol, layout.is_fragment), payload, layout.header.ttl))
        }
        ether_type::IPV6 => {
            let layout = ipv6::check(bytes, bytes.len())?;
            let payload = bytes.get(layout.transport..layout.total).unwrap_or_default();
            let addresses =
                (Address::from_v6(layout.header.source), Address::from_v6(layout.header.destination));
            Ok(transport(
                addresses,
                (layout.protocol, layout.fragment.is_some()),
                payload,
                layout.header.hop_limit,
            ))
        }
        ether_type::ARP => Ok(address_resolution(arp::check(bytes, sender)?).into()),
        other => Ok(format!("{}, {} bytes", protocol_of(other), bytes.len()).into()),
    }
}

fn address_resolution(message: &arp::Arp) -> String {
    let address = |octets| IpAddr::from(Address::from_v4(octets));
    let (sender, target) = (address(message.sender_address), address(message.target_address));
    if message.operation.get() == arp::REQUEST {
        format!("arp who has {target}, tell {sender}")
    } else {
        format!("arp {sender} is at {}", MacAddress(message.sender_mac))
    }
}

fn transport(
    (from, to): (Address, Address),
    (number, is_fragment): (u8, bool),
    bytes: &[u8],
    hop_limit: u8,
) -> Summary {
    let key = FlowKey { source: from, destination: to, protocol: number, ..FlowKey::default() };
    let is_portless = !matches!(number, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6);
    if is_fragment {
        let text = format!("fragment {from} > {to}, protocol {number}");
        return Summary { text, key: Some(key).filter(|_| is_portless) };
    }
    match number {
        protocol::TCP => segment(key, bytes),
        protocol::UDP => datagram(key, bytes),
        protocol::ICMP if from.is_v4() => {
            let kind = icmpv4::check(bytes, bytes.len()).map(|header| header.kind);
            control_message((from, to), kind, bytes, hop_limit)
        }
        protocol::ICMPV6 if !from.is_v4() => {
            let kind = icmpv6::check(bytes, bytes.len()).map(|header| header.kind);
            control_message((from, to), kind, bytes, hop_limit)
        }
        _ => Summary { text: key.to_string(), key: Some(key) },
    }
}

fn segment(key: FlowKey, bytes: &[u8]) -> Summary {
    let Some(header) = wire::header::<tcp::Tcp>(bytes, 0) else {
        return cut_short("tcp", key);
    };
    let key = with_ports(key, header.source_port.get(), header.destination_port.get());
    balanced(format!("{key}{}", flags(header.flags)), key, tcp::check(bytes, bytes.len()).err())
}

fn datagram(key: FlowKey, bytes: &[u8]) -> Summary {
    let Some(header) = wire::header::<udp::Udp>(bytes, 0) else {
        return cut_short("udp", key);
    };
    let key = with_ports(key, header.source_port.get(), header.destination_port.get());
    balanced(key.to_string(), key, udp::check(bytes, bytes.len(), !key.source.is_v4()).err())
}

fn cut_short(what: &str, FlowKey { source, destination, .. }: FlowKey) -> Summary {
    format!("{what} {source} > {destination}, cut short").into()
}

fn balanced(text: String, key: FlowKey, refusal: Option<Refusal>) -> Summary {
    match refusal {
        None => Summary { text, key: Some(key) },
        Some(refusal) => malformed(&text, refusal),
    }
}

fn malformed(what: &str, refusal: Refusal) -> Summary {
    format!("{what}, malformed: {refusal}").into()
}

fn control_message(
    (from, to): (Address, Address),
    kind: Result<u8, Refusal>,
    bytes: &[u8],
    hop_limit: u8,
) -> Summary {
    let addresses = format!("icmp {from} > {to}");
    match kind {
        Ok(kind) => format!("{addresses} {}", message(kind, bytes, hop_limit, !from.is_v4())).into(),
        Err(refusal) => malformed(&addresses, refusal),
    }
}

const fn with_ports(key: FlowKey, source_port: u16, destination_port: u16) -> FlowKey {
    FlowKey { source_port, destination_port, ..key }
}

fn flags(bits: u8) -> String {
    let names = [
        ("syn", tcp::flags::SYN),
        ("fin", tcp::flags::FIN),
        ("rst", tcp::flags::RST),
        ("psh", tcp::flags::PSH),
        ("ack", tcp::flags::ACK),
        ("urg", tcp::flags::URG),
    ];
    names.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| format!(" {name}")).collect()
}

/// What an ICMP or ICMPv6 message says.
fn message(kind: u8, bytes: &[u8], hop_limit: u8, v6: bool) -> String {
    match (v6, kind) {
        (false, icmpv4::ECHO_REQUEST) | (true, icmpv6::ECHO_REQUEST) => "echo request".to_owned(),
        (false, icmpv4::ECHO_REPLY) | (true, icmpv6::ECHO_REPLY) => "echo reply".to_owned(),
        (true, icmpv6::NEIGHBOUR_SOLICITATION) => discovery("who has", bytes, hop_limit),
        (true, icmpv6::NEIGHBOUR_ADVERTISEMENT) => discovery("advertises", bytes, hop_limit),
        (_, other) => format!("type {other}"),
    }
}

fn discovery(verb: &str, bytes: &[u8], hop_limit: u8) -> String {
    match nd::check(bytes, hop_limit) {
        Ok(found) => format!("{verb} {}", Address::from_v6(found.target)),
        Err(refusal) => format!("malformed: {refusal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Notation, compose};

    const MACS: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2])];

    fn composed(text: &str) -> Vec<u8> {
        compose(&text.parse::<Notation>().unwrap(), MACS[0], MACS[1]).unwrap()
    }

    #[test]
    fn what_is_composed_is_summed_up_in_the_same_words() {
        for text in [
            "tcp 10.0.0.7:40001 > 198.51.100.10:443 syn",
            "tcp [2001:db8::7]:40001 > [2001:db8::10]:443 fin psh ack",
            "udp 10.0.0.7:40001 > 198.51.100.10:443",
            "udp [2001:db8::7]:1 > [2001:db8::10]:65535",
            "icmp 10.0.0.7 > 198.51.100.10 echo request",
            "icmp 2001:db8::7 > 2001:db8::10 echo request",
            "esp 10.0.0.7 > 198.51.100.10",
            "gre 2001:db8::7 > 2001:db8::10",
            "protocol 254 10.0.0.7 > 198.51.100.10",
        ] {
            assert_eq!(summary(&composed(text.trim_end_matches(" echo request"))).text, text);
        }
    }

    #[test]
    fn a_flows_key_is_found_behind_a_vlan_tag() {
        let mut frame = composed("udp 10.0.0.7:40001 > 198.51.100.10:53");
        let plain = summary(&frame).key.unwrap();
        frame.splice(12..12, [0x81, 0x00, 0x20, 0x05]);
        let tagged = summary(&frame);
        assert_eq!(tagged.text, "vlan 5 udp 10.0.0.7:40001 > 198.51.100.10:53");
        assert_eq!(tagged.key, Some(plain));
    }

    #[test]
    fn what_is_malformed_is_said() {
        let mut frame = composed("tcp 10.0.0.7:40001 > 198.51.100.10:443 syn");
        frame[14] = 0x55;
        assert_eq!(summary(&frame).text, "malformed ipv4: ipv4_version");
        assert_eq!(summary(&frame[..13]).text, "malformed: ethernet_truncated");
        frame[12] = 0x12;
        assert_eq!(summary(&frame).text, "ethertype 1200, 40 bytes");
    }

    #[test]
    fn a_malformed_transport_header_is_told_with_the_packet() {
        for (text, refusal) in [
            ("tcp 10.0.0.7:0 > 198.51.100.10:443 syn", "tcp_port_zero"),
            ("tcp [2001:db8::7]:1 > [2001:db8::10]:443 syn fin", "tcp_flags_contradict"),
            ("udp 10.0.0.7:40001 > 198.51.100.10:0", "udp_port_zero"),
        ] {
            let found = summary(&composed(text));
            assert_eq!((found.text, found.key), (format!("{text}, malformed: {refusal}"), None));
        }
        let addresses = (Address::from_v4([10, 0, 0, 7]), Address::from_v4([10, 0, 0, 8]));
        for (number, text) in [
            (protocol::TCP, "tcp 10.0.0.7 > 10.0.0.8, cut short"),
            (protocol::UDP, "udp 10.0.0.7 > 10.0.0.8, cut short"),
            (protocol::ICMP, "icmp 10.0.0.7 > 10.0.0.8, malformed: icmp_truncated"),
        ] {
            assert_eq!(transport(addresses, (number, false), &[0; 3], 64).text, text);
        }
    }

    #[test]
    fn address_resolution_is_told_in_words() {
        let ([us, them], [mine, theirs]) =
            ([[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]], [[10, 0, 0, 1], [10, 0, 0, 2]]);
        let request = arp::Arp::new(arp::REQUEST, (us, mine), ([0; 6], theirs));
        assert_eq!(address_resolution(&request), "arp who has 10.0.0.2, tell 10.0.0.1");
        let reply = arp::Arp::new(arp::REPLY, (them, theirs), (us, mine));
        assert_eq!(address_resolution(&reply), "arp 10.0.0.2 is at 02:00:00:00:00:02");
    }
}
