//! One worker of the gateway of `testkit::gateway` with all around it, and what must be true of it at any time.

use std::{cell::Cell, rc::Rc, sync::Arc};

use datapath::{
    Arrival, DropReason, Fact, HashKey, Hop, Outputs, Request, Snapshot, Verdict, WorkerMeters, WorkerState,
    forward, housekeeping,
    snapshot::{Cookies, Pool},
    stop,
};
use model::{Address, BackendId, MacAddress, Millis, PortId, UseOfCookies, WorkerId};
use nic::Burst;
use testkit::{
    MemoryFrame, MemorySource,
    gateway::{BACKENDS, CLIENTS, snapshot},
};
use wire::protocol;

use crate::sums;

/// Frames that the gateway has sent and that are remembered, so that they can be answered.
const REMEMBERED: usize = 16;

thread_local! {
    /// Counters and lanes only add up and are empty between runs; making them takes longer than a run.
    static METERS: Arc<WorkerMeters> = Arc::new(WorkerMeters::new());
    static OUTPUTS: Cell<Option<Outputs<MemoryFrame>>> = const { Cell::new(None) };
}

/// How the gateway of one run is set up: a bit each.
#[derive(Clone, Copy, Debug)]
pub struct Setup(pub u16);

impl Setup {
    fn has(self, bit: u16) -> bool {
        self.0 & 1 << bit != 0
    }

    fn snapshot(self) -> Snapshot {
        let mut snapshot = snapshot(if self.has(0) { 2 } else { 1 });
        for port in &mut snapshot.ports {
            port.device.partial_checksums = self.has(1);
            port.device.cuts_frames = self.has(2);
            port.host = self.has(3);
            port.last_hop = !self.has(4);
            port.mtu = if self.has(5) { 100 } else { 1500 };
            if self.has(6) {
                port.neighbours.clear();
            }
        }
        for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
            server.loose_initiation = self.has(7);
            if server.service.protocol == protocol::TCP && !server.mode.is_direct() {
                server.cookies = self.cookies();
            }
        }
        snapshot
    }

    /// Small tables have too many open handshakes soon.
    fn cookies(self) -> Cookies {
        let use_of = match (self.has(10), self.has(11)) {
            (false, false) => UseOfCookies::Off,
            (false, true) => UseOfCookies::Auto,
            (true, _) => UseOfCookies::Always,
        };
        Cookies { use_of, mss: 0, allowlist: if self.has(11) { 2000 } else { 0 } }
    }

    fn flows(self) -> usize {
        if self.has(8) { 4 } else { 1024 }
    }

    /// Milliseconds that the run begins with: flows keep 32 bits of them.
    fn begin(self) -> Millis {
        Millis(if self.has(9) { u64::from(u32::MAX) - 3000 } else { 1000 })
    }
}

/// A frame that comes in.
pub struct Arrived {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Where its second segment begins, if inside.
    pub cut: usize,
}

impl Arrived {
    fn in_memory(&self) -> MemoryFrame {
        match self.bytes.split_at_checked(self.cut) {
            Some((first, rest)) if self.cut > 0 && !rest.is_empty() => MemoryFrame::scattered(&[first, rest]),
            _ => MemoryFrame::new(&self.bytes),
        }
    }
}

/// One worker and all around it.
pub struct Rig {
    snapshot: Snapshot,
    state: WorkerState<MemoryFrame>,
    outputs: Outputs<MemoryFrame>,
    source: MemorySource,
    now: Millis,
    meters: Arc<WorkerMeters>,
    alive: Rc<Cell<isize>>,
    /// Flows that other runs have not closed.
    flows_before: u64,
    /// Whether all frames so far had right checksums.
    is_honest: bool,
    sent: Vec<(PortId, Vec<u8>)>,
}

impl Rig {
    /// A worker that has just started.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let meters = METERS.with(Arc::clone);
        let alive = Rc::new(Cell::new(0));
        let snapshot = setup.snapshot();
        let key = HashKey::from_seed([2; 16], 0);
        let mut state = WorkerState::new(WorkerId(0), setup.flows(), key, Arc::clone(&meters));
        state.adopt(&snapshot);
        Self {
            flows_before: open_flows(&meters),
            snapshot,
            state,
            outputs: OUTPUTS.take().unwrap_or_else(|| Outputs::new(2)),
            source: MemorySource::new(usize::MAX).counted(&alive),
            now: setup.begin(),
            meters,
            alive,
            is_honest: true,
            sent: Vec::new(),
        }
    }

    /// Forwards a burst, and checks that each of its frames is accounted for.
    pub fn forward(&mut self, port: PortId, is_handed_over: bool, arrived: Vec<Arrived>) {
        self.is_honest &= arrived.iter().all(|frame| sums::are_right(&frame.bytes) == Some(true));
        let burst: &mut Burst<MemoryFrame> =
            &mut arrived.iter().map(|frame| frame.in_memory().counted(&self.alive)).collect();
        let count = burst.len();
        let is_handed_over = is_handed_over && self.snapshot.workers > 1;
        let entered = if is_handed_over {
            &self.meters.handed_in_frames
        } else {
            &self.meters.port(port).expect("a port").rx_frames
        };
        entered.add(count as u64);
        let before: Vec<u64> = self.meters.drops.iter().map(|counter| counter.read()).collect();
        let arrival = Arrival { port, is_handed_over };
        forward(
            &mut self.state,
            &self.snapshot,
            arrival,
            self.now,
            burst,
            &mut self.outputs,
            &mut self.source,
        );
        assert!(burst.is_empty());
        let verdicts: Vec<Verdict> = self.state.verdicts().collect();
        assert_eq!(verdicts.len(), count);
        for (position, (counter, before)) in self.meters.drops.iter().zip(before).enumerate() {
            let said = verdicts.iter().filter(|&&verdict| drops(verdict, position)).count();
            assert!(counter.read() >= before + said as u64);
        }
        let is_for_other = |verdict| matches!(verdict, Verdict::HandOver(worker) if worker != WorkerId(0));
        let are_handed_on = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::HandOver(_)));
        assert!(are_handed_on.copied().all(is_for_other), "nothing is handed to oneself");
        self.settle();
    }

    /// Lets time pass, and keeps house.
    pub fn pass(&mut self, milliseconds: u64, rounds: u8) {
        self.now = self.now.after(milliseconds);
        for _ in 0..rounds {
            housekeeping(&mut self.state, &self.snapshot, self.now, &mut self.outputs, &mut self.source);
            assert_eq!(open_flows(&self.meters) - self.flows_before, self.meters.flows.read());
            self.settle();
        }
    }

    /// Publishes a snapshot in which some things are different: a bit each.
    pub fn change(&mut self, bits: u8) {
        self.snapshot.generation.0 += 1;
        let up = bits & 1 == 0;
        (0..self.snapshot.backends.len() as u32).for_each(|id| self.snapshot.up.set(BackendId(id), up));
        for backend in Arc::make_mut(&mut self.snapshot.backends).iter_mut().flatten() {
            backend.incarnation += u16::from(bits & 2 != 0);
        }
        for (pool, id) in self.snapshot.pools.iter_mut().zip(0..) {
            let slot = if up { 0 } else { balance::UNASSIGNED };
            *pool = Arc::new(Pool::with_slots([slot], vec![BackendId(id)]));
        }
        self.source.left = if bits & 4 == 0 { usize::MAX } else { 2 };
        self.state.adopt(&self.snapshot);
    }

    /// Another worker has learned of a neighbour.
    pub fn learn(&mut self, number: u8) {
        let address = Address::from_v4([10, 10, 2, number]);
        let hop = Hop { port: BACKENDS, address };
        self.state
            .learn(Fact { hop, mac: MacAddress([2, 0, 0, 0, 3, number]), is_announced: false }, self.now);
        let _ = self.state.take_facts();
    }

    /// Lists flows as control does.
    pub fn list(&self) {
        let mut answers = 0;
        let when = (&self.snapshot, self.now);
        self.state.answer(Request::ListFlows { from: 0 }, when, 2048, |_| answers += 1);
        assert_eq!(answers, open_flows(&self.meters) - self.flows_before + 1);
    }

    /// A frame that the gateway has sent, and by which port.
    #[must_use]
    pub fn sent(&self, number: u8) -> Option<&(PortId, Vec<u8>)> {
        self.sent.get(usize::from(number).checked_rem(self.sent.len())?)
    }

    /// Stops the worker; nothing may be left.
    pub fn stop(mut self) {
        stop(&mut self.state, &mut self.outputs);
        self.settle();
        assert_eq!(self.meters.held_frames.read(), 0);
        assert_eq!(self.alive.get(), 0);
        OUTPUTS.set(Some(self.outputs));
    }

    /// Takes out what has left, as a worker does, looks at it, and checks that every frame is accounted for.
    fn settle(&mut self) {
        for id in [CLIENTS, BACKENDS] {
            let meters = self.meters.port(id).expect("a port");
            for burst in self.outputs.port(id).expect("a port").bursts() {
                for frame in burst.drain(..) {
                    meters.tx_frames.add(1);
                    let bytes = frame.bytes();
                    check_sent(&self.snapshot, id, &bytes, self.is_honest);
                    self.sent.push((id, bytes));
                }
            }
            for burst in self.outputs.host(id).expect("a port").bursts() {
                meters.to_host_frames.add(burst.drain(..).count() as u64);
            }
        }
        self.sent.drain(..self.sent.len().saturating_sub(REMEMBERED));
        for worker in 0..self.snapshot.workers {
            let handed = self.outputs.worker(WorkerId(worker)).expect("a worker").drain(..).count();
            assert!(worker != 0 || handed == 0, "nothing is handed to oneself");
            self.meters.handed_out_frames.add(handed as u64);
        }
        self.outputs.dropped.clear();
        let balance = self.meters.balance();
        assert!(balance.holds(), "{balance:?}");
        assert_eq!(self.alive.get(), balance.held as isize, "frames that are alive and frames that wait");
    }
}

fn drops(verdict: Verdict, position: usize) -> bool {
    matches!(verdict, Verdict::Drop(reason) if DropReason::index(reason) == position)
}

fn open_flows(meters: &WorkerMeters) -> u64 {
    let of_all = meters.virtual_servers.iter().take(64);
    of_all.map(|server| server.flows_opened.read() - server.flows_closed.read()).sum()
}

/// What must be true of every frame that leaves by a port.
fn check_sent(snapshot: &Snapshot, id: PortId, bytes: &[u8], is_honest: bool) {
    let port = snapshot.port(id).expect("a port");
    assert_eq!(bytes[6..12], port.mac.0, "its source is the port");
    let network = if bytes[12..14] == [0x81, 0] { 18 } else { 14 };
    assert!(bytes.len() <= network + usize::from(port.mtu), "its packet is not larger than the MTU");
    let (packet, is_question) = (&bytes[network..], bytes[0] & 1 == 1);
    match bytes[network - 2..network] {
        [8, 0] => {
            let layout = wire::ipv4::check(packet, packet.len()).expect("a packet that would be accepted");
            assert_eq!(layout.total, packet.len(), "padding does not leave");
            assert!(!is_question, "a unicast packet has a unicast frame");
        }
        [0x86, 0xdd] => {
            let layout = wire::ipv6::check(packet, packet.len()).expect("a packet that would be accepted");
            assert_eq!(layout.total, packet.len(), "padding does not leave");
            assert!(
                !is_question || layout.header.destination[0] == 0xff,
                "a unicast packet has a unicast frame"
            );
        }
        [8, 6] => assert_eq!(packet.len(), wire::arp::MESSAGE),
        _ => panic!("a frame of no kind that is known"),
    }
    assert!(!is_honest || sums::are_right(bytes) != Some(false), "right checksums stay right");
}
