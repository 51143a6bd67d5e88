//! IPv4 headers: what is accepted lies inside the packet, has a right checksum, and is what etherparse sees.
#![no_main]

use etherparse::Ipv4HeaderSlice;
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::sums;
use wire::ipv4::{HEADER, Layout, check};

fuzz_target!(|input: (u8, &[u8])| {
    let (elsewhere, bytes) = input;
    // Some of the packet may lie in further segments.
    let available = bytes.len() + usize::from(elsewhere);
    let Ok(Layout { header, length, total, is_fragment }) = check(bytes, available) else { return };
    assert!(HEADER <= length && length <= bytes.len());
    assert!(length <= total && total <= available);
    assert_eq!(sums::sum(&bytes[..length], 0), 0xffff);
    let theirs = Ipv4HeaderSlice::from_slice(bytes).expect("etherparse reads it too");
    assert_eq!(theirs.slice().len(), length);
    assert_eq!((theirs.source(), theirs.destination()), (header.source, header.destination));
    assert_eq!(usize::from(theirs.total_len()), total);
    assert_eq!(theirs.is_fragmenting_payload(), is_fragment);
});
