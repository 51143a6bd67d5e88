//! The flow table against a map: whatever is done to both, they know the same flows.
#![no_main]

use std::collections::{HashMap, HashSet};

use flow::{
    Candidate, Fate, Flow, FlowIndex, FlowKey, FlowState, FlowTable, Found, HashKey, Hot, Refused, Repair,
    Side, Way,
};
use libfuzzer_sys::fuzz_target;
use model::{Address, BackendId, MacAddress, Mode, PortId, VirtualServerId};
use tidegate_fuzz::script::Script;

/// Numbers of addresses below are those of services, backends and the gateway.
const CLIENTS: u8 = 32;
/// Flows of one client's address and port for which the table has room at all events.
const CROWD: usize = 4;
/// Flows of a set besides the one with which a scan has spent its budget.
const REST_OF_A_SET: usize = 14;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script::new(bytes);
    let mut pair = Pair::new(usize::from(script.word() % 600), script.byte());
    while !script.is_over() {
        match script.byte() % 8 {
            0 => pair.insert(flow(&mut script)),
            1 => pair.insert_absent(flow(&mut script)),
            2 => pair.open(flow(&mut script)),
            3..=5 => pair.remove(script.word()),
            6 => pair.scan(script.byte(), script.byte()),
            _ => pair.fill(script.byte()),
        }
        pair.check_sizes();
    }
    pair.check_all();
});

/// A flow of few possible keys, so that they meet, and of few clients, so that some have many flows.
fn flow(script: &mut Script<'_>) -> Flow {
    let mode = [Mode::Nat, Mode::FullNat, Mode::Dsr][usize::from(script.byte() % 3)];
    let (source, service, ports) = (script.byte(), script.byte(), script.byte());
    let is_v4 = service & 0x80 == 0;
    let address = |number| address(is_v4, number);
    let client = FlowKey {
        source: address(source),
        destination: address(service % 8),
        source_port: u16::from(ports % 4) + 1,
        destination_port: u16::from(ports >> 4) + 80,
        protocol: 6,
        ..FlowKey::default()
    };
    let backend = script.byte();
    let reply = FlowKey { source: address(backend % 4), ..client.reversed() };
    let from_gateway = FlowKey { destination: address(9), destination_port: u16::from(backend), ..reply };
    Flow {
        client,
        reply: if mode == Mode::FullNat { from_gateway } else { reply },
        last_seen: 0,
        checked: 0,
        backend: BackendId(u32::from(backend)),
        neighbour: 0,
        to_backend: Repair::default(),
        state: FlowState::Handshake,
        mode,
        marks: 0,
        client_port: PortId(0),
        virtual_server: VirtualServerId(0),
        created: 0,
        client_mac: MacAddress::default(),
        incarnation: 0,
    }
}

fn address(is_v4: bool, number: u8) -> Address {
    if is_v4 {
        Address::from_v4([10, 0, 0, number])
    } else {
        Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
    }
}

/// Whether nobody sends to the client of a key.
fn is_of_a_client(key: &FlowKey) -> bool {
    key.source.octets().last() >= Some(&CLIENTS)
}

/// The table and what should be in it.
struct Pair {
    table: FlowTable,
    keys: HashMap<FlowKey, Found>,
    flows: HashMap<FlowIndex, Flow>,
}

impl Pair {
    fn new(capacity: usize, seed: u8) -> Self {
        let table = FlowTable::with_capacity(capacity, HashKey::from_seed([seed; 16], 0));
        assert_eq!(table.capacity(), capacity);
        Self { table, keys: HashMap::new(), flows: HashMap::new() }
    }

    fn insert(&mut self, flow: Flow) {
        let inserted = self.table.insert(&flow);
        self.learn(flow, inserted);
    }

    /// Inserts a flow as the datapath does, which has looked for it.
    fn insert_absent(&mut self, flow: Flow) {
        if !is_of_a_client(&flow.client) {
            return;
        }
        let known = self.keys.get(&flow.client).copied();
        match self.table.find_client(&flow.client) {
            Ok(found) => assert_eq!(Some(found), known),
            Err(absent) => {
                assert_eq!(known, None);
                let inserted = self.table.insert_absent(&flow, absent);
                self.learn(flow, inserted);
            }
        }
    }

    /// Inserts a flow in one go. The table may always leave that to [`Pair::insert_absent`].
    fn open(&mut self, flow: Flow) {
        if !is_of_a_client(&flow.client) || !flow.client.is_v4() || flow.mode == Mode::FullNat {
            return;
        }
        let place = self.table.place(Way::Source, &flow.client);
        match self.table.open_v4(place, Hot::of(&flow)).is_some() {
            true => {
                let found = self.table.find(&flow.client).expect("it was opened");
                self.learn(flow, Ok(found.index));
            }
            false => self.insert_absent(flow),
        }
    }

    fn learn(&mut self, flow: Flow, inserted: Result<FlowIndex, Refused>) {
        let is_full = self.flows.len() == self.table.capacity();
        let is_known = self.keys_of(&flow).any(|key| self.keys.contains_key(&key));
        let is_own_reply = flow.mode != Mode::Dsr && flow.client == flow.reply;
        match inserted {
            Ok(index) => {
                assert!(!is_full && !is_known && !is_own_reply);
                assert!(self.flows.insert(index, flow).is_none(), "a position is used once");
                self.keys.insert(flow.client, Found { index, side: Side::Client });
                if flow.mode != Mode::Dsr {
                    self.keys.insert(flow.reply, Found { index, side: Side::Backend });
                }
            }
            Err(Refused::Full) => assert!(is_full || self.alike(&flow.client) >= CROWD),
            Err(Refused::Duplicate) => assert!(is_known || is_own_reply),
        }
    }

    /// How many flows there are of the client of a key.
    fn alike(&self, key: &FlowKey) -> usize {
        let end = |key: &FlowKey| (key.source, key.source_port);
        self.flows.values().filter(|flow| end(&flow.client) == end(key)).count()
    }

    fn keys_of(&self, flow: &Flow) -> impl Iterator<Item = FlowKey> + use<> {
        let reply = (flow.mode != Mode::Dsr).then_some(flow.reply);
        [Some(flow.client), reply].into_iter().flatten()
    }

    fn remove(&mut self, position: u16) {
        let index = FlowIndex(u32::from(position) % 800);
        let known = self.flows.get(&index).copied();
        let removed = self.table.remove(index);
        assert_eq!(removed.map(|flow| flow.client), known.map(|flow| flow.client));
        if let Some(flow) = known {
            self.forget(index, &flow);
        }
    }

    fn forget(&mut self, index: FlowIndex, flow: &Flow) {
        self.flows.remove(&index);
        for key in self.keys_of(flow) {
            self.keys.remove(&key);
        }
    }

    /// Removes what leads to every few backends.
    fn scan(&mut self, budget: u8, every: u8) {
        let mut seen = Vec::new();
        let mut removed = Vec::new();
        let count = self.table.scan(usize::from(budget), |index, flow| {
            seen.push(index);
            if flow.hot.backend.0 % (u32::from(every) + 1) == 0 {
                removed.push(index);
                return Fate::Remove;
            }
            Fate::Keep
        });
        assert_eq!(count, removed.len());
        assert!(seen.len() <= usize::from(budget) + REST_OF_A_SET && (budget > 0 || seen.is_empty()));
        assert!(seen.iter().all(|index| self.flows.contains_key(index)));
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "no position twice");
        for index in removed {
            let flow = self.flows.get(&index).copied().expect("it was there");
            self.forget(index, &flow);
        }
    }

    /// Many flows at once, of a few clients.
    fn fill(&mut self, seed: u8) {
        for number in 0..=63 {
            let client = seed.wrapping_add(number % 4);
            let service = number.wrapping_mul(seed | 1);
            let bytes = [number, client, service, service << 2 & 0xf0, number];
            self.insert(flow(&mut Script::new(&bytes)));
        }
    }

    fn check_sizes(&self) {
        assert_eq!(self.table.len(), self.flows.len());
        assert_eq!(self.table.is_empty(), self.flows.is_empty());
    }

    /// Looks everything up, and what is not there as well.
    fn check_all(&mut self) {
        let mut keys: Vec<FlowKey> = self.keys.keys().copied().collect();
        keys.extend(self.flows.values().flat_map(|flow| [flow.reply, flow.client.reversed()]));
        for key in &keys {
            let known = self.keys.get(key).copied();
            assert_eq!(self.table.find(key), known);
            if is_of_a_client(key) {
                assert_eq!(self.table.find_client(key).ok(), known);
            }
            assert_eq!(self.table.settle(Candidate::NONE, key).ok(), known);
            for way in [Way::Source, Way::Destination, Way::Key] {
                let candidate = self.table.look_up(self.table.place(way, key));
                let confirmed = self.table.confirm(candidate, key).map(|hit| hit.side);
                assert!(confirmed.is_none() || confirmed == known.map(|found| found.side));
                assert_eq!(self.table.settle(candidate, key).ok(), known);
            }
        }
        self.check_lists();
    }

    fn check_lists(&self) {
        let listed = self.list(usize::MAX, usize::MAX);
        assert_eq!(listed.len(), self.flows.len());
        assert_eq!(listed, self.list(7, 100));
        assert!(listed.iter().all(|index| self.flows.contains_key(index)));
    }

    /// All positions, in parts of so many rows and positions.
    fn list(&self, rows: usize, budget: usize) -> HashSet<FlowIndex> {
        let (mut listed, mut next) = (HashSet::new(), Some(0));
        while let Some(from) = next {
            let mut count = 0;
            next = self.table.list(from, (rows, budget), |index, flow| {
                assert_eq!(self.flows.get(&index).map(|known| known.client), Some(flow.client));
                assert!(listed.insert(index), "no position twice");
                count += 1;
            });
            assert!(count <= rows.min(budget));
        }
        listed
    }
}
