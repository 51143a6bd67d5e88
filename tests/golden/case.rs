//! A case as it is written.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

/// Bytes in a line of a frame.
const LINE: usize = 16;
/// This many equal bytes in a row are written as one and their number.
const RUN: usize = 32;

/// Packets, what becomes of them, and what leaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(skip)]
    path: PathBuf,
    description: String,
    /// Another than the common configuration; such cases do not go through the running gateway.
    configuration: Option<String>,
    /// Another port than the first.
    #[serde(default)]
    pub(crate) port: Option<String>,
    pub(crate) packets: Vec<Packet>,
    pub(crate) counters: Counters,
}

/// A packet and what becomes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Packet {
    /// How long after the packet before it, if time matters, as in `6s` or `250ms`: timers run meanwhile.
    after: Option<String>,
    /// What leaves in that time.
    #[serde(default)]
    pub(crate) meanwhile: Vec<Frame>,
    /// What happens to backends right before, as `POOL ADDRESS up` or `POOL ADDRESS down`.
    #[serde(default)]
    health: Vec<String>,
    /// What it is, for people.
    packet: String,
    bytes: Bytes,
    /// A verdict and a port's name or a drop reason.
    pub(crate) verdict: String,
    /// What leaves.
    #[serde(default)]
    pub(crate) sends: Vec<Frame>,
}

/// A frame that leaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frame {
    /// What it is, as `decode` puts it.
    pub(crate) frame: String,
    pub(crate) bytes: Bytes,
}

/// What all packets came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Counters {
    pub(crate) received: u64,
    pub(crate) originated: u64,
    pub(crate) transmitted: u64,
    pub(crate) to_host: u64,
    pub(crate) absorbed: u64,
    pub(crate) held: u64,
    pub(crate) dropped: u64,
    pub(crate) drops: BTreeMap<String, u64>,
}

/// A frame's bytes: hexadecimal, in lines, with `00 * 1200` for 1,200 zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut bytes = Vec::new();
        for line in text.lines() {
            let (line, times) = match line.split_once('*') {
                Some((byte, times)) => {
                    (byte, times.trim().parse().map_err(|_| format!("{times} is no number"))?)
                }
                None => (line, 1),
            };
            let digits: Vec<char> = line.chars().filter(|letter| !letter.is_whitespace()).collect();
            for pair in digits.chunks(2) {
                let pair: String = pair.iter().collect();
                let byte = u8::from_str_radix(&pair, 16).map_err(|_| format!("{pair} is no byte"))?;
                bytes.extend(std::iter::repeat_n(byte, times));
            }
        }
        Ok(Self(bytes))
    }
}

/// This folder.
pub(crate) fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

impl Case {
    /// All cases, by name.
    pub(crate) fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for subject in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
            if subject.is_dir() {
                let files = fs::read_dir(subject).unwrap().map(|entry| entry.unwrap().path());
                cases.extend(files.map(Self::read));
            }
        }
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        cases
    }

    fn read(path: PathBuf) -> Self {
        let name = path.strip_prefix(folder()).unwrap().with_extension("").display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let case: Self = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, path, ..case }
    }

    /// The file of its configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        folder().join(self.configuration.as_deref().unwrap_or("gateway.yaml"))
    }

    /// Whether it is for the gateway that most cases are for.
    pub(crate) fn is_common(&self) -> bool {
        self.configuration.is_none() && self.port.is_none() && !self.takes_time()
    }

    /// Whether time passes between its packets.
    pub(crate) fn takes_time(&self) -> bool {
        self.packets.iter().any(|packet| packet.after.is_some())
    }

    /// When each packet arrives: a millisecond after the one before it, if it does not say.
    pub(crate) fn times(&self) -> Vec<Duration> {
        let mut now = Duration::ZERO;
        let mut next = |packet: &Packet| {
            now += packet.after.as_deref().map_or(Duration::from_millis(1), duration);
            now
        };
        self.packets.iter().map(&mut next).collect()
    }

    /// What happens to backends, as `replay --health` takes it.
    pub(crate) fn health(&self) -> Vec<String> {
        let times = self.times();
        let first = times.first().copied().unwrap_or_default();
        let events = self.packets.iter().zip(times).flat_map(|(packet, time)| {
            let time = time - first;
            let said = move |what: &String| format!("{}.{:03} {what}", time.as_secs(), time.subsec_millis());
            packet.health.iter().map(said)
        });
        events.collect()
    }

    /// The frames that arrive.
    pub(crate) fn packets_in(&self) -> Vec<Vec<u8>> {
        self.packets.iter().map(|packet| packet.bytes.0.clone()).collect()
    }

    /// The frames that leave.
    pub(crate) fn packets_out(&self) -> Vec<Vec<u8>> {
        let sent = self.packets.iter().flat_map(|packet| packet.meanwhile.iter().chain(&packet.sends));
        sent.map(|frame| frame.bytes.0.clone()).collect()
    }

    /// The drop reasons that it provokes.
    pub(crate) fn drops(&self) -> impl Iterator<Item = &String> {
        self.counters.drops.keys()
    }

    /// Whether the file says what this case says.
    pub(crate) fn is_as_written(&self) -> bool {
        fs::read_to_string(&self.path).unwrap() == self.text()
    }

    /// Writes the file.
    pub(crate) fn write(&self) {
        fs::write(&self.path, self.text()).unwrap();
    }

    fn text(&self) -> String {
        let mut text = format!("description: {}\n", quoted(&self.description));
        for (key, value) in [("configuration", &self.configuration), ("port", &self.port)] {
            if let Some(value) = value {
                writeln!(text, "{key}: {value}").unwrap();
            }
        }
        text += "packets:\n";
        for packet in &self.packets {
            let first = match &packet.after {
                Some(after) => format!("  - after: {after}\n{}    ", frames("meanwhile", &packet.meanwhile)),
                None => "  - ".to_owned(),
            };
            let health = match packet.health.is_empty() {
                true => String::new(),
                false => format!("health: {}\n    ", serde_json::to_string(&packet.health).unwrap()),
            };
            writeln!(text, "{first}{health}packet: {}", quoted(&packet.packet)).unwrap();
            writeln!(text, "    bytes: |\n{}", hexadecimal(&packet.bytes.0, 6)).unwrap();
            writeln!(text, "    verdict: {}", packet.verdict).unwrap();
            text += &frames("sends", &packet.sends);
        }
        text + &self.counters.text()
    }
}

impl Counters {
    fn text(&self) -> String {
        let mut text = "counters:\n".to_owned();
        for (name, value) in [
            ("received", self.received),
            ("originated", self.originated),
            ("transmitted", self.transmitted),
            ("to_host", self.to_host),
            ("absorbed", self.absorbed),
            ("held", self.held),
            ("dropped", self.dropped),
        ] {
            writeln!(text, "  {name}: {value}").unwrap();
        }
        let drops: Vec<String> =
            self.drops.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
        match drops.is_empty() {
            true => text + "  drops: {}\n",
            false => text + &format!("  drops: {{ {} }}\n", drops.join(", ")),
        }
    }
}

fn frames(key: &str, frames: &[Frame]) -> String {
    let mut text = String::new();
    if !frames.is_empty() {
        writeln!(text, "    {key}:").unwrap();
    }
    for frame in frames {
        writeln!(text, "      - frame: {}", quoted(&frame.frame)).unwrap();
        writeln!(text, "        bytes: |\n{}", hexadecimal(&frame.bytes.0, 10)).unwrap();
    }
    text
}

/// `6s` or `250ms`
fn duration(text: &str) -> Duration {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number = text.trim_end_matches(unit).parse().unwrap_or_else(|_| panic!("{text} is no time"));
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => panic!("{text} is neither in s nor in ms"),
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// Lines of sixteen bytes; long runs of one byte in a line of their own.
fn hexadecimal(bytes: &[u8], indent: usize) -> String {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|byte| *byte == first).count();
        let length = if run >= RUN {
            lines.push(format!("{first:02x} * {run}"));
            run
        } else {
            let until_run = rest.chunk_by(|one, other| one == other).take_while(|run| run.len() < RUN);
            let length = until_run.map(<[u8]>::len).sum::<usize>().min(LINE);
            lines.push(line(&rest[..length]));
            length
        };
        rest = &rest[length..];
    }
    let indent = " ".repeat(indent);
    lines.iter().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
}

fn line(bytes: &[u8]) -> String {
    let word = |word: &[u8]| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(2).map(word).collect::<Vec<_>>().join(" ")
}
