//! What virtual servers and backends may take: open flows, new flows a second, bandwidth.
//!
//! Limits hold for all workers together, and nobody writes what another one writes: each worker counts in its own meters, and what all of them
//! have counted is added up when a flow is to be opened, or a packet to be passed on whose flow has a bandwidth (decision 21).
//! So a limit is exact but for what the workers do at the same moment, a burst each.
//!
//! Flows of what has a bandwidth are never steady (`track`): each of their packets comes by here. No other flow's does.

mod bucket;
mod host;
mod source;

use flow::{FlowKey, Hot, Side};
use model::{BackendId, Limits, MAX_BACKENDS, MAX_VIRTUAL_SERVERS, Millis, VirtualServerId};

pub(crate) use self::host::Way as HostWay;
pub use self::source::SourceRates;
use self::{bucket::Bucket, host::Hosts};
use crate::{
    Colleagues, DropReason, Snapshot,
    meters::{TrafficMeters, WorkerMeters},
    snapshot::{Backend, VirtualServer},
};

/// Virtual servers, and as many backends, whose buckets are looked at in one housekeeping.
const RENEWED: usize = 16;
/// Bits that may go at once, at least: some frames.
const LEAST_BITS: u64 = 96_000;
/// The part of a second whose bits may go at once.
const BITS_AT_ONCE: u64 = 20;

/// What one worker knows of what is limited.
pub(crate) struct Limiter {
    colleagues: Colleagues,
    servers: Box<[Buckets]>,
    backends: Box<[Buckets]>,
    hosts: Hosts,
    /// The last virtual server and backend that were looked at.
    looked_at: [usize; 2],
}

/// The buckets of a virtual server or backend.
#[derive(Clone, Copy, Default)]
struct Buckets {
    flows: Bucket,
    bits_from_client: Bucket,
    bits_from_backend: Bucket,
}

/// What of a limit is used up.
enum UsedUp {
    Connections,
    Rate,
}

/// Whose limits they are.
#[derive(Clone, Copy)]
enum Subject {
    Server(VirtualServerId),
    Backend(BackendId),
}

impl Subject {
    fn meters(self, worker: &WorkerMeters) -> Option<&TrafficMeters> {
        match self {
            Self::Server(id) => worker.virtual_server(id),
            Self::Backend(id) => worker.backend(id),
        }
    }
}

impl Colleagues {
    /// What all workers have counted.
    fn sum(&self, subject: Subject, read: fn(&TrafficMeters) -> u64) -> u64 {
        let meters = self.workers.iter().filter_map(|worker| subject.meters(worker));
        meters.map(read).fold(0, u64::wrapping_add)
    }
}

impl Limiter {
    /// Of a worker among its colleagues, itself included.
    pub(crate) fn new(colleagues: Colleagues) -> Self {
        let buckets = |count| vec![Buckets::default(); count].into_boxed_slice();
        let (servers, backends) = (buckets(MAX_VIRTUAL_SERVERS), buckets(MAX_BACKENDS));
        Self { colleagues, servers, backends, hosts: Hosts::default(), looked_at: [0; 2] }
    }

    fn buckets(&mut self, subject: Subject) -> Option<(&mut Buckets, &Colleagues)> {
        let buckets = match subject {
            Subject::Server(id) => self.servers.get_mut(id.index()),
            Subject::Backend(id) => self.backends.get_mut(id.index()),
        };
        buckets.map(|buckets| (buckets, &self.colleagues))
    }

    /// Whether there may be one more flow.
    fn takes_flow(&mut self, subject: Subject, limits: &Limits, now: Millis) -> Result<(), UsedUp> {
        let Some((buckets, colleagues)) = self.buckets(subject) else { return Ok(()) };
        takes_flow((&mut buckets.flows, colleagues), subject, limits, now)
    }

    /// Whether a packet from this side may pass.
    fn takes_packet(&mut self, subject: Subject, limits: &Limits, side: Side, now: Millis) -> bool {
        let rate = limits.bandwidth;
        let Some((buckets, colleagues)) = self.buckets(subject).filter(|_| rate != 0) else { return true };
        let (bucket, bytes) = match side {
            Side::Client => {
                (&mut buckets.bits_from_client, colleagues.sum(subject, |meters| meters.bytes_in.read()))
            }
            Side::Backend => {
                (&mut buckets.bits_from_backend, colleagues.sum(subject, |meters| meters.bytes_out.read()))
            }
        };
        bucket.is_left(bytes.wrapping_mul(8), (rate, (rate / BITS_AT_ONCE).max(LEAST_BITS)), now)
    }

    /// Refuses the first packet of a flow that a virtual server may not have.
    pub(crate) fn check_server(
        &mut self,
        (id, limits): (VirtualServerId, &Limits),
        source: impl FnOnce() -> u64,
        now: Millis,
    ) -> Result<(), DropReason> {
        let subject = Subject::Server(id);
        self.takes_flow(subject, limits, now).map_err(|used_up| match used_up {
            UsedUp::Connections => DropReason::ConnectionLimit,
            UsedUp::Rate => DropReason::ConnectionRateLimit,
        })?;
        if limits.new_per_second_per_source != 0 {
            let source = source();
            let rates = self.colleagues.workers.iter().map(|worker| worker.source_rates.read(source, now));
            if rates.sum::<u32>() >= limits.new_per_second_per_source {
                return Err(DropReason::SourceRateLimit);
            }
        }
        if self.takes_packet(subject, limits, Side::Client, now) {
            Ok(())
        } else {
            Err(DropReason::BandwidthLimit)
        }
    }

    /// Whether a backend has as many flows as it may, or has got as many in a second.
    pub(crate) fn is_full(&self, (id, backend): (BackendId, &Backend), now: Millis) -> bool {
        let subject = Subject::Backend(id);
        let Some(buckets) = self.backends.get(id.index()).filter(|_| !backend.limits.is_none()) else {
            return false;
        };
        // Only looked at: the bucket stays as it is.
        takes_flow((&mut { buckets.flows }, &self.colleagues), subject, &backend.limits, now).is_err()
    }

    /// Refuses the first packet of a flow for which a backend has no room.
    pub(crate) fn check_backend(
        &mut self,
        (id, backend): (BackendId, &Backend),
        now: Millis,
    ) -> Result<(), DropReason> {
        let (subject, limits) = (Subject::Backend(id), &backend.limits);
        if limits.is_none() {
            return Ok(());
        }
        self.takes_flow(subject, limits, now).map_err(|_| DropReason::BackendLimit)?;
        if self.takes_packet(subject, limits, Side::Client, now) {
            Ok(())
        } else {
            Err(DropReason::BackendBandwidthLimit)
        }
    }

    /// Refuses a packet of an open flow for which no bandwidth is left.
    pub(crate) fn check_bandwidth(
        &mut self,
        snapshot: &Snapshot,
        flow: &Hot,
        side: Side,
        now: Millis,
    ) -> Result<(), DropReason> {
        let (server, backend) = (flow.virtual_server(), flow.backend);
        let limits = snapshot.virtual_server(server).map_or(Limits::NONE, |server| server.limits);
        if !self.takes_packet(Subject::Server(server), &limits, side, now) {
            return Err(DropReason::BandwidthLimit);
        }
        let limits = snapshot.backend(backend).map_or(Limits::NONE, |backend| backend.limits);
        if !self.takes_packet(Subject::Backend(backend), &limits, side, now) {
            return Err(DropReason::BackendBandwidthLimit);
        }
        Ok(())
    }

    /// Looks at some buckets, so that what the other workers take is known when they took it, and not only when this worker wants
    /// something too.
    pub(crate) fn renew(&mut self, snapshot: &Snapshot, now: Millis) {
        self.renew_hosts(snapshot, now);
        let counts = [snapshot.virtual_servers.len(), snapshot.backends.len()];
        for _ in 0..RENEWED {
            for (position, count) in self.looked_at.iter_mut().zip(counts) {
                *position = if *position + 1 < count { *position + 1 } else { 0 };
            }
            let [server, backend] = self.looked_at;
            if let Some(Some(found)) = snapshot.virtual_servers.get(server) {
                self.look(Subject::Server(VirtualServerId(server as u32)), &found.limits, now);
            }
            if let Some(Some(found)) = snapshot.backends.get(backend) {
                self.look(Subject::Backend(BackendId(backend as u32)), &found.limits, now);
            }
        }
    }

    fn look(&mut self, subject: Subject, limits: &Limits, now: Millis) {
        if limits.is_none() {
            return;
        }
        // What matters here is that the buckets are looked at.
        let _ = self.takes_flow(subject, &Limits { connections: 0, ..*limits }, now);
        for side in [Side::Client, Side::Backend] {
            self.takes_packet(subject, limits, side, now);
        }
    }
}

fn takes_flow(
    (bucket, colleagues): (&mut Bucket, &Colleagues),
    subject: Subject,
    limits: &Limits,
    now: Millis,
) -> Result<(), UsedUp> {
    let opened = || colleagues.sum(subject, |meters| meters.flows_opened.read());
    if limits.connections != 0 {
        // What is closed meanwhile is still open then: there are never less than none.
        let closed = colleagues.sum(subject, |meters| meters.flows_closed.read());
        if opened().saturating_sub(closed) >= u64::from(limits.connections) {
            return Err(UsedUp::Connections);
        }
    }
    let rate = u64::from(limits.new_per_second);
    // Of what could have been opened earlier, a second's worth may be opened at once.
    if rate != 0 && !bucket.is_left(opened(), (rate, rate), now) {
        return Err(UsedUp::Rate);
    }
    Ok(())
}

/// Whether each packet of a flow is to be checked for bandwidth.
pub(crate) fn has_bandwidth(snapshot: &Snapshot, server: VirtualServerId, backend: BackendId) -> bool {
    snapshot.virtual_server(server).is_some_and(|server| server.limits.bandwidth != 0)
        || snapshot.backend(backend).is_some_and(|backend| backend.limits.bandwidth != 0)
}

/// Notes that a source has opened a flow, if a limit is to know.
pub(crate) fn note_source(
    meters: &WorkerMeters,
    snapshot: &Snapshot,
    (id, server): (VirtualServerId, &VirtualServer),
    key: &FlowKey,
    now: Millis,
) {
    if server.limits.new_per_second_per_source != 0 {
        meters.source_rates.add(source_hash(snapshot, id, key), now);
    }
}

/// What stands for a source and a virtual server that it sends to, for all workers alike.
pub(crate) fn source_hash(snapshot: &Snapshot, server: VirtualServerId, key: &FlowKey) -> u64 {
    let (source_port, destination_port) = (server.0 as u16, 0);
    snapshot.hash_key.hash(&FlowKey { source_port, destination_port, ..*key })
}
