//! Packets of which fragments have come, and fragments that came before the first one.
//!
//! What must stay true:
//!
//! - All memory is allocated when it is made, and a look-up compares at most [`WAYS`] entries.
//! - Who fills it pushes out the oldest: a packet whose fragments come at once is past before that happens.
//! - A fragment waits only while its packet has an entry; `waiting` counts them.

use arrayvec::ArrayVec;
use flow::FlowKey;
use model::{Millis, PortId, WorkerId};
use wire::fragment::Fragment;

use super::parts::Parts;
use crate::{DropReason, packet::Packet};

/// Sets of entries; a power of two.
const SETS: usize = 512;
/// Entries of a set.
const WAYS: usize = 8;
/// Milliseconds in which all fragments of a packet have come. Short: its number comes again after 65,535 others.
const LIFETIME: u64 = 5_000;
/// Milliseconds that fragments wait for the first one.
const PATIENCE: u64 = 500;
/// Fragments that wait on one worker.
pub(crate) const HELD: usize = 64;
/// Fragments of one packet that wait: of 8 KiB in 1,500 bytes all but the first.
const HELD_OF_ONE: u8 = 16;

/// What is known of where a packet's fragments go: what became of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// It has yet to come.
    Unknown,
    /// It has this key, by which its flow is found.
    Flow(FlowKey),
    /// The host twin of a port.
    Host(PortId),
    /// The worker that owns the flow.
    Worker(WorkerId),
    /// It was dropped.
    Dropped(DropReason),
}

struct Entry {
    /// Source, destination and protocol, and the identification in place of ports.
    key: FlowKey,
    /// Until when it is one; `None`: it is none.
    until: Option<Millis>,
    destination: Destination,
    parts: Parts,
    /// Fragments that wait for the first.
    waiting: u8,
    /// Whether all have come: it goes when none waits any more.
    is_whole: bool,
}

impl Entry {
    fn vacant() -> Self {
        Self {
            key: FlowKey::default(),
            until: None,
            destination: Destination::Unknown,
            parts: Parts::default(),
            waiting: 0,
            is_whole: false,
        }
    }

    /// Ends when all fragments have come and none waits.
    const fn go_when_done(&mut self) {
        if self.is_whole && self.waiting == 0 {
            self.until = None;
        }
    }
}

/// Where an entry is, until the next one is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position(usize);

/// A fragment that waits.
pub(crate) struct Held<F> {
    pub(crate) frame: F,
    pub(crate) packet: Packet,
    /// The port that it came by.
    pub(crate) port: PortId,
    key: FlowKey,
    hash: u64,
}

/// What becomes of a fragment that has waited.
pub(crate) enum Release {
    /// It goes where the first went.
    Goes(Destination),
    /// It is dropped.
    Drop(DropReason),
}

/// A worker's fragments.
pub(crate) struct Fragments<F> {
    entries: Vec<Entry>,
    held: ArrayVec<Held<F>, HELD>,
    /// Whether some that wait can go.
    is_ready: bool,
    cursor: usize,
}

impl<F> Fragments<F> {
    /// An empty table. All memory it will ever need is allocated here.
    pub(crate) fn new() -> Self {
        let entries = std::iter::repeat_with(Entry::vacant).take(SETS * WAYS).collect();
        Self { entries, held: ArrayVec::new(), is_ready: false, cursor: 0 }
    }

    /// Notes a fragment of `length` bytes of the packet with this key; where that one's entry is, and where its fragments go. One
    /// for which that is not known yet is to [wait](Self::hold), unless it is the first.
    pub(crate) fn note(
        &mut self,
        (key, hash): (&FlowKey, u64),
        fragment: Fragment,
        length: usize,
        now: Millis,
    ) -> Result<(Position, Destination), DropReason> {
        let position = match self.find(key, hash, now) {
            Some(position) => position,
            None => self.make(key, hash, now)?,
        };
        let entry = self.entries.get_mut(position).ok_or(DropReason::FragmentTableFull)?;
        let waits = entry.destination == Destination::Unknown && !fragment.is_first();
        if waits && entry.waiting >= HELD_OF_ONE {
            return Err(DropReason::FragmentQueueFull);
        }
        entry.is_whole |= entry.parts.add(fragment, length)?;
        entry.waiting += u8::from(waits);
        let destination = entry.destination;
        if destination != Destination::Unknown {
            entry.go_when_done();
        }
        Ok((Position(position), destination))
    }

    /// Says what became of a packet's first fragment.
    pub(crate) fn learn(&mut self, Position(position): Position, destination: Destination, now: Millis) {
        let Some(entry) = self.entries.get_mut(position) else { return };
        (entry.destination, entry.until) = (destination, Some(now.after(LIFETIME)));
        entry.go_when_done();
        self.is_ready |= entry.waiting > 0;
    }

    fn ways(hash: u64) -> std::ops::Range<usize> {
        let first = hash as usize % SETS * WAYS;
        first..first + WAYS
    }

    fn find(&self, key: &FlowKey, hash: u64, now: Millis) -> Option<usize> {
        Self::ways(hash).find(|&position| {
            let entry = self.entries.get(position);
            entry.is_some_and(|entry| entry.key == *key && entry.until.is_some_and(|until| now < until))
        })
    }

    /// Makes an entry, in place of the oldest if there is no room.
    fn make(&mut self, key: &FlowKey, hash: u64, now: Millis) -> Result<usize, DropReason> {
        let until = |&position: &usize| self.entries.get(position).and_then(|entry| entry.until);
        let position = Self::ways(hash).min_by_key(until).ok_or(DropReason::FragmentTableFull)?;
        let entry = self.entries.get_mut(position).ok_or(DropReason::FragmentTableFull)?;
        // What waited for the other packet has no entry any more.
        self.is_ready |= entry.waiting > 0;
        *entry = Entry { key: *key, until: Some(now.after(PATIENCE)), ..Entry::vacant() };
        Ok(position)
    }

    /// Makes a fragment of the packet with this key wait for the first one; gives it back with the reason when there is no room.
    pub(crate) fn hold(
        &mut self,
        (key, hash): (&FlowKey, u64),
        packet: Packet,
        (frame, port): (F, PortId),
        now: Millis,
    ) -> Result<(), (F, DropReason)> {
        let entry = self.find(key, hash, now).and_then(|position| self.entries.get_mut(position));
        let Some(entry) = entry else { return Err((frame, DropReason::FragmentTableFull)) };
        if self.held.is_full() {
            entry.waiting = entry.waiting.saturating_sub(1);
            return Err((frame, DropReason::FragmentQueueFull));
        }
        self.held.push(Held { frame, packet, port, key: *key, hash });
        Ok(())
    }

    /// Fragments that wait.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether some that wait can go.
    #[inline(always)]
    pub(crate) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Takes out those that wait and can go, in the order in which they came, with what becomes of them.
    pub(crate) fn take_ready(&mut self, now: Millis) -> ArrayVec<(Held<F>, Release), HELD> {
        let mut ready = ArrayVec::new();
        self.is_ready = false;
        for held in std::mem::replace(&mut self.held, ArrayVec::new()) {
            let entry = self.find(&held.key, held.hash, now).and_then(|at| self.entries.get_mut(at));
            let release = match entry.map(|entry| (entry.destination, entry)) {
                None => Release::Drop(DropReason::FragmentTableFull),
                Some((Destination::Unknown, _)) => {
                    self.held.push(held);
                    continue;
                }
                Some((destination, entry)) => {
                    entry.waiting = entry.waiting.saturating_sub(1);
                    entry.go_when_done();
                    Release::Goes(destination)
                }
            };
            ready.push((held, release));
        }
        ready
    }

    /// Looks at `budget` entries, and forgets those whose time is over; gives what waits for such a packet to `drop`.
    pub(crate) fn expire(&mut self, now: Millis, budget: usize, mut drop: impl FnMut(F)) {
        let mut has_orphans = false;
        for _ in 0..budget {
            self.cursor = if self.cursor + 1 < self.entries.len() { self.cursor + 1 } else { 0 };
            let Some(entry) = self.entries.get_mut(self.cursor) else { continue };
            if entry.until.is_some_and(|until| now >= until) {
                has_orphans |= entry.waiting > 0;
                (entry.until, entry.waiting) = (None, 0);
            }
        }
        if !has_orphans {
            return;
        }
        for held in std::mem::replace(&mut self.held, ArrayVec::new()) {
            match self.find(&held.key, held.hash, now) {
                Some(_) => self.held.push(held),
                None => drop(held.frame),
            }
        }
    }

    /// Gives up all that wait.
    pub(crate) fn drop_held(&mut self, mut drop: impl FnMut(F)) {
        for held in std::mem::replace(&mut self.held, ArrayVec::new()) {
            drop(held.frame);
        }
        self.entries.iter_mut().for_each(|entry| entry.waiting = 0);
    }
}
