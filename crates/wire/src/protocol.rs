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
/// GRE, RFC 2784
pub const GRE: u8 = 47;
/// Encapsulating security payload, RFC 4303
pub const ESP: u8 = 50;
/// The authentication header, RFC 4302
pub const AUTHENTICATION: u8 = 51;
/// ICMPv6, RFC 4443
pub const ICMPV6: u8 = 58;
/// EIGRP, RFC 7868
pub const EIGRP: u8 = 88;
/// OSPF, RFC 2328 and RFC 5340
pub const OSPF: u8 = 89;
/// Ethernet within IP, RFC 3378
pub const ETHERIP: u8 = 97;
/// PIM, RFC 7761
pub const PIM: u8 = 103;
/// VRRP, RFC 9568
pub const VRRP: u8 = 112;
/// L2TP version 3, RFC 3931
pub const L2TP: u8 = 115;
/// SCTP, RFC 9260
pub const SCTP: u8 = 132;
/// MPLS within IP, RFC 4023
pub const MPLS: u8 = 137;

/// What those are called that people know by a name.
const NAMES: [(u8, &str); 9] = [
    (IPV4, "ipip"),
    (TCP, "tcp"),
    (UDP, "udp"),
    (GRE, "gre"),
    (ESP, "esp"),
    (AUTHENTICATION, "ah"),
    (ETHERIP, "etherip"),
    (L2TP, "l2tp"),
    (SCTP, "sctp"),
];

/// The name of a protocol, if it is known by one.
#[must_use]
pub fn name(number: u8) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The protocol with a name.
#[must_use]
pub fn named(name: &str) -> Option<u8> {
    NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        for number in 0..=u8::MAX {
            assert!(name(number).is_none_or(|name| named(name) == Some(number)));
        }
        assert_eq!((name(SCTP), named("esp"), named("50")), (Some("sctp"), Some(50), None));
    }
}
