//! The life of TCP flows against a plain model of it: random packets of both directions, time that passes, backends that go down and are
//! replaced. `EVENTS=10000000 cargo test --release -p datapath --test model` lets that many happen; a test run a hundredth of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod fixture;

use std::{collections::BTreeMap, env, net::SocketAddr, sync::Arc};

use datapath::{
    DropReason, Verdict,
    snapshot::{Pool, Snapshot},
};
use fixture::{
    BACKEND, BACKEND_MAC, BACKENDS, BACKENDS_MAC, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, Rig, SELF,
    virtual_address,
};
use model::{BackendId, Millis, Mode, PortId};
use testkit::packets::{self, Flags};

const CLIENT_PORTS: u64 = 12;
const MODES: [Mode; 3] = [Mode::Nat, Mode::FullNat, Mode::Dsr];
const HANDSHAKE: u64 = 5_000;
const CLOSE: u64 = 4_000;
const TIME_WAIT: u64 = 2_000;
const IDLE: u64 = 20_000;
const LAST_WORDS: u64 = 3_000;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Client,
    Backend,
}

/// A segment.
#[derive(Clone, Copy, Debug)]
struct Said {
    syn: bool,
    ack: bool,
    fin: bool,
    rst: bool,
    sequence: u32,
    acknowledgement: u32,
    data: bool,
}

/// What a flow is, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client has asked.
    Asked,
    /// The backend has said yes.
    Agreed,
    /// Both talk.
    Open,
    /// Somebody said no.
    Refused,
    /// This one has broken off, or somebody in its name.
    Broken(By),
    /// The same, and the other one was asked.
    Doubted(By),
    /// Both are done.
    Over,
    /// We have given it up; whether both were told.
    GivenUp(bool),
}

/// One side's end: what follows its FIN, and whether the other has acknowledged that.
type End = Option<(u32, bool)>;

#[derive(Clone, Copy, Debug)]
struct Flow {
    stage: Stage,
    client: End,
    backend: End,
    last: u64,
    epoch: u8,
    /// Where the backend sends to.
    source: (bool, u16),
}

/// The gateway as it should be.
#[derive(Default)]
struct Model {
    flows: BTreeMap<(usize, u16), Flow>,
    now: u64,
    is_down: bool,
    /// Which use of the backend's id this is.
    epoch: u8,
    opened: u64,
    closed: u64,
}

/// What is to become of a packet: its verdict, and the ports that frames leave by because of it.
type Fate = (Verdict, Vec<PortId>);

const fn drops(reason: DropReason) -> Fate {
    (Verdict::Drop(reason), Vec::new())
}

fn leaves(port: PortId) -> Fate {
    (Verdict::Transmit(port), vec![port])
}

impl Said {
    fn is_first(&self) -> bool {
        self.syn && !self.ack
    }

    fn end(&self) -> u32 {
        let length = u32::from(self.data) * 4 + u32::from(self.syn) + u32::from(self.fin);
        self.sequence.wrapping_add(length)
    }
}

fn not_before(number: u32, other: u32) -> bool {
    number.wrapping_sub(other) < 1 << 31
}

impl Flow {
    fn lifetime(&self) -> u64 {
        match self.stage {
            Stage::Asked | Stage::Agreed => HANDSHAKE,
            Stage::Open => IDLE,
            Stage::Over if self.is_all_said() => TIME_WAIT,
            Stage::Refused | Stage::Broken(_) | Stage::Doubted(_) | Stage::Over => CLOSE,
            Stage::GivenUp(_) => LAST_WORDS,
        }
    }

    fn is_all_said(&self) -> bool {
        matches!((self.client, self.backend), (Some((_, true)), Some((_, true))))
    }

    /// Whether a client's SYN ends it.
    fn yields_to(&self, said: &Said, is_down: bool) -> bool {
        match self.stage {
            Stage::Open => false,
            Stage::Refused | Stage::GivenUp(_) => true,
            Stage::Over => is_down || self.client.is_none_or(|(end, _)| not_before(said.sequence, end)),
            _ => is_down,
        }
    }

    /// Takes note of a segment; whether another conversation begins with it.
    fn hear(&mut self, by: By, said: &Said, two_way: bool) -> bool {
        if said.rst {
            self.stage = match self.stage {
                Stage::Asked | Stage::Agreed => Stage::Refused,
                Stage::Open => Stage::Broken(by),
                Stage::Broken(first) | Stage::Doubted(first) if first != by => Stage::Over,
                same => same,
            };
            return false;
        }
        let says_yes = by == By::Backend && said.syn && said.ack;
        let goes_on = by == By::Client && !said.syn;
        let mut is_new = false;
        self.stage = match self.stage {
            Stage::Asked if says_yes => Stage::Agreed,
            Stage::Asked if goes_on && !two_way => Stage::Open,
            Stage::Agreed if goes_on => Stage::Open,
            Stage::Refused if by == By::Backend => Stage::Agreed,
            Stage::Broken(_) | Stage::Doubted(_) | Stage::Over if says_yes => {
                is_new = true;
                (self.client, self.backend) = (None, None);
                Stage::Agreed
            }
            Stage::Broken(_) | Stage::Doubted(_) if !said.syn => Stage::Open,
            same => same,
        };
        let (own, other) = match by {
            By::Client => (&mut self.client, &mut self.backend),
            By::Backend => (&mut self.backend, &mut self.client),
        };
        if said.fin {
            *own = Some((said.end(), own.is_some_and(|(_, known)| known)));
        }
        if let Some((end, known)) = other {
            *known |= said.ack && not_before(said.acknowledgement, *end);
        }
        let both = self.client.is_some() && (self.backend.is_some() || !two_way);
        if said.fin && self.stage == Stage::Open && both {
            self.stage = Stage::Over;
        }
        is_new
    }
}

impl Model {
    fn says(&mut self, by: By, (mode, port): (usize, u16), said: &Said) -> Fate {
        let (to, back) = if by == By::Client { (BACKENDS, CLIENTS) } else { (CLIENTS, BACKENDS) };
        let is_first = by == By::Client && said.is_first();
        let two_way = MODES[mode] != Mode::Dsr;
        let Some(flow) = self.flows.get_mut(&(mode, port)) else {
            return self.open(is_first, (mode, port));
        };
        if let Stage::GivenUp(told) = flow.stage
            && !is_first
        {
            if said.rst {
                return (Verdict::Absorbed, vec![]);
            }
            let tells = said.ack && !said.syn && !told;
            flow.stage = Stage::GivenUp(told || tells);
            let mut ports = vec![back];
            ports.extend(tells.then_some(to));
            return (Verdict::Transmit(back), ports);
        }
        let is_given_up = matches!(flow.stage, Stage::GivenUp(_));
        if flow.epoch != self.epoch && !is_given_up {
            self.forget((mode, port));
            return if by == By::Client && !said.rst {
                leaves(back)
            } else {
                drops(DropReason::BackendRemoved)
            };
        }
        if is_first && flow.yields_to(said, self.is_down) {
            self.forget((mode, port));
            return self.open(true, (mode, port));
        }
        flow.last = self.now;
        if flow.hear(by, said, two_way) {
            self.opened += 1;
            self.closed += 1;
        }
        leaves(to)
    }

    fn open(&mut self, is_first: bool, of: (usize, u16)) -> Fate {
        if !is_first {
            return drops(DropReason::NoFlow);
        }
        if self.is_down {
            return drops(DropReason::NoBackend);
        }
        let (last, epoch) = (self.now, self.epoch);
        let flow =
            Flow { stage: Stage::Asked, client: None, backend: None, last, epoch, source: (true, of.1) };
        self.flows.insert(of, flow);
        self.opened += 1;
        leaves(BACKENDS)
    }

    fn forget(&mut self, of: (usize, u16)) {
        self.flows.remove(&of);
        self.closed += 1;
    }

    /// Frames that leave by each port because of time.
    fn ages(&mut self) -> [usize; 2] {
        let (mut frames, mut gone) = ([0; 2], Vec::new());
        for (&(mode, port), flow) in &mut self.flows {
            let two_way = MODES[mode] != Mode::Dsr;
            let is_lost = flow.epoch != self.epoch && !matches!(flow.stage, Stage::GivenUp(_));
            if self.now - flow.last <= flow.lifetime() && !is_lost {
                continue;
            }
            match flow.stage {
                Stage::Open => {
                    (flow.stage, flow.last) = (Stage::GivenUp(false), self.now);
                    frames[0] += 1;
                    frames[1] += usize::from(two_way && !is_lost);
                }
                Stage::Broken(by) if !is_lost && (two_way || by == By::Backend) => {
                    (flow.stage, flow.last) = (Stage::Doubted(by), self.now);
                    frames[usize::from(by == By::Client)] += 1;
                }
                _ => gone.push((mode, port)),
            }
        }
        gone.into_iter().for_each(|of| self.forget(of));
        frames
    }
}

/// A generator whose numbers are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn said(&mut self) -> Said {
        const NUMBERS: [u32; 6] = [0xffff_fff0, 0, 5, 1000, 1001, 70_000];
        let flags = self.below(16);
        let mut said = Said {
            syn: false,
            ack: true,
            fin: false,
            rst: false,
            sequence: NUMBERS[self.below(6) as usize],
            acknowledgement: NUMBERS[self.below(6) as usize],
            data: self.below(3) == 0,
        };
        match flags {
            0..=3 => (said.syn, said.ack) = (true, false),
            4..=6 => said.syn = true,
            7..=9 => said.fin = true,
            10 => said.rst = true,
            11 => (said.rst, said.ack) = (true, false),
            12 => (said.fin, said.ack) = (true, false),
            _ => {}
        }
        said
    }
}

/// The gateway, and as it should be.
struct Pair {
    rig: Rig,
    model: Model,
    dice: Dice,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rig = Rig::new();
        rig.publish(|snapshot| {
            for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
                server.idle_timeout = IDLE as u32;
                server.tcp.close_timeout = CLOSE as u32;
                server.tcp.time_wait = TIME_WAIT as u32;
            }
        });
        let model = Model { now: rig.now.0, ..Model::default() };
        Self { rig, model, dice: Dice(seed) }
    }

    fn event(&mut self) {
        match self.dice.below(64) {
            0..=2 => self.time_passes(),
            3 => self.health_changes(),
            4 if self.dice.below(8) == 0 => self.backend_is_replaced(),
            choice => {
                let by = if choice % 2 == 0 { By::Client } else { By::Backend };
                self.somebody_speaks(by);
            }
        }
    }

    fn time_passes(&mut self) {
        let passed = [1, 300, 1_000, 2_500, 6_000, 21_000][self.dice.below(6) as usize];
        self.model.now += passed;
        self.rig.now = Millis(self.model.now);
        let sent = self.rig.keep_house();
        let frames = [CLIENTS, BACKENDS].map(|port| sent.iter().filter(|(sent, _)| *sent == port).count());
        assert_eq!(frames, self.model.ages());
        assert_eq!(self.rig.meters.flows.read(), self.model.flows.len() as u64);
        let backend = self.rig.meters.backend(BackendId(0)).unwrap();
        let counted = (backend.flows_opened.read(), backend.flows_closed.read());
        assert_eq!(counted, (self.model.opened, self.model.closed));
        self.rig.assert_conserved();
    }

    fn health_changes(&mut self) {
        self.model.is_down ^= true;
        let is_down = self.model.is_down;
        self.rig.publish(|snapshot| set_up(snapshot, !is_down));
    }

    fn backend_is_replaced(&mut self) {
        self.model.epoch = self.model.epoch.wrapping_add(1);
        self.rig.publish(|snapshot| {
            let backends = Arc::make_mut(&mut snapshot.backends).iter_mut();
            backends.flatten().for_each(|backend| backend.incarnation += 1);
        });
    }

    fn somebody_speaks(&mut self, by: By) {
        let (mode, port) = (self.dice.below(3) as usize, 1000 + self.dice.below(CLIENT_PORTS) as u16);
        let said = self.dice.said();
        let known = self.model.flows.get(&(mode, port)).copied();
        let (arrival, frame) = match (by, MODES[mode]) {
            (By::Client, _) => (CLIENTS, from_client(MODES[mode], port, &said)),
            (By::Backend, Mode::Dsr | Mode::Ipip | Mode::Gue) => return,
            (By::Backend, Mode::Nat) => (BACKENDS, from_backend((true, port), &said)),
            // Who does not know the flow does not know its port.
            (By::Backend, Mode::FullNat) => {
                let Some(flow) = known else { return };
                (BACKENDS, from_backend(flow.source, &said))
            }
        };
        let (verdict, sent) = self.rig.one(arrival, &frame);
        let ports: Vec<PortId> = sent.iter().map(|(port, _)| *port).collect();
        let expected = self.model.says(by, (mode, port), &said);
        let (mut found, mut wanted) = (ports, expected.1);
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!((verdict, found), (expected.0, wanted), "{said:?} by {by:?} to {known:?} of {mode}");
        if MODES[mode] == Mode::FullNat
            && let Some(flow) = self.model.flows.get_mut(&(mode, port))
            && flow.source.0
        {
            flow.source = (false, u16::from_be_bytes(sent[0].1[34..36].try_into().unwrap()));
        }
    }
}

fn end(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn from_client(mode: Mode, port: u16, said: &Said) -> Vec<u8> {
    let to = end(virtual_address(mode, false), 80);
    frame((CLIENT_MAC, CLIENTS_MAC), end(CLIENT, port), to, said)
}

fn from_backend((to_client, port): (bool, u16), said: &Said) -> Vec<u8> {
    let to = end(if to_client { CLIENT } else { SELF }, port);
    frame((BACKEND_MAC, BACKENDS_MAC), end(BACKEND, 8080), to, said)
}

fn frame(link: packets::Link, from: SocketAddr, to: SocketAddr, said: &Said) -> Vec<u8> {
    let flags = Flags { syn: said.syn, ack: said.ack, fin: said.fin, rst: said.rst };
    let data: &[u8] = if said.data { b"data" } else { b"" };
    packets::tcp_with_numbers(link, from, to, flags, [said.sequence, said.acknowledgement], data)
}

fn set_up(snapshot: &mut Snapshot, up: bool) {
    let slot = if up { 0 } else { balance::UNASSIGNED };
    (0..snapshot.backends.len() as u32).for_each(|id| snapshot.up.set(BackendId(id), up));
    for (pool, id) in snapshot.pools.iter_mut().zip(0..) {
        *pool = Arc::new(Pool::with_slots([slot], vec![BackendId(id)]));
    }
}

#[test]
fn flows_live_as_the_model_says() {
    let events: u64 = env::var("EVENTS").map_or(100_000, |events| events.parse().unwrap());
    let mut stages = BTreeMap::<String, u64>::new();
    for seed in 0..10 {
        let mut pair = Pair::new(seed);
        for _ in 0..events / 10 {
            pair.event();
            for flow in pair.model.flows.values().take(1) {
                *stages.entry(format!("{:?}", flow.stage)).or_default() += 1;
            }
        }
    }
    assert!(stages.len() >= 11, "not all was seen: {stages:?}");
}
