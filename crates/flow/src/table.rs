//! The flows of one worker.
//!
//! A flow is named by its position in two arrays (`record` says what is in which). `look_up` finds flows, `intake` takes them in and lets
//! them go, `scan` visits them. Nearly all flows lie where the hash of the
//! client's end says ([`Sets`]), which packets of both directions have. [`Index`] leads by a hash of the whole key to the rest:
//! guests, and replies to a source address that is the gateway's own (`full_nat`). All memory is touched at the start, but for
//! IPv6 addresses and sequence numbers.

mod intake;
mod look_up;
mod scan;

use std::fmt;

pub use self::scan::Fate;
use crate::{
    Flow, HashKey,
    bucket::{Entry, Index},
    numbers::AllNumbers,
    place::{FlowIndex, WIDE},
    record::{Hot, Tracked},
    sets::Sets,
    wide::Wides,
};

/// Flows with one tag in one set, at most: those of one client's end to several services, which a look-up tries one by one.
const CROWD: usize = 4;

/// That no flow of the table has a key as its client's, and the hash of the client's end: as long as the table has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent(u64);

/// Why a flow was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The table has as many flows as it may have (or no room where this one would go: once in 10¹¹ times, unless clients use
    /// one address and port for many flows).
    Full,
    /// One of its keys is a key of a flow in the table, or both are the same.
    Duplicate,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the flow table is full",
            Self::Duplicate => "another flow has this key",
        })
    }
}

impl std::error::Error for Refused {}

/// The flows of one worker, found by either of their keys.
pub struct FlowTable {
    hash_key: HashKey,
    sets: Sets,
    index: Index,
    /// By position.
    hot: Box<[Hot]>,
    wide: Wides,
    numbers: AllNumbers,
    flows: usize,
    /// Keys in the index.
    indexed: usize,
    /// Flows that only the index leads to.
    guests: usize,
    capacity: usize,
    /// The set that the next [`FlowTable::scan`] begins with.
    hand: usize,
}

impl FlowTable {
    /// An empty table for `flows` flows (800 million at most). Allocates all that it will ever use.
    #[must_use]
    pub fn with_capacity(flows: usize, hash_key: HashKey) -> Self {
        let capacity = flows.min(MOST_FLOWS);
        let sets = Sets::with_capacity(capacity);
        let positions = sets.positions();
        Self {
            hash_key,
            sets,
            index: Index::with_capacity(capacity),
            hot: filled(positions, Hot::VACANT),
            wide: Wides::new(positions),
            numbers: AllNumbers::new(positions),
            flows: 0,
            indexed: 0,
            guests: 0,
            capacity,
            hand: 0,
        }
    }

    fn hot(&self, index: FlowIndex) -> Option<&Hot> {
        self.hot.get(index.0 as usize).filter(|hot| !hot.is_vacant())
    }

    /// The flow at a position.
    #[must_use]
    pub fn flow(&self, index: FlowIndex) -> Option<Flow> {
        let position = index.0 as usize;
        Some(self.hot(index)?.whole(self.wide.get(position)))
    }

    /// The flow at a position, to be changed.
    #[inline]
    #[must_use]
    pub fn tracked(&mut self, index: FlowIndex) -> Option<Tracked<'_>> {
        let position = index.0 as usize;
        let hot = self.hot.get_mut(position).filter(|hot| !hot.is_vacant())?;
        let numbers = self.numbers.get_mut(position)?;
        Some(Tracked { hot, wide: self.wide.get(position), numbers })
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows
    }

    /// Whether there is no flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more flow is taken in.
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.flows == self.capacity
    }

    /// How many flows there may be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// The most flows of a table: their positions must fit into [`POSITION`].
const MOST_FLOWS: usize = 800_000_000;

/// The entry of a flow's client.
fn entry(position: usize, flow: &Flow) -> Entry {
    position as Entry | if flow.is_wide() { WIDE } else { 0 }
}

/// An array on huge pages, all of whose memory has been touched: no worker waits for the kernel to find some.
fn filled<T: Clone>(length: usize, value: T) -> Box<[T]> {
    let mut array = cpu::vector_on_huge_pages(length);
    array.resize(length, value);
    array.into_boxed_slice()
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use model::Mode;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        FlowKey,
        flow::tests::flow,
        place::{Candidate, Found, Place, Side, Way},
    };

    pub(crate) fn table(capacity: usize) -> FlowTable {
        FlowTable::with_capacity(capacity, HashKey::from_seed([7; 16], 0))
    }

    pub(crate) fn find(table: &FlowTable, key: &FlowKey) -> Option<Found> {
        table.find(key)
    }

    /// The way that a packet with this key is looked for, as the datapath would have it: services have port 80.
    fn way(key: &FlowKey) -> Way {
        if key.destination_port == 80 { Way::Source } else { Way::Destination }
    }

    /// What [`FlowTable::find`] finds, and whether it was the candidate; what was confirmed must be the same.
    fn find_all(table: &mut FlowTable, keys: &[FlowKey]) -> Vec<(Option<Found>, bool)> {
        let places: Vec<Place> = keys.iter().map(|key| table.place(way(key), key)).collect();
        let candidates: Vec<Candidate> = places.iter().map(|&place| table.look_up(place)).collect();
        let found = keys.iter().zip(candidates).map(|(key, candidate)| {
            let confirmed = table.confirm(candidate, key).map(|hit| (hit.client(), hit.side));
            let found = find(table, key);
            if let Some((client, side)) = confirmed {
                let found = found.unwrap();
                assert_eq!((table.flow(found.index).unwrap().client, found.side), (client, side));
            }
            (found, confirmed.is_some())
        });
        found.collect()
    }

    /// All flows.
    pub(crate) fn list(table: &FlowTable) -> Vec<Flow> {
        let mut flows = Vec::new();
        assert_eq!(table.list(0, (usize::MAX, usize::MAX), |_, flow| flows.push(flow)), None);
        flows
    }

    #[test]
    fn a_flow_is_found_by_both_of_its_keys() {
        let mut table = table(8);
        let flow = flow(1, Mode::Nat);
        let index = table.insert(&flow).unwrap();
        assert_eq!(find(&table, &flow.client), Some(Found { index, side: Side::Client }));
        assert_eq!(find(&table, &flow.reply), Some(Found { index, side: Side::Backend }));
        assert_eq!(find(&table, &flow.client.reversed()), None);
        assert_eq!(table.flow(index).unwrap().backend, flow.backend);
    }

    #[test]
    fn a_flow_in_dsr_has_no_replies_to_be_found() {
        let mut table = table(8);
        let flow = flow(1, Mode::Dsr);
        table.insert(&flow).unwrap();
        assert!(find(&table, &flow.client).is_some());
        assert_eq!(find(&table, &flow.reply), None);
    }

    #[test]
    fn a_removed_flow_is_not_found_and_cannot_be_removed_again() {
        let mut table = table(8);
        let flow = flow(1, Mode::FullNat);
        let index = table.insert(&flow).unwrap();
        assert_eq!(table.remove(index).unwrap().client, flow.client);
        assert_eq!((find(&table, &flow.client), find(&table, &flow.reply)), (None, None));
        assert!(table.remove(index).is_none() && table.flow(index).is_none() && table.is_empty());
    }

    #[test]
    fn a_key_that_is_known_is_refused_on_either_side() {
        let mut table = table(8);
        let first = flow(1, Mode::Nat);
        table.insert(&first).unwrap();
        let same_client = Flow { reply: flow(2, Mode::Nat).reply, ..first };
        let same_reply = Flow { client: flow(2, Mode::Nat).client, ..first };
        let crossed = Flow { client: first.reply, ..flow(2, Mode::Nat) };
        let its_own_reply = Flow { reply: flow(2, Mode::Nat).client, ..flow(2, Mode::Nat) };
        for refused in [first, same_client, same_reply, crossed, its_own_reply] {
            assert_eq!(table.insert(&refused), Err(Refused::Duplicate));
        }
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn each_capacity_is_honoured_exactly() {
        for capacity in (0..70).chain([1000, 4096, 5000]) {
            let mut table = table(capacity);
            let indexes: Vec<FlowIndex> =
                (0..capacity as u32).map(|number| table.insert(&flow(number, Mode::Nat)).unwrap()).collect();
            assert_eq!(table.insert(&flow(u32::MAX, Mode::Nat)), Err(Refused::Full));
            assert_eq!((table.len(), table.capacity()), (capacity, capacity));
            if capacity > 0 {
                table.remove(indexes[capacity / 2]).unwrap();
                assert!(table.insert(&flow(u32::MAX, Mode::Nat)).is_ok());
                assert_eq!(table.len(), capacity);
            }
        }
    }

    #[test]
    fn a_full_table_finds_all_flows_at_once_and_nobody_elses() {
        let mut table = table(10_000);
        let flows: Vec<Flow> = (0..10_000).map(|number| flow(number, Mode::Nat)).collect();
        flows.iter().for_each(|&flow| assert!(table.insert(&flow).is_ok()));
        let known = flows.iter().flat_map(|flow| [flow.client, flow.reply]);
        let keys: Vec<FlowKey> = known.chain(flows.iter().map(|flow| flow.client.reversed())).collect();
        let found = find_all(&mut table, &keys);
        for (position, (key, &(found, is_confirmed))) in keys.iter().zip(&found).enumerate() {
            assert_eq!(found, find(&table, key));
            assert_eq!(found.is_some(), position < 20_000);
            assert!(!is_confirmed || position < 20_000);
        }
        let at_once = found.iter().filter(|(_, is_confirmed)| *is_confirmed).count();
        assert!(at_once > 19_980, "{at_once} of 20000 were candidates: the others have the tag of another");
    }

    #[test]
    fn a_flow_that_is_opened_at_once_is_as_one_that_is_inserted() {
        let (mut opened, mut inserted) = (table(100), table(100));
        let flows = (0..200).filter(|number| number % 5 < 4);
        for flow in flows.map(|number| flow(number, if number % 2 == 0 { Mode::Nat } else { Mode::Dsr })) {
            let place = opened.place(Way::Source, &flow.client);
            let is_open = opened.open_v4(place, Hot::of(&flow)).is_some();
            assert_eq!(is_open, inserted.insert(&flow).is_ok());
            assert_eq!(find(&opened, &flow.client), find(&inserted, &flow.client));
            assert_eq!(find(&opened, &flow.reply), find(&inserted, &flow.reply));
            assert!(opened.open_v4(place, Hot::of(&flow)).is_none(), "it is known");
        }
        assert_eq!(format!("{:?}", list(&opened)), format!("{:?}", list(&inserted)));
        for flow in list(&opened) {
            let index = find(&opened, &flow.client).unwrap().index;
            assert!(opened.remove(index).is_some());
        }
        assert_eq!((opened.len(), opened.indexed), (0, 0));
    }

    #[test]
    fn a_flow_whose_reply_is_known_is_not_opened() {
        let mut table = table(100);
        let first = flow(1, Mode::Nat);
        table.insert(&first).unwrap();
        let other = Flow { client: FlowKey { destination_port: 81, ..first.client }, ..first };
        let place = table.place(Way::Source, &other.client);
        assert!(table.open_v4(place, Hot::of(&other)).is_none());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_client_may_use_one_port_for_many_services() {
        let mut table = table(2000);
        let to = |service: u16, mode| {
            let one = flow(1, mode);
            let client = FlowKey { destination_port: service, ..one.client };
            Flow { client, reply: FlowKey { source_port: service, ..one.reply }, ..one }
        };
        let modes = [Mode::Nat, Mode::FullNat, Mode::Dsr];
        let flows: Vec<Flow> = (1..600).map(|service| to(service, modes[usize::from(service) % 3])).collect();
        flows.iter().for_each(|flow| assert!(table.insert(flow).is_ok()));
        for flow in &flows {
            let index = find(&table, &flow.client).unwrap().index;
            assert_eq!(table.flow(index).unwrap().client, flow.client);
            assert_eq!(find(&table, &flow.reply).is_some(), flow.mode != Mode::Dsr);
        }
        let mut tried = 0;
        table.sets.find(table.end(Side::Client, &flows[0].client), |_| (tried += 1, false).1);
        assert_eq!(tried, CROWD, "no look-up tries more");
        for flow in &flows {
            let index = find(&table, &flow.client).unwrap().index;
            assert_eq!(table.remove(index).unwrap().client, flow.client);
        }
        assert_eq!((table.len(), table.indexed, table.guests), (0, 0, 0));
    }

    #[test]
    fn what_came_when_there_were_too_many_alike_is_known_when_those_are_gone() {
        let to = |service: u16| {
            let one = flow(1, Mode::Nat);
            let client = FlowKey { destination_port: service, ..one.client };
            Flow { client, reply: FlowKey { source_port: service, ..one.reply }, ..one }
        };
        for (mode, removed) in [(Mode::Nat, 1..5), (Mode::Nat, 4..5), (Mode::Dsr, 1..5), (Mode::Nat, 1..7)] {
            let mut table = table(100);
            let flows: Vec<Flow> = (1..8).map(|service| Flow { mode, ..to(service) }).collect();
            flows.iter().for_each(|flow| assert!(table.insert(flow).is_ok()));
            for service in removed {
                let index = find(&table, &to(service).client).unwrap().index;
                table.remove(index);
            }
            let last = flows[6];
            let found = find(&table, &last.client);
            assert!(found.is_some());
            assert_eq!(table.find_client(&last.client).ok(), found);
            let place = table.place(Way::Source, &last.client);
            assert!(table.open_v4(place, Hot::of(&last)).is_none());
            let other = Flow { client: to(9).client, ..last };
            let absent = table.find_client(&other.client).unwrap_err();
            let expected = if mode == Mode::Dsr { Ok(()) } else { Err(Refused::Duplicate) };
            assert_eq!(table.insert_absent(&other, absent).map(|_| ()), expected, "its reply is known");
        }
    }

    /// The table and what it should contain.
    struct Pair {
        table: FlowTable,
        oracle: HashMap<FlowKey, Found>,
        flows: usize,
    }

    impl Pair {
        fn new(capacity: usize) -> Self {
            Self { table: table(capacity), oracle: HashMap::new(), flows: 0 }
        }

        /// Does one thing to both: what, decided by `choice`; to which flow, by `number`.
        fn apply(&mut self, choice: u8, number: u32) {
            let flow = flow(number, [Mode::Nat, Mode::FullNat, Mode::Dsr][number as usize % 3]);
            let known = self.oracle.get(&flow.client).copied();
            assert_eq!(find(&self.table, &flow.client), known);
            match (choice % 3, known) {
                (0, Some(found)) => {
                    assert_eq!(self.table.remove(found.index).unwrap().client, flow.client);
                    self.forget(&flow);
                }
                (1, _) => self.expire(number % 32),
                _ => self.insert(flow, known),
            }
            assert_eq!(self.table.len(), self.flows);
        }

        fn insert(&mut self, flow: Flow, known: Option<Found>) {
            let full = self.flows == self.table.capacity();
            match self.table.insert(&flow) {
                Ok(index) => {
                    assert!(!full && known.is_none());
                    self.oracle.insert(flow.client, Found { index, side: Side::Client });
                    if flow.mode != Mode::Dsr {
                        self.oracle.insert(flow.reply, Found { index, side: Side::Backend });
                    }
                    self.flows += 1;
                }
                Err(Refused::Full) => assert!(full),
                Err(Refused::Duplicate) => assert!(known.is_some()),
            }
        }

        fn expire(&mut self, every: u32) {
            let mut removed = Vec::new();
            let count = self.table.scan(20, |_, flow| {
                if flow.hot.backend.0 % 32 == every {
                    removed.push(flow.hot.whole(flow.wide));
                    return Fate::Remove;
                }
                Fate::Keep
            });
            assert_eq!(count, removed.len());
            removed.iter().for_each(|flow| self.forget(flow));
        }

        fn forget(&mut self, flow: &Flow) {
            self.oracle.remove(&flow.client);
            self.oracle.remove(&flow.reply);
            self.flows -= 1;
        }

        /// Looks everything up at once, and what is not there as well.
        fn check(&mut self) {
            let mut keys: Vec<FlowKey> = self.oracle.keys().copied().collect();
            keys.extend((0..self.flows as u32).map(|number| flow(number, Mode::Nat).client));
            let found = find_all(&mut self.table, &keys);
            assert!(keys.iter().zip(&found).all(|(key, (found, _))| self.oracle.get(key) == found.as_ref()));
            assert_eq!(list(&self.table).len(), self.flows);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_table_agrees_with_a_map(
            capacity in 1_usize..200,
            operations in vec((any::<u8>(), 0_u32..400), 1..2000),
        ) {
            let mut pair = Pair::new(capacity);
            operations.iter().for_each(|&(choice, number)| pair.apply(choice, number));
            pair.check();
        }
    }

    #[test]
    fn a_table_agrees_with_a_map_over_a_million_operations() {
        let mut pair = Pair::new(6000);
        let mut random = 1_u64;
        for step in 0..1_000_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            // Mostly filling for a while, then mostly emptying.
            let choice = if step % 200_000 < 120_000 { 2 } else { (random >> 60) as u8 };
            pair.apply(choice, (random >> 32) as u32 % 9000);
        }
        pair.check();
    }
}
