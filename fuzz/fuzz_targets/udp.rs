//! UDP headers: what is accepted is what etherparse sees.
#![no_main]

use etherparse::UdpHeaderSlice;
use libfuzzer_sys::fuzz_target;
use wire::udp::{HEADER, check};

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (over_ipv6, elsewhere, bytes) = input;
    // Some of the datagram may lie in further segments of the frame.
    let available = bytes.len() + usize::from(elsewhere);
    let Ok(header) = check(bytes, available, over_ipv6) else { return };
    let length = usize::from(header.length.get());
    assert!(HEADER <= length && length <= available);
    let theirs = UdpHeaderSlice::from_slice(bytes).expect("etherparse reads it too");
    let ports = (header.source_port.get(), header.destination_port.get());
    assert_eq!((theirs.source_port(), theirs.destination_port()), ports);
    assert_eq!(usize::from(theirs.length()), length);
    assert!(ports.1 != 0 && !(over_ipv6 && header.checksum.get() == 0));
});
