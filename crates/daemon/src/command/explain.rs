//! `tidegate explain`

use std::net::{IpAddr, SocketAddr};

use datapath::{DropReason, Verdict};
use flow::{Flow, FlowKey};
use model::{Address, MacAddress, Method, Millis, Mode, PortId, Profile, ShowClient};
use serde::Serialize;

use super::{check, print, replay::word};
use crate::{
    arguments::{Explain, ExplainFormat},
    failure::Failure,
    replay::{Notation, Outcome, Rehearsal, compose, remedy, summary},
};

/// Who sends the packet: nobody's MAC address.
const SENDER: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0xff]);
/// Flows there is room for: the packet's own, and then some, since a table has a smallest size.
const FLOWS: usize = 64;

/// Sends one packet through the datapath and tells what becomes of it, and why.
pub(crate) fn explain(arguments: &Explain) -> Result<(), Failure> {
    let mut rehearsal = Rehearsal::try_new(check::read(&arguments.config)?, FLOWS)?;
    let port = rehearsal.port(arguments.port.as_deref())?;
    let frame = frame(&arguments.packet, &rehearsal, port)?;
    let outcome = rehearsal.arrive(port, frame.clone(), Millis(0));
    let explanation = Explanation::of(&frame, port, &outcome, &rehearsal);
    match arguments.output {
        ExplainFormat::Table => print(&explanation.text())?,
        ExplainFormat::Json => {
            let text = serde_json::to_string_pretty(&explanation).map_err(Failure::unprintable)?;
            print(&format!("{text}\n"))?;
        }
    }
    if matches!(outcome.verdict, Verdict::Drop(_)) { Err(Failure::told()) } else { Ok(()) }
}

fn frame(packet: &Notation, rehearsal: &Rehearsal, port: PortId) -> Result<Vec<u8>, Failure> {
    let mac = rehearsal.snapshot().port(port).map(|port| port.mac);
    mac.and_then(|mac| compose(packet, SENDER, mac)).ok_or_else(|| {
        Failure::usage("the packet's addresses are of different families")
            .remedy("write both as IPv4, or both as IPv6")
    })
}

/// What becomes of a packet, and why.
#[derive(Serialize)]
struct Explanation {
    packet: String,
    received_by: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<Dropped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_server: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrite: Option<Rewrite>,
    /// What it leaves within, in `ipip` and `gue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    way: Option<Way>,
}

/// Why it is dropped.
#[derive(Serialize)]
struct Dropped {
    reason: String,
    meaning: &'static str,
    remedy: &'static str,
}

/// The virtual server that it is for.
#[derive(Serialize)]
struct Service {
    name: String,
    mode: Mode,
    profile: String,
    pool: String,
    /// How its backends are shown who the client is.
    show_client: ShowClient,
}

/// How its backend was chosen.
#[derive(Serialize)]
struct Choice {
    backend: SocketAddr,
    method: Method,
    /// Where the flow's hash alone decides.
    #[serde(flatten)]
    slot: Option<Slot>,
}

/// The place in a pool's table that a hash names.
#[derive(Serialize)]
struct Slot {
    slot: u64,
    slots: u64,
}

/// What it leaves with instead of what it came with.
#[derive(Serialize)]
struct Rewrite {
    source: Change,
    destination: Change,
}

#[derive(Serialize)]
struct Change {
    from: String,
    to: String,
}

/// How it leaves.
#[derive(Serialize)]
struct Way {
    port: String,
    next_hops: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
}

impl Explanation {
    fn of(frame: &[u8], port: PortId, outcome: &Outcome, rehearsal: &Rehearsal) -> Self {
        let packet = summary(frame);
        let flow = outcome.flow.as_ref();
        Self {
            received_by: rehearsal.port_name(port).to_owned(),
            verdict: word(outcome.verdict),
            drop: match outcome.verdict {
                Verdict::Drop(reason) => Some(Dropped::of(reason)),
                _ => None,
            },
            answer: answer(outcome),
            virtual_server: outcome.virtual_server.as_deref().and_then(|name| Service::of(name, rehearsal)),
            choice: outcome.backend.as_ref().and_then(|(_, backend)| Choice::of(*backend, flow?, rehearsal)),
            rewrite: flow.map(Rewrite::of),
            within: flow.filter(|flow| flow.mode.is_tunnel()).and_then(|_| within(outcome)),
            way: flow.and_then(|flow| Way::of(flow, outcome, rehearsal)),
            packet: packet.text,
        }
    }

    /// For people.
    fn text(&self) -> String {
        let mut lines =
            vec![format!("{}, received by port {}", self.packet, self.received_by), String::new()];
        let mut line = |name: &str, text: String| lines.push(format!("  {name:<15} {text}"));
        line("verdict", self.verdict_in_words());
        if let Some(drop) = &self.drop {
            line("why", drop.meaning.to_owned());
            line("what to do", drop.remedy.to_owned());
        }
        if let Some(server) = &self.virtual_server {
            line("virtual server", server.text());
            line("pool", server.pool.clone());
        }
        if let Some(choice) = &self.choice {
            line("backend", choice.text());
        }
        if let Some(rewrite) = &self.rewrite {
            line("source", rewrite.source.text());
            line("destination", rewrite.destination.text());
        }
        if let Some(within) = &self.within {
            line("within", within.clone());
        }
        if let Some(way) = &self.way {
            line("next hop", way.text());
            line("leaves by port", way.port.clone());
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn verdict_in_words(&self) -> String {
        match (&self.drop, &self.answer) {
            (Some(drop), _) => format!("dropped: {}", drop.reason),
            (_, Some(answer)) => format!("answered by the gateway itself: {answer}"),
            _ => match self.verdict {
                "transmit" => "forwarded".to_owned(),
                "held" => "forwarded as soon as the next hop says its MAC address".to_owned(),
                "to_host" => "passed to the host".to_owned(),
                other => other.to_owned(),
            },
        }
    }
}

/// What is sent back for a packet that belongs to no flow.
fn answer(outcome: &Outcome) -> Option<String> {
    let is_answer = matches!(outcome.verdict, Verdict::Transmit(_)) && outcome.flow.is_none();
    let (_, frame) = outcome.sent.first().filter(|_| is_answer)?;
    Some(summary(frame).text)
}

/// The outer packet of a frame that was sent.
fn within(outcome: &Outcome) -> Option<String> {
    outcome.sent.first().map(|(_, frame)| summary(frame).text)
}

/// A mode as the configuration writes it.
const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Nat => "nat",
        Mode::FullNat => "full_nat",
        Mode::Dsr => "dsr",
        Mode::Ipip => "ipip",
        Mode::Gue => "gue",
    }
}

impl Dropped {
    fn of(reason: DropReason) -> Self {
        Self { reason: reason.name(), meaning: reason.description(), remedy: remedy(reason) }
    }
}

impl Service {
    fn of(name: &str, rehearsal: &Rehearsal) -> Option<Self> {
        let gateway = &rehearsal.configuration().gateway;
        let server = gateway.virtual_servers.iter().find(|server| server.name == name)?;
        let Profile { name: profile, .. } = server.profile.clone();
        let pool = gateway.pools.get(server.pool.index())?.name.clone();
        let show_client = server.show_client;
        Some(Self { name: name.to_owned(), mode: server.mode, profile, pool, show_client })
    }

    fn text(&self) -> String {
        let Self { name, mode: how, profile, show_client, .. } = self;
        let shown = match show_client {
            ShowClient::None => "",
            ShowClient::ProxyV2 => ", show_client proxy_v2",
            ShowClient::Toa => ", show_client toa",
        };
        format!("{name}, mode {}, profile {profile}{shown}", mode(*how))
    }
}

impl Choice {
    fn of(backend: SocketAddr, flow: &Flow, rehearsal: &Rehearsal) -> Option<Self> {
        let snapshot = rehearsal.snapshot();
        let pool = snapshot.virtual_server(flow.virtual_server)?.pool;
        let method = rehearsal.configuration().gateway.pools.get(pool.index())?.method;
        let slots = snapshot.pool(pool)?.slots.len() as u64;
        // The low bits choose, as `balance::choose` says.
        let slot = snapshot.hash(&flow.client).checked_rem(slots);
        Some(Self { backend, method, slot: slot.map(|slot| Slot { slot, slots }) })
    }

    fn text(&self) -> String {
        let Self { backend, method, slot } = self;
        let how = match (method, slot) {
            (_, Some(Slot { slot, slots })) => format!("by hash slot {slot} of {slots}"),
            (Method::SourceHash, _) => "by the hash of the client's address".to_owned(),
            (Method::RoundRobin | Method::WeightedRoundRobin, _) => "as the first in turn".to_owned(),
            _ => "as long as no backend has flows: others have their turn when it has some".to_owned(),
        };
        format!("{backend} {how}")
    }
}

impl Rewrite {
    fn of(flow: &Flow) -> Self {
        let (old, new) = (flow.client, to_backend(flow));
        let socket = |address: Address, port: u16| match port {
            0 => IpAddr::from(address).to_string(),
            port => SocketAddr::new(address.into(), port).to_string(),
        };
        Self {
            source: Change {
                from: socket(old.source, old.source_port),
                to: socket(new.source, new.source_port),
            },
            destination: Change {
                from: socket(old.destination, old.destination_port),
                to: socket(new.destination, new.destination_port),
            },
        }
    }
}

/// What a packet carries behind the gateway.
fn to_backend(flow: &Flow) -> FlowKey {
    if flow.mode.is_direct() { flow.client } else { flow.reply.reversed() }
}

impl Change {
    fn text(&self) -> String {
        if self.from == self.to {
            format!("{} (unchanged)", self.from)
        } else {
            format!("{} → {}", self.from, self.to)
        }
    }
}

impl Way {
    fn of(flow: &Flow, outcome: &Outcome, rehearsal: &Rehearsal) -> Option<Self> {
        let snapshot = rehearsal.snapshot();
        let backend = snapshot.backend(flow.backend)?;
        let route = snapshot.routes.route(backend.route?)?;
        let hops = if route.via.is_empty() { vec![backend.address] } else { route.via.clone() };
        let is_sent = matches!(outcome.verdict, Verdict::Transmit(_));
        let destination = outcome.sent.first().filter(|_| is_sent).and_then(|(_, frame)| frame.first_chunk());
        Some(Self {
            port: rehearsal.port_name(route.port).to_owned(),
            next_hops: hops.into_iter().map(IpAddr::from).collect(),
            mac: destination.map(|mac| MacAddress(*mac).to_string()),
        })
    }

    fn text(&self) -> String {
        let hops: Vec<String> = self.next_hops.iter().map(IpAddr::to_string).collect();
        let one_of = if hops.len() > 1 { "one of " } else { "" };
        let mac = self
            .mac
            .as_ref()
            .map_or_else(|| "its MAC address is asked for".to_owned(), |mac| format!("at {mac}"));
        format!("{one_of}{}, {mac}", hops.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = r#"
version: 1
control: { seed: "00000000000000000000000000000001" }
ports:
  - name: uplink
    device: net_null0
    addresses: [192.0.2.2/24, "2001:db8::2/64"]
    gateway: [192.0.2.1]
    neighbours: [{ address: 192.0.2.11, mac: "02:00:00:00:00:11" }]
pools:
  - { name: near, backends: [{ address: "192.0.2.11:9000" }] }
  - { name: far, backends: [{ address: "10.1.0.11:9000" }] }
virtual_servers:
  - { name: s3, address: 198.51.100.10, port: 443, protocol: tcp, mode: full_nat, pool: near }
  - { name: across, address: "2001:db8:100::10", port: 443, protocol: tcp, mode: full_nat, show_client: proxy_v2, pool: near }
  - { name: logs, address: 198.51.100.10, port: 514, protocol: udp, mode: nat, pool: far }
  - { name: tunnels, address: 198.51.100.128/25, port: 0, protocol: any, mode: nat, pool: near }
"#;

    fn explained(packet: &str) -> (Explanation, String) {
        let configuration =
            config::parse(CONFIGURATION, "test").unwrap_or_else(|wrong| panic!("{}", wrong.render(false)));
        let mut rehearsal = Rehearsal::try_new(configuration, FLOWS).unwrap();
        let frame = frame(&packet.parse().unwrap(), &rehearsal, PortId(0)).unwrap();
        let outcome = rehearsal.arrive(PortId(0), frame.clone(), Millis(0));
        let explanation = Explanation::of(&frame, PortId(0), &outcome, &rehearsal);
        let text = explanation.text();
        (explanation, text)
    }

    #[test]
    fn a_forwarded_packet_is_explained_from_virtual_server_to_next_hop() {
        let (explanation, text) = explained("tcp 203.0.113.7:40001 > 198.51.100.10:443 syn");
        for part in [
            "forwarded",
            "s3, mode full_nat, profile default",
            "192.0.2.11:9000 by hash slot",
            "203.0.113.7:40001 → 192.0.2.2:",
            "198.51.100.10:443 → 192.0.2.11:9000",
            "192.0.2.11, at 02:00:00:00:00:11",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let choice = explanation.choice.unwrap();
        let slot = choice.slot.as_ref().unwrap();
        assert!(slot.slot < slot.slots && slot.slots == 128);
    }

    #[test]
    fn a_packet_that_becomes_one_of_the_other_family_is_explained_with_both() {
        let (_, text) = explained("tcp [2001:db8:7::7]:40001 > [2001:db8:100::10]:443 syn");
        for part in [
            "across, mode full_nat, profile default, show_client proxy_v2",
            "[2001:db8:7::7]:40001 → 192.0.2.2:",
            "[2001:db8:100::10]:443 → 192.0.2.11:9000",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_next_hop_that_has_to_be_asked_is_told() {
        let (explanation, text) = explained("udp 203.0.113.7:40001 > 198.51.100.10:514");
        assert_eq!(explanation.verdict, "held");
        assert!(text.contains("192.0.2.1, its MAC address is asked for"), "{text}");
        assert!(text.contains("203.0.113.7:40001 (unchanged)"), "{text}");
    }

    #[test]
    fn a_packet_without_ports_is_explained_by_its_addresses() {
        let (explanation, text) = explained("esp 203.0.113.7 > 198.51.100.130");
        for part in [
            "esp 203.0.113.7 > 198.51.100.130, received",
            "forwarded",
            "tunnels, mode nat",
            "203.0.113.7 (unchanged)",
            "198.51.100.130 → 192.0.2.11\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let slot = explanation.choice.unwrap().slot.unwrap().slot;
        let (other, _) = explained("gre 203.0.113.7 > 198.51.100.130");
        assert_eq!(other.choice.unwrap().slot.unwrap().slot, slot, "by the addresses alone");
        let (_, text) = explained("tcp 203.0.113.7:40001 > 198.51.100.130:8080 syn");
        assert!(text.contains("198.51.100.130:8080 → 192.0.2.11:8080"), "{text}");
    }

    #[test]
    fn what_nat_cannot_translate_is_explained_with_what_to_do() {
        let (explanation, text) = explained("ah 203.0.113.7 > 198.51.100.130");
        assert_eq!(explanation.drop.unwrap().reason, "protocol_not_translated");
        assert!(text.contains("`dsr`") && text.contains("tunnels"), "{text}");
    }

    #[test]
    fn a_dropped_packet_is_explained_with_what_to_do() {
        let (explanation, text) = explained("tcp 203.0.113.7:40001 > 198.51.100.10:443 ack");
        assert_eq!(explanation.drop.unwrap().reason, "no_flow");
        assert!(text.contains("loose_initiation") && text.contains("s3"), "{text}");
    }

    #[test]
    fn an_echo_request_is_answered() {
        let (_, text) = explained("icmp 203.0.113.7 > 198.51.100.10");
        assert!(
            text.contains("answered by the gateway itself: icmp 198.51.100.10 > 203.0.113.7 echo reply"),
            "{text}"
        );
    }
}
