//! The clients: which address and port a flow's number stands for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Family;

/// The first IPv4 client: 100.64.0.0/10 (RFC 6598).
const FIRST_V4: u32 = 0x6440_0000;
/// The first IPv6 client.
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 0);
/// The first port of each.
const FIRST_PORT: u16 = 10_000;
/// Bits of a flow's number that are its port's.
const PORT_BITS: u32 = 4;

/// The last 32 bits of the address of a flow's client.
#[inline(always)]
pub(super) const fn address_bits(family: Family, flow: u32) -> u32 {
    let first = match family {
        Family::V4 => FIRST_V4,
        Family::V6 => 0,
    };
    first + (flow >> PORT_BITS)
}

/// The port of a flow's client.
#[inline(always)]
pub(super) const fn port(flow: u32) -> u16 {
    FIRST_PORT + (flow & ((1 << PORT_BITS) - 1)) as u16
}

/// Address and port of a flow's client.
pub(super) fn client(family: Family, flow: u32) -> SocketAddr {
    let bits = address_bits(family, flow);
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(FIRST_V6.to_bits() | u128::from(bits))),
    };
    SocketAddr::new(address, port(flow))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_flow_has_an_address_and_port_of_its_own() {
        for family in [Family::V4, Family::V6] {
            let clients: HashSet<SocketAddr> = (0..10_000).map(|flow| client(family, flow)).collect();
            assert_eq!(clients.len(), 10_000);
        }
        assert_eq!(client(Family::V4, (1 << 26) - 1).to_string(), "100.127.255.255:10015");
        assert_eq!(client(Family::V6, 17).to_string(), "[2001:db8:64::1]:10001");
    }
}
