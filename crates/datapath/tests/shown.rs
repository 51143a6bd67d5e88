//! The PROXY protocol over a link that loses packets: the backend's stream is the header and what the client has sent, and the client never
//! hears of more than it has sent.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use etherparse::{SlicedPacket, TransportSlice};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, at, virtual_address,
};
use model::{Mode, ShowClient};
use proptest::prelude::*;
use testkit::packets::{self, ACK, Flags, SYN, SYN_ACK, check_checksums};

/// What the client sends at once.
const WINDOW: usize = 3;
const CLIENT_ISN: u32 = 0xffff_ff00;
const BACKEND_ISN: u32 = 7000;

/// What somebody hears.
struct Heard {
    ends: [SocketAddr; 2],
    numbers: [u32; 2],
    mss: Option<u16>,
    data: Vec<u8>,
}

fn heard(frame: &[u8], v6: bool) -> Heard {
    check_checksums(frame).unwrap();
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(segment)) = packet.transport else { panic!("no segment") };
    let address = |at: usize| -> std::net::IpAddr {
        if v6 {
            <[u8; 16]>::try_from(&frame[22 + at * 16..38 + at * 16]).unwrap().into()
        } else {
            <[u8; 4]>::try_from(&frame[26 + at * 4..30 + at * 4]).unwrap().into()
        }
    };
    let mss = segment.options_iterator().find_map(|option| match option {
        Ok(etherparse::TcpOptionElement::MaximumSegmentSize(size)) => Some(size),
        _ => None,
    });
    Heard {
        ends: [
            SocketAddr::new(address(0), segment.source_port()),
            SocketAddr::new(address(1), segment.destination_port()),
        ],
        numbers: [segment.sequence_number(), segment.acknowledgment_number()],
        mss,
        data: segment.payload().to_vec(),
    }
}

struct Talk {
    rig: Rig,
    v6: bool,
    ends: [SocketAddr; 2],
    /// As the backend sees them.
    behind: [SocketAddr; 2],
}

impl Talk {
    /// The SYN and the SYN-ACK have passed; the MSS that the client hears.
    fn open(v6: bool) -> (Self, u16) {
        let mut rig = Rig::new();
        rig.publish(|snapshot| {
            for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
                server.show_client = ShowClient::ProxyV2;
                server.extent.all = true;
                server.extent.first = true;
                server.extent.handshakes = true;
            }
        });
        let client = at(if v6 { CLIENT_6 } else { CLIENT }, 40_000);
        let server = at(virtual_address(Mode::FullNat, v6), 80);
        let backend = at(if v6 { BACKEND_6 } else { BACKEND }, 8080);
        let mut talk = Self { rig, v6, ends: [client, server], behind: [backend, backend] };
        let first = talk.say(true, SYN, [CLIENT_ISN, 0], b"");
        assert_eq!(first.numbers[0], CLIENT_ISN);
        talk.behind = [backend, first.ends[0]];
        let second = talk.say(false, SYN_ACK, [BACKEND_ISN, CLIENT_ISN.wrapping_add(1)], b"");
        assert_eq!(second.numbers[1], CLIENT_ISN.wrapping_add(1));
        (talk, second.mss.unwrap())
    }

    /// A segment of the client's or the backend's; what the other one hears of it.
    fn say(&mut self, is_client: bool, flags: Flags, numbers: [u32; 2], data: &[u8]) -> Heard {
        let options: &[u8] = if flags.syn { &[2, 4, 5, 180] } else { b"" };
        let frame = if is_client {
            let [from, to] = self.ends;
            packets::tcp_with_options((CLIENT_MAC, CLIENTS_MAC), from, to, flags, (numbers, options), data)
        } else {
            let [from, to] = self.behind;
            packets::tcp_with_options((BACKEND_MAC, BACKENDS_MAC), from, to, flags, (numbers, options), data)
        };
        let (from, to) = if is_client { (CLIENTS, BACKENDS) } else { (BACKENDS, CLIENTS) };
        heard(&self.rig.forwarded(from, &frame, to), self.v6)
    }

    /// The header that the backend is to get.
    fn header(&self) -> Vec<u8> {
        let [client, server] = self.ends;
        let octets = |end: SocketAddr| match end.ip() {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let about = if self.v6 { [0x21, 0x21, 0, 36] } else { [0x21, 0x11, 0, 12] };
        let ports = [client.port().to_be_bytes(), server.port().to_be_bytes()].concat();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &about, &octets(client), &octets(server), &ports].concat()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_backend_gets_the_header_and_all_that_the_client_says(
        v6 in any::<bool>(),
        length in 0_usize..6000,
        heeds_the_mss in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (mut talk, mss) = Talk::open(v6);
        let expected_mss = if v6 { 1440 - 52 } else { 1460 - 28 };
        prop_assert_eq!(mss, expected_mss);
        let size = usize::from(if heeds_the_mss { mss } else { mss + 20 });
        let data: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
        let expected = [talk.header(), data.clone()].concat();
        let (mut got, mut has) = (vec![0; expected.len()], vec![false; expected.len()]);
        let (mut acknowledged, mut random) = (0, seed | 1);
        let mut is_lost = move || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (random >> 60).is_multiple_of(3)
        };
        for round in 0..400 {
            let contiguous = has.iter().take_while(|has| **has).count();
            if acknowledged == length && contiguous == expected.len() {
                break;
            }
            prop_assert!(round < 399, "{acknowledged} of {length}, {contiguous} there");
            // An ACK, then segments from what was acknowledged on.
            let pieces = [(acknowledged, acknowledged)].into_iter().chain((0..WINDOW).map(|number| {
                let from = (acknowledged + number * size).min(length);
                (from, (from + size).min(length))
            }));
            for (from, to) in pieces.collect::<Vec<_>>() {
                let numbers = [CLIENT_ISN.wrapping_add(1 + from as u32), BACKEND_ISN + 1];
                let Heard { numbers: [sequence, _], data: carried, .. } =
                    talk.say(true, ACK, numbers, &data[from..to]);
                if is_lost() {
                    continue;
                }
                let at = sequence.wrapping_sub(CLIENT_ISN.wrapping_add(1)) as usize;
                for (position, byte) in (at..).zip(carried) {
                    prop_assert!(!has[position] || got[position] == byte);
                    (got[position], has[position]) = (byte, true);
                }
            }
            let contiguous = has.iter().take_while(|has| **has).count() as u32;
            let numbers = [BACKEND_ISN + 1, CLIENT_ISN.wrapping_add(1 + contiguous)];
            let Heard { numbers: [_, said], .. } = talk.say(false, ACK, numbers, b"");
            let said = said.wrapping_sub(CLIENT_ISN.wrapping_add(1)) as usize;
            prop_assert!(said <= length);
            if !is_lost() {
                acknowledged = acknowledged.max(said);
            }
        }
        prop_assert!(got == expected);
        talk.rig.assert_conserved();
    }
}
