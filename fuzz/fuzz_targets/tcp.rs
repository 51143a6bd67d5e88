//! TCP headers: what is accepted is what etherparse sees.
#![no_main]

use etherparse::TcpHeaderSlice;
use libfuzzer_sys::fuzz_target;
use wire::tcp::{check, flags};

fuzz_target!(|input: (u8, &[u8])| {
    let (elsewhere, bytes) = input;
    // Some of the segment may lie in further segments of the frame.
    let available = bytes.len() + usize::from(elsewhere);
    let Ok(header) = check(bytes, available) else { return };
    let length = usize::from(header.offset >> 4) * 4;
    assert!(length <= available);
    if length > bytes.len() {
        return; // etherparse wants all options
    }
    let theirs = TcpHeaderSlice::from_slice(bytes).expect("etherparse reads it too");
    assert_eq!(theirs.slice().len(), length);
    let ports = (header.source_port.get(), header.destination_port.get());
    assert_eq!((theirs.source_port(), theirs.destination_port()), ports);
    assert_eq!(theirs.sequence_number(), header.sequence.get());
    assert_eq!(
        (theirs.syn(), theirs.ack()),
        (header.flags & flags::SYN != 0, header.flags & flags::ACK != 0)
    );
    assert!(ports.0 != 0 && ports.1 != 0 && header.flags & 0x3f != 0);
});
