//! Whether a frame that was sent is right: whom it is from and for, and all checksums over it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use flow::Side;
use model::{MacAddress, Mode};
use wire::{
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet, ipv4,
    ipv4::EthernetIpv4Tcp,
    ipv6,
    ipv6::EthernetIpv6Tcp,
    protocol, udp,
};

use super::{
    Family,
    gateway::{CLIENT_MAC, PORT_MAC, backend, backend_of, is_snat},
};

/// Bytes of outer headers: IP and UDP.
const fn outer_headers(mode: Mode, family: Family) -> usize {
    let network = match family {
        Family::V4 => ipv4::HEADER,
        Family::V6 => ipv6::HEADER,
    };
    match mode {
        Mode::Ipip => network,
        Mode::Gue => network + udp::HEADER,
        Mode::Nat | Mode::FullNat | Mode::Dsr => 0,
    }
}

/// The outer packet of a frame, if its mode has one: whom it is for, and the frame as if there were none.
///
/// # Errors
/// What is wrong with the outer headers, in words.
pub(super) fn take_out(
    frame: &[u8],
    mode: Mode,
    family: Family,
) -> Result<(Vec<u8>, Option<IpAddr>), String> {
    if !mode.is_tunnel() {
        return Ok((frame.to_vec(), None));
    }
    let (carries, network) = (
        if mode == Mode::Gue {
            protocol::UDP
        } else if family == Family::V4 {
            protocol::IPV4
        } else {
            protocol::IPV6
        },
        ethernet::HEADER,
    );
    let length = frame.len() - network;
    let backend = match family {
        Family::V4 => {
            let header: &ipv4::Ipv4 = wire::header(frame, network).ok_or("it has no outer header")?;
            let is_right = header.protocol == carries && usize::from(header.total_length.get()) == length;
            let sum = Sum::of(frame.get(network..network + ipv4::HEADER).unwrap_or_default()).fold();
            (is_right && sum == RIGHT).then_some(IpAddr::from(header.destination))
        }
        Family::V6 => {
            let header: &ipv6::Ipv6 = wire::header(frame, network).ok_or("it has no outer header")?;
            let behind = usize::from(header.payload_length.get());
            let is_right = header.next_header == carries && behind + ipv6::HEADER == length;
            is_right.then_some(IpAddr::from(header.destination))
        }
    };
    let backend = backend.ok_or("its outer header is wrong")?;
    let (link, rest) = frame.split_at_checked(network).ok_or("it is too short")?;
    let inner = rest.get(outer_headers(mode, family)..).ok_or("it is too short")?;
    Ok(([link, inner].concat(), Some(backend)))
}

/// The hops that a frame is sent to the gateway with.
const TTL: u8 = 64;
/// A sum over data with a right checksum.
const RIGHT: u16 = 0xffff;

/// What a frame is to become.
pub(super) struct Expected {
    pub(super) mode: Mode,
    pub(super) family: Family,
    /// SNAT addresses that there are.
    pub(super) snat_addresses: u32,
    /// Backends that there are.
    pub(super) backends: u16,
    /// What the client sends to.
    pub(super) service: SocketAddr,
    /// Who sent it to the gateway.
    pub(super) side: Side,
    pub(super) client: SocketAddr,
}

/// What a frame became.
pub(super) struct Sent {
    from: SocketAddr,
    to: SocketAddr,
    from_mac: MacAddress,
    to_mac: MacAddress,
    hops: u8,
    /// Sums of the IPv4 header, and of segment and pseudo-header.
    network: u16,
    transport: u16,
}

impl Sent {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is shorter than its headers say.
    pub(super) fn read(frame: &[u8], family: Family) -> Result<Self, String> {
        match family {
            Family::V4 => Self::read_v4(frame),
            Family::V6 => Self::read_v6(frame),
        }
        .ok_or_else(|| "it is too short".to_owned())
    }

    fn read_v4(frame: &[u8]) -> Option<Self> {
        let EthernetIpv4Tcp { link, network, transport } = wire::header(frame, 0)?;
        let header = frame.get(ethernet::HEADER..ethernet::HEADER + ipv4::HEADER)?;
        let end = ethernet::HEADER + usize::from(network.total_length.get());
        let segment = frame.get(ethernet::HEADER + ipv4::HEADER..end)?;
        let pseudo = pseudo_v4(&network.source, &network.destination, protocol::TCP, segment.len() as u16);
        let end = |address: [u8; 4], port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port);
        Some(Self {
            from: end(network.source, transport.source_port.get()),
            to: end(network.destination, transport.destination_port.get()),
            from_mac: MacAddress(link.source),
            to_mac: MacAddress(link.destination),
            hops: network.ttl,
            network: Sum::of(header).fold(),
            transport: pseudo.plus(Sum::of(segment)).fold(),
        })
    }

    fn read_v6(frame: &[u8]) -> Option<Self> {
        let EthernetIpv6Tcp { link, network, transport } = wire::header(frame, 0)?;
        let start = ethernet::HEADER + ipv6::HEADER;
        let segment = frame.get(start..start + usize::from(network.payload_length.get()))?;
        let pseudo = pseudo_v6(&network.source, &network.destination, protocol::TCP, segment.len() as u32);
        let end = |address: [u8; 16], port: u16| SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port);
        Some(Self {
            from: end(network.source, transport.source_port.get()),
            to: end(network.destination, transport.destination_port.get()),
            from_mac: MacAddress(link.source),
            to_mac: MacAddress(link.destination),
            hops: network.hop_limit,
            network: RIGHT,
            transport: pseudo.plus(Sum::of(segment)).fold(),
        })
    }
}

impl Sent {
    /// The backend that it is for.
    pub(super) const fn backend(&self) -> Option<u16> {
        backend_of(self.to_mac)
    }
}

/// Compares what a frame became with what it is to become.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn verify(sent: &Sent, expected: &Expected) -> Result<(), String> {
    let translated = expected.mode != Mode::Dsr;
    let mistake = if sent.from_mac != PORT_MAC {
        "it is not from the port's MAC address"
    } else if sent.hops != TTL - u8::from(translated) {
        "its time to live is wrong"
    } else if sent.network != RIGHT {
        "its IPv4 header's checksum is wrong"
    } else if sent.transport != RIGHT {
        "its TCP checksum is wrong"
    } else if !is_source_right(sent, expected) {
        "its source is wrong"
    } else if !is_destination_right(sent, expected) {
        "its destination is wrong"
    } else {
        return Ok(());
    };
    Err(format!("{mistake} ({} > {}, {} > {})", sent.from, sent.to, sent.from_mac, sent.to_mac))
}

fn is_source_right(sent: &Sent, expected: &Expected) -> bool {
    match (expected.side, expected.mode) {
        (Side::Backend, _) => sent.from == expected.service,
        (Side::Client, Mode::FullNat) => {
            is_snat(expected.snat_addresses, sent.from.ip()) && sent.from.port() != 0
        }
        (Side::Client, Mode::Nat | Mode::Dsr | Mode::Ipip | Mode::Gue) => sent.from == expected.client,
    }
}

fn is_destination_right(sent: &Sent, expected: &Expected) -> bool {
    if expected.side == Side::Backend {
        return sent.to == expected.client && sent.to_mac == CLIENT_MAC;
    }
    sent.backend().filter(|number| *number < expected.backends).is_some_and(|number| match expected.mode {
        Mode::Dsr | Mode::Ipip | Mode::Gue => sent.to == expected.service,
        Mode::Nat | Mode::FullNat => sent.to == backend(expected.family, number),
    })
}

#[cfg(test)]
mod tests {
    use model::Protocol;
    use wire::tcp::flags::ACK;

    use super::*;
    use crate::{
        bench::{
            clients::client,
            gateway::{backend_mac, service},
        },
        replay::{Notation, compose},
    };

    fn expected(mode: Mode, family: Family, side: Side) -> Expected {
        Expected {
            mode,
            family,
            snat_addresses: 1,
            backends: 3,
            service: service(family, 0),
            side,
            client: client(family, 77),
        }
    }

    /// The frame that a client's or a backend's is to become in `nat`.
    fn frame(family: Family, side: Side) -> Vec<u8> {
        let client = client(family, 77);
        let (from, to, mac) = match side {
            Side::Client => (client, backend(family, 1), backend_mac(1)),
            Side::Backend => (service(family, 0), client, CLIENT_MAC),
        };
        let segment = Notation::Balanced { protocol: Protocol::Tcp, from, to, flags: ACK };
        let mut frame = compose(&segment, PORT_MAC, mac).unwrap();
        if family == Family::V6 {
            frame[21] -= 1; // its hop limit, which no checksum covers
        } else {
            frame[22] -= 1; // its time to live
            let checksum = u16::from_be_bytes([frame[24], frame[25]]);
            let repaired = wire::checksum::Delta::of(&[1, 0], &[0, 0]).apply(checksum);
            frame[24..26].copy_from_slice(&repaired.to_be_bytes());
        }
        frame
    }

    fn verdict(frame: &[u8], expected: &Expected) -> Result<(), String> {
        verify(&Sent::read(frame, expected.family)?, expected)
    }

    #[test]
    fn a_right_frame_passes() {
        for family in [Family::V4, Family::V6] {
            for side in [Side::Client, Side::Backend] {
                let frame = frame(family, side);
                assert_eq!(verdict(&frame, &expected(Mode::Nat, family, side)), Ok(()));
            }
            let sent = Sent::read(&frame(family, Side::Client), family).unwrap();
            assert_eq!(sent.backend(), Some(1));
        }
    }

    #[test]
    fn a_frame_that_is_damaged_anywhere_is_caught() {
        for family in [Family::V4, Family::V6] {
            for side in [Side::Client, Side::Backend] {
                let expected = expected(Mode::Nat, family, side);
                let frame = frame(family, side);
                // The EtherType, and of IPv6 what comes before the payload's length and behind it, are in no checksum.
                let is_checked = |byte: &usize| match family {
                    Family::V4 => !(12..14).contains(byte),
                    Family::V6 => !(12..18).contains(byte) && *byte != 20,
                };
                for byte in (0..frame.len()).filter(is_checked) {
                    let mut damaged = frame.clone();
                    damaged[byte] ^= 0x10;
                    assert!(verdict(&damaged, &expected).is_err(), "{family:?} {side:?} byte {byte}");
                }
                assert!(verdict(&frame[..40], &expected).is_err());
            }
        }
    }

    #[test]
    fn a_frame_of_another_mode_or_flow_is_caught() {
        let frame = frame(Family::V4, Side::Client);
        for mode in [Mode::FullNat, Mode::Dsr] {
            assert!(verdict(&frame, &expected(mode, Family::V4, Side::Client)).is_err());
        }
        let other =
            Expected { client: client(Family::V4, 78), ..expected(Mode::Nat, Family::V4, Side::Client) };
        assert!(verdict(&frame, &other).unwrap_err().contains("its source"));
    }
}
