//! The key by which the packets of a flow are known.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

use model::Address;
use wire::protocol;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The fields of a packet that its flow is known by. 40 bytes, all of which are compared.
///
/// Both addresses are of one family. A key has a direction: the other one's is [`FlowKey::reversed`].
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Who sent the packet.
    pub source: Address,
    /// Whom it is for.
    pub destination: Address,
    /// The sender's port, or what stands in for it (an ICMP echo's identifier).
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The protocol's number in an IP header.
    pub protocol: u8,
    /// The route domain; 0 unless configured.
    pub domain: u8,
    /// Always 0: without it the key would have bytes of no value, and could not be read as words.
    pub reserved: [u8; 2],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// Whether its addresses are IPv4.
    #[inline(always)]
    #[must_use]
    pub fn is_v4(&self) -> bool {
        let &[source_high, source, ..] = self.words();
        (source_high == 0) & (source as u32 == V4)
    }

    /// Whether its packets have ports, none of which is 0.
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        self.source_port != 0 || self.destination_port != 0
    }

    /// The key of packets in the opposite direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }

    /// The whole key as five words: equal keys have equal words, and different keys different ones.
    #[inline]
    pub(crate) fn words(&self) -> &[u64; 5] {
        zerocopy::transmute_ref!(self)
    }

    /// The whole key as two words, when it is IPv4.
    #[inline]
    pub(crate) fn v4_words(&self) -> Option<[u64; 2]> {
        let &[_, source, _, destination, rest] = self.words();
        self.is_v4().then_some([source >> 32 | destination & !u64::from(u32::MAX), rest])
    }
}

/// The third quarter of an IPv4 address in its mapped form (RFC 4291, 2.5.5.2), as it lies in memory.
const V4: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl PartialEq for FlowKey {
    /// Compares all words before it decides: keys that are compared are nearly always equal.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differences = self.words().iter().zip(other.words()).map(|(ours, theirs)| ours ^ theirs);
        differences.fold(0, |all, difference| all | difference) == 0
    }
}

impl Eq for FlowKey {}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words().hash(state);
    }
}

impl fmt::Display for FlowKey {
    /// As in `tcp 192.0.2.1:40000 > 198.51.100.1:80`, or where there are no ports as in `esp 192.0.2.1 > 198.51.100.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.protocol, protocol::name(self.protocol)) {
            (protocol::ICMP, _) => f.write_str("icmp ")?,
            (protocol::ICMPV6, _) => f.write_str("icmpv6 ")?,
            (_, Some(name)) => write!(f, "{name} ")?,
            (other, None) => write!(f, "protocol {other} ")?,
        }
        let [source, destination] = [self.source, self.destination].map(IpAddr::from);
        if self.has_ports() {
            let [from, to] =
                [(source, self.source_port), (destination, self.destination_port)].map(SocketAddr::from);
            write!(f, "{from} > {to}")?;
        } else {
            write!(f, "{source} > {destination}")?;
        }
        if self.domain == 0 { Ok(()) } else { write!(f, " in domain {}", self.domain) }
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FlowKey {
        FlowKey {
            source: Address::from_v4([192, 0, 2, 1]),
            destination: Address::from_v4([198, 51, 100, 1]),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            ..FlowKey::default()
        }
    }

    #[test]
    fn a_key_is_shown_as_people_write_it() {
        assert_eq!(key().to_string(), "tcp 192.0.2.1:40000 > 198.51.100.1:80");
        let v6 = Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let key = FlowKey { source: v6, destination: v6, protocol: 132, domain: 3, ..key() };
        assert_eq!(key.to_string(), "sctp [2001:db8::1]:40000 > [2001:db8::1]:80 in domain 3");
        let portless = FlowKey { source_port: 0, destination_port: 0, protocol: 200, ..self::key() };
        assert_eq!(portless.to_string(), "protocol 200 192.0.2.1 > 198.51.100.1");
        assert_eq!(FlowKey { protocol: 50, ..portless }.to_string(), "esp 192.0.2.1 > 198.51.100.1");
    }

    #[test]
    fn a_key_reversed_twice_is_itself() {
        assert_ne!(key().reversed(), key());
        assert_eq!(key().reversed().source_port, 80);
        assert_eq!(key().reversed().reversed(), key());
    }

    #[test]
    fn keys_that_differ_in_one_field_are_different() {
        let other = Address::from_v4([192, 0, 2, 2]);
        let different = [
            FlowKey { source: other, ..key() },
            FlowKey { destination: other, ..key() },
            FlowKey { source_port: 1, ..key() },
            FlowKey { destination_port: 1, ..key() },
            FlowKey { protocol: 17, ..key() },
            FlowKey { domain: 1, ..key() },
        ];
        for (position, one) in different.iter().enumerate() {
            assert_ne!(*one, key());
            assert!(different.iter().skip(position + 1).all(|another| one != another));
        }
        assert_eq!(key(), FlowKey { ..key() });
    }
}
