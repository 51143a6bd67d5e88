//! Packets in, packets out: every case of this folder goes through `tidegate replay`, and all of them together through
//! the running gateway.
//!
//! `UPDATE=1` writes the bytes and counters that came out into the cases; what a case says in words stays, and is
//! compared with what an independent decoder reads in the bytes. `README.md` tells how to add a case.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod capture;
mod case;
mod decode;
mod program;
mod running;

use std::{collections::BTreeSet, env};

use case::Case;
use datapath::DropReason;
use program::Program;

/// The source MAC address of all that leaves: `net_pcap`'s own.
const GATEWAY: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];

/// Reasons that no case provokes, and why.
const NOT_IN_A_CASE: &[(&str, &str)] = &[
    ("headers_scattered", "frames of a capture lie in one piece"),
    ("backend_removed", "takes a reload"),
    ("snat_exhausted", "takes tens of thousands of flows"),
    ("no_route", "such a configuration is refused"),
    ("neighbour_unreachable", "takes time"),
    ("neighbour_queue_full", "takes sixty packets"),
    ("neighbour_table_full", "takes thousands of next hops"),
    ("transmit_queue_full", "files have room"),
    ("host_queue_full", "files have room"),
    ("hand_over_full", "takes two workers"),
    ("no_room_for_tag", "frames of a capture have room"),
    ("no_headroom", "frames of a capture have room"),
    ("no_room_for_answer", "frames of a capture have room"),
    ("fragments_scattered", "takes ten fragments out of order"),
    ("fragment_head_lost", "takes time"),
    ("fragment_queue_full", "takes seventeen fragments"),
    ("fragment_table_full", "takes thousands of fragments"),
    ("frames_exhausted", "the memory of a capture has no end"),
    ("icmp_limited", "takes fifty packets"),
    ("shutdown", "takes the end of a gateway"),
];

#[test]
fn every_case_comes_out_as_it_is_written() {
    let update = env::var_os("UPDATE").is_some();
    let cases = Case::all();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let (program, mut failures) = (Program::copy(), Vec::new());
    let chosen = env::var("CASE").unwrap_or_default();
    for mut case in cases.into_iter().filter(|case| case.name.contains(&chosen)) {
        let replayed = program.replay(&case);
        if let Err(failure) = replayed.check(&case) {
            failures.push(format!("{}: {failure}", case.name));
        }
        replayed.write_into(&mut case);
        if update {
            case.write();
        } else if !case.is_as_written() {
            failures.push(format!("{}: other bytes or counters came out (UPDATE=1 writes them)", case.name));
        }
    }
    assert!(failures.is_empty(), "{} of the cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_drop_reason_has_a_case() {
    let provoked: BTreeSet<String> =
        Case::all().iter().flat_map(|case| case.drops().cloned().collect::<Vec<_>>()).collect();
    for reason in DropReason::all().map(DropReason::name) {
        let is_excused = NOT_IN_A_CASE.iter().any(|(name, _)| *name == reason);
        assert!(provoked.contains(&reason) != is_excused, "{reason} has a case, or a reason to have none");
    }
}

#[test]
fn the_running_gateway_sends_the_same_bytes() {
    let cases: Vec<Case> = Case::all().into_iter().filter(Case::is_common).collect();
    let packets: Vec<Vec<u8>> = cases.iter().flat_map(Case::packets_in).collect();
    let times = capture::in_a_row(packets.len());
    let replayed = Program::copy().replay_at((&packets, &times), &cases[0].configuration(), &[]);
    // Cases do not influence each other.
    let separately: Vec<Vec<u8>> = cases.iter().flat_map(Case::packets_out).collect();
    assert_same(&replayed.out, &separately);
    let ran = running::run(&packets);
    assert_same(&ran.out, &replayed.out);
    assert_eq!(&ran.drops, replayed.drops());
}

fn assert_same(found: &[Vec<u8>], expected: &[Vec<u8>]) {
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            found,
            expected,
            "frame {number}: {} instead of {}",
            decode::describe(found),
            decode::describe(expected)
        );
    }
    assert_eq!(found.len(), expected.len());
}
