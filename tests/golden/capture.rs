//! Captures made by the tests, and read by them.

use std::{fs::File, path::Path, time::Duration};

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};

/// Writes frames, each with its time.
pub(crate) fn write(path: &Path, frames: &[Vec<u8>], times: &[Duration]) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for (frame, since) in frames.iter().zip(times) {
        let time = Duration::from_secs(1_000_000_000) + *since;
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame)).unwrap();
    }
}

/// Times of so many frames, a millisecond apart.
pub(crate) fn in_a_row(frames: usize) -> Vec<Duration> {
    (0..frames as u64).map(Duration::from_millis).collect()
}

/// The frames of a file.
pub(crate) fn read(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_raw_packet() {
        frames.push(packet.unwrap().data.into_owned());
    }
    frames
}
