//! Why bytes are not an acceptable header.

use std::fmt;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $variant:ident,)*) => {
        /// The one cause for which a header was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Refusal {
            /// All refusals; a refusal's position is its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The variant in snake case, as in `ipv4_header_checksum`.
            #[must_use]
            pub fn name(self) -> String {
                let variant = match self { $(Self::$variant => stringify!($variant),)* };
                snake_case(variant)
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

refusals! {
    /// The frame is shorter than an Ethernet header.
    EthernetTruncated,
    /// The frame ends within a VLAN tag.
    VlanTruncated,
    /// The frame ends within the IPv4 header.
    Ipv4Truncated,
    /// The EtherType says IPv4, the version field does not.
    Ipv4Version,
    /// The IPv4 header length is less than five words.
    Ipv4HeaderLengthTooSmall,
    /// The IPv4 header is longer than the frame.
    Ipv4HeaderLengthBeyondFrame,
    /// The IPv4 total length is less than the header length.
    Ipv4TotalLengthTooSmall,
    /// The IPv4 total length is more than the frame has.
    Ipv4TotalLengthBeyondFrame,
    /// The IPv4 header checksum is wrong.
    Ipv4HeaderChecksum,
    /// The IPv4 time to live is 0.
    Ipv4TtlZero,
    /// The reserved IPv4 flag is set.
    Ipv4ReservedFlag,
    /// An IPv4 option's length is 0 or 1, or runs over the header.
    Ipv4OptionMalformed,
    /// IPv4 source routing.
    Ipv4SourceRoute,
    /// The frame ends within the IPv6 header.
    Ipv6Truncated,
    /// The EtherType says IPv6, the version field does not.
    Ipv6Version,
    /// The IPv6 payload length is more than the frame has.
    Ipv6PayloadLengthBeyondFrame,
    /// The IPv6 payload length is 0: no payload, or a jumbogram.
    Ipv6PayloadLengthZero,
    /// The IPv6 hop limit is 0.
    Ipv6HopLimitZero,
    /// The IPv6 extension headers end too soon or behind the packet, or no L4 header follows them.
    Ipv6ChainTruncated,
    /// Too many IPv6 extension headers.
    Ipv6ChainTooLong,
    /// A hop-by-hop options header that is not the first.
    Ipv6HopByHopNotFirst,
    /// IPv6 routing header type 0.
    Ipv6RoutingHeaderZero,
    /// The IPv6 packet says that nothing follows its headers.
    Ipv6NoNextHeader,
    /// The packet ends within the TCP header.
    TcpTruncated,
    /// The TCP data offset is less than five words.
    TcpDataOffsetTooSmall,
    /// The TCP data offset is behind the end of the packet.
    TcpDataOffsetBeyondPacket,
    /// A TCP port is 0.
    TcpPortZero,
    /// No TCP flag is set.
    TcpFlagsNone,
    /// TCP flags that exclude one another: SYN with FIN, or SYN with RST.
    TcpFlagsContradict,
    /// The packet ends within the UDP header.
    UdpTruncated,
    /// The UDP length is less than its header.
    UdpLengthTooSmall,
    /// The UDP length is more than the packet has.
    UdpLengthBeyondPacket,
    /// The UDP destination port is 0.
    UdpPortZero,
    /// UDP over IPv6 without a checksum.
    UdpChecksumMissing,
    /// The packet ends within the ICMP header.
    IcmpTruncated,
    /// The checksum of an ICMP error is wrong.
    IcmpChecksum,
    /// An ICMP error says of a packet that it was too big for less than any link takes: 68 bytes (RFC 791), 1,280 (RFC 8200).
    IcmpMtuTooSmall,
    /// An ICMP error quotes too little of a packet to tell its addresses and ports.
    QuoteTruncated,
    /// An ICMP error quotes what is no IP packet.
    QuoteMalformed,
    /// An ICMP error about a fragment that is not the first of its packet.
    QuoteOfLaterFragment,
    /// An ICMP error about an ICMP message.
    QuoteOfIcmp,
    /// A fragment that is not the last, and whose length is no multiple of eight bytes.
    FragmentLength,
    /// A fragment that ends behind the largest packet that there can be, or has nothing in it.
    FragmentBeyondPacket,
    /// A first fragment without the whole L4 header, or a later one within it (RFC 1858, RFC 3128, RFC 7112).
    FragmentTiny,
    /// The frame ends within the ARP message.
    ArpTruncated,
    /// An ARP message that is not about IPv4 over Ethernet.
    ArpNotIpv4OverEthernet,
    /// An ARP operation other than request and reply.
    ArpOperation,
    /// ARP with a sender that can be nobody: a group address, or not the frame's source.
    ArpSender,
    /// The packet ends within the neighbour discovery message.
    NdTruncated,
    /// Neighbour discovery from beyond the link: hop limit other than 255.
    NdHopLimit,
    /// A neighbour discovery message with a code.
    NdCode,
    /// A neighbour discovery option of length 0, one that runs over the message, or one with a group MAC address.
    NdOptionMalformed,
    /// Neighbour discovery for a multicast target.
    NdTarget,
    /// The ICMPv6 checksum of a neighbour discovery message is wrong.
    NdChecksum,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

fn snake_case(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusals_position_is_its_number() {
        for (position, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, position);
            assert!(refusal.description().ends_with('.'), "{refusal}");
        }
    }

    #[test]
    fn a_name_is_the_variant_in_snake_case() {
        assert_eq!(Refusal::Ipv4HeaderChecksum.name(), "ipv4_header_checksum");
    }
}
