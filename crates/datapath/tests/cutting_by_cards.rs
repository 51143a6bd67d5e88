//! What a card cuts is, to the byte, what is cut here where there is none. The card is `testkit`'s, made of `etherparse`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::net::SocketAddr;

use datapath::{Verdict, snapshot::Cuts};
use fixture::{BACKENDS, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, at, virtual_address};
use model::Mode;
use proptest::prelude::*;
use testkit::packets::{self, ACK, FIN, Link, SYN};
use wire::checksum::Sum;

const TO_GATEWAY: Link = (CLIENT_MAC, CLIENTS_MAC);
const MODES: [Mode; 3] = [Mode::Nat, Mode::FullNat, Mode::Dsr];

fn client(v6: bool) -> SocketAddr {
    at(if v6 { CLIENT_6 } else { CLIENT }, 40_001)
}

fn server(mode: Mode, v6: bool) -> SocketAddr {
    at(virtual_address(mode, v6), 80)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

fn rig(mtu: u16) -> Rig {
    let mut rig = Rig::new();
    rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].mtu = mtu);
    rig
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn fits(frame: &[u8], mtu: u16) -> bool {
    frame.len() <= 14 + usize::from(mtu)
}

/// The same behind a card that cuts TCP frames.
fn with_card(mut rig: Rig, cuts: Cuts) -> Rig {
    rig.publish(|snapshot| snapshot.ports[BACKENDS.index()].device.cuts = cuts);
    rig
}

/// What a client's frame becomes on the link to the backends.
fn all_sent(rig: &mut Rig, frame: &[u8]) -> Vec<Vec<u8>> {
    let (verdict, sent) = rig.one(CLIENTS, frame);
    assert_eq!(verdict, Verdict::Transmit(BACKENDS));
    sent.into_iter().map(|(_, frame)| frame).collect()
}

const CARD: Cuts = Cuts { v4: true, v6: true, largest: u16::MAX };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_a_card_cuts_is_the_same_to_the_byte(
        (mode, v6) in (0_usize..3, any::<bool>()), length in 1_usize..60_000, mtu in 1280_u16..3000,
        with_options in any::<bool>(), first in any::<u32>(), (is_wrong, congested) in any::<(bool, bool)>(),
    ) {
        let mode = MODES[mode];
        let (from, to) = (client(v6), server(mode, v6));
        let options = &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..if with_options { 12 } else { 0 }];
        let mut frame =
            packets::tcp_with_options(TO_GATEWAY, from, to, FIN, ([first, 7], options), &bytes(length));
        let header = if v6 { 54 } else { 34 };
        if congested {
            frame[header + 13] |= 0x80;
            let sum = !Sum::default().plus_word(!word(&frame, header + 16)).plus_word(0x80).fold();
            frame[header + 16..header + 18].copy_from_slice(&sum.to_be_bytes());
        }
        frame[header + 16] ^= u8::from(is_wrong);
        prop_assume!(!fits(&frame, mtu.max(1500)));
        let mut made = [0; 2];
        let [here, by_card] = [rig(mtu), with_card(rig(mtu), CARD)].map(|mut rig| {
            rig.forwarded(CLIENTS, &packets::tcp(TO_GATEWAY, from, to, SYN, b""), BACKENDS);
            let before = rig.meters.originated_frames.read();
            let sent = all_sent(&mut rig, &frame);
            made.rotate_left(1);
            made[1] = rig.meters.originated_frames.read() - before;
            rig.assert_conserved();
            sent
        });
        prop_assert!(here == by_card);
        // What a card would make something else of is cut here all the same.
        let is_for_card = !is_wrong && !congested && here.len() <= 64;
        prop_assert_eq!(made, [here.len() as u64 - 1, if is_for_card { 0 } else { here.len() as u64 - 1 }]);
    }
}

#[test]
fn a_card_is_asked_for_what_it_can_and_for_nothing_in_a_tunnel() {
    let made = |mode, v6, cuts| {
        let mut rig = with_card(rig(1500), cuts);
        let (from, to) = (client(v6), server(mode, v6));
        rig.one(CLIENTS, &packets::tcp(TO_GATEWAY, from, to, SYN, b""));
        let before = rig.meters.originated_frames.read();
        assert_eq!(all_sent(&mut rig, &packets::tcp(TO_GATEWAY, from, to, ACK, &bytes(5000))).len(), 4);
        rig.meters.originated_frames.read() - before
    };
    for (v6, cuts, expected) in [
        (false, CARD, 0),
        (true, CARD, 0),
        (false, Cuts { v4: false, ..CARD }, 3),
        (true, Cuts { v6: false, ..CARD }, 3),
        (false, Cuts { largest: 1500, ..CARD }, 3),
        (false, Cuts { largest: 1514, ..CARD }, 0),
        (false, Cuts::default(), 3),
    ] {
        assert_eq!(made(Mode::Nat, v6, cuts), expected, "{cuts:?} over IPv6: {v6}");
    }
    assert_eq!(made(Mode::Ipip, false, CARD), 3);
    assert_eq!(made(Mode::Gue, true, CARD), 3);
}
