//! `tidegate replay`

use std::io::{self, BufWriter, Write};

use datapath::{DropReason, Verdict};
use model::{Millis, PortId};
use serde::Serialize;

use super::{check, print};
use crate::{
    arguments::{Replay, ReplayFormat},
    failure::Failure,
    replay::{Capture, Outcome, Recording, Rehearsal, Totals, summary},
    table::{Align, Table, count},
};

/// Sends the packets of a capture through the datapath, and records what comes out.
pub(crate) fn replay(arguments: &Replay) -> Result<(), Failure> {
    let configuration = check::read(&arguments.config)?;
    let flows = configuration.workers.flows;
    let mut rehearsal = Rehearsal::try_new(configuration, flows)?;
    let port = rehearsal.port(arguments.port.as_deref())?;
    let mut capture = Capture::open(&arguments.input)?;
    let mut recording = Recording::create(&arguments.out, &capture)?;
    let mut list = (arguments.output == ReplayFormat::Json).then(List::begin).transpose()?;
    let (mut began, mut now) = (None, Millis(0));
    let mut events = arguments.health.clone();
    events.sort_by_key(|event| event.at);
    let mut events = events.into_iter().peekable();
    while let Some(packet) = capture.next()? {
        let since = packet.time.saturating_sub(*began.get_or_insert(packet.time));
        // Time does not go back, whatever a capture says.
        let before = now;
        now = now.max(Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
        let mut meanwhile = Vec::new();
        let mut pass_time = |rehearsal: &mut Rehearsal, from, to| {
            if arguments.timers {
                meanwhile.append(&mut rehearsal.pass_time(from, to));
            }
        };
        let mut reached = before;
        while let Some(event) = events.next_if(|event| event.at <= now) {
            pass_time(&mut rehearsal, reached, event.at);
            rehearsal.happen(&event)?;
            reached = reached.max(event.at);
        }
        pass_time(&mut rehearsal, reached, now);
        rehearsal.advance(now);
        let outcome = rehearsal.arrive(port, packet.bytes.clone(), now);
        for (_, frame) in meanwhile.iter().chain(&outcome.sent) {
            recording.append(frame, &packet)?;
        }
        if let Some(list) = &mut list {
            list.append(&Row::of(packet.number, &packet.bytes, (&meanwhile, &outcome), &rehearsal))?;
        }
    }
    recording.finish()?;
    let totals = Totals::of(rehearsal.meters());
    match list {
        Some(list) => list.end(&totals),
        None => print(&table(&totals)),
    }
}

/// What became of one packet.
#[derive(Serialize)]
struct Row {
    number: u64,
    /// With `--timers`: what the gateway has said by itself before it came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    meanwhile: Vec<Sent>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    summary: String,
    sent: Vec<Sent>,
}

/// A frame that left because of it.
#[derive(Serialize)]
struct Sent {
    port: String,
    summary: String,
}

impl Row {
    fn of(
        number: u64,
        bytes: &[u8],
        (meanwhile, outcome): (&[(PortId, Vec<u8>)], &Outcome),
        rehearsal: &Rehearsal,
    ) -> Self {
        let (port, reason) = match outcome.verdict {
            Verdict::Transmit(port) | Verdict::ToHost(port) => (Some(port), None),
            Verdict::Drop(reason) => (None, Some(reason)),
            Verdict::Absorbed | Verdict::Held | Verdict::HandOver(_) => (None, None),
        };
        let sent = |(port, frame): &(PortId, Vec<u8>)| Sent {
            port: rehearsal.port_name(*port).to_owned(),
            summary: summary(frame).text,
        };
        Self {
            number,
            meanwhile: meanwhile.iter().map(sent).collect(),
            verdict: word(outcome.verdict),
            port: port.map(|port| rehearsal.port_name(port).to_owned()),
            reason: reason.map(DropReason::name),
            virtual_server: outcome.virtual_server.clone(),
            backend: outcome.backend.as_ref().map(|(_, address)| address.to_string()),
            summary: summary(bytes).text,
            sent: outcome.sent.iter().map(sent).collect(),
        }
    }
}

/// A verdict in a word.
pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Transmit(_) => "transmit",
        Verdict::ToHost(_) => "to_host",
        Verdict::Drop(_) => "drop",
        Verdict::Absorbed => "absorbed",
        Verdict::Held => "held",
        Verdict::HandOver(_) => "hand_over",
    }
}

/// The object with all packets and the totals, written as it grows: a capture may have many packets.
struct List {
    out: BufWriter<io::Stdout>,
    is_empty: bool,
}

impl List {
    fn begin() -> Result<Self, Failure> {
        let mut list = Self { out: BufWriter::new(io::stdout()), is_empty: true };
        list.write("{\"packets\":[")?;
        Ok(list)
    }

    fn append(&mut self, row: &Row) -> Result<(), Failure> {
        let text = serde_json::to_string(row).map_err(Failure::unprintable)?;
        let separator = if std::mem::take(&mut self.is_empty) { "\n" } else { ",\n" };
        self.write(separator)?;
        self.write(&text)
    }

    fn end(mut self, totals: &Totals) -> Result<(), Failure> {
        let totals = serde_json::to_string(totals).map_err(Failure::unprintable)?;
        self.write(&format!("\n],\n\"totals\":{totals}}}\n"))?;
        self.out.flush().or_else(is_gone)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).or_else(is_gone)
    }
}

/// A reader that has gone is not an error: the capture is still written.
fn is_gone(error: io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(Failure::unprintable(error)) }
}

fn table(totals: &Totals) -> String {
    let mut whole = Table::new(&[("PACKETS", Align::Right), ("WHAT BECAME OF THEM", Align::Left)]);
    let mut line = |packets: u64, what: &str| whole.push(vec![count(packets), what.to_owned()]);
    line(totals.received, "received");
    line(totals.originated, "made here, to ask for MAC addresses");
    line(totals.transmitted, "transmitted");
    for (packets, what) in [
        (totals.to_host, "to the host"),
        (totals.absorbed, "absorbed: answers to the gateway's own questions"),
        (totals.held, "held: their next hop's MAC address is not known"),
    ] {
        if packets > 0 {
            line(packets, what);
        }
    }
    for reason in DropReason::all() {
        if let Some(&packets) = totals.drops.get(&reason.name()) {
            line(packets, &format!("dropped, {reason}: {}", reason.description()));
        }
    }
    whole.render()
}
