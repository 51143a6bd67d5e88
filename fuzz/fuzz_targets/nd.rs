//! Neighbour discovery: every message ends, and what it says is written back so that it says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    icmpv6::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION},
    nd::{Discovery, HOP_LIMIT, Message, check},
};
use zerocopy::IntoBytes;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (hop_limit, is_advertisement, rest) = input;
    let kind = if is_advertisement { NEIGHBOUR_ADVERTISEMENT } else { NEIGHBOUR_SOLICITATION };
    let bytes = [&[kind], rest].concat();
    let Ok(said) = check(&bytes, hop_limit) else { return };
    assert_eq!((hop_limit, said.is_advertisement), (HOP_LIMIT, is_advertisement));
    assert_eq!(said.target, bytes[8..24]);
    let Some(mac) = said.mac else { return };
    assert!(bytes[24..].chunks(8).any(|option| option[2..] == mac));
    let again = if is_advertisement {
        Message::advertisement(said.flags, said.target, mac)
    } else {
        Message::solicitation(said.target, mac)
    };
    let flags = if is_advertisement { said.flags } else { 0 };
    assert_eq!(check(again.as_bytes(), HOP_LIMIT), Ok(Discovery { flags, ..said }));
});
