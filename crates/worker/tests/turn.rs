//! A worker's turn over queues in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use datapath::{Answer, Colleagues, DropReason, HashKey, Request, WorkerMeters};
use model::{Mode, WorkerId};
use testkit::{
    MemoryClock, MemoryFrame, MemoryQueue, MemorySource,
    gateway::{
        BACKEND, BACKEND_MAC, BACKENDS_MAC, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, snapshot,
        virtual_address,
    },
    packets::{self, SYN, SYN_ACK},
};
use worker::{
    HostQueues, Idle, Parts, PortQueues, Worker,
    desk::{ControlDesk, desk},
    mesh::{Seat, seats},
};

type MemoryWorker = Worker<MemoryQueue, MemoryQueue, MemorySource, MemoryClock>;

/// One worker and the far ends of its queues.
struct Bench {
    worker: MemoryWorker,
    rx: [MemoryQueue; 2],
    tx: [MemoryQueue; 2],
    host_rx: MemoryQueue,
    host_tx: MemoryQueue,
    desk: ControlDesk,
    meters: Arc<WorkerMeters>,
    alive: Rc<Cell<isize>>,
    _publisher: Option<publish::Publisher<datapath::Snapshot>>,
}

impl Bench {
    fn new() -> Self {
        let (publisher, mut readers) = publish::channel(snapshot(1), 1);
        let mut bench = Self::with(
            0,
            readers.remove(0),
            seats(1).remove(0),
            [MemoryQueue::default(), MemoryQueue::default()],
        );
        bench._publisher = Some(publisher);
        bench
    }

    fn with(
        id: u8,
        reader: publish::Reader<datapath::Snapshot>,
        seat: Seat<MemoryFrame>,
        tx: [MemoryQueue; 2],
    ) -> Self {
        let rx = [MemoryQueue::default(), MemoryQueue::default()];
        let (host_rx, host_tx) = (MemoryQueue::default(), MemoryQueue::default());
        let (control, desk) = desk();
        let meters = Arc::new(WorkerMeters::new());
        let host = Some(HostQueues { rx: host_rx.clone(), tx: host_tx.clone() });
        let ports = vec![
            PortQueues { rx: rx[0].clone(), tx: tx[0].clone(), host },
            PortQueues { rx: rx[1].clone(), tx: tx[1].clone(), host: None },
        ];
        let worker = Worker::new(Parts {
            id: WorkerId(id),
            ports,
            reader,
            colleagues: Colleagues { workers: vec![Arc::clone(&meters)], ..Colleagues::default() },
            meters: Arc::clone(&meters),
            source: MemorySource::new(100),
            clock: MemoryClock::default(),
            flows: 1000,
            flow_key: HashKey::from_seed([3; 16], 1),
            burst: 32,
            idle: Idle::Busy,
            seat,
            desk,
        });
        let alive = Rc::new(Cell::new(0));
        Self { worker, rx, tx, host_rx, host_tx, desk: control, meters, alive, _publisher: None }
    }

    fn arrive(&self, port: usize, frame: &[u8]) {
        self.rx[port].push(MemoryFrame::new(frame).counted(&self.alive));
    }
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(CLIENT.parse().unwrap(), port)
}

fn syn(port: u16) -> Vec<u8> {
    let server = SocketAddr::new(virtual_address(Mode::Nat, false).parse().unwrap(), 80);
    packets::tcp((CLIENT_MAC, CLIENTS_MAC), client(port), server, SYN, b"")
}

fn answer(port: u16) -> Vec<u8> {
    let backend = SocketAddr::new(BACKEND.parse().unwrap(), 8080);
    packets::tcp((BACKEND_MAC, BACKENDS_MAC), backend, client(port), SYN_ACK, b"")
}

#[test]
fn frames_go_through_both_ways_and_are_counted() {
    let mut bench = Bench::new();
    for port in 1..=40 {
        bench.arrive(0, &syn(port));
    }
    assert_eq!(bench.worker.poll_once(), 32, "a burst at a time");
    assert_eq!(bench.worker.poll_once(), 8);
    bench.arrive(1, &answer(7));
    assert_eq!(bench.worker.poll_once(), 1);
    assert_eq!((bench.tx[1].len(), bench.tx[0].len()), (40, 1));
    assert_eq!(bench.meters.port(CLIENTS).unwrap().rx_frames.read(), 40);
    assert_eq!(bench.meters.port(CLIENTS).unwrap().tx_frames.read(), 1);
    assert!(bench.meters.balance().holds());
}

#[test]
fn what_a_full_queue_does_not_take_is_counted_and_freed() {
    let (_publisher, mut readers) = publish::channel(snapshot(1), 1);
    let tx = [MemoryQueue::default(), MemoryQueue::with_room(3)];
    let mut bench = Bench::with(0, readers.remove(0), seats(1).remove(0), tx);
    for port in 1..=10 {
        bench.arrive(0, &syn(port));
    }
    bench.worker.poll_once();
    assert_eq!(bench.tx[1].len(), 3);
    assert_eq!(bench.meters.drops[DropReason::TransmitQueueFull.index()].read(), 7);
    assert_eq!(bench.alive.get(), 3, "the frames that were taken");
    assert!(bench.meters.balance().holds());
}

#[test]
fn what_the_host_says_leaves_as_it_is() {
    let mut bench = Bench::new();
    bench.host_rx.push(MemoryFrame::new(b"anything at all"));
    assert_eq!(bench.worker.poll_once(), 1);
    assert_eq!(bench.tx[0].pop().unwrap().bytes(), b"anything at all");
    assert!(bench.host_tx.is_empty());
    assert!(bench.meters.balance().holds());
}

#[test]
fn what_the_host_says_beyond_its_limit_is_dropped() {
    let mut snapshot = snapshot(1);
    (snapshot.ports[0].host, snapshot.ports[0].host_limit) = (true, 40);
    let (_publisher, mut readers) = publish::channel(snapshot, 1);
    let mut bench = Bench::with(0, readers.remove(0), seats(1).remove(0), Default::default());
    // A tenth of a second's packets may go at once; a quarter of those is left to routing.
    (1..=10).for_each(|port| bench.host_rx.push(MemoryFrame::new(&syn(port))));
    assert_eq!(bench.worker.poll_once(), 10);
    assert_eq!(bench.tx[0].len(), 3);
    bench.host_rx.push(MemoryFrame::new(&ospf_hello()));
    bench.host_rx.push(MemoryFrame::new(&ospf_hello()));
    bench.worker.poll_once();
    assert_eq!(bench.tx[0].len(), 4);
    assert_eq!(bench.meters.drops[DropReason::FromHostRateLimit.index()].read(), 8);
    assert!(bench.meters.balance().holds());
}

/// As far as it is looked at: Ethernet and IPv4 headers.
fn ospf_hello() -> Vec<u8> {
    let mut frame = syn(1);
    frame[23] = 89;
    frame
}

#[test]
fn flows_are_listed_in_bounded_answers() {
    let mut bench = Bench::new();
    for port in 1..=300 {
        bench.arrive(0, &syn(port));
    }
    while bench.worker.poll_once() > 0 {}
    let (mut rows, mut from) = (0, Some(0));
    while let Some(position) = from {
        bench.desk.ask(Request::ListFlows { from: position }).unwrap();
        bench.worker.poll_once();
        let end = std::iter::from_fn(|| bench.desk.next()).inspect(|answer| {
            rows += usize::from(matches!(answer, Answer::Flow(_)));
        });
        from = end
            .filter_map(|answer| if let Answer::EndOfFlows { next } = answer { next } else { None })
            .last();
    }
    assert_eq!(rows, 300);
}

#[test]
fn two_workers_hand_over_what_is_the_others() {
    let (_publisher, readers) = publish::channel(snapshot(2), 2);
    let queues = || [MemoryQueue::default(), MemoryQueue::default()];
    let mut benches: Vec<Bench> = readers
        .into_iter()
        .zip(seats(2))
        .zip(0..)
        .map(|((reader, seat), id)| Bench::with(id, reader, seat, queues()))
        .collect();
    for port in 1..=100 {
        benches[usize::from(port) % 2].arrive(0, &syn(port));
    }
    for _ in 0..6 {
        for bench in &mut benches {
            bench.worker.poll_once();
        }
    }
    let sent: usize = benches.iter().map(|bench| bench.tx[1].len()).sum();
    assert_eq!(sent, 100);
    let [out, taken] = [0, 1].map(|worker: usize| {
        let meters = &benches[worker].meters;
        (meters.handed_out_frames.read(), meters.handed_in_frames.read())
    });
    assert!(out.0 > 10 && taken.0 > 10, "about half of them cross: {out:?} {taken:?}");
    assert_eq!((out.0, out.1), (taken.1, taken.0));
    assert!(benches.iter().all(|bench| bench.meters.balance().holds()));
}

#[test]
fn a_worker_stops_when_it_is_told_and_accounts_for_what_it_holds() {
    let mut first = snapshot(1);
    first.ports[1].neighbours.clear();
    let (_publisher, mut readers) = publish::channel(first, 1);
    let mut bench = Bench::with(
        0,
        readers.remove(0),
        seats(1).remove(0),
        [MemoryQueue::default(), MemoryQueue::default()],
    );
    bench.arrive(0, &syn(1));
    bench.worker.poll_once();
    assert_eq!(bench.meters.held_frames.read(), 1);
    let stop = AtomicBool::new(false);
    stop.store(true, Ordering::Relaxed);
    bench.worker.run(&stop);
    bench.worker.finish();
    assert_eq!(bench.meters.drops[DropReason::Shutdown.index()].read(), 1);
    assert_eq!(bench.alive.get(), 0);
    assert!(bench.meters.balance().holds());
}

#[test]
fn a_new_snapshot_is_in_force_from_the_next_burst() {
    let (mut publisher, mut readers) = publish::channel(snapshot(1), 1);
    let mut bench = Bench::with(
        0,
        readers.remove(0),
        seats(1).remove(0),
        [MemoryQueue::default(), MemoryQueue::default()],
    );
    bench.arrive(0, &syn(1));
    bench.worker.poll_once();
    let mut second = snapshot(1);
    second.generation = model::Generation(2);
    Arc::make_mut(&mut second.services).clear();
    let number = publisher.publish(second);
    bench.arrive(0, &syn(2));
    bench.worker.poll_once();
    assert_eq!(bench.meters.drops[DropReason::NoVirtualServer.index()].read(), 1);
    assert_eq!(bench.meters.generation.read(), 2);
    assert_eq!((publisher.acknowledged(), publisher.reclaim()), (number, 0));
}
