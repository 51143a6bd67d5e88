//! Addresses in the form in which the datapath compares them.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv4 or IPv6 address in 16 bytes, network order; IPv4 in its IPv4-mapped form (RFC 4291, 2.5.5.2).
///
/// An IPv6 packet that carries a mapped address is refused when it is parsed, so the two never meet.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C, align(8))]
pub struct Address([u8; 16]);

impl Hash for Address {
    /// As two words: hashers take those in a fraction of the time that a slice of bytes takes.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [high, low]: [u64; 2] = zerocopy::transmute!(self.0);
        state.write_u64(high);
        state.write_u64(low);
    }
}

impl Address {
    /// The all-zero IPv6 address, which is nobody's.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// From the four bytes of an IPv4 header field.
    #[must_use]
    #[inline]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        // As one number, which is written in two words; an array of bytes is written in four pieces.
        Self(((u32::from_le_bytes(octets) as u128) << 96 | 0xffff << 80).to_le_bytes())
    }

    /// From the sixteen bytes of an IPv6 header field.
    #[must_use]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        // As one number: a pattern of bytes is compiled into twelve comparisons, and this is asked for every packet.
        u128::from_be_bytes(self.0) >> 32 == 0xffff
    }

    /// The four bytes of an IPv4 header field. Of an IPv6 address: its last four bytes.
    #[must_use]
    pub const fn v4(self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0;
        [a, b, c, d]
    }

    /// All sixteen bytes, as in an IPv6 header field.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }

    /// The bytes as two words, for hashing.
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        let all = u128::from_ne_bytes(self.0);
        [all as u64, (all >> 64) as u64]
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::V4(Ipv4Addr::from(address.v4()))
        } else {
            Self::V6(Ipv6Addr::from(address.0))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set: multicast or broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The link-local IPv6 address that it makes (RFC 4291, 2.5.1 and 2.5.6).
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacAddressError;

impl fmt::Display for ParseMacAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an Ethernet address is six pairs of hexadecimal digits, as in 02:00:00:00:00:01")
    }
}

impl std::error::Error for ParseMacAddressError {}

impl FromStr for MacAddress {
    type Err = ParseMacAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair =
                pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *octet = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(ParseMacAddressError)?;
        }
        if pairs.next().is_some() { Err(ParseMacAddressError) } else { Ok(Self(octets)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_there_and_back() {
        for text in ["192.0.2.1", "2001:db8::1", "::", "0.0.0.0"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn only_a_mapped_address_is_v4() {
        assert!(Address::from_v4([192, 0, 2, 1]).is_v4());
        assert!(!Address::from("2001:db8::1".parse::<IpAddr>().unwrap()).is_v4());
        assert!(!Address::UNSPECIFIED.is_v4());
    }

    #[test]
    fn a_mac_address_is_read_as_it_is_shown() {
        let mac: MacAddress = "02:00:5e:00:53:AF".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:00:53:af");
    }

    #[test]
    fn a_mac_address_makes_a_link_local_one() {
        let mac: MacAddress = "00:00:5e:00:53:af".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::200:5eff:fe00:53af");
    }

    #[test]
    fn a_mac_address_that_is_none_is_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "0g:00:00:00:00:01",
            "2:0:0:0:0:1",
            "+2:00:00:00:00:01",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(ParseMacAddressError), "{text}");
        }
    }
}
