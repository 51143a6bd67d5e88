//! IPv4 headers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = wire::ipv4::check(bytes, bytes.len());
});
