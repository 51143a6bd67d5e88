//! What a worker counts.
//!
//! One set per worker, written by it alone and read by control at any time (`meter` says how). Conservation holds over the
//! sum of all workers whenever they are between two turns:
//!
//! `rx + from_host + originated == tx + to_host + Σ drops + absorbed + held`
//!
//! and for one worker with `handed_in` on the left and `handed_out` on the right.

use meter::{Counter, Gauge, Histogram, Histograms};
use model::{BackendId, MAX_BACKENDS, MAX_PORTS, MAX_VIRTUAL_SERVERS, PortId, VirtualServerId};

use crate::{DropReason, limit::SourceRates, persistence::Noted};

/// All counters of one worker.
pub struct WorkerMeters {
    /// By [`PortId`].
    pub ports: Box<[PortMeters]>,
    /// Packets, by [`DropReason::index`].
    pub drops: Box<[Counter]>,
    /// By [`VirtualServerId`].
    pub virtual_servers: Box<[TrafficMeters]>,
    /// By [`BackendId`].
    pub backends: Box<[TrafficMeters]>,
    /// What sources have opened in this second, for limits.
    pub source_rates: SourceRates,
    /// By [`BackendId`]: what the other workers look at when they choose.
    pub loads: Box<[LoadMeters]>,
    /// By [`VirtualServerId`]: microseconds that clients took to answer a SYN-ACK.
    pub client_round_trips: Histograms,
    /// By [`VirtualServerId`]: microseconds that backends took to answer a SYN.
    pub server_round_trips: Histograms,
    /// Which backends clients keep.
    pub persistence: Noted,
    /// Frames made here: ARP requests, neighbour solicitations, answers beyond the packet that they replace.
    pub originated_frames: Counter,
    /// Frames that were for the gateway itself.
    pub absorbed_frames: Counter,
    /// Frames that wait for a next hop.
    pub held_frames: Gauge,
    /// Frames that came from other workers.
    pub handed_in_frames: Counter,
    /// Frames that went to the workers that own their flows.
    pub handed_out_frames: Counter,
    /// L4 checksums completed on behalf of a sender on this host.
    pub completed_checksums: Counter,
    /// Packets of flows that the table had no room for, forwarded by hash (`dsr`).
    pub untracked_packets: Counter,
    /// Segments that went on without what shows the client's address (`show_client: toa`): there was no room.
    pub clients_not_shown: Counter,
    /// ICMP errors sent in place of packets that could not go on.
    pub icmp_errors: Counter,
    /// Entries in the flow table.
    pub flows: Gauge,
    /// Entries that the flow table has room for.
    pub flows_capacity: Gauge,
    /// Flows removed because they were silent too long.
    pub flows_expired: Counter,
    /// Flows without a complete handshake that made room for others in a full table.
    pub flows_evicted: Counter,
    /// Flows without a complete handshake, but those that were opened with a SYN cookie.
    pub embryonic_flows: Gauge,
    /// Whether there are so many of them that SYNs are answered with cookies: 1 or 0.
    pub cookies_engaged: Gauge,
    /// SYNs answered with a cookie.
    pub cookies_given: Counter,
    /// Cookies that came back and were true: as many flows were to be opened.
    pub cookies_accepted: Counter,
    /// Turns.
    pub polls: Counter,
    /// Turns that found nothing to do.
    pub idle_polls: Counter,
    /// Ticks spent in turns that found something to do.
    pub busy_cycles: Counter,
    /// Ticks spent in turns that found nothing to do, yielding included.
    pub idle_cycles: Counter,
    /// The snapshot that the worker runs with.
    pub generation: Gauge,
    /// From a burst's receipt to its transmission, in ticks.
    pub residence_cycles: Histogram,
}

/// Counters of one port on one worker.
#[derive(Default)]
pub struct PortMeters {
    /// Frames received.
    pub rx_frames: Counter,
    /// Bytes received.
    pub rx_bytes: Counter,
    /// Frames that the transmit queue took.
    pub tx_frames: Counter,
    /// Bytes that the transmit queue took.
    pub tx_bytes: Counter,
    /// Frames that the host twin's queue took.
    pub to_host_frames: Counter,
    /// Frames that the host twin sent.
    pub from_host_frames: Counter,
}

/// Counters of one virtual server or backend on one worker.
#[derive(Default)]
pub struct TrafficMeters {
    /// Flows opened.
    pub flows_opened: Counter,
    /// Flows ended.
    pub flows_closed: Counter,
    /// Packets from clients.
    pub packets_in: Counter,
    /// Bytes from clients, IP headers included.
    pub bytes_in: Counter,
    /// Packets to clients.
    pub packets_out: Counter,
    /// Bytes to clients, IP headers included.
    pub bytes_out: Counter,
}

/// What one worker knows of a backend that a choice may depend on.
///
/// Apart from what packets are counted in: these change only when flows come and go, so that a worker that looks at them does not
/// take lines from under the packets of another.
#[derive(Default)]
pub struct LoadMeters {
    /// Flows that are open. Kept for backends of pools whose method looks at flows.
    pub open_flows: Gauge,
    /// Microseconds from a SYN to its SYN-ACK, on average; 0: not measured. Kept for pools whose method is `fastest`.
    pub handshake_micros: Gauge,
}

/// What control has found out about backends and workers look at when they choose. Control writes, workers read.
pub struct Capacities(Box<[Gauge]>);

impl Default for Capacities {
    fn default() -> Self {
        Self(zeroed(MAX_BACKENDS))
    }
}

impl Capacities {
    /// What a backend is able to take relative to its weight, in parts of [`balance::CAPACITY_AS_WEIGHED`].
    #[must_use]
    pub fn of(&self, backend: BackendId) -> u64 {
        let known = self.0.get(backend.index()).map_or(0, Gauge::read);
        if known == 0 { balance::CAPACITY_AS_WEIGHED } else { known }
    }

    /// Notes what a backend is able to take; 0: nothing is known. For control alone.
    pub fn set(&self, backend: BackendId, capacity: u64) {
        if let Some(gauge) = self.0.get(backend.index()) {
            gauge.set(capacity);
        }
    }
}

impl TrafficMeters {
    /// Counts packets to clients (replies) or from them.
    #[inline]
    pub(crate) fn count(&self, are_replies: bool, packets: u64, bytes: u64) {
        let (all_packets, all_bytes) = if are_replies {
            (&self.packets_out, &self.bytes_out)
        } else {
            (&self.packets_in, &self.bytes_in)
        };
        all_packets.add(packets);
        all_bytes.add(bytes);
    }
}

impl WorkerMeters {
    /// All counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ports: zeroed(MAX_PORTS),
            drops: zeroed(DropReason::COUNT),
            virtual_servers: zeroed(MAX_VIRTUAL_SERVERS),
            backends: zeroed(MAX_BACKENDS),
            source_rates: SourceRates::default(),
            loads: zeroed(MAX_BACKENDS),
            client_round_trips: Histograms::new(MAX_VIRTUAL_SERVERS),
            server_round_trips: Histograms::new(MAX_VIRTUAL_SERVERS),
            persistence: Noted::default(),
            originated_frames: Counter::default(),
            absorbed_frames: Counter::default(),
            held_frames: Gauge::default(),
            handed_in_frames: Counter::default(),
            handed_out_frames: Counter::default(),
            completed_checksums: Counter::default(),
            untracked_packets: Counter::default(),
            clients_not_shown: Counter::default(),
            icmp_errors: Counter::default(),
            flows: Gauge::default(),
            flows_capacity: Gauge::default(),
            flows_expired: Counter::default(),
            flows_evicted: Counter::default(),
            embryonic_flows: Gauge::default(),
            cookies_engaged: Gauge::default(),
            cookies_given: Counter::default(),
            cookies_accepted: Counter::default(),
            polls: Counter::default(),
            idle_polls: Counter::default(),
            busy_cycles: Counter::default(),
            idle_cycles: Counter::default(),
            generation: Gauge::default(),
            residence_cycles: Histogram::default(),
        }
    }

    /// The counters of a port.
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&PortMeters> {
        self.ports.get(id.index())
    }

    /// The counters of a virtual server.
    #[must_use]
    pub fn virtual_server(&self, id: VirtualServerId) -> Option<&TrafficMeters> {
        self.virtual_servers.get(id.index())
    }

    /// The counters of a backend.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&TrafficMeters> {
        self.backends.get(id.index())
    }

    /// What a choice may depend on, of a backend.
    #[must_use]
    pub fn load(&self, id: BackendId) -> Option<&LoadMeters> {
        self.loads.get(id.index())
    }

    /// Notes how many flows a backend has, for the other workers.
    pub(crate) fn note_flows(&self, id: BackendId) {
        if let (Some(traffic), Some(load)) = (self.backend(id), self.load(id)) {
            load.open_flows.set(traffic.flows_opened.read().saturating_sub(traffic.flows_closed.read()));
        }
    }

    /// Counts packets that were dropped.
    pub fn drop_packets(&self, reason: DropReason, packets: u64) {
        if let Some(counter) = self.drops.get(reason.index()) {
            counter.add(packets);
        }
    }

    /// What stands on both sides of the conservation identity, of this worker alone.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let ports =
            |read: fn(&PortMeters) -> &Counter| self.ports.iter().map(|port| read(port).read()).sum::<u64>();
        Balance {
            entered: ports(|port| &port.rx_frames)
                + ports(|port| &port.from_host_frames)
                + self.originated_frames.read()
                + self.handed_in_frames.read(),
            left: ports(|port| &port.tx_frames)
                + ports(|port| &port.to_host_frames)
                + self.drops.iter().map(Counter::read).sum::<u64>()
                + self.absorbed_frames.read()
                + self.handed_out_frames.read(),
            held: self.held_frames.read(),
        }
    }
}

impl Default for WorkerMeters {
    fn default() -> Self {
        Self::new()
    }
}

/// The conservation identity: `entered == left + held` between two turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// Frames received, sent by the host, made here, or handed in.
    pub entered: u64,
    /// Frames transmitted, given to the host, dropped, absorbed, or handed out.
    pub left: u64,
    /// Frames that wait.
    pub held: u64,
}

impl Balance {
    /// Whether every packet is accounted for.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.entered == self.left + self.held
    }
}

fn zeroed<T: Default>(length: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(length).collect()
}
