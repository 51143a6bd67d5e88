//! ARP messages: what is accepted is what etherparse sees, and is written back as it was read.
#![no_main]

use etherparse::ArpPacketSlice;
use libfuzzer_sys::fuzz_target;
use wire::arp::{Arp, MESSAGE, check};
use zerocopy::IntoBytes;

fuzz_target!(|input: ([u8; 6], &[u8])| {
    let (source, bytes) = input;
    let Ok(message) = check(bytes, source) else { return };
    let theirs = ArpPacketSlice::from_slice(bytes).expect("etherparse reads it too");
    assert_eq!(theirs.sender_protocol_addr(), message.sender_address);
    assert_eq!(theirs.target_protocol_addr(), message.target_address);
    assert_eq!(theirs.sender_hw_addr(), source);
    let (sender, target) = ((source, message.sender_address), (message.target_mac, message.target_address));
    assert_eq!(Arp::new(message.operation.get(), sender, target).as_bytes(), &bytes[..MESSAGE]);
});
