//! Counters in the text format of Prometheus (OpenMetrics 1.0).
//!
//! Labels name what the configuration names, workers, ports and drop reasons, and nothing that a client chooses.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{Plane, health::Condition, state::residence, view};

/// What the answer to `/metrics` is.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the residence histogram's buckets, in microseconds.
const BOUNDS_US: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 10_000.0, f64::INFINITY];

/// Upper bounds of the buckets of round trips, in microseconds.
const RTT_BOUNDS_US: [f64; 14] = [
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    25_000.0,
    50_000.0,
    100_000.0,
    250_000.0,
    500_000.0,
    1_000_000.0,
    f64::INFINITY,
];

/// All metrics of this moment.
///
/// # Errors
///
/// Never in practice: text grows without failing.
pub(crate) fn render(plane: &Plane) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Scrape::of(plane)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// What one scrape shows.
#[derive(Debug)]
struct Scrape {
    published: view::Generation,
    virtual_servers: Vec<view::VirtualServer>,
    backends: Vec<view::Backend>,
    ports: Vec<view::Port>,
    workers: Vec<view::Worker>,
    drops: Vec<view::Drop>,
    residence: Vec<Residence>,
    round_trips: Vec<(String, [Option<hdrhistogram::Histogram<u64>>; 2])>,
    cycles_per_second: f64,
}

/// How long bursts stayed with one worker.
#[derive(Debug)]
struct Residence {
    worker: u8,
    seconds: f64,
    count: u64,
    buckets: Vec<(f64, u64)>,
}

impl Scrape {
    fn of(plane: &Plane) -> Self {
        let cycles_per_second = plane.fleet.cycles_per_second.max(1) as f64;
        let members = (0..).zip(&plane.fleet.members);
        Self {
            published: plane.published(),
            virtual_servers: plane.virtual_servers(),
            backends: plane.backends(),
            ports: plane.ports(),
            workers: plane.workers(),
            drops: plane.drops(),
            residence: members
                .filter_map(|(worker, m)| {
                    Some(Residence::of(worker, &residence(&m.meters)?, cycles_per_second))
                })
                .collect(),
            round_trips: plane.all_round_trips(),
            cycles_per_second,
        }
    }
}

impl Residence {
    fn of(worker: u8, cycles: &hdrhistogram::Histogram<u64>, cycles_per_second: f64) -> Self {
        let mut below = 0;
        let buckets = BOUNDS_US.map(|bound| {
            let through = (bound * cycles_per_second / 1e6) as u64; // infinity becomes u64::MAX
            let all = cycles.count_between(0, through).min(cycles.len());
            let count = all - below;
            below = all;
            (bound / 1e6, count)
        });
        let seconds = cycles.mean() * cycles.len() as f64 / cycles_per_second;
        Self { worker, seconds, count: cycles.len(), buckets: buckets.to_vec() }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.encode_control(&mut encoder)?;
        self.encode_virtual_servers(&mut encoder)?;
        self.encode_backends(&mut encoder)?;
        self.encode_ports(&mut encoder)?;
        self.encode_drops(&mut encoder)?;
        self.encode_workers(&mut encoder)?;
        self.encode_residence(&mut encoder)?;
        self.encode_round_trips(&mut encoder)
    }
}

/// A metric's name and what it means.
type About = (&'static str, &'static str);

impl Scrape {
    fn encode_control(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let published = &self.published;
        let mut plain = |(name, help): About, value: f64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        plain(("generation", "The snapshot that was published last"), published.generation as f64)?;
        plain(
            ("generation_acknowledged", "The snapshot that all workers have reached"),
            published.acknowledged as f64,
        )?;
        plain(("generation_age_seconds", "Seconds since the publication"), published.age_ms as f64 / 1e3)
    }

    fn encode_virtual_servers(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let rows = &self.virtual_servers;
        let labels = |row: &'_ view::VirtualServer| [("virtual_server", row.name.clone())];
        traffic(encoder, VIRTUAL_SERVER_METRICS, rows, labels, |row| row.traffic)?;
        let available = ("virtual_server_available", "Whether any backend takes new flows");
        gauges(encoder, available, rows, labels, |row| u64::from(row.available))
    }

    fn encode_backends(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let labels =
            |row: &'_ view::Backend| [("pool", row.pool.clone()), ("backend", row.address.to_string())];
        traffic(encoder, BACKEND_METRICS, &self.backends, labels, |row| row.traffic)?;
        let up = ("backend_up", "Whether its monitors say that it is up");
        gauges(encoder, up, &self.backends, labels, |row| u64::from(row.health == Condition::Up))?;
        let weight = ("backend_weight", "Its share of new flows");
        gauges(encoder, weight, &self.backends, labels, |row| u64::from(row.weight))
    }

    fn encode_ports(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        for (about, read) in PORT_COUNTERS {
            counters(encoder, about, &self.ports, |row| [("port", row.name.clone())], read)?;
        }
        Ok(())
    }

    fn encode_drops(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let about = ("dropped_packets", "Packets that were not forwarded, by reason");
        counters(encoder, about, &self.drops, |row| [("reason", row.reason.clone())], |row| row.packets)
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let labels = |row: &'_ view::Worker| [("worker", row.worker.to_string())];
        for (about, read) in WORKER_COUNTERS {
            counters(encoder, about, &self.workers, labels, read)?;
        }
        for (about, read) in WORKER_GAUGES {
            gauges(encoder, about, &self.workers, labels, read)?;
        }
        let seconds = |cycles: u64| cycles as f64 / self.cycles_per_second;
        let busy = ("worker_busy_seconds", "Time in turns that found something to do");
        counters(encoder, busy, &self.workers, labels, |row| seconds(row.busy_cycles))?;
        let idle = ("worker_idle_seconds", "Time in turns that found nothing to do");
        counters(encoder, idle, &self.workers, labels, |row| seconds(row.idle_cycles))
    }

    fn encode_residence(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Time from a burst's receipt to its transmission";
        let name = "worker_residence_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for row in &self.residence {
            let labels = [("worker", row.worker.to_string())];
            let mut sample = metric.encode_family(&labels)?;
            sample.encode_histogram::<NoLabelSet>(row.seconds, row.count, &row.buckets, None)?;
        }
        Ok(())
    }
}

impl Scrape {
    fn encode_round_trips(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "From a SYN to the backend's answer (from: server), and from the SYN-ACK to the client's (from: client)";
        let name = "virtual_server_rtt_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (server, sides) in &self.round_trips {
            for (side, micros) in ["client", "server"].iter().zip(sides) {
                let Some(micros) = micros else { continue };
                let labels = [("virtual_server", server.as_str()), ("from", side)];
                let mut below = 0;
                let buckets = RTT_BOUNDS_US.map(|bound| {
                    let all = micros.count_between(0, bound as u64).min(micros.len());
                    let count = all - std::mem::replace(&mut below, all);
                    (bound / 1e6, count)
                });
                let seconds = micros.mean() * micros.len() as f64 / 1e6;
                let mut sample = metric.encode_family(&labels)?;
                sample.encode_histogram::<NoLabelSet>(seconds, micros.len(), &buckets, None)?;
            }
        }
        Ok(())
    }
}

/// The metrics of [`view::Traffic`], in the order of its fields; the first is a gauge.
type TrafficMetrics = [About; 6];

const VIRTUAL_SERVER_METRICS: TrafficMetrics = [
    ("virtual_server_flows", "Flows that are open"),
    ("virtual_server_flows_opened", "Flows that were opened"),
    ("virtual_server_packets_in", "Packets from clients"),
    ("virtual_server_bytes_in", "Bytes from clients, IP headers included"),
    ("virtual_server_packets_out", "Packets to clients"),
    ("virtual_server_bytes_out", "Bytes to clients, IP headers included"),
];

const BACKEND_METRICS: TrafficMetrics = [
    ("backend_flows", "Flows that are open"),
    ("backend_flows_opened", "Flows that were opened"),
    ("backend_packets_in", "Packets from clients"),
    ("backend_bytes_in", "Bytes from clients, IP headers included"),
    ("backend_packets_out", "Packets to clients"),
    ("backend_bytes_out", "Bytes to clients, IP headers included"),
];

type PortMetric = (About, fn(&view::Port) -> u64);

const PORT_COUNTERS: [PortMetric; 6] = [
    (("port_rx_frames", "Frames received"), |row| row.rx_frames),
    (("port_rx_bytes", "Bytes received"), |row| row.rx_bytes),
    (("port_tx_frames", "Frames sent"), |row| row.tx_frames),
    (("port_tx_bytes", "Bytes sent"), |row| row.tx_bytes),
    (("port_to_host_frames", "Frames that went to the host twin"), |row| row.to_host_frames),
    (("port_from_host_frames", "Frames that the host twin sent"), |row| row.from_host_frames),
];

type WorkerMetric = (About, fn(&view::Worker) -> u64);

const WORKER_COUNTERS: [WorkerMetric; 14] = [
    (("worker_polls", "Turns"), |row| row.polls),
    (("worker_idle_polls", "Turns that found nothing to do"), |row| row.idle_polls),
    (("worker_flows_expired", "Flows removed because they were silent too long"), |row| row.flows_expired),
    (
        (
            "worker_flows_evicted",
            "Flows without a complete handshake that made room for others in a full table",
        ),
        |row| row.flows_evicted,
    ),
    (("worker_cookies_given", "SYNs answered with a cookie"), |row| row.cookies_given),
    (("worker_cookies_accepted", "Cookies that came back and were true"), |row| row.cookies_accepted),
    (("worker_handed_in_frames", "Frames that came from other workers"), |row| row.handed_in),
    (("worker_handed_out_frames", "Frames that went to their flows' owners"), |row| row.handed_out),
    (("worker_originated_frames", "Frames made by the gateway"), |row| row.originated),
    (("worker_absorbed_frames", "Frames that were for the gateway itself"), |row| row.absorbed),
    (("worker_completed_checksums", "L4 checksums completed for senders on this host"), |row| {
        row.completed_checksums
    }),
    (
        ("worker_clients_not_shown", "Segments without room for what shows the client's address (toa)"),
        |row| row.clients_not_shown,
    ),
    (("worker_untracked_packets", "Packets forwarded by hash, the flow table being full"), |row| {
        row.untracked_packets
    }),
    (("worker_icmp_errors", "ICMP errors sent in place of packets that could not go on"), |row| {
        row.icmp_errors
    }),
];

const WORKER_GAUGES: [WorkerMetric; 6] = [
    (("worker_flows", "Entries in the flow table"), |row| row.flows),
    (("worker_flows_capacity", "Entries that the flow table has room for"), |row| row.flows_capacity),
    (
        (
            "worker_embryonic_flows",
            "Flows without a complete handshake, but those that were opened with a SYN cookie",
        ),
        |row| row.embryonic_flows,
    ),
    (
        ("worker_cookies_engaged", "Whether there are so many of these that SYNs are answered with cookies"),
        |row| u64::from(row.cookies_engaged),
    ),
    (("worker_held_frames", "Frames that wait for a next hop"), |row| row.held),
    (("worker_generation", "The snapshot that the worker runs with"), |row| row.generation),
];

fn traffic<R, const N: usize>(
    encoder: &mut DescriptorEncoder,
    [flows, opened, packets_in, bytes_in, packets_out, bytes_out]: TrafficMetrics,
    rows: &[R],
    labels: impl Fn(&R) -> [(&'static str, String); N] + Copy,
    read: impl Fn(&R) -> view::Traffic + Copy,
) -> fmt::Result {
    gauges(encoder, flows, rows, labels, |row| read(row).flows)?;
    counters(encoder, opened, rows, labels, |row| read(row).flows_opened)?;
    counters(encoder, packets_in, rows, labels, |row| read(row).packets_in)?;
    counters(encoder, bytes_in, rows, labels, |row| read(row).bytes_in)?;
    counters(encoder, packets_out, rows, labels, |row| read(row).packets_out)?;
    counters(encoder, bytes_out, rows, labels, |row| read(row).bytes_out)
}

fn counters<R, V, const N: usize>(
    encoder: &mut DescriptorEncoder,
    (name, help): About,
    rows: &[R],
    labels: impl Fn(&R) -> [(&'static str, String); N],
    read: impl Fn(&R) -> V,
) -> fmt::Result
where
    ConstCounter<V>: EncodeMetric,
{
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    rows.iter().try_for_each(|row| ConstCounter::new(read(row)).encode(metric.encode_family(&labels(row))?))
}

fn gauges<R, const N: usize>(
    encoder: &mut DescriptorEncoder,
    (name, help): About,
    rows: &[R],
    labels: impl Fn(&R) -> [(&'static str, String); N],
    read: impl Fn(&R) -> u64,
) -> fmt::Result {
    let mut metric: MetricEncoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    rows.iter().try_for_each(|row| ConstGauge::new(read(row)).encode(metric.encode_family(&labels(row))?))
}
