//! Capture files in pcap format: read packet by packet, and written likewise.

use std::{
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use pcap_file::{
    DataLink, PcapError, TsResolution,
    pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket},
};

use crate::failure::Failure;

/// The first bytes of a pcapng file.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The longest frame that is written; more than any that comes out.
const LONGEST: u32 = 262_144;

/// A capture that is read.
pub(crate) struct Capture {
    path: PathBuf,
    reader: PcapReader<File>,
    header: PcapHeader,
    packets: u64,
}

/// A packet of a capture.
pub(crate) struct Captured {
    /// Its place in the file, from 1.
    pub(crate) number: u64,
    /// When it was captured, since 1970.
    pub(crate) time: Duration,
    /// The frame.
    pub(crate) bytes: Vec<u8>,
    seconds: u32,
    fraction: u32,
}

impl Capture {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, is no capture, or one of something else than Ethernet frames.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error: &io::Error| {
            Failure::not_so(format_args!("the capture {} cannot be read: {error}", path.display()))
                .remedy("see whether the file is there and may be read: ls -l")
        };
        let file = File::open(path).map_err(|error| cannot(&error))?;
        let reader = PcapReader::new(file).map_err(|error| match error {
            PcapError::IoError(error) if error.kind() != ErrorKind::UnexpectedEof => cannot(&error),
            _ => no_capture(path),
        })?;
        let header = reader.header();
        if header.datalink != DataLink::ETHERNET {
            let link = u32::from(header.datalink);
            let what = format_args!(
                "the capture {} is not of Ethernet frames: its link type is {link}, not 1",
                path.display()
            );
            return Err(Failure::not_so(what)
                .remedy("capture on an Ethernet interface, not on `any`: tcpdump -i eth0 -w A.pcap"));
        }
        Ok(Self { path: path.to_owned(), reader, header, packets: 0 })
    }

    /// The next packet; `None` at the file's end.
    ///
    /// # Errors
    /// When the file ends within a packet, or the packet was cut when it was captured.
    pub(crate) fn next(&mut self) -> Result<Option<Captured>, Failure> {
        let number = self.packets + 1;
        let Some(next) = self.reader.next_raw_packet() else { return Ok(None) };
        let packet = next.map_err(|error| broken(&self.path, number, &error))?;
        if packet.orig_len > packet.incl_len {
            let what = format_args!(
                "the capture {} has only {} of the {} bytes of packet {number}",
                self.path.display(),
                packet.incl_len,
                packet.orig_len
            );
            return Err(Failure::not_so(what).remedy("capture whole packets: tcpdump -s 0 -w A.pcap"));
        }
        self.packets = number;
        let nanoseconds = match self.header.ts_resolution {
            TsResolution::MicroSecond => u64::from(packet.ts_frac) * 1000,
            TsResolution::NanoSecond => u64::from(packet.ts_frac),
        };
        Ok(Some(Captured {
            number,
            time: Duration::from_secs(packet.ts_sec.into()) + Duration::from_nanos(nanoseconds),
            bytes: packet.data.into_owned(),
            seconds: packet.ts_sec,
            fraction: packet.ts_frac,
        }))
    }
}

fn no_capture(path: &Path) -> Failure {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_ok() && magic == PCAPNG {
        Failure::not_so(format_args!("the capture {} is in pcapng format; pcap is read here", path.display()))
            .remedy(format_args!("convert it: tcpdump -r {0} -w {0}.pcap", path.display()))
    } else {
        Failure::not_so(format_args!("{} is no capture in pcap format", path.display()))
            .remedy("make one: tcpdump -i eth0 -w A.pcap")
    }
}

fn broken(path: &Path, number: u64, error: &PcapError) -> Failure {
    let what = match error {
        PcapError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            format!("the capture {} ends within packet {number}", path.display())
        }
        PcapError::IoError(error) => format!("the capture {} cannot be read on: {error}", path.display()),
        error => format!("the capture {} is damaged at packet {number}: {error}", path.display()),
    };
    Failure::not_so(what).remedy(
        "the packets before it were replayed; capture again, or copy what is whole: tcpdump -r A.pcap -w B.pcap",
    )
}

/// A capture that is written.
pub(crate) struct Recording {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
}

impl Recording {
    /// Creates a file with the resolution of time of `source`, which it must not be.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(path: &Path, source: &Capture) -> Result<Self, Failure> {
        if same_file(path, &source.path) {
            let what = format_args!("the output {} is the input as well", path.display());
            return Err(Failure::usage(what).remedy("name another file with --out"));
        }
        let file = File::create(path).map_err(|error| unwritable(path, &error))?;
        let header = PcapHeader { snaplen: LONGEST, ..source.header };
        let writer = PcapWriter::with_header(BufWriter::new(file), header)
            .map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Appends a frame with the time of the packet that caused it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn append(&mut self, frame: &[u8], cause: &Captured) -> Result<(), Failure> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let packet = RawPcapPacket {
            ts_sec: cause.seconds,
            ts_frac: cause.fraction,
            incl_len: length,
            orig_len: length,
            data: frame.into(),
        };
        let written = self.writer.write_raw_packet(&packet);
        written.map(|_| ()).map_err(|error| unwritable(&self.path, &error))
    }

    /// Writes out what is still in memory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let buffered = self.writer.into_writer();
        buffered.into_inner().map(|_| ()).map_err(|error| unwritable(&self.path, error.error()))
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

fn unwritable(path: &Path, error: &dyn std::error::Error) -> Failure {
    let cause = error.source().unwrap_or(error);
    Failure::not_so(format_args!("{} cannot be written: {cause}", path.display()))
        .remedy("see whether its directory is there, may be written and has room")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Two packets of 3 and 2 bytes, at 1.000005 s and 2 s, or at 1.000000005 s and 2 s.
    fn file(magic: [u8; 4], link: u32) -> Vec<u8> {
        let mut bytes = magic.to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
        bytes.extend(link.to_le_bytes());
        for (time, data) in [([1_u32, 5], &[1, 2, 3][..]), ([2, 0], &[4, 5])] {
            let length = data.len() as u32;
            for field in [time[0], time[1], length, length] {
                bytes.extend(field.to_le_bytes());
            }
            bytes.extend(data);
        }
        bytes
    }

    const MICROSECONDS: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
    const NANOSECONDS: [u8; 4] = [0x4d, 0x3c, 0xb2, 0xa1];

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn refusal(bytes: &[u8]) -> String {
        let file = written(bytes);
        let mut capture = match Capture::open(file.path()) {
            Ok(capture) => capture,
            Err(failure) => return failure.to_string(),
        };
        loop {
            match capture.next() {
                Ok(Some(_)) => {}
                Ok(None) => return String::new(),
                Err(failure) => return failure.to_string(),
            }
        }
    }

    #[test]
    fn both_resolutions_of_time_are_read_and_written() {
        for (magic, nanoseconds) in [(MICROSECONDS, 5000), (NANOSECONDS, 5)] {
            let (source, copy) = (written(&file(magic, 1)), tempfile::NamedTempFile::new().unwrap());
            let mut capture = Capture::open(source.path()).unwrap();
            let mut recording = Recording::create(copy.path(), &capture).unwrap();
            let mut times = Vec::new();
            while let Some(packet) = capture.next().unwrap() {
                times.push(packet.time);
                recording.append(&packet.bytes, &packet).unwrap();
            }
            recording.finish().unwrap();
            assert_eq!(times, [Duration::new(1, nanoseconds), Duration::from_secs(2)]);
            let (source, copy) = (fs::read(source.path()).unwrap(), fs::read(copy.path()).unwrap());
            assert_eq!(
                (&copy[..16], &copy[20..]),
                (&source[..16], &source[20..]),
                "all but the longest frame"
            );
        }
    }

    #[test]
    fn a_file_that_ends_within_a_packet_is_told() {
        let whole = file(MICROSECONDS, 1);
        assert!(refusal(&whole[..whole.len() - 1]).contains("ends within packet 2"));
        assert!(refusal(&whole[..50]).contains("ends within packet 2"));
        assert_eq!(refusal(&whole), "");
    }

    #[test]
    fn a_packet_that_was_cut_is_told() {
        let mut bytes = file(MICROSECONDS, 1);
        bytes[24 + 12] = 60;
        let text = refusal(&bytes);
        assert!(text.contains("3 of the 60 bytes of packet 1") && text.contains("tcpdump -s 0"), "{text}");
    }

    #[test]
    fn what_is_no_capture_of_ethernet_frames_is_told() {
        assert!(refusal(&file(MICROSECONDS, 113)).contains("link type is 113"));
        assert!(refusal(b"version: 1\n").contains("no capture"));
        assert!(refusal(b"").contains("no capture"));
        assert!(refusal(&[&PCAPNG[..], &[0; 60]].concat()).contains("pcapng"));
    }

    #[test]
    fn the_input_is_not_written_over() {
        let file = written(&file(MICROSECONDS, 1));
        let capture = Capture::open(file.path()).unwrap();
        let failure = Recording::create(file.path(), &capture).err().unwrap();
        assert!(failure.to_string().contains("is the input as well"));
        assert!(!fs::read(file.path()).unwrap().is_empty());
    }
}
