//! The flows of one worker.
//!
//! A flow is named by its position in three arrays (`record` says what is in which); [`Index`] leads from the hash of either
//! key to a position. Memory of the arrays is reserved at once and touched by the kernel as they fill for the first time;
//! the index is touched at start.

use std::{fmt, ops::Range};

use arrayvec::ArrayVec;

use crate::{
    Flow, FlowKey, HashKey,
    bucket::{Entry, Index},
    record::{Cold, Hit, Hot, Tracked},
    wide::{Wide, Wides},
};

/// The bit of an [`Entry`] that says that it is the reply's.
const REPLY: Entry = 1 << 31;
/// The bit of an [`Entry`] that says that the flow is IPv6, so that its addresses are asked for in time.
const WIDE: Entry = 1 << 30;
/// The bits of an [`Entry`] that are the flow's position.
const POSITION: Entry = WIDE - 1;
/// No entry: a position that no table reaches.
const NONE: Entry = POSITION;

/// Flows that a scan removes together, so that their cache misses overlap.
const DOOMED: usize = 16;

/// A flow's position in its table. Valid until the flow is removed; afterwards it may be another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowIndex(pub u32);

/// Which of a flow's two keys a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// [`Flow::client`]: it comes from the client.
    Client,
    /// [`Flow::reply`]: it comes from the backend.
    Backend,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The flow.
    pub index: FlowIndex,
    /// Which of its keys it was.
    pub side: Side,
}

impl Found {
    #[inline(always)]
    fn of(entry: Entry) -> Self {
        let side = if entry & REPLY == 0 { Side::Client } else { Side::Backend };
        Self { index: FlowIndex(entry & POSITION), side }
    }
}

impl Side {
    /// The side that a packet from this one is for.
    #[inline(always)]
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// Where a key's flow is, if it has one: what [`FlowTable::find_all`] concludes from the key's hash alone, for
/// [`FlowTable::confirm`] to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate(Entry);

impl Candidate {
    /// No flow comes into question.
    pub const NONE: Self = Self(NONE);
}

/// That no flow of the table has a key, and the key's hash: as long as the table has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent(u64);

/// Why a flow was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The table has as many flows as it may have (or, once in 10¹² times, no room where this one would go).
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
    index: Index,
    /// Grows by pushing up to `capacity`, for which it has reserved; never shrinks.
    hot: Vec<Option<Hot>>,
    /// As long as `hot`.
    cold: Vec<Cold>,
    wide: Wides,
    /// Positions that were given up, the last one to be used first.
    vacant: Vec<u32>,
    capacity: usize,
    /// The position that the next [`FlowTable::scan`] begins with.
    hand: usize,
}

impl FlowTable {
    /// An empty table for `flows` flows (2³⁰ − 1 at most). Allocates all that it will ever use.
    #[must_use]
    pub fn with_capacity(flows: usize, hash_key: HashKey) -> Self {
        let capacity = flows.min(NONE as usize);
        Self {
            hash_key,
            index: Index::with_capacity(capacity * 2),
            hot: cpu::vector_on_huge_pages(capacity),
            cold: cpu::vector_on_huge_pages(capacity),
            wide: Wides::new(capacity),
            vacant: Vec::with_capacity(capacity),
            capacity,
            hand: 0,
        }
    }

    /// The hashes of `keys`, and asks for the memory that [`FlowTable::find_all`] reads first.
    #[inline]
    pub fn hash_all(&self, keys: &[FlowKey], hashes: &mut [u64]) {
        for (key, hash) in keys.iter().zip(hashes) {
            *hash = self.hash_key.hash(key);
            self.index.prefetch(*hash);
        }
    }

    /// The candidates for all `hashes`, and asks for the memory that [`FlowTable::confirm`] reads. Whether each hash has one.
    #[inline]
    pub fn find_all(&self, hashes: &[u64], candidates: &mut [Candidate]) -> bool {
        let mut is_complete = true;
        for (candidate, &hash) in candidates.iter_mut().zip(hashes) {
            let entry = self.index.find(hash, |_| true).unwrap_or(NONE);
            let position = (entry & POSITION) as usize;
            if let Some(hot) = self.hot.get(position) {
                cpu::prefetch(hot);
            }
            if entry & WIDE != 0
                && let Some(wide) = self.wide.get(position)
            {
                cpu::prefetch(wide);
            }
            *candidate = Candidate(entry);
            is_complete &= entry != NONE;
        }
        is_complete
    }

    /// The candidate's flow if this is its key. `None` also when another flow has the key, which happens once in 10⁸
    /// look-ups or when the table has changed since: [`FlowTable::find`] knows.
    #[inline(always)]
    pub fn confirm(&mut self, candidate: Candidate, key: &FlowKey) -> Option<Hit<'_>> {
        let Found { index, side } = Found::of(candidate.0);
        let hot = self.hot.get_mut(index.0 as usize)?.as_mut()?;
        let wide = if candidate.0 & WIDE == 0 { None } else { self.wide.get(index.0 as usize) };
        hot.has_key(side, wide, key).then_some(Hit { hot, wide, side })
    }

    /// Looks up one key, whose hash and candidate are known.
    ///
    /// # Errors
    ///
    /// When there is no flow with this key: then one can be [inserted](Self::insert_absent).
    pub fn settle(&mut self, candidate: Candidate, key: &FlowKey, hash: u64) -> Result<Found, Absent> {
        if self.confirm(candidate, key).is_some() {
            return Ok(Found::of(candidate.0));
        }
        self.find(key, hash).ok_or(Absent(hash))
    }

    /// Looks up one key, whose hash is known.
    #[must_use]
    pub fn find(&self, key: &FlowKey, hash: u64) -> Option<Found> {
        self.index.find(hash, |entry| self.has_key(entry, key)).map(Found::of)
    }

    /// Whether an entry leads to exactly this key.
    #[inline(always)]
    fn has_key(&self, entry: Entry, key: &FlowKey) -> bool {
        let Found { index, side } = Found::of(entry);
        let wide = self.wide.get(index.0 as usize);
        self.hot(index).is_some_and(|hot| hot.has_key(side, wide, key))
    }

    fn hot(&self, index: FlowIndex) -> Option<&Hot> {
        self.hot.get(index.0 as usize)?.as_ref()
    }

    /// The hash of a key in this table.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hash_key.hash(key)
    }

    /// Asks for the memory that taking in a flow with this reply key needs, when `ahead` others are taken in before it.
    #[inline]
    pub fn prepare(&self, reply: Option<&FlowKey>, ahead: usize) {
        if let Some(reply) = reply {
            self.index.prefetch(self.hash(reply));
        }
        let given_up = self.vacant.len().checked_sub(ahead + 1).and_then(|last| self.vacant.get(last));
        if let Some(&index) = given_up
            && let (Some(hot), Some(cold)) = (self.hot.get(index as usize), self.cold.get(index as usize))
        {
            cpu::prefetch(hot);
            cpu::prefetch(cold);
        }
    }

    /// Takes a flow in, to be found by its client key, and by its reply key too unless its mode is `dsr`.
    ///
    /// # Errors
    ///
    /// When the table is full or knows one of the keys. The table is unchanged then.
    pub fn insert(&mut self, flow: &Flow) -> Result<FlowIndex, Refused> {
        let hash = self.hash(&flow.client);
        if self.find(&flow.client, hash).is_some() {
            return Err(Refused::Duplicate);
        }
        self.insert_absent(flow, Absent(hash))
    }

    /// The same, when it is known that no flow has its client key: `absent` must be of that key.
    ///
    /// # Errors
    ///
    /// When the table is full or knows the reply key. The table is unchanged then.
    pub fn insert_absent(&mut self, flow: &Flow, absent: Absent) -> Result<FlowIndex, Refused> {
        debug_assert_eq!(absent.0, self.hash(&flow.client), "absence of another key");
        if self.len() == self.capacity {
            return Err(Refused::Full);
        }
        let (client, reply) = flow.keys();
        let reply = reply.map(|reply| (reply, self.hash(&reply)));
        if reply.is_some_and(|(reply, hash)| reply == client || self.find(&reply, hash).is_some()) {
            return Err(Refused::Duplicate);
        }
        let index = self.vacant.last().copied().unwrap_or(self.positions());
        let entry = if client.is_v4() { index } else { index | WIDE };
        self.enter(entry, absent.0, reply.map(|(_, hash)| hash))?;
        self.place(index, flow);
        Ok(FlowIndex(index))
    }

    /// Enters both hashes in the index, or neither.
    fn enter(&mut self, entry: Entry, client_hash: u64, reply_hash: Option<u64>) -> Result<(), Refused> {
        if !self.index.enter(client_hash, entry) {
            return Err(Refused::Full);
        }
        if reply_hash.is_none_or(|hash| self.index.enter(hash, entry | REPLY)) {
            return Ok(());
        }
        self.index.leave(client_hash, entry);
        Err(Refused::Full)
    }

    /// Puts a flow where `insert` has decided: at the last position given up, or at the end.
    fn place(&mut self, index: u32, flow: &Flow) {
        self.vacant.pop();
        let position = index as usize;
        match (self.hot.get_mut(position), self.cold.get_mut(position)) {
            (Some(hot), Some(cold)) => (*hot, *cold) = (Some(Hot::of(flow)), Cold::of(flow)),
            _ => {
                self.hot.push(Some(Hot::of(flow)));
                self.cold.push(Cold::of(flow));
            }
        }
        if !flow.client.is_v4() {
            self.wide.set(position, Wide::of(flow));
        }
    }

    /// Removes a flow and returns it; `None` when there is none at that position.
    pub fn remove(&mut self, index: FlowIndex) -> Option<Flow> {
        let flow = self.leave(index)?;
        self.vacant.push(index.0);
        Some(flow)
    }

    /// Takes a flow out of the arrays and of the index.
    fn leave(&mut self, index: FlowIndex) -> Option<Flow> {
        let flow = self.flow(index)?;
        *self.hot.get_mut(index.0 as usize)? = None;
        let (client, reply) = flow.keys();
        let entry = if client.is_v4() { index.0 } else { index.0 | WIDE };
        self.index.leave(self.hash_key.hash(&client), entry);
        if let Some(reply) = reply {
            self.index.leave(self.hash_key.hash(&reply), entry | REPLY);
        }
        Some(flow)
    }

    /// The flow at a position.
    #[must_use]
    pub fn flow(&self, index: FlowIndex) -> Option<Flow> {
        let position = index.0 as usize;
        Some(self.hot(index)?.whole(self.cold.get(position)?, self.wide.get(position)))
    }

    /// The flow at a position, to be changed.
    #[inline]
    #[must_use]
    pub fn tracked(&mut self, index: FlowIndex) -> Option<Tracked<'_>> {
        let position = index.0 as usize;
        let hot = self.hot.get_mut(position)?.as_mut()?;
        Some(Tracked { hot, cold: self.cold.get_mut(position)?, wide: self.wide.get(position) })
    }

    /// Visits the flows at the next `budget` positions, beginning where it left off last time and going round, and
    /// removes those that `decide` wants removed. Returns how many those were. No position is visited twice in one call.
    pub fn scan(&mut self, budget: usize, mut decide: impl FnMut(FlowIndex, Tracked<'_>) -> Fate) -> usize {
        let before = self.len();
        let mut doomed = ArrayVec::<FlowIndex, DOOMED>::new();
        for _ in 0..budget.min(self.hot.len()) {
            self.hand = if self.hand < self.hot.len() { self.hand } else { 0 };
            let index = FlowIndex(self.hand as u32);
            self.hand += 1;
            if self.tracked(index).is_some_and(|flow| decide(index, flow) == Fate::Remove) {
                self.prefetch(index);
                if doomed.try_push(index).is_ok() && doomed.is_full() {
                    self.remove_all(&mut doomed);
                }
            }
        }
        self.remove_all(&mut doomed);
        before - self.len()
    }

    fn remove_all(&mut self, doomed: &mut ArrayVec<FlowIndex, DOOMED>) {
        for index in doomed.drain(..) {
            self.remove(index);
        }
    }

    /// Asks for the memory that removing a flow needs.
    fn prefetch(&self, index: FlowIndex) {
        if let Some(flow) = self.flow(index) {
            let (client, reply) = flow.keys();
            self.index.prefetch(self.hash_key.hash(&client));
            if let Some(reply) = reply {
                self.index.prefetch(self.hash_key.hash(&reply));
            }
        }
    }

    /// The flows at some positions. Positions in use are below [`FlowTable::positions`].
    pub fn list(&self, positions: Range<u32>) -> impl Iterator<Item = (FlowIndex, Flow)> {
        let end = positions.end.min(self.positions());
        (positions.start..end).filter_map(|position| {
            let index = FlowIndex(position);
            Some((index, self.flow(index)?))
        })
    }

    /// How many positions have ever been in use.
    #[must_use]
    pub fn positions(&self) -> u32 {
        self.hot.len() as u32
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hot.len() - self.vacant.len()
    }

    /// Whether there is no flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many flows there may be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
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
    use crate::record::tests::flow;

    fn table(capacity: usize) -> FlowTable {
        FlowTable::with_capacity(capacity, HashKey::from_seed([7; 16], 0))
    }

    fn find(table: &FlowTable, key: &FlowKey) -> Option<Found> {
        table.find(key, table.hash(key))
    }

    /// What [`FlowTable::find`] finds, and whether it was the candidate; what was confirmed must be the same.
    fn find_all(table: &mut FlowTable, keys: &[FlowKey]) -> Vec<(Option<Found>, bool)> {
        let (mut hashes, mut candidates) = (vec![0; keys.len()], vec![Candidate::NONE; keys.len()]);
        table.hash_all(keys, &mut hashes);
        table.find_all(&hashes, &mut candidates);
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
            for number in 0..capacity as u32 {
                table.insert(&flow(number, Mode::Nat)).unwrap();
            }
            assert_eq!(table.insert(&flow(u32::MAX, Mode::Nat)), Err(Refused::Full));
            assert_eq!((table.len(), table.capacity()), (capacity, capacity));
            if capacity > 0 {
                table.remove(FlowIndex(capacity as u32 / 2)).unwrap();
                assert_eq!(table.insert(&flow(u32::MAX, Mode::Nat)), Ok(FlowIndex(capacity as u32 / 2)));
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
            assert_eq!((found.is_some(), is_confirmed), (position < 20_000, position < 20_000));
        }
    }

    #[test]
    fn a_scan_goes_round_within_its_budget_and_visits_each_flow_once_a_round() {
        let mut table = table(100);
        (0..100).for_each(|number| assert!(table.insert(&flow(number, Mode::Nat)).is_ok()));
        table.remove(FlowIndex(40)).unwrap();
        let mut visits = [0; 100];
        for _ in 0..20 {
            let mut visited = 0;
            table.scan(10, |index, flow| {
                visited += 1;
                visits[index.0 as usize] += 1;
                flow.hot.add_fins(1);
                Fate::Keep
            });
            assert!(visited <= 10);
        }
        assert!((0..100).all(|position| visits[position] == if position == 40 { 0 } else { 2 }));
        table.scan(1000, |index, _| {
            visits[index.0 as usize] += 1;
            Fate::Keep
        });
        assert_eq!(visits.iter().sum::<i32>(), 99 * 3);
    }

    #[test]
    fn a_scan_removes_what_is_to_be_removed() {
        let mut table = table(100);
        (0..100).for_each(|number| assert!(table.insert(&flow(number, Mode::Nat)).is_ok()));
        let odd = |_, flow: Tracked<'_>| if flow.hot.backend.0 % 2 == 1 { Fate::Remove } else { Fate::Keep };
        assert_eq!((table.scan(50, odd), table.scan(50, odd), table.scan(100, odd)), (25, 25, 0));
        assert_eq!(table.len(), 50);
        assert!(table.list(0..table.positions()).all(|(_, flow)| flow.backend.0 % 2 == 0));
        assert_eq!(find(&table, &flow(1, Mode::Nat).reply), None);
    }

    #[test]
    fn scanning_and_listing_an_empty_table_finds_nothing() {
        let mut table = table(100);
        assert_eq!(table.scan(10, |_, _| Fate::Remove), 0);
        assert_eq!(table.list(0..u32::MAX).count(), 0);
    }

    #[test]
    fn a_list_is_taken_in_parts() {
        let mut table = table(100);
        (0..30).for_each(|number| assert!(table.insert(&flow(number, Mode::Nat)).is_ok()));
        table.remove(FlowIndex(12)).unwrap();
        let parts = [0..10, 10..20, 20..u32::MAX].map(|part| table.list(part).count());
        assert_eq!(parts, [10, 9, 10]);
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
            let count = self.table.scan(16, |_, flow| {
                if flow.hot.backend.0 % 32 == every {
                    removed.push(flow.hot.whole(flow.cold, flow.wide));
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
            assert_eq!(self.table.list(0..self.table.positions()).count(), self.flows);
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
