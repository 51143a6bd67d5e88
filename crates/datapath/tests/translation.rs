//! What is changed in headers, as both ends see it: they agree on all numbers, and never know each other's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use datapath::{Snapshot, snapshot::VirtualServer};
use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};
use fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, virtual_address,
};
use model::{Df, Millis, Mode, Timestamps, Treatment, Ttl, WindowScale};
use proptest::prelude::*;
use testkit::packets::{self, ACK, Flags, SYN, SYN_ACK, check_checksums};

/// What an end says or hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    numbers: [u32; 2],
    times: [u32; 2],
    sack: [u32; 2],
}

impl Said {
    fn options(&self) -> Vec<u8> {
        let words = |words: [u32; 2]| words.into_iter().flat_map(u32::to_be_bytes).collect::<Vec<u8>>();
        [&[8, 10], &words(self.times)[..], &[1, 5, 10], &words(self.sack), &[1]].concat()
    }

    fn heard(frame: &[u8]) -> Self {
        check_checksums(frame).unwrap();
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(segment)) = packet.transport else { panic!("no segment") };
        let mut said = Self {
            numbers: [segment.sequence_number(), segment.acknowledgment_number()],
            times: [0; 2],
            sack: [0; 2],
        };
        for option in segment.options_iterator().map(Result::unwrap) {
            match option {
                TcpOptionElement::Timestamp(value, echo) => said.times = [value, echo],
                TcpOptionElement::SelectiveAcknowledgement((from, to), _) => said.sack = [from, to],
                _ => {}
            }
        }
        said
    }
}

/// A conversation through a gateway that translates.
struct Talk {
    rig: Rig,
    mode: Mode,
    v6: bool,
    /// Where the backend sends to, once it has heard of it.
    source: Option<SocketAddr>,
}

impl Talk {
    fn new(mode: Mode, v6: bool, treatment: Treatment) -> Self {
        let mut rig = Rig::new();
        rig.publish(|snapshot| treat(snapshot, treatment));
        Self { rig, mode, v6, source: None }
    }

    fn end(&self, v4: &str, v6: &str, port: u16) -> SocketAddr {
        SocketAddr::new(if self.v6 { v6 } else { v4 }.parse().unwrap(), port)
    }

    fn client(&mut self, flags: Flags, said: &Said) -> Said {
        let to = SocketAddr::new(virtual_address(self.mode, self.v6).parse().unwrap(), 80);
        let (link, from) = ((CLIENT_MAC, CLIENTS_MAC), self.end(CLIENT, CLIENT_6, 7));
        let said = (said.numbers, &said.options()[..]);
        let frame = packets::tcp_with_options(link, from, to, flags, said, b"some data");
        let sent = self.rig.forwarded(CLIENTS, &frame, BACKENDS);
        let (at, size) = if self.v6 { (22, 16) } else { (26, 4) };
        let port = u16::from_be_bytes(sent[at + 2 * size..][..2].try_into().unwrap());
        let address = if self.v6 {
            <[u8; 16]>::try_from(&sent[at..at + size]).unwrap().into()
        } else {
            <[u8; 4]>::try_from(&sent[at..at + size]).unwrap().into()
        };
        self.source = Some(SocketAddr::new(address, port));
        Said::heard(&sent)
    }

    fn backend(&mut self, flags: Flags, said: &Said) -> Said {
        let (link, from) = ((BACKEND_MAC, BACKENDS_MAC), self.end(BACKEND, BACKEND_6, 8080));
        let said = (said.numbers, &said.options()[..]);
        let frame = packets::tcp_with_options(link, from, self.source.unwrap(), flags, said, b"an answer");
        Said::heard(&self.rig.forwarded(BACKENDS, &frame, CLIENTS))
    }
}

fn treat(snapshot: &mut Snapshot, treatment: Treatment) {
    let servers = Arc::make_mut(&mut snapshot.virtual_servers);
    for server in servers.iter_mut().flatten() {
        server.treatment = treatment;
        server.extent = VirtualServer::extent_of(&treatment, &server.tcp);
    }
}

fn translating() -> Treatment {
    Treatment { generate_isn: true, timestamps: Timestamps::Rewrite, ..Treatment::default() }
}

fn plus(numbers: [u32; 2], more: u32) -> [u32; 2] {
    numbers.map(|number| number.wrapping_add(more))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn both_ends_agree_on_numbers_that_are_not_the_others(
        (full, v6) in any::<(bool, bool)>(),
        [client, backend, client_time, backend_time] in any::<[u32; 4]>(),
        steps in proptest::collection::vec(any::<(bool, u16)>(), 1..12),
    ) {
        let mut talk = Talk::new(if full { Mode::FullNat } else { Mode::Nat }, v6, translating());
        let first = Said { numbers: [client, 0], times: [client_time, 0], sack: [0, 0] };
        let heard = talk.client(SYN, &first);
        let (client_there, time_there) = (heard.numbers[0], heard.times[0]);
        prop_assert!(client_there != client && time_there != client_time);
        let answer = Said { numbers: [backend, client_there.wrapping_add(1)], times: [backend_time, time_there], sack: [client_there; 2] };
        let heard = talk.backend(SYN_ACK, &answer);
        let (backend_here, backend_time_here) = (heard.numbers[0], heard.times[0]);
        prop_assert!(backend_here != backend && backend_time_here != backend_time);
        prop_assert_eq!(heard.numbers[1], client.wrapping_add(1), "its own number");
        prop_assert_eq!((heard.times[1], heard.sack), (client_time, [client; 2]));
        for (is_client, more) in steps {
            let more = u32::from(more);
            if is_client {
                let said = Said {
                    numbers: plus([client, backend_here], more), times: plus([client_time, backend_time_here], more),
                    sack: plus([backend_here; 2], more),
                };
                let heard = talk.client(ACK, &said);
                prop_assert_eq!(heard, Said {
                    numbers: plus([client_there, backend], more), times: plus([time_there, backend_time], more),
                    sack: plus([backend; 2], more),
                });
            } else {
                let said = Said {
                    numbers: plus([backend, client_there], more), times: plus([backend_time, time_there], more),
                    sack: plus([client_there; 2], more),
                };
                let heard = talk.backend(ACK, &said);
                prop_assert_eq!(heard, Said {
                    numbers: plus([backend_here, client], more), times: plus([backend_time_here, client_time], more),
                    sack: plus([client; 2], more),
                });
            }
        }
        talk.rig.assert_conserved();
    }

    #[test]
    fn whatever_is_changed_checksums_are_as_if_computed_anew(
        (mode, v6) in (0_usize..3, any::<bool>()),
        options in proptest::collection::vec(any::<u8>(), 0..10),
        (mss, flags) in any::<([bool; 2], [bool; 4])>(),
        (ttl, v4, hops, tos) in (0_u8..3, 1_u8.., 1_u8.., any::<[Option<u8>; 2]>()),
        (df, times) in (0_u8..4, 0_u8..3),
        numbers in any::<[u32; 2]>(),
    ) {
        let treatment = Treatment {
            mss_override: if mss[0] { 700 } else { 0 },
            mss_clamp: mss[1],
            strip_sack: flags[0],
            window_scale: match (flags[1], mode) {
                (true, _) => WindowScale::Strip,
                (false, 2) => WindowScale::Preserve,
                (false, _) => WindowScale::Rewrite(5),
            },
            generate_isn: flags[2] && mode < 2,
            timestamps: match times {
                0 => Timestamps::Strip,
                1 if mode < 2 => Timestamps::Rewrite,
                _ => Timestamps::Preserve,
            },
            ttl: match ttl { 0 => Ttl::Decrement, 1 => Ttl::Preserve, _ => Ttl::Set { v4, v6: hops } },
            df: match df { 0 => Df::Preserve, 1 => Df::Set, 2 => Df::Clear, _ => Df::Pmtu },
            tos_to_client: tos[0],
            tos_to_server: tos[1],
            ..Treatment::default()
        };
        let mode = [Mode::Nat, Mode::FullNat, Mode::Dsr][mode];
        let mut talk = Talk::new(mode, v6, treatment);
        let to = SocketAddr::new(virtual_address(mode, v6).parse().unwrap(), 80);
        let from = talk.end(CLIENT, CLIENT_6, 7);
        let mut raw = [&[2, 4, 5, 0xb4, 4, 2, 3, 3, 7, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..], &options].concat();
        raw.resize(raw.len().next_multiple_of(4), 1);
        for flags in [SYN, ACK, ACK] {
            let frame = packets::tcp_with_options((CLIENT_MAC, CLIENTS_MAC), from, to, flags, (numbers, &raw), b"odd");
            let sent = talk.rig.forwarded(CLIENTS, &frame, BACKENDS);
            let wrong = check_checksums(&sent);
            prop_assert!(wrong.is_ok(), "{:?}", wrong);
            prop_assert_eq!(sent.len(), frame.len());
        }
    }
}

#[test]
fn the_numbers_of_a_reset_are_translated_too() {
    let mut talk = Talk::new(Mode::Nat, false, translating());
    let said = |numbers| Said { numbers, times: [0; 2], sack: [0; 2] };
    let there = talk.client(SYN, &said([1000, 0])).numbers[0];
    let here = talk.backend(SYN_ACK, &said([5000, there.wrapping_add(1)])).numbers[0];
    talk.client(ACK, &said([1001, here.wrapping_add(1)]));
    talk.rig.now = Millis(talk.rig.now.0 + 300_001);
    assert_eq!(talk.rig.keep_house().len(), 2);
    let to = SocketAddr::new(virtual_address(Mode::Nat, false).parse().unwrap(), 80);
    let numbers = [1001, here.wrapping_add(1)];
    let frame = packets::tcp_with_numbers(
        (CLIENT_MAC, CLIENTS_MAC),
        talk.end(CLIENT, CLIENT_6, 7),
        to,
        ACK,
        numbers,
        b"",
    );
    let (_, told) = talk.rig.one(CLIENTS, &frame);
    assert_eq!((told[0].0, Said::heard(&told[0].1).numbers[0]), (CLIENTS, here.wrapping_add(1)));
    assert_eq!((told[1].0, Said::heard(&told[1].1).numbers), (BACKENDS, [there.wrapping_add(1), 5001]));
}
