//! Ways to damage a frame, each with the reason for which the gateway must drop it; and ways at random, without.

use testkit::netns::object;

/// What a kind of damage needs to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Any,
    V4,
    V6,
    V4Tcp,
    V4Udp,
    V6Udp,
}

/// A kind of damage: the drop reason, the frame that it is done to, and how.
pub(crate) type Damage = (&'static str, Frame, fn(&mut Vec<u8>));

const IP: usize = 14;
const V4_TRANSPORT: usize = 34;
const V6_TRANSPORT: usize = 54;

/// All kinds whose outcome is known. That of a TTL that ends here is not, since its sender is told, but not too
/// often; nor that of a fragment, which depends on the others of its packet.
pub(crate) const KINDS: [Damage; 36] = [
    ("ethernet_truncated", Frame::Any, |frame| frame.truncate(10)),
    ("destination_mac_not_ours", Frame::Any, |frame| frame[5] ^= 1),
    ("source_mac_group", Frame::Any, |frame| frame[6] |= 1),
    ("group_frame_unicast_packet", Frame::Any, |frame| frame[..6].fill(0xff)),
    ("ether_type_unknown", Frame::Any, |frame| set(frame, 12, 0x88b5)),
    ("ether_type_is_length", Frame::Any, |frame| set(frame, 12, 46)),
    ("vlan_truncated", Frame::Any, |frame| (set(frame, 12, 0x8100), frame.truncate(15)).1),
    ("vlan_unknown", Frame::Any, |frame| tag(frame, 100)),
    ("vlan_stacked", Frame::Any, |frame| (tag(frame, 100), tag(frame, 200)).1),
    ("arp_truncated", Frame::Any, |frame| (set(frame, 12, 0x0806), frame.truncate(30)).1),
    ("arp_not_ipv4_over_ethernet", Frame::Any, |frame| (set(frame, 12, 0x0806), frame.resize(60, 7)).1),
    ("ipv4_truncated", Frame::V4, |frame| frame.truncate(IP + 19)),
    ("ipv4_version", Frame::V4, |frame| frame[IP] = 0x55),
    ("ipv4_header_length_too_small", Frame::V4, |frame| frame[IP] = 0x44),
    ("ipv4_header_length_beyond_frame", Frame::V4, |frame| (frame[IP] = 0x4f, frame.truncate(IP + 40)).1),
    ("ipv4_total_length_too_small", Frame::V4, |frame| set(frame, IP + 2, 19)),
    ("ipv4_total_length_beyond_frame", Frame::V4, |frame| set(frame, IP + 2, 1500)),
    ("ipv4_header_checksum", Frame::V4, |frame| frame[IP + 10] ^= 0x10),
    ("ipv4_ttl_zero", Frame::V4, |frame| repaired(frame, |ip| ip[8] = 0)),
    ("ipv4_reserved_flag", Frame::V4, |frame| repaired(frame, |ip| ip[6] |= 0x80)),
    ("source_martian", Frame::V4, |frame| repaired(frame, |ip| ip[12] = 127)),
    ("source_is_ours", Frame::V4, |frame| repaired(frame, |ip| ip[12..16].copy_from_slice(&[10, 0, 0, 1]))),
    ("no_virtual_server", Frame::V4, |frame| repaired(frame, |ip| ip[19] = 99)),
    ("tcp_truncated", Frame::V4Tcp, |frame| shorten(frame, 19)),
    ("tcp_data_offset_too_small", Frame::V4Tcp, |frame| frame[V4_TRANSPORT + 12] = 0x40),
    ("tcp_data_offset_beyond_packet", Frame::V4Tcp, |frame| {
        (frame[V4_TRANSPORT + 12] = 0xf0, shorten(frame, 20)).1
    }),
    ("tcp_port_zero", Frame::V4Tcp, |frame| set(frame, V4_TRANSPORT, 0)),
    ("tcp_flags_none", Frame::V4Tcp, |frame| frame[V4_TRANSPORT + 13] = 0),
    ("tcp_flags_contradict", Frame::V4Tcp, |frame| frame[V4_TRANSPORT + 13] = 0x03),
    ("udp_length_too_small", Frame::V4Udp, |frame| set(frame, V4_TRANSPORT + 4, 7)),
    ("udp_length_beyond_packet", Frame::V4Udp, |frame| set(frame, V4_TRANSPORT + 4, 1480)),
    ("udp_checksum_missing", Frame::V6Udp, |frame| set(frame, V6_TRANSPORT + 6, 0)),
    ("ipv6_truncated", Frame::V6, |frame| frame.truncate(IP + 39)),
    ("ipv6_version", Frame::V6, |frame| frame[IP] = 0x50),
    ("ipv6_hop_limit_zero", Frame::V6, |frame| frame[IP + 7] = 0),
    ("ipv6_no_next_header", Frame::V6, |frame| frame[IP + 6] = 59),
];

/// Whether a kind of damage can be done to the frame of this number, as `traffic` makes them.
pub(crate) const fn fits(kind: Frame, number: usize) -> bool {
    let (v6, udp) = (number % 2 == 1, number / 2 % 2 == 1);
    match kind {
        Frame::Any => true,
        Frame::V4 => !v6,
        Frame::V6 => v6,
        Frame::V4Tcp => !v6 && !udp,
        Frame::V4Udp => !v6 && udp,
        Frame::V6Udp => v6 && udp,
    }
}

/// Damages a frame at random, the same way for each number: some bytes, a new length, or both.
pub(crate) fn at_random(frame: &mut Vec<u8>, number: usize) {
    let random = object(number as u64, 40);
    let word = |at: usize| usize::from(u16::from_le_bytes([random[at], random[at + 1]]));
    if random[0] & 1 == 1 {
        frame.resize(1 + word(2) % 1514, random[4]);
    }
    let within = if random[0] & 2 == 2 { 80 } else { frame.len() };
    for change in 0..1 + usize::from(random[5] % 8) {
        let at = word(6 + 3 * change) % within.min(frame.len());
        frame[at] = random[8 + 3 * change];
    }
}

fn set(frame: &mut [u8], at: usize, word: u16) {
    frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

fn tag(frame: &mut Vec<u8>, id: u16) {
    let [high, low] = id.to_be_bytes();
    frame.splice(12..12, [0x81, 0x00, high, low]);
}

/// Changes an IPv4 header, and its checksum accordingly.
fn repaired(frame: &mut [u8], change: fn(&mut [u8])) {
    let header = &mut frame[IP..V4_TRANSPORT];
    change(header);
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// Makes an IPv4 packet end after so many bytes of its transport.
fn shorten(frame: &mut Vec<u8>, transport: usize) {
    frame.truncate(V4_TRANSPORT + transport);
    let total = (frame.len() - IP) as u16;
    set(frame, IP + 2, total);
    repaired(frame, |_| {});
}
