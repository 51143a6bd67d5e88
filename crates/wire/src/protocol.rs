//! IANA protocol numbers.

/// ICMP, RFC 792
pub const ICMP: u8 = 1;
/// IGMP, RFC 3376
pub const IGMP: u8 = 2;
/// IPv4 within IP, RFC 2003
pub const IPV4: u8 = 4;
/// TCP, RFC 9293
pub const TCP: u8 = 6;
/// UDP, RFC 768
pub const UDP: u8 = 17;
/// IPv6 within IP, RFC 2473
pub const IPV6: u8 = 41;
/// ICMPv6, RFC 4443
pub const ICMPV6: u8 = 58;
/// EIGRP, RFC 7868
pub const EIGRP: u8 = 88;
/// OSPF, RFC 2328 and RFC 5340
pub const OSPF: u8 = 89;
/// PIM, RFC 7761
pub const PIM: u8 = 103;
/// VRRP, RFC 9568
pub const VRRP: u8 = 112;
