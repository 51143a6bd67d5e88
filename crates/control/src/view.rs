//! The rows of the API. The command line reads them with the same types.
//!
//! Counts are since the start of the gateway, or since the thing was configured; `in` is from clients, `out` to them.

use std::net::{IpAddr, SocketAddr};

use datapath::FlowStage;
use model::{AdminState, Method, Mode, Protocol};
use serde::{Deserialize, Serialize};

pub use crate::health::Condition;

/// What went through a virtual server or to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Flows that are open.
    pub flows: u64,
    /// Flows that were opened.
    pub flows_opened: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, IP headers included.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients, IP headers included.
    pub bytes_out: u64,
}

/// A row of `/v1/virtual-servers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualServer {
    /// Its name.
    pub name: String,
    /// The address clients send to, or the first of them.
    pub address: IpAddr,
    /// The leading bits that all addresses share which clients send to: 32 or 128 if it is one.
    pub length: u8,
    /// The port clients send to; 0: any.
    pub port: u16,
    /// The protocol clients speak, or any.
    pub protocol: Protocol,
    /// How packets reach a backend.
    pub mode: Mode,
    /// The name of its pool.
    pub pool: String,
    /// Whether any backend takes new flows.
    pub available: bool,
    /// How long its clients take to answer the SYN-ACK; `None`: it is not measured.
    pub rtt_from_client: Option<RoundTrips>,
    /// How long its backends take to answer the SYN; `None`: it is not measured.
    pub rtt_from_server: Option<RoundTrips>,
    /// What went through it.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Round trips of handshakes, each known to a sixteenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// How many were measured.
    pub count: u64,
    /// Microseconds that half of them did not exceed.
    pub p50_us: u64,
    /// Microseconds that 90 of 100 did not exceed.
    pub p90_us: u64,
    /// Microseconds that 99 of 100 did not exceed.
    pub p99_us: u64,
}

/// A row of `/v1/pools`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How a backend is chosen.
    pub method: Method,
    /// How many backends it has.
    pub backends: u64,
    /// How many of them are up.
    pub up: u64,
    /// Whether any of them takes new flows.
    pub available: bool,
    /// Flows that are open.
    pub flows: u64,
}

/// A row of `/v1/backends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The name of its pool.
    pub pool: String,
    /// Its address and port.
    pub address: SocketAddr,
    /// Its share of new flows relative to the others of its pool.
    pub weight: u16,
    /// What the operator wants of it.
    pub state: AdminState,
    /// What its monitors say.
    pub health: Condition,
    /// Why it is down.
    pub cause: Option<String>,
    /// `full_nat`: the source ports by which it is reached; 0 in the other modes.
    pub source_ports: u64,
    /// How many of a hundred of them are in use, on the worker that has the most: each has its share.
    pub source_ports_used_percent: u64,
    /// What went to it and came from it.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// A row of `/v1/workers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its number.
    pub worker: u8,
    /// The core that it runs on.
    pub lcore: u32,
    /// The snapshot that it runs with.
    pub generation: u64,
    /// The share of its time since the start in which it had something to do, 0 to 100.
    pub busy_percent: f64,
    /// Turns.
    pub polls: u64,
    /// Turns that found nothing to do.
    pub idle_polls: u64,
    /// Ticks spent in turns that found something to do.
    pub busy_cycles: u64,
    /// Ticks spent in turns that found nothing to do.
    pub idle_cycles: u64,
    /// Entries in its flow table.
    pub flows: u64,
    /// Entries that its flow table has room for.
    pub flows_capacity: u64,
    /// Flows removed because they were silent too long.
    pub flows_expired: u64,
    /// Flows without a complete handshake that made room for others in a full table.
    pub flows_evicted: u64,
    /// Flows without a complete handshake, but those that were opened with a SYN cookie.
    pub embryonic_flows: u64,
    /// Whether there are so many of them that SYNs are answered with cookies, where a profile says `auto`.
    pub cookies_engaged: bool,
    /// SYNs answered with a cookie.
    pub cookies_given: u64,
    /// Cookies that came back and were true.
    pub cookies_accepted: u64,
    /// Frames that came from other workers.
    pub handed_in: u64,
    /// Frames that went to the workers that own their flows.
    pub handed_out: u64,
    /// Frames made here.
    pub originated: u64,
    /// Frames that were for the gateway itself.
    pub absorbed: u64,
    /// Frames that wait for a next hop.
    pub held: u64,
    /// L4 checksums completed on behalf of a sender on this host.
    pub completed_checksums: u64,
    /// Packets forwarded by hash because the flow table was full.
    pub untracked_packets: u64,
    /// Segments that went on without what shows the client's address (`show_client: toa`), for want of room.
    pub clients_not_shown: u64,
    /// ICMP errors sent in place of packets that could not go on.
    pub icmp_errors: u64,
    /// Microseconds from receipt to transmission that half of the bursts did not exceed.
    pub residence_p50_us: f64,
    /// Microseconds from receipt to transmission that 99 of 100 bursts did not exceed.
    pub residence_p99_us: f64,
}

/// A row of `/v1/ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its device.
    pub device: String,
    /// Its Ethernet address.
    pub mac: String,
    /// Bytes of the largest IP packet that leaves.
    pub mtu: u16,
    /// What its device does of its own, where `offloads` is `auto`.
    pub offloads: Vec<String>,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that went to the host twin.
    pub to_host_frames: u64,
    /// Frames that the host twin sent.
    pub from_host_frames: u64,
}

/// A row of `/v1/drops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The reason's name.
    pub reason: String,
    /// Packets dropped for it.
    pub packets: u64,
    /// What it means.
    pub description: String,
}

/// `/v1/flows`: as many flows as the request's `limit` allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// How many there are, as of the same moment but for the flows that began or ended meanwhile.
    pub total: u64,
    /// How many of them follow.
    pub shown: u64,
    /// Those.
    pub flows: Vec<Flow>,
}

/// A row of `/v1/flows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The worker that owns it.
    pub worker: u8,
    /// `tcp`, `udp`, the name of another protocol (`esp`, `gre`, `sctp`, …), or its number.
    pub protocol: String,
    /// The client; the port is 0 where there are no ports.
    pub client: SocketAddr,
    /// What the client sends to.
    pub service: SocketAddr,
    /// What the backend sees as the source.
    pub source: SocketAddr,
    /// The backend; `None` when it was removed.
    pub backend: Option<SocketAddr>,
    /// The backend's pool; `None` when the backend was removed.
    pub pool: Option<String>,
    /// The virtual server; `None` when it was removed.
    pub virtual_server: Option<String>,
    /// How its packets reach the backend.
    pub mode: Mode,
    /// How far it has come.
    pub state: FlowStage,
    /// Milliseconds since its last packet.
    pub idle_ms: u32,
    /// Milliseconds since its first packet.
    pub age_ms: u32,
}

/// `/v1/generation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The snapshot that was published last.
    pub generation: u64,
    /// The snapshot that all workers have reached.
    pub acknowledged: u64,
    /// Milliseconds since the publication.
    pub age_ms: u64,
}

/// `/v1/balance`: whether every packet is accounted for. Exact while no packet is in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The sum over all workers.
    #[serde(flatten)]
    pub total: Account,
    /// One by one.
    pub workers: Vec<Account>,
}

/// Both sides of the conservation identity: `entered == left + held`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Frames received, sent by the host, made here, or handed in.
    pub entered: u64,
    /// Frames transmitted, given to the host, dropped, absorbed, or handed out.
    pub left: u64,
    /// Frames that wait.
    pub held: u64,
    /// Whether they agree.
    pub holds: bool,
}

/// The answer to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The snapshot that is in force.
    pub generation: u64,
    /// Whether all workers run with it.
    pub acknowledged: bool,
    /// What changed, a line each; none when the file says what was in force already.
    pub changes: Vec<String>,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong, for a person; several lines when it is the configuration.
    pub error: String,
}
