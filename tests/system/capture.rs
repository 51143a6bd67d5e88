//! Capture files, and what the gateway must make of them.

use std::{collections::BTreeMap, fs::File, io::BufWriter, path::Path, time::Duration};

use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::{damage, traffic};

/// Frames of a cycle. net_pcap keeps all of an endless capture in the gateway's packet memory.
pub(crate) const CYCLE: usize = 4096;
/// One frame of so many is damaged.
const ONE_OF: usize = 10;

/// A cycle of frames, and the drop reason of those that are to be dropped.
pub(crate) struct Cycle {
    pub(crate) frames: Vec<Vec<u8>>,
    reasons: Vec<Option<&'static str>>,
}

impl Cycle {
    /// A tenth of the frames is damaged in all the ways whose outcome is known.
    pub(crate) fn with_known_damage() -> Self {
        let mut frames: Vec<_> = (0..CYCLE).map(traffic::frame).collect();
        let mut reasons = vec![None; CYCLE];
        let mut kinds = damage::KINDS.iter().cycle().peekable();
        let mut due = 0;
        for number in 0..CYCLE {
            due += usize::from(number % ONE_OF == 0);
            let (reason, kind, damage) = kinds.peek().unwrap();
            if due > 0 && damage::fits(*kind, number) {
                damage(&mut frames[number]);
                reasons[number] = Some(*reason);
                kinds.next();
                due -= 1;
            }
        }
        Self { frames, reasons }
    }

    /// A tenth of the frames is damaged at random; what becomes of them is not known.
    pub(crate) fn with_random_damage() -> Self {
        let mut frames: Vec<_> = (0..CYCLE).map(traffic::frame).collect();
        for number in (0..CYCLE).step_by(ONE_OF) {
            damage::at_random(&mut frames[number], number);
        }
        Self { frames, reasons: Vec::new() }
    }

    /// How many of the first `packets` of an endless repetition are dropped, by reason.
    pub(crate) fn drops(&self, packets: u64) -> BTreeMap<&'static str, u64> {
        let (cycles, rest) = (packets / CYCLE as u64, (packets % CYCLE as u64) as usize);
        let mut drops = BTreeMap::new();
        for (position, reason) in self.reasons.iter().enumerate() {
            if let Some(reason) = reason {
                *drops.entry(*reason).or_default() += cycles + u64::from(position < rest);
            }
        }
        drops
    }

    /// Writes the cycle so many times.
    pub(crate) fn write(&self, file: &Path, cycles: usize) {
        let mut writer = PcapWriter::new(BufWriter::new(File::create(file).unwrap())).unwrap();
        for frame in self.frames.iter().cycle().take(cycles * CYCLE) {
            writer.write_packet(&PcapPacket::new(Duration::ZERO, frame.len() as u32, frame)).unwrap();
        }
    }
}

#[test]
fn a_tenth_of_a_cycle_is_damaged_in_all_ways() {
    let cycle = Cycle::with_known_damage();
    let drops = cycle.drops(CYCLE as u64);
    assert_eq!(drops.len(), damage::KINDS.len());
    let all: u64 = drops.values().sum();
    assert!((400..=410).contains(&all), "{all}");
    assert_eq!(cycle.drops(2 * CYCLE as u64).values().sum::<u64>(), 2 * all);
    let intact = cycle.frames.iter().zip(&cycle.reasons).filter(|(_, reason)| reason.is_none());
    for (frame, _) in intact {
        assert_eq!(testkit::packets::check_checksums(frame), Ok(()));
    }
}
