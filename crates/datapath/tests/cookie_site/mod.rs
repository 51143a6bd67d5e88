//! A client and a backend around a gateway that gives out cookies, for tests of those.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{net::SocketAddr, sync::Arc};

use datapath::{
    Verdict,
    snapshot::{Cookies, VirtualServer},
};
use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use model::{Mode, PortId, Treatment, UseOfCookies};
use testkit::packets::{self, ACK, Flags, SYN, SYN_ACK, check_checksums};

use crate::fixture::{
    BACKEND, BACKEND_6, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_6, CLIENT_MAC, CLIENTS,
    CLIENTS_MAC, Rig, virtual_address,
};

pub(crate) const ALWAYS: Cookies = Cookies { use_of: UseOfCookies::Always, mss: 0, allowlist: 0 };
pub(crate) const AUTO: Cookies = Cookies { use_of: UseOfCookies::Auto, ..ALWAYS };
/// The window of all segments that are made here.
pub(crate) const WINDOW: u16 = 64_000;

/// A segment as its receiver reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) from: Option<SocketAddr>,
    pub(crate) to: Option<SocketAddr>,
    pub(crate) flags: String,
    pub(crate) numbers: [u32; 2],
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) times: Option<[u32; 2]>,
    pub(crate) sack: Option<(u32, u32)>,
    pub(crate) data: usize,
}

pub(crate) fn read(frame: &[u8]) -> Read {
    check_checksums(frame).unwrap();
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no segment") };
    let ends = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("no packet"),
    };
    let flags = [(tcp.syn(), 'S'), (tcp.ack(), 'A'), (tcp.fin(), 'F'), (tcp.rst(), 'R')];
    let mut read = Read {
        from: Some(SocketAddr::new(ends.0, tcp.source_port())),
        to: Some(SocketAddr::new(ends.1, tcp.destination_port())),
        flags: flags.iter().filter(|(is, _)| *is).map(|(_, letter)| *letter).collect(),
        numbers: [tcp.sequence_number(), tcp.acknowledgment_number()],
        window: tcp.window_size(),
        data: tcp.payload().len(),
        ..Read::default()
    };
    for option in tcp.options_iterator().map(Result::unwrap) {
        match option {
            TcpOptionElement::Noop => {}
            TcpOptionElement::MaximumSegmentSize(size) => read.mss = Some(size),
            TcpOptionElement::WindowScale(shift) => read.scale = Some(shift),
            TcpOptionElement::SelectiveAcknowledgementPermitted => read.sack_permitted = true,
            TcpOptionElement::Timestamp(value, echo) => read.times = Some([value, echo]),
            TcpOptionElement::SelectiveAcknowledgement(block, _) => read.sack = Some(block),
        }
    }
    read
}

/// The options of a Linux host's SYN.
pub(crate) fn syn_options(mss: u16, time: Option<[u32; 2]>, scale: u8) -> Vec<u8> {
    let mut options = [&[2, 4][..], &mss.to_be_bytes(), &[4, 2]].concat();
    match time {
        Some([value, echo]) => {
            options.extend([&[8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat())
        }
        None => options.extend([1, 1]),
    }
    options.extend([1, 3, 3, scale]);
    options
}

pub(crate) fn times(time: Option<[u32; 2]>) -> Vec<u8> {
    let words =
        |[value, echo]: [u32; 2]| [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat();
    time.map_or(vec![], words)
}

/// A client and a backend around a gateway that gives out cookies.
pub(crate) struct Site {
    pub(crate) rig: Rig,
    pub(crate) mode: Mode,
    pub(crate) v6: bool,
    pub(crate) port: u16,
}

impl Site {
    pub(crate) fn new(mode: Mode, v6: bool, cookies: Cookies) -> Self {
        Self::with(Rig::new(), mode, v6, (cookies, Treatment::default()))
    }

    pub(crate) fn with(
        mut rig: Rig,
        mode: Mode,
        v6: bool,
        (cookies, treatment): (Cookies, Treatment),
    ) -> Self {
        rig.publish(|snapshot| {
            for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
                let is_tcp = server.service.protocol == 6;
                let is_possible = is_tcp && matches!(server.mode, Mode::Nat | Mode::FullNat);
                server.cookies = if is_possible { cookies } else { Cookies::OFF };
                server.treatment = treatment;
                server.extent = VirtualServer::extent_of(&treatment, &server.tcp);
            }
        });
        Self { rig, mode, v6, port: 7 }
    }

    pub(crate) fn end(&self, v4: &str, v6: &str, port: u16) -> SocketAddr {
        SocketAddr::new(if self.v6 { v6 } else { v4 }.parse().unwrap(), port)
    }

    pub(crate) fn service(&self) -> SocketAddr {
        SocketAddr::new(virtual_address(self.mode, self.v6).parse().unwrap(), 80)
    }

    pub(crate) fn of_client(&self, flags: Flags, numbers: [u32; 2], options: &[u8], data: &[u8]) -> Vec<u8> {
        let (link, from) = ((CLIENT_MAC, CLIENTS_MAC), self.end(CLIENT, CLIENT_6, self.port));
        packets::tcp_with_options(link, from, self.service(), flags, (numbers, options), data)
    }

    pub(crate) fn of_backend(
        &self,
        to: SocketAddr,
        flags: Flags,
        numbers: [u32; 2],
        options: &[u8],
    ) -> Vec<u8> {
        let (link, from) = ((BACKEND_MAC, BACKENDS_MAC), self.end(BACKEND, BACKEND_6, 8080));
        packets::tcp_with_options(link, from, to, flags, (numbers, options), b"")
    }

    /// What a client's SYN is answered with.
    pub(crate) fn ask(&mut self, isn: u32, options: &[u8]) -> Read {
        let syn = self.of_client(SYN, [isn, 0], options, b"");
        let answer = self.rig.forwarded(CLIENTS, &syn, CLIENTS);
        assert!(answer.len() <= syn.len(), "more bytes than came");
        let answer = read(&answer);
        assert_eq!((&answer.flags[..], answer.window), ("SA", 0));
        assert_eq!(answer.numbers[1], isn.wrapping_add(1));
        assert_eq!(
            (answer.from, answer.to),
            (Some(self.service()), Some(self.end(CLIENT, CLIENT_6, self.port)))
        );
        answer
    }

    /// The SYN that a backend gets when the client brings its cookie back.
    pub(crate) fn bring(&mut self, isn: u32, answer: &Read, options: &[u8]) -> Read {
        let numbers = [isn.wrapping_add(1), answer.numbers[0].wrapping_add(1)];
        let ack = self.of_client(ACK, numbers, options, b"");
        let syn = read(&self.rig.forwarded(CLIENTS, &ack, BACKENDS));
        assert_eq!(&syn.flags[..], "S");
        syn
    }

    /// What client and backend hear when the backend agrees.
    pub(crate) fn agree(&mut self, source: SocketAddr, numbers: [u32; 2], options: &[u8]) -> (Read, Read) {
        let (verdict, sent) = {
            let agreement = self.of_backend(source, SYN_ACK, numbers, options);
            self.rig.one(BACKENDS, &agreement)
        };
        assert_eq!(verdict, Verdict::Transmit(CLIENTS));
        let to = |port: PortId| read(&sent.iter().find(|(to, _)| *to == port).unwrap().1);
        assert_eq!(sent.len(), 2);
        (to(CLIENTS), to(BACKENDS))
    }

    /// Opens a connection without options; what the cookie was, and where the backend sends to.
    pub(crate) fn connect(&mut self, isn: u32, backend_isn: u32) -> (u32, SocketAddr) {
        let answer = self.ask(isn, &[]);
        let syn = self.bring(isn, &answer, &[]);
        let source = syn.from.unwrap();
        self.agree(source, [backend_isn, syn.numbers[0].wrapping_add(1)], &[]);
        (answer.numbers[0], source)
    }

    pub(crate) fn flows(&mut self) -> u64 {
        self.rig.keep_house();
        self.rig.meters.flows.read()
    }
}

pub(crate) fn both_modes() -> impl Iterator<Item = (Mode, bool)> {
    [Mode::Nat, Mode::FullNat].into_iter().flat_map(|mode| [(mode, false), (mode, true)])
}
