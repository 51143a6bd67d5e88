//! IPv6 headers: what is accepted lies inside the packet, and is what etherparse sees.
#![no_main]

use etherparse::Ipv6Slice;
use libfuzzer_sys::fuzz_target;
use wire::ipv6::{HEADER, Layout, check};

fuzz_target!(|input: (u8, &[u8])| {
    let (elsewhere, bytes) = input;
    // Some of the packet may lie in further segments.
    let available = bytes.len() + usize::from(elsewhere);
    let Ok(Layout { header, transport, protocol, total, fragment }) = check(bytes, available) else {
        return;
    };
    assert!(HEADER <= transport && transport <= bytes.len());
    assert!(transport <= total && total <= available);
    if fragment.is_some() || total > bytes.len() {
        return; // etherparse wants all of a packet, and follows what is behind a fragment header
    }
    let theirs = Ipv6Slice::from_slice(bytes).expect("etherparse reads it too");
    assert_eq!(
        (theirs.header().source(), theirs.header().destination()),
        (header.source, header.destination)
    );
    assert_eq!(theirs.payload().ip_number.0, protocol);
    assert_eq!(theirs.payload().payload.len(), total - transport);
});
