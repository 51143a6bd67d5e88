//! A card that cuts TCP frames into segments, as DPDK documents it of `RTE_MBUF_F_TX_TCP_SEG`.

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader};
use nic::Segmentation;

/// Cuts a frame into segments.
///
/// # Panics
/// When it is not such as cards cut: its headers are not as long as was said, or its checksums are not what a card begins with.
#[must_use]
pub(crate) fn cut(frame: &[u8], how: Segmentation) -> Vec<Vec<u8>> {
    let [link, network, transport] = [how.link, how.network, how.transport].map(usize::from);
    let (link, rest) = frame.split_at(link);
    let (headers, data) = rest.split_at(network + transport);
    let (network, transport) = headers.split_at(network);
    let (tcp, _) = TcpHeader::from_slice(transport).expect("a TCP header");
    assert_eq!(tcp.header_len(), transport.len(), "the length of the TCP header");
    let pieces: Vec<&[u8]> = data.chunks(usize::from(how.share)).collect();
    let last = pieces.len() - 1;
    let mut sequence = tcp.sequence_number;
    let segment = |(number, piece): (usize, &&[u8])| {
        let mut tcp = tcp.clone();
        tcp.sequence_number = sequence;
        sequence = sequence.wrapping_add(piece.len() as u32);
        if number < last {
            (tcp.fin, tcp.psh) = (false, false);
        }
        let start = &tcp;
        let (network, tcp) =
            if how.is_v4 { over_v4(network, start, (number, piece)) } else { over_v6(network, start, piece) };
        [link, &network, &tcp.to_bytes(), piece].concat()
    };
    pieces.iter().enumerate().map(segment).collect()
}

fn over_v4(network: &[u8], tcp: &TcpHeader, (number, piece): (usize, &[u8])) -> (Vec<u8>, TcpHeader) {
    let (mut ip, rest) = Ipv4Header::from_slice(network).expect("an IPv4 header");
    assert!(rest.is_empty(), "the length of the IPv4 header");
    assert_eq!(ip.header_checksum, 0, "the card computes it");
    let pseudo = [&ip.source[..], &ip.destination, &[0, 6, 0, 0]].concat();
    assert_eq!(tcp.checksum, sum(&pseudo), "the card begins with the pseudo-header");
    ip.total_len = (ip.header_len() + tcp.header_len() + piece.len()) as u16;
    ip.identification = ip.identification.wrapping_add(number as u16);
    ip.header_checksum = ip.calc_header_checksum();
    let checksum = tcp.calc_checksum_ipv4(&ip, piece).expect("a segment");
    (ip.to_bytes().to_vec(), TcpHeader { checksum, ..tcp.clone() })
}

fn over_v6(network: &[u8], tcp: &TcpHeader, piece: &[u8]) -> (Vec<u8>, TcpHeader) {
    let (mut ip, rest) = Ipv6Header::from_slice(network).expect("an IPv6 header");
    assert!(rest.is_empty(), "the length of the IPv6 header");
    let pseudo = [&ip.source[..], &ip.destination, &[0, 6, 0, 0]].concat();
    assert_eq!(tcp.checksum, sum(&pseudo), "the card begins with the pseudo-header");
    ip.payload_length = (tcp.header_len() + piece.len()) as u16;
    let checksum = tcp.calc_checksum_ipv6(&ip, piece).expect("a segment");
    (ip.to_bytes().to_vec(), TcpHeader { checksum, ..tcp.clone() })
}

/// The folded sum of words.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
