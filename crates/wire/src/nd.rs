//! Neighbour discovery: solicitations and advertisements, RFC 4861.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16, icmpv6};

/// Bytes of a message with one link-layer address option.
pub const MESSAGE: usize = 32;
/// Bytes of a message without options.
const FIXED: usize = 24;
/// The hop limit of every message: it has not been forwarded (RFC 4861, 7.1).
pub const HOP_LIMIT: u8 = 255;

/// The link-layer address of a solicitation's sender (RFC 4861, 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// The link-layer address of an advertisement's target.
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// Flags of an advertisement (RFC 4861, 4.4).
pub mod flags {
    /// The sender forwards packets.
    pub const ROUTER: u8 = 0x80;
    /// It answers a solicitation.
    pub const SOLICITED: u8 = 0x40;
    /// It is to replace what is known.
    pub const OVERRIDE: u8 = 0x20;
}

/// A solicitation or an advertisement with one link-layer address option.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Message {
    /// [`icmpv6::NEIGHBOUR_SOLICITATION`] or [`icmpv6::NEIGHBOUR_ADVERTISEMENT`]
    pub kind: u8,
    /// 0
    pub code: u8,
    /// One's complement checksum of pseudo-header and message.
    pub checksum: U16,
    /// Of an advertisement; 0 in a solicitation.
    pub flags: u8,
    reserved: [u8; 3],
    /// Who is asked for, or advertised.
    pub target: [u8; 16],
    option: u8,
    option_length: u8,
    /// The sender's (solicitation) or target's (advertisement) MAC address.
    pub mac: [u8; 6],
}

impl Message {
    /// Who has `target`? Tell `mac`. The checksum is left to the caller.
    #[must_use]
    pub const fn solicitation(target: [u8; 16], mac: [u8; 6]) -> Self {
        Self::new(icmpv6::NEIGHBOUR_SOLICITATION, 0, target, SOURCE_LINK_LAYER_ADDRESS, mac)
    }

    /// `mac` has `target`. The checksum is left to the caller.
    #[must_use]
    pub const fn advertisement(flags: u8, target: [u8; 16], mac: [u8; 6]) -> Self {
        Self::new(icmpv6::NEIGHBOUR_ADVERTISEMENT, flags, target, TARGET_LINK_LAYER_ADDRESS, mac)
    }

    const fn new(kind: u8, flags: u8, target: [u8; 16], option: u8, mac: [u8; 6]) -> Self {
        Self {
            kind,
            code: 0,
            checksum: U16::ZERO,
            flags,
            reserved: [0; 3],
            target,
            option,
            option_length: 1,
            mac,
        }
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Whether it is an advertisement.
    pub is_advertisement: bool,
    /// Of an advertisement.
    pub flags: u8,
    /// Who is asked for, or advertised.
    pub target: [u8; 16],
    /// The link-layer address option that belongs to the kind, when there is one.
    pub mac: Option<[u8; 6]>,
}

/// Reads the solicitation or advertisement that is all of `bytes`; its checksum is the caller's to check. The checks are
/// those of RFC 4861, 7.1.1 and 7.1.2.
///
/// # Errors
/// What is wrong with the message.
pub fn check(bytes: &[u8], hop_limit: u8) -> Result<Discovery, Refusal> {
    if hop_limit != HOP_LIMIT {
        return Err(Refusal::NdHopLimit);
    }
    let (fixed, options) = bytes.split_first_chunk::<FIXED>().ok_or(Refusal::NdTruncated)?;
    let &[kind, code, _, _, flags, _, _, _, ref target @ ..] = fixed;
    if code != 0 {
        return Err(Refusal::NdCode);
    }
    if target[0] == 0xff {
        return Err(Refusal::NdTarget);
    }
    let is_advertisement = kind == icmpv6::NEIGHBOUR_ADVERTISEMENT;
    let wanted = if is_advertisement { TARGET_LINK_LAYER_ADDRESS } else { SOURCE_LINK_LAYER_ADDRESS };
    Ok(Discovery { is_advertisement, flags, target: *target, mac: link_layer_address(options, wanted)? })
}

/// Finds an option; every step goes forward by at least eight bytes.
fn link_layer_address(mut options: &[u8], wanted: u8) -> Result<Option<[u8; 6]>, Refusal> {
    let mut mac = None;
    while let [kind, length, ..] = options {
        let size = usize::from(*length) * 8;
        let option = options.get(..size).filter(|_| size > 0).ok_or(Refusal::NdOptionMalformed)?;
        if let ([_, 1, address @ ..], true) = (option, *kind == wanted) {
            mac = address.first_chunk::<6>().copied();
        }
        options = options.get(size..).unwrap_or_default();
    }
    // Nobody has a group address; who believed in one would flood the link (RFC 1812, 3.3.2 says so for ARP).
    let is_group = mac.is_some_and(|[first, ..]| first & 1 == 1);
    if options.is_empty() && !is_group { Ok(mac) } else { Err(Refusal::NdOptionMalformed) }
}

/// The multicast address that an address's owner listens to (RFC 4291, 2.7.1).
#[must_use]
pub const fn solicited_node([.., a, b, c]: [u8; 16]) -> [u8; 16] {
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]
}

/// The MAC address of a multicast address (RFC 2464, 7).
#[must_use]
pub const fn multicast_mac([.., a, b, c, d]: [u8; 16]) -> [u8; 6] {
    [0x33, 0x33, a, b, c, d]
}

/// All nodes of the link (RFC 4291, 2.7.1).
pub const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78];
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn refusal(bytes: &[u8]) -> Refusal {
        check(bytes, HOP_LIMIT).unwrap_err()
    }

    fn solicitation() -> Vec<u8> {
        Message::solicitation(TARGET, MAC).as_bytes().to_vec()
    }

    #[test]
    fn messages_are_read_as_they_are_written() {
        let asked = Discovery { is_advertisement: false, flags: 0, target: TARGET, mac: Some(MAC) };
        assert_eq!(check(&solicitation(), HOP_LIMIT), Ok(asked));
        let message = Message::advertisement(flags::SOLICITED, TARGET, MAC);
        let told =
            Discovery { is_advertisement: true, flags: flags::SOLICITED, target: TARGET, mac: Some(MAC) };
        assert_eq!(check(message.as_bytes(), HOP_LIMIT), Ok(told));
    }

    #[test]
    fn options_are_not_required_and_unknown_ones_are_passed_over() {
        assert_eq!(check(&solicitation()[..24], HOP_LIMIT).unwrap().mac, None);
        let mut bytes = solicitation();
        bytes.splice(24..24, [14, 1, 1, 2, 3, 4, 5, 6]);
        assert_eq!(check(&bytes, HOP_LIMIT).unwrap().mac, Some(MAC));
    }

    #[test]
    fn messages_that_lie_are_refused() {
        let good = solicitation();
        assert_eq!(check(&good, 254).unwrap_err(), Refusal::NdHopLimit);
        assert_eq!(refusal(&good[..23]), Refusal::NdTruncated);
        for (offset, byte, expected) in [
            (1, 1, Refusal::NdCode),
            (8, 0xff, Refusal::NdTarget),
            (25, 0, Refusal::NdOptionMalformed),
            (25, 2, Refusal::NdOptionMalformed),
            (26, 3, Refusal::NdOptionMalformed),
        ] {
            let mut bytes = good.clone();
            bytes[offset] = byte;
            assert_eq!(refusal(&bytes), expected);
        }
        assert_eq!(refusal(&good[..25]), Refusal::NdOptionMalformed);
    }

    #[test]
    fn a_solicited_node_has_its_multicast_addresses() {
        let group = solicited_node(TARGET);
        assert_eq!(group, [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x34, 0x56, 0x78]);
        assert_eq!(multicast_mac(group), [0x33, 0x33, 0xff, 0x34, 0x56, 0x78]);
    }
}
