//! What ICMP errors quote: what is accepted lies inside the quote, and its ports are those that it begins with behind the IP header.
#![no_main]

use etherparse::LaxSlicedPacket;
use libfuzzer_sys::fuzz_target;
use wire::{
    protocol,
    quote::{Quote, check_v4, check_v6},
};

fuzz_target!(|bytes: &[u8]| {
    for quote in [check_v4(bytes), check_v6(bytes)].into_iter().flatten() {
        let (end, has_ports) = (quote.end(), quote.has_ports());
        let Quote { transport, protocol, source_port, destination_port, checksum } = quote;
        assert!(transport <= end && end <= bytes.len());
        let theirs = LaxSlicedPacket::from_ip(bytes).expect("etherparse reads it too");
        assert!(theirs.net.is_some());
        if !has_ports {
            assert_eq!((source_port, destination_port, checksum), (0, 0, None));
            continue;
        }
        assert!(checksum.is_none_or(|at| at >= transport + 6 && at + 2 <= bytes.len()));
        assert!(protocol == protocol::TCP || checksum.is_some());
        let ports = [bytes[transport], bytes[transport + 1], bytes[transport + 2], bytes[transport + 3]];
        assert_eq!(ports, (u32::from(source_port) << 16 | u32::from(destination_port)).to_be_bytes());
    }
});
