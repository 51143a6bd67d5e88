//! Bursts for `scripts/instructions` to count the instructions of: `instructions CASE` takes one case's bursts through
//! `datapath::forward` and prints how many packets that were. Without a case: the names of all.
//!
//! What is counted is inside of [`counted`]; making frames and opening flows is not.
#![allow(clippy::indexing_slicing, reason = "a benchmark that cannot go on panics")]

mod rig;

use std::{env, hint::black_box, net::SocketAddr, process::ExitCode};

use model::{Mode, PortId};
use nic::{Burst, Frame};
use rig::{BURST, InlineFrame, agreement, reply, segments};
use testkit::{
    gateway::{self, BACKENDS, CLIENT_MAC, CLIENTS, CLIENTS_MAC},
    packets::{self, ACK, SYN},
};

/// What a card's frame is to the datapath: a pointer. It is never freed; there are not many.
struct Leaked(&'static mut InlineFrame);

impl From<InlineFrame> for Leaked {
    fn from(frame: InlineFrame) -> Self {
        Self(Box::leak(Box::new(frame)))
    }
}

impl Frame for Leaked {
    fn head(&self) -> &[u8] {
        self.0.head()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.0.head_mut()
    }

    fn length(&self) -> usize {
        self.0.length()
    }

    fn segment(&self, index: usize) -> Option<&[u8]> {
        self.0.segment(index)
    }

    fn pull(&mut self, length: usize) -> bool {
        self.0.pull(length)
    }

    fn resize(&mut self, length: usize) -> bool {
        self.0.resize(length)
    }

    fn prepend(&mut self, length: usize) -> bool {
        self.0.prepend(length)
    }

    fn behead(&mut self, length: usize) -> bool {
        self.0.behead(length)
    }
}

/// Bursts of a case.
const BURSTS: u16 = 64;
/// The first of the clients' ports.
const PORT: u16 = 1024;

type Rig = rig::Rig<Leaked>;
/// A name, and what returns the number of packets.
type Case = (&'static str, fn() -> u64);

const CASES: [Case; 15] = [
    ("nat IPv4", || established(Mode::Nat, false)),
    ("nat IPv6", || established(Mode::Nat, true)),
    ("full_nat IPv4", || established(Mode::FullNat, false)),
    ("dsr IPv4", || established(Mode::Dsr, false)),
    ("ipip IPv4", || established(Mode::Ipip, false)),
    ("ipip IPv6", || established(Mode::Ipip, true)),
    ("gue IPv4", || established(Mode::Gue, false)),
    ("gue IPv6", || established(Mode::Gue, true)),
    ("nat IPv4 UDP", datagrams_of_flows),
    ("nat IPv4 replies", replies),
    ("nat IPv4 new flows", || new_flows(Mode::Nat)),
    ("ipip IPv4 new flows", || new_flows(Mode::Ipip)),
    ("drop: another MAC address", || dropped(5, 0xff)),
    ("drop: no virtual server", || dropped(37, 1)),
    ("housekeeping", housekeeping),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [wanted] = wanted.as_slice() else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, run)) = CASES.iter().find(|(name, _)| name == wanted) else {
        eprintln!("there is no case {wanted}");
        return ExitCode::FAILURE;
    };
    println!("{}", run());
    ExitCode::SUCCESS
}

/// Everything that happens in here counts.
#[inline(never)]
fn counted(rig: &mut Rig, port: PortId, burst: &mut Burst<Leaked>) {
    rig.forward(port, black_box(burst));
}

/// The same 32 frames, burst after burst.
fn repeat(rig: &mut Rig, port: PortId, frames: &[InlineFrame]) -> u64 {
    (0..BURSTS).map(|_| once(rig, port, frames)).sum()
}

fn once(rig: &mut Rig, port: PortId, frames: &[InlineFrame]) -> u64 {
    let mut burst = frames.iter().copied().map(Leaked::from).collect();
    counted(rig, port, &mut burst);
    frames.len() as u64
}

/// Opens flows, to which their backend agrees if its word passes.
fn open(rig: &mut Rig, mode: Mode, v6: bool) {
    let sent = rig.sent(CLIENTS, &segments(mode, v6, SYN, PORT), Some(BACKENDS));
    if !mode.is_direct() {
        let agreed: Vec<InlineFrame> = sent.iter().map(|frame| agreement(frame, v6)).collect();
        rig.sent(BACKENDS, &agreed, Some(CLIENTS));
    }
}

fn established(mode: Mode, v6: bool) -> u64 {
    let mut rig = Rig::new();
    open(&mut rig, mode, v6);
    let data = segments(mode, v6, ACK, PORT);
    rig.sent(CLIENTS, &data, Some(BACKENDS));
    repeat(&mut rig, CLIENTS, &data)
}

fn datagrams_of_flows() -> u64 {
    let (client, server) =
        (gateway::address(gateway::CLIENT), gateway::address(gateway::virtual_address(Mode::Nat, false)));
    let datagram = |port| {
        let (from, to) = (SocketAddr::new(client.into(), port), SocketAddr::new(server.into(), 80));
        InlineFrame::new(&packets::udp((CLIENT_MAC, CLIENTS_MAC), from, to, b"eighteen bytes: 18"))
    };
    let datagrams: Vec<InlineFrame> = (PORT..PORT + BURST).map(datagram).collect();
    let mut rig = Rig::new();
    rig.sent(CLIENTS, &datagrams, Some(BACKENDS));
    rig.sent(CLIENTS, &datagrams, Some(BACKENDS));
    repeat(&mut rig, CLIENTS, &datagrams)
}

fn replies() -> u64 {
    let mut rig = Rig::new();
    open(&mut rig, Mode::Nat, false);
    let data = rig.sent(CLIENTS, &segments(Mode::Nat, false, ACK, PORT), Some(BACKENDS));
    let replies: Vec<InlineFrame> = data.iter().map(|frame| reply(frame, false)).collect();
    rig.sent(BACKENDS, &replies, Some(CLIENTS));
    repeat(&mut rig, BACKENDS, &replies)
}

fn new_flows(mode: Mode) -> u64 {
    let mut rig = Rig::new();
    (0..BURSTS)
        .map(|number| once(&mut rig, CLIENTS, &segments(mode, false, SYN, PORT + number * BURST)))
        .sum()
}

/// First packets, each with one byte that is wrong.
fn dropped(offset: usize, value: u8) -> u64 {
    let mut frames = segments(Mode::Nat, false, SYN, PORT);
    frames.iter_mut().for_each(|frame| frame.bytes[offset] ^= value);
    let mut rig = Rig::new();
    rig.sent(CLIENTS, &frames, None);
    repeat(&mut rig, CLIENTS, &frames)
}

/// Calls of `datapath::housekeeping` with flows in the table, none of which ends.
fn housekeeping() -> u64 {
    let mut rig = Rig::new();
    for number in 0..BURSTS {
        rig.sent(CLIENTS, &segments(Mode::Nat, false, SYN, PORT + number * BURST), Some(BACKENDS));
    }
    (0..BURSTS).for_each(|_| counted_housekeeping(&mut rig));
    u64::from(BURSTS)
}

/// Everything that happens in here counts, too.
#[inline(never)]
fn counted_housekeeping(rig: &mut Rig) {
    black_box(rig).keep_house();
}
