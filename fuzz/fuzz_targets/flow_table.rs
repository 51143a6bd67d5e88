//! The flow table against a map: whatever is done to both, they know the same flows.
#![no_main]

use std::collections::{HashMap, HashSet};

use flow::{
    Candidate, Fate, Flow, FlowIndex, FlowKey, FlowState, FlowTable, Found, HashKey, Refused, Repair, Side,
};
use libfuzzer_sys::fuzz_target;
use model::{Address, BackendId, MacAddress, Mode, PortId, VirtualServerId};
use tidegate_fuzz::script::Script;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script::new(bytes);
    let mut pair = Pair::new(usize::from(script.word() % 600), script.byte());
    while !script.is_over() {
        match script.byte() % 8 {
            0..=2 => pair.insert(flow(&mut script)),
            3..=5 => pair.remove(script.word()),
            6 => pair.scan(script.byte(), script.byte()),
            _ => pair.fill(script.byte()),
        }
        pair.check_sizes();
    }
    pair.check_all();
});

/// A flow of few possible keys, so that they meet.
fn flow(script: &mut Script<'_>) -> Flow {
    let mode = [Mode::Nat, Mode::FullNat, Mode::Dsr][usize::from(script.byte() % 3)];
    let client = FlowKey {
        source: address(script.byte()),
        destination: address(script.byte() % 4),
        source_port: u16::from(script.byte()),
        destination_port: 80,
        protocol: 6,
        ..FlowKey::default()
    };
    let reply = FlowKey { source: address(script.byte() % 4), ..client.reversed() };
    Flow {
        client,
        reply,
        last_seen: 0,
        checked: 0,
        backend: BackendId(u32::from(script.byte())),
        neighbour: 0,
        to_backend: Repair::default(),
        state: FlowState::Handshake,
        mode,
        fins: 0,
        client_port: PortId(0),
        virtual_server: VirtualServerId(0),
        created: 0,
        client_mac: MacAddress::default(),
        incarnation: 0,
    }
}

fn address(number: u8) -> Address {
    if number.is_multiple_of(2) {
        Address::from_v4([10, 0, 0, number])
    } else {
        Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
    }
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
        let is_full = self.flows.len() == self.table.capacity();
        let is_known = self.keys_of(&flow).any(|key| self.keys.contains_key(&key));
        let is_own_reply = flow.mode != Mode::Dsr && flow.client == flow.reply;
        match self.table.insert(&flow) {
            Ok(index) => {
                assert!(!is_full && !is_known && !is_own_reply);
                assert!(self.flows.insert(index, flow).is_none(), "a position is used once");
                self.keys.insert(flow.client, Found { index, side: Side::Client });
                if flow.mode != Mode::Dsr {
                    self.keys.insert(flow.reply, Found { index, side: Side::Backend });
                }
            }
            Err(Refused::Full) => assert!(is_full),
            Err(Refused::Duplicate) => assert!(is_known || is_own_reply),
        }
    }

    fn keys_of(&self, flow: &Flow) -> impl Iterator<Item = FlowKey> + use<> {
        let reply = (flow.mode != Mode::Dsr).then_some(flow.reply);
        [Some(flow.client), reply].into_iter().flatten()
    }

    fn remove(&mut self, position: u16) {
        let index = FlowIndex(u32::from(position) % 600);
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
        assert!(seen.len() <= usize::from(budget));
        assert!(seen.iter().all(|index| self.flows.contains_key(index)));
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "no position twice");
        for index in removed {
            let flow = self.flows.get(&index).copied().expect("it was there");
            self.forget(index, &flow);
        }
    }

    /// Many flows at once.
    fn fill(&mut self, seed: u8) {
        for number in 0..=63 {
            self.insert(flow(&mut Script::new(&[number, number, seed, seed, number, seed])));
        }
    }

    fn check_sizes(&self) {
        assert_eq!(self.table.len(), self.flows.len());
        assert_eq!(self.table.is_empty(), self.flows.is_empty());
    }

    /// Looks everything up at once, and what is not there as well.
    fn check_all(&mut self) {
        let mut keys: Vec<FlowKey> = self.keys.keys().copied().collect();
        keys.extend(self.flows.values().flat_map(|flow| [flow.reply, flow.client.reversed()]));
        let (mut hashes, mut candidates) = (vec![0; keys.len()], vec![Candidate::NONE; keys.len()]);
        self.table.hash_all(&keys, &mut hashes);
        self.table.find_all(&hashes, &mut candidates);
        for ((key, hash), candidate) in keys.iter().zip(hashes).zip(candidates) {
            let found = self.table.settle(candidate, key, hash).ok();
            assert_eq!(found, self.keys.get(key).copied());
            assert_eq!(found, self.table.find(key, hash));
        }
        let listed: HashSet<FlowIndex> =
            self.table.list(0..self.table.positions()).map(|(index, _)| index).collect();
        assert_eq!(listed, self.flows.keys().copied().collect());
    }
}
