//! The flows of one worker.
//!
//! A flow is named by its position in two arrays (`record` says what is in which). Nearly all flows lie where the hash of the
//! client's end says ([`Sets`]), which packets of both directions have. [`Index`] leads by a hash of the whole key to the rest:
//! guests, and replies to a source address that is the gateway's own (`full_nat`). All memory is touched at the start, but for
//! IPv6 addresses and sequence numbers.

mod intake;

use std::fmt;

use arrayvec::ArrayVec;
use model::Address;
use wire::ipv4::Ends;

use crate::{
    Flow, FlowKey, HashKey,
    bucket::{Entry, Index},
    numbers::AllNumbers,
    place::{Candidate, FlowIndex, Found, NONE, POSITION, Place, REPLY, Side, WIDE, Way},
    record::{Hit, Hot, Identity, Tracked},
    sets::{Lying, Sets, Vacancy, WAYS, tagged},
    wide::{Wide, Wides},
};

/// Flows that a scan removes together, at most, so that their cache misses overlap.
const DOOMED: usize = 2 * WAYS;
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

/// What becomes of a flow that was visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is removed.
    Remove,
}

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

    /// Where to look for the flow of an IPv4 packet.
    #[inline(always)]
    #[must_use]
    pub fn place_v4(&self, way: Way, ends: &Ends, protocol: u8, domain: u8) -> Place {
        let (address, port, bits) = match way {
            Way::Source => (ends.source, ends.source_port, 0),
            Way::Destination => (ends.destination, ends.destination_port, REPLY),
            Way::Key => return self.place(way, &key_of(ends, protocol, domain)),
        };
        self.place_by_end(self.hash_key.hash_end_v4(address, port, protocol, domain), bits)
    }

    /// Where to look for the flow of a packet with this key.
    #[inline]
    #[must_use]
    pub fn place(&self, way: Way, key: &FlowKey) -> Place {
        let wide = if key.is_v4() { 0 } else { WIDE };
        match way {
            Way::Source => self.place_by_end(self.end(Side::Client, key), wide),
            Way::Destination => self.place_by_end(self.end(Side::Backend, key), wide | REPLY),
            Way::Key => Place::by_key(self.hash_key.hash(key)),
        }
    }

    #[inline(always)]
    fn place_by_end(&self, hash: u64, bits: Entry) -> Place {
        Place::by_end(tagged(hash), self.sets.first(hash), bits)
    }

    /// The hash of the client's end of a key, if it is the key of packets from a side.
    #[inline]
    fn end(&self, side: Side, key: &FlowKey) -> u64 {
        let (address, port) = match side {
            Side::Client => (key.source, key.source_port),
            Side::Backend => (key.destination, key.destination_port),
        };
        self.hash_key.hash_end(address, port.into(), key.protocol, key.domain)
    }

    /// Asks for the memory that [`FlowTable::look_up`] reads first.
    #[inline(always)]
    pub fn prefetch(&self, place: Place) {
        if !self.sets.prefetch(place.set()) {
            self.index.prefetch(place.hash);
        }
    }

    /// What is likely to be a place's flow, and asks for the memory that [`FlowTable::confirm`] reads.
    #[inline(always)]
    #[must_use]
    pub fn look_up(&self, place: Place) -> Candidate {
        let entry = self.entry_at(place);
        self.prefetch_flow(entry);
        Candidate(entry)
    }

    /// What is likely to be a place's.
    #[inline(always)]
    fn entry_at(&self, place: Place) -> Entry {
        match self.sets.find_first(place.hash, place.set()) {
            Lying::At(position) => position as Entry | place.bits(),
            Lying::Nowhere => NONE,
            Lying::Elsewhere => self.entry_in_index(place.hash),
        }
    }

    #[inline(never)]
    fn entry_in_index(&self, hash: u64) -> Entry {
        self.index.find(hash, |_| true).unwrap_or(NONE)
    }

    #[inline(always)]
    fn prefetch_flow(&self, entry: Entry) {
        let position = (entry & POSITION) as usize;
        if let Some(hot) = self.hot.get(position) {
            cpu::prefetch(hot);
        }
        if entry & WIDE != 0
            && let Some(wide) = self.wide.get(position)
        {
            cpu::prefetch(wide);
        }
    }

    /// What the candidate is, be it the packet's flow or not.
    #[inline(always)]
    #[must_use]
    pub fn peek(&self, candidate: Candidate) -> Option<&Hot> {
        self.hot.get((candidate.0 & POSITION) as usize)
    }

    /// The candidate's flow if this is its key. `None` also when another flow has the key, which happens now and then:
    /// [`FlowTable::find`] knows.
    #[inline]
    pub fn confirm(&mut self, candidate: Candidate, key: &FlowKey) -> Option<Hit<'_>> {
        let Found { index, side } = Found::of(candidate.0);
        let hot = self.hot.get_mut(index.0 as usize)?;
        let wide = if candidate.0 & WIDE == 0 { None } else { self.wide.get(index.0 as usize) };
        hot.has_key(side, wide, key).then_some(Hit { hot, wide, side })
    }

    /// The same for an IPv4 packet, from the side that the candidate says.
    #[inline(always)]
    pub fn confirm_v4(
        &mut self,
        (candidate, side): (Candidate, Side),
        ends: &Ends,
        identity: Identity,
    ) -> Option<&mut Hot> {
        let hot = self.hot.get_mut((candidate.0 & POSITION) as usize)?;
        hot.has_ends(side, ends, identity).then_some(hot)
    }

    /// The same for an IPv6 packet.
    #[inline(always)]
    pub fn confirm_v6(
        &mut self,
        (candidate, side): (Candidate, Side),
        addresses: &[Address; 2],
        ports: [wire::U16; 2],
        identity: Identity,
    ) -> Option<(&mut Hot, &Wide)> {
        let position = (candidate.0 & POSITION) as usize;
        let (hot, wide) = (self.hot.get_mut(position)?, self.wide.get(position)?);
        hot.has_addresses(side, Some(wide), addresses, ports, identity).then_some((hot, wide))
    }

    /// Looks up one key, whose candidate is known.
    ///
    /// # Errors
    ///
    /// When there is no flow with this key: then one can be [inserted](Self::insert_absent).
    pub fn settle(&mut self, candidate: Candidate, key: &FlowKey) -> Result<Found, Absent> {
        if self.confirm(candidate, key).is_some() {
            return Ok(Found::of(candidate.0));
        }
        self.find(key).ok_or_else(|| Absent(self.end(Side::Client, key)))
    }

    /// Looks up one key among those of packets from clients.
    ///
    /// # Errors
    ///
    /// When no client's packets have this key: then a flow can be [inserted](Self::insert_absent).
    pub fn find_client(&self, key: &FlowKey) -> Result<Found, Absent> {
        let hash = self.end(Side::Client, key);
        if let Some(position) = self.sets.find(hash, |position| self.has_key(position, Side::Client, key)) {
            return Ok(Found { index: FlowIndex(position as u32), side: Side::Client });
        }
        let guest = if self.may_have_guests(hash) { self.find_in_index(key) } else { None };
        guest.filter(|found| found.side == Side::Client).ok_or(Absent(hash))
    }

    /// Whether flows of a client's end, by its hash, may be guests: of those that came when there were too many alike, some may
    /// be left when the others are gone.
    #[inline(always)]
    fn may_have_guests(&self, hash: u64) -> bool {
        self.guests > 0 && self.sets.is_passed(hash)
    }

    /// Looks up one key.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<Found> {
        let found = self.find_as(Side::Client, key).or_else(|| self.find_as(Side::Backend, key));
        if found.is_some() || self.indexed == 0 { found } else { self.find_in_index(key) }
    }

    fn find_as(&self, side: Side, key: &FlowKey) -> Option<Found> {
        let is_right = |position| self.has_key(position, side, key);
        let position = self.sets.find(self.end(side, key), is_right)?;
        Some(Found { index: FlowIndex(position as u32), side })
    }

    fn find_in_index(&self, key: &FlowKey) -> Option<Found> {
        let matches = |entry| {
            let Found { index, side } = Found::of(entry);
            self.has_key(index.0 as usize, side, key)
        };
        self.index.find(self.hash_key.hash(key), matches).map(Found::of)
    }

    /// Whether the flow at a position has exactly this key.
    fn has_key(&self, position: usize, side: Side, key: &FlowKey) -> bool {
        self.hot.get(position).is_some_and(|hot| hot.has_key(side, self.wide.get(position), key))
    }

    fn hot(&self, index: FlowIndex) -> Option<&Hot> {
        self.hot.get(index.0 as usize).filter(|hot| !hot.is_vacant())
    }

    /// Asks for the memory that taking in a flow needs whose client's packet was looked for at a place.
    #[inline]
    pub fn prepare(&self, place: Place) {
        let Some(Vacancy { position, .. }) = self.sets.vacancy(place.hash) else { return };
        self.prefetch_flow(position as Entry | place.bits() & WIDE);
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

    /// Visits the next `budget` flows, and at most those of its set more, beginning where it left off last time and going round,
    /// and removes those that `decide` wants removed. Returns how many those were. Where there are few flows it looks at
    /// no more than half as many sets. No flow is visited twice in one call.
    pub fn scan(&mut self, budget: usize, mut decide: impl FnMut(FlowIndex, Tracked<'_>) -> Fate) -> usize {
        let (before, mut visited) = (self.len(), 0);
        let mut doomed = ArrayVec::<FlowIndex, DOOMED>::new();
        for _ in 0..self.sets.count().min(budget.div_ceil(2)) {
            if visited >= budget {
                break;
            }
            self.hand = if self.hand < self.sets.count() { self.hand } else { 0 };
            for position in self.sets.taken(self.hand) {
                visited += 1;
                let index = FlowIndex(position as u32);
                if self.tracked(index).is_some_and(|flow| decide(index, flow) == Fate::Remove) {
                    self.prefetch_removal(index);
                    doomed.push(index);
                }
            }
            self.hand += 1;
            if doomed.remaining_capacity() < WAYS {
                self.remove_all(&mut doomed);
            }
        }
        self.remove_all(&mut doomed);
        before - self.len()
    }

    /// Calls of [`FlowTable::scan`] with this budget after which all flows have been visited.
    #[must_use]
    pub fn scans_for_all(&self, budget: usize) -> usize {
        (self.sets.count() / budget.div_ceil(2).max(1)) + self.len() / budget.max(1) + 1
    }

    fn remove_all(&mut self, doomed: &mut ArrayVec<FlowIndex, DOOMED>) {
        for index in doomed.drain(..) {
            self.remove(index);
        }
    }

    /// Asks for the memory that removing a flow needs besides its own.
    fn prefetch_removal(&self, index: FlowIndex) {
        if let Some(flow) = self.flow(index) {
            let hashes = self.indexed_keys(&flow, self.sets.is_guest(index.0 as usize));
            hashes.iter().flatten().for_each(|&hash| self.index.prefetch(hash));
        }
    }

    /// At most `rows` flows, from a position on, within `budget` positions; and the position to go on with, if any is left.
    pub fn list(
        &self,
        from: u32,
        (rows, budget): (usize, usize),
        mut see: impl FnMut(FlowIndex, Flow),
    ) -> Option<u32> {
        let end = self.hot.len().min((from as usize).saturating_add(budget));
        let mut seen = 0;
        for position in from as usize..end {
            if seen == rows {
                return Some(position as u32);
            }
            let index = FlowIndex(position as u32);
            if self.sets.is_taken(position)
                && let Some(flow) = self.flow(index)
            {
                see(index, flow);
                seen += 1;
            }
        }
        (end < self.hot.len()).then_some(end as u32)
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

/// The key of an IPv4 packet.
fn key_of(ends: &Ends, protocol: u8, domain: u8) -> FlowKey {
    FlowKey {
        source: Address::from_v4(ends.source),
        destination: Address::from_v4(ends.destination),
        source_port: ends.source_port.get(),
        destination_port: ends.destination_port.get(),
        protocol,
        domain,
        ..FlowKey::default()
    }
}

/// The entry of a client's key.
fn entry(position: usize, key: &FlowKey) -> Entry {
    position as Entry | if key.is_v4() { 0 } else { WIDE }
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
mod tests {
    use std::collections::HashMap;

    use model::Mode;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::flow::tests::flow;

    fn table(capacity: usize) -> FlowTable {
        FlowTable::with_capacity(capacity, HashKey::from_seed([7; 16], 0))
    }

    fn find(table: &FlowTable, key: &FlowKey) -> Option<Found> {
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
    fn list(table: &FlowTable) -> Vec<Flow> {
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

    /// A table with flows 0 to 99, and how many positions it has.
    fn hundred() -> (FlowTable, usize) {
        let mut table = table(100);
        (0..100).for_each(|number| assert!(table.insert(&flow(number, Mode::Nat)).is_ok()));
        let positions = table.hot.len();
        (table, positions)
    }

    #[test]
    fn a_scan_goes_round_within_its_budget_and_visits_each_flow_once_a_round() {
        let (mut table, positions) = hundred();
        let gone = find(&table, &flow(40, Mode::Nat).client).unwrap().index;
        table.remove(gone).unwrap();
        let mut visits = vec![0; positions];
        for _ in 0..2 * table.sets.count() {
            let mut visited = 0;
            table.scan(1, |index, flow| {
                visited += 1;
                visits[index.0 as usize] += 1;
                flow.hot.set_marks(1);
                Fate::Keep
            });
            assert!(visited <= WAYS);
        }
        assert_eq!(visits.iter().filter(|&&visits| visits == 2).count(), 99);
        assert_eq!(visits[gone.0 as usize], 0);
        table.scan(usize::MAX, |index, _| {
            visits[index.0 as usize] += 1;
            Fate::Keep
        });
        assert_eq!(visits.iter().sum::<i32>(), 99 * 3);
    }

    #[test]
    fn a_scan_removes_what_is_to_be_removed() {
        let (mut table, positions) = hundred();
        let odd = |_, flow: Tracked<'_>| if flow.hot.backend.0 % 2 == 1 { Fate::Remove } else { Fate::Keep };
        let removed: usize = (0..positions / 10).map(|_| table.scan(10, odd)).sum();
        assert_eq!((removed, table.scan(usize::MAX, odd)), (50, 0));
        assert_eq!(table.len(), 50);
        assert!(list(&table).iter().all(|flow| flow.backend.0 % 2 == 0));
        assert_eq!(find(&table, &flow(1, Mode::Nat).reply), None);
    }

    #[test]
    fn a_scan_of_a_table_with_few_flows_is_bounded_too() {
        let mut table = table(100_000);
        (0..10).for_each(|number| assert!(table.insert(&flow(number, Mode::Nat)).is_ok()));
        table.scan(64, |_, _| Fate::Keep);
        assert_eq!(table.hand, 32);
        let mut visited = 0;
        for _ in 0..table.scans_for_all(64) {
            table.scan(64, |_, _| (visited += 1, Fate::Keep).1);
        }
        assert!(visited >= 10);
    }

    #[test]
    fn scanning_and_listing_an_empty_table_finds_nothing() {
        let mut table = table(100);
        assert_eq!(table.scan(10, |_, _| Fate::Remove), 0);
        assert!(list(&table).is_empty());
    }

    #[test]
    fn a_list_is_taken_in_parts() {
        let (table, positions) = hundred();
        for (rows, budget) in [(7, usize::MAX), (usize::MAX, 11), (7, 11)] {
            let (mut next, mut seen, mut parts) = (Some(0), Vec::new(), 0);
            while let Some(from) = next {
                let before = seen.len();
                next = table.list(from, (rows, budget), |_, flow| seen.push(flow.backend.0));
                assert!(seen.len() - before <= rows.min(budget));
                parts += 1;
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
            assert!(parts >= positions / budget.min(positions));
        }
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
