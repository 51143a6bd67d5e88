//! ARP for IPv4 over Ethernet, RFC 826.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16, ethernet::ether_type};

/// Bytes of a message.
pub const MESSAGE: usize = 28;
/// Who has the target address?
pub const REQUEST: u16 = 1;
/// The sender has it.
pub const REPLY: u16 = 2;
const ETHERNET: u16 = 1;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Arp {
    /// Link layer: 1, Ethernet.
    pub hardware: U16,
    /// Network layer: the EtherType of IPv4.
    pub protocol: U16,
    /// Bytes of a MAC address.
    pub hardware_length: u8,
    /// Bytes of an IP address.
    pub protocol_length: u8,
    /// [`REQUEST`] or [`REPLY`]
    pub operation: U16,
    /// Who speaks.
    pub sender_mac: [u8; 6],
    /// Who speaks; 0.0.0.0 when it wants to know whether an address is free (RFC 5227).
    pub sender_address: [u8; 4],
    /// Who is spoken to; meaningless in a request.
    pub target_mac: [u8; 6],
    /// Who is asked for, or spoken to.
    pub target_address: [u8; 4],
}

impl Arp {
    /// A message with the given operation.
    #[must_use]
    pub const fn new(operation: u16, sender: ([u8; 6], [u8; 4]), target: ([u8; 6], [u8; 4])) -> Self {
        Self {
            hardware: U16::new(ETHERNET),
            protocol: U16::new(ether_type::IPV4),
            hardware_length: 6,
            protocol_length: 4,
            operation: U16::new(operation),
            sender_mac: sender.0,
            sender_address: sender.1,
            target_mac: target.0,
            target_address: target.1,
        }
    }
}

/// Checks the message at the beginning of `bytes`, which came in a frame from `source`.
///
/// # Errors
/// What is wrong with the message.
pub fn check(bytes: &[u8], source: [u8; 6]) -> Result<&Arp, Refusal> {
    let message: &Arp = crate::header(bytes, 0).ok_or(Refusal::ArpTruncated)?;
    let is_ethernet = message.hardware.get() == ETHERNET && message.hardware_length == 6;
    if !is_ethernet || message.protocol.get() != ether_type::IPV4 || message.protocol_length != 4 {
        return Err(Refusal::ArpNotIpv4OverEthernet);
    }
    if !matches!(message.operation.get(), REQUEST | REPLY) {
        return Err(Refusal::ArpOperation);
    }
    if message.sender_mac[0] & 1 == 1 || message.sender_mac != source {
        return Err(Refusal::ArpSender);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const REQUEST_BYTES: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2,
        1, // who has .1? tell .2
    ];

    fn refusal(offset: usize, byte: u8) -> Refusal {
        let mut bytes = REQUEST_BYTES;
        bytes[offset] = byte;
        check(&bytes, SENDER).unwrap_err()
    }

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let request = Arp::new(REQUEST, (SENDER, [192, 0, 2, 2]), ([0; 6], [192, 0, 2, 1]));
        assert_eq!(request.as_bytes(), REQUEST_BYTES);
        assert_eq!(check(&REQUEST_BYTES, SENDER), Ok(&request));
    }

    #[test]
    fn messages_that_lie_are_refused() {
        assert_eq!(check(&REQUEST_BYTES[..27], SENDER).unwrap_err(), Refusal::ArpTruncated);
        for (offset, byte) in [(1, 6), (2, 0x86), (4, 8), (5, 16)] {
            assert_eq!(refusal(offset, byte), Refusal::ArpNotIpv4OverEthernet);
        }
        assert_eq!(refusal(7, 3), Refusal::ArpOperation);
        assert_eq!(refusal(8, 3), Refusal::ArpSender);
        assert_eq!(refusal(13, 3), Refusal::ArpSender);
    }
}
