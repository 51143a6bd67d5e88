//! The flows of one worker.
//!
//! Records lie in a slab, where their position names them; [`Index`] leads from the hash of either key to a position.
//! Memory of records is reserved at once and touched by the kernel as the slab fills for the first time; the index is
//! touched at start.

use std::{fmt, ops::Range};

use crate::{
    Flow, FlowKey, HashKey,
    bucket::{Entry, Index},
};

/// The most keys that one pass handles.
const BATCH: usize = 64;
/// The bit of an [`Entry`] that says that it is the reply's.
const REPLY: Entry = 1 << 31;
/// No entry: a position that no table reaches.
const NONE: Entry = u32::MAX;

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
        Self { index: FlowIndex(entry & !REPLY), side }
    }
}

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
    records: Vec<Option<Flow>>,
    /// Positions in `records` that were given up, the last one to be used first.
    vacant: Vec<u32>,
    capacity: usize,
    /// The position that the next [`FlowTable::scan`] begins with.
    hand: usize,
}

impl FlowTable {
    /// An empty table for `flows` flows (2³¹ − 1 at most). Allocates all that it will ever use.
    #[must_use]
    pub fn with_capacity(flows: usize, hash_key: HashKey) -> Self {
        let capacity = flows.min((NONE & !REPLY) as usize);
        Self {
            hash_key,
            index: Index::with_capacity(capacity * 2),
            records: Vec::with_capacity(capacity),
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

    /// Looks up all `keys`, whose hashes are known, at once: by fingerprint first, so that the records' cache lines are
    /// on their way when the keys are compared.
    #[inline]
    pub fn find_all(&self, keys: &[FlowKey], hashes: &[u64], found: &mut [Option<Found>]) {
        let batches = keys.chunks(BATCH).zip(hashes.chunks(BATCH)).zip(found.chunks_mut(BATCH));
        for ((keys, hashes), found) in batches {
            self.find_batch(keys, hashes, found);
        }
    }

    fn find_batch(&self, keys: &[FlowKey], hashes: &[u64], found: &mut [Option<Found>]) {
        let mut entries = [NONE; BATCH];
        for (entry, &hash) in entries.iter_mut().zip(hashes) {
            *entry = self.index.find(hash, |_| true).unwrap_or(NONE);
            if let Some(record) = self.records.get((*entry & !REPLY) as usize) {
                cpu::prefetch(record);
            }
        }
        for (((&entry, key), &hash), found) in entries.iter().zip(keys).zip(hashes).zip(found) {
            *found = if entry == NONE {
                None
            } else if self.has_key(entry, key) {
                Some(Found::of(entry))
            } else {
                self.find(key, hash)
            };
        }
    }

    /// Looks up one key, whose hash is known.
    #[must_use]
    pub fn find(&self, key: &FlowKey, hash: u64) -> Option<Found> {
        self.index.find(hash, |entry| self.has_key(entry, key)).map(Found::of)
    }

    /// Whether an entry leads to exactly this key.
    #[inline(always)]
    fn has_key(&self, entry: Entry, key: &FlowKey) -> bool {
        let record = self.records.get((entry & !REPLY) as usize);
        record.and_then(Option::as_ref).is_some_and(|flow| {
            let known = if entry & REPLY == 0 { &flow.client } else { &flow.reply };
            known == key
        })
    }

    /// The hash of a key in this table.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hash_key.hash(key)
    }

    /// Takes a flow in, to be found by its client key, and by its reply key too unless its mode is `dsr`.
    ///
    /// # Errors
    ///
    /// When the table is full or knows one of the keys. The table is unchanged then.
    pub fn insert(&mut self, flow: Flow) -> Result<FlowIndex, Refused> {
        if self.len() == self.capacity {
            return Err(Refused::Full);
        }
        let (client, reply) = flow.keys();
        let client_hash = self.hash(&client);
        let reply = reply.map(|reply| (reply, self.hash(&reply)));
        let is_known = |key: &FlowKey, hash| self.find(key, hash).is_some();
        if is_known(&client, client_hash)
            || reply.is_some_and(|(reply, hash)| reply == client || is_known(&reply, hash))
        {
            return Err(Refused::Duplicate);
        }
        let index = self.vacant.last().copied().unwrap_or(self.records.len() as u32);
        self.enter(index, client_hash, reply.map(|(_, hash)| hash))?;
        self.place(index, flow);
        Ok(FlowIndex(index))
    }

    /// Enters both hashes in the index, or neither.
    fn enter(&mut self, index: u32, client_hash: u64, reply_hash: Option<u64>) -> Result<(), Refused> {
        if !self.index.enter(client_hash, index) {
            return Err(Refused::Full);
        }
        if reply_hash.is_none_or(|hash| self.index.enter(hash, index | REPLY)) {
            return Ok(());
        }
        self.index.leave(client_hash, index);
        Err(Refused::Full)
    }

    /// Puts a record where `insert` has decided: at the last position given up, or at the slab's end.
    fn place(&mut self, index: u32, flow: Flow) {
        self.vacant.pop();
        match self.records.get_mut(index as usize) {
            Some(record) => *record = Some(flow),
            None => self.records.push(Some(flow)),
        }
    }

    /// Removes a flow and returns it; `None` when there is none at that position.
    pub fn remove(&mut self, index: FlowIndex) -> Option<Flow> {
        let flow = self.records.get_mut(index.0 as usize)?.take()?;
        let (client, reply) = flow.keys();
        self.index.leave(self.hash_key.hash(&client), index.0);
        if let Some(reply) = reply {
            self.index.leave(self.hash_key.hash(&reply), index.0 | REPLY);
        }
        self.vacant.push(index.0);
        Some(flow)
    }

    /// The flow at a position.
    #[inline]
    #[must_use]
    pub fn flow(&self, index: FlowIndex) -> Option<&Flow> {
        self.records.get(index.0 as usize)?.as_ref()
    }

    /// The flow at a position, to be changed: all but its keys and its mode.
    #[inline]
    #[must_use]
    pub fn flow_mut(&mut self, index: FlowIndex) -> Option<&mut Flow> {
        self.records.get_mut(index.0 as usize)?.as_mut()
    }

    /// Visits the flows at the next `budget` positions, beginning where it left off last time and going round, and
    /// removes those that `decide` wants removed. Returns how many those were. No position is visited twice in one call.
    pub fn scan(&mut self, budget: usize, mut decide: impl FnMut(FlowIndex, &mut Flow) -> Fate) -> usize {
        let before = self.len();
        for _ in 0..budget.min(self.records.len()) {
            self.hand = if self.hand < self.records.len() { self.hand } else { 0 };
            let index = FlowIndex(self.hand as u32);
            self.hand += 1;
            if self.flow_mut(index).is_some_and(|flow| decide(index, flow) == Fate::Remove) {
                self.remove(index);
            }
        }
        before - self.len()
    }

    /// The flows at some positions. Positions in use are below [`FlowTable::positions`].
    pub fn list(&self, positions: Range<u32>) -> impl Iterator<Item = (FlowIndex, &Flow)> {
        let end = positions.end.min(self.positions());
        (positions.start..end).filter_map(|position| {
            let index = FlowIndex(position);
            Some((index, self.flow(index)?))
        })
    }

    /// How many positions have ever been in use.
    #[must_use]
    pub fn positions(&self) -> u32 {
        self.records.len() as u32
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() - self.vacant.len()
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
