//! Captures made by the tests, and read by them.

use std::{fs::File, path::Path, time::Duration};

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};

/// Writes frames, a millisecond apart.
pub(crate) fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for (frame, number) in frames.iter().zip(0..) {
        let time = Duration::from_secs(1_000_000_000) + Duration::from_millis(number);
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame)).unwrap();
    }
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
