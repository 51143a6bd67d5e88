//! Where outer headers are said to be from.

use model::Address;

/// The sources of outer headers that a virtual server has, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OuterSources {
    v4: Option<OuterSource>,
    v6: Option<OuterSource>,
}

impl OuterSources {
    /// Adds one, instead of one of its family.
    pub const fn set(&mut self, source: OuterSource) {
        if source.is_v4() {
            self.v4 = Some(source);
        } else {
            self.v6 = Some(source);
        }
    }

    pub(crate) const fn of(&self, is_v4: bool) -> Option<OuterSource> {
        if is_v4 { self.v4 } else { self.v6 }
    }
}

/// The source of outer headers: an address, of which the hash of a flow may fill the last bits, so that what spreads packets by their
/// addresses (a backend's queues, links side by side) spreads flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterSource {
    address: Address,
    /// The bits of the address's last word that flows fill.
    open: u32,
}

impl OuterSource {
    /// This address, for all flows.
    #[must_use]
    pub const fn exactly(address: Address) -> Self {
        Self { address, open: 0 }
    }

    /// Addresses that begin with the first `length` bits of this one; of the others the last 32 are filled at most.
    #[must_use]
    pub fn within(address: Address, length: u8) -> Self {
        let bits = if address.is_v4() { 32_u8 } else { 128 }.saturating_sub(length);
        let open = u32::MAX.checked_shr(32_u32.saturating_sub(bits.into())).unwrap_or(0);
        Self { address, open }
    }

    /// Whether it is an IPv4 address.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.address.is_v4()
    }

    /// The address for a flow with this much of a hash.
    #[inline]
    #[must_use]
    pub const fn with(&self, entropy: u32) -> Address {
        let filled =
            u128::from_be_bytes(self.address.octets()) & !(self.open as u128) | (entropy & self.open) as u128;
        Address::from_v6(filled.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_flow_fills_what_the_prefix_leaves_open() {
        for (address, length, entropy, expected) in [
            ("10.9.0.0", 16, 0x1234_5678, "10.9.86.120"),
            ("10.9.8.7", 32, 0x1234_5678, "10.9.8.7"),
            ("10.9.8.6", 31, 0x1234_5679, "10.9.8.7"),
            ("0.0.0.0", 0, 0x0a00_0001, "10.0.0.1"),
            ("2001:db8::", 64, 0x1234_5678, "2001:db8::1234:5678"),
            ("2001:db8::5", 128, 0x1234_5678, "2001:db8::5"),
            ("2001:db8::", 112, 0x1234_5678, "2001:db8::5678"),
        ] {
            let source = OuterSource::within(address.parse::<IpAddr>().unwrap().into(), length);
            assert_eq!(IpAddr::from(source.with(entropy)).to_string(), expected, "{address}/{length}");
        }
    }
}
