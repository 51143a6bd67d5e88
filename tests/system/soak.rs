//! Many packets, a tenth of them malformed: nothing crashes, nothing is lost, each drop has its reason.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use testkit::netns::wait_until;

use crate::{
    capture::{CYCLE, Cycle},
    run::Run,
};

/// Frames that may be on their way through a worker between two looks at its counters.
const IN_HAND: u64 = 64;
/// The memory that an endless capture needs, and the workers.
const ENDLESS: &str = "idle: busy, flows: 65536, mbufs: 32767";

fn packets_wanted() -> u64 {
    env::var("TIDEGATE_SOAK_PACKETS").map_or(1_000_000, |wanted| wanted.parse().unwrap())
}

/// Waits for so many packets; how fast they went.
fn wait_for(run: &Run, wanted: u64) {
    let began = (Instant::now(), run.received());
    // A slow machine does a hundred thousand a second.
    let limit = Duration::from_secs(60 + wanted / 100_000);
    wait_until(limit, "the packets", || run.received() >= wanted).unwrap();
    let packets = run.received() - began.1;
    let speed = packets as f64 / began.0.elapsed().as_secs_f64() / 1e6;
    println!("{} packets, {speed:.1} million a second", run.received());
}

#[test]
fn a_capture_to_its_end_is_counted_exactly() {
    let cycle = Cycle::with_known_damage();
    let packets = 10 * CYCLE as u64;
    let run = Run::start("lcores: [1], flows: 65536", "net_pcap0,rx_pcap=@/in.pcap", |directory| {
        cycle.write(&directory.join("in.pcap"), 10);
    });
    wait_until(Duration::from_secs(60), "the end of the capture", || run.received() == packets).unwrap();
    run.wait_until_accounted();
    let expected: BTreeMap<_, _> =
        cycle.drops(packets).into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    assert_eq!(run.drops(), expected);
    assert_eq!(run.forwarded(), packets - expected.values().sum::<u64>());
    run.stop();
}

#[test]
fn an_endless_capture_with_a_malformed_tenth_loses_nothing() {
    let cycle = Cycle::with_known_damage();
    let device = "net_pcap0,rx_pcap=@/in.pcap,infinite_rx=1";
    let run = Run::start(&format!("lcores: [1], {ENDLESS}"), device, |directory| {
        cycle.write(&directory.join("in.pcap"), 1);
    });
    wait_for(&run, packets_wanted());
    let before = run.received();
    let drops = run.drops();
    let after = run.received();
    let (least, most) = (cycle.drops(before - IN_HAND), cycle.drops(after + IN_HAND));
    for (reason, count) in &drops {
        assert!(
            least.contains_key(reason.as_str()),
            "{count} dropped for {reason}, which no frame is damaged by"
        );
    }
    for (reason, least) in least {
        let count = drops.get(reason).copied().unwrap_or(0);
        assert!((least..=most[reason]).contains(&count), "{reason}: {least} <= {count} <= {}", most[reason]);
    }
    run.stop();
}

#[test]
fn two_workers_survive_frames_damaged_at_random() {
    let cycle = Cycle::with_random_damage();
    let device = "net_pcap0,rx_pcap=@/in.pcap,rx_pcap=@/in.pcap,infinite_rx=1";
    let run = Run::start(&format!("lcores: [0, 1], {ENDLESS}"), device, |directory| {
        cycle.write(&directory.join("in.pcap"), 1);
    });
    wait_for(&run, packets_wanted());
    assert!(run.crossed() > 0, "nothing was handed over");
    run.stop();
}
