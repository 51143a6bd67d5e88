//! A packet that is cut by the card that it leaves by (TSO), rather than here.
//!
//! What comes out is the same to the byte; decision 29 says when a card is asked.

use nic::{Frame, Segmentation};
use wire::{
    U16,
    ipv4::Ipv4,
    ipv6,
    tcp::{self, Tcp, flags},
};

use super::whole::{How, Whole};
use crate::snapshot::Cuts;

/// Bytes of data in each segment, at least: cards refuse fewer.
const LEAST_SHARE: usize = 256;
/// Segments that a frame is cut into, at most: as many as DPDK's own code makes of one.
const MOST_SEGMENTS: usize = 64;

/// Has a card cut a packet. False, with the packet unchanged, when it cannot, or would make something else of it.
pub(super) fn ask<F: Frame>(whole: &Whole, cuts: Cuts, frame: &mut F) -> bool {
    let segmentation = segmentation(whole, cuts, frame.head());
    segmentation.is_some_and(|how| {
        frame.cut_on_transmit(how) && prepare(frame.head_mut(), whole.network, how).is_some()
    })
}

fn segmentation(whole: &Whole, cuts: Cuts, head: &[u8]) -> Option<Segmentation> {
    // A wrong checksum would come out right.
    let How::Segments { transport, sum: 0xffff } = whole.how else { return None };
    let is_v4 = head.get(whole.network)? >> 4 == 4;
    let is_able = if is_v4 { cuts.v4 } else { cuts.v6 };
    let is_plain = is_v4 || transport == whole.network + ipv6::HEADER;
    if !is_able || !is_plain || whole.inner != whole.network {
        return None;
    }
    let segments = (whole.end - whole.data).div_ceil(whole.share);
    let fits = whole.data + whole.share <= usize::from(cuts.largest);
    // Not all cards know that this flag is for the first segment only (RFC 3168, 6.1.2).
    let is_for_one = wire::header::<Tcp>(head, transport)?.flags & flags::CWR != 0;
    if whole.share < LEAST_SHARE || segments > MOST_SEGMENTS || !fits || is_for_one {
        return None;
    }
    Some(Segmentation {
        is_v4,
        link: whole.network as u16,
        network: (transport - whole.network) as u16,
        transport: (whole.data - transport) as u16,
        share: whole.share as u16,
    })
}

/// Makes the checksums what a card begins with.
fn prepare(head: &mut [u8], network: usize, how: Segmentation) -> Option<()> {
    let pseudo = super::whole::pseudo(head, network, 0)?.fold();
    if how.is_v4 {
        wire::header_mut::<Ipv4>(head, network)?.checksum = U16::ZERO;
    }
    let at = network + usize::from(how.network) + tcp::CHECKSUM;
    head.get_mut(at..)?.first_chunk_mut::<2>()?.copy_from_slice(&pseudo.to_be_bytes());
    Some(())
}
