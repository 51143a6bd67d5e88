//! Packets of which fragments have come, and fragments that came before the first one.
//!
//! What must stay true:
//!
//! - All memory is allocated when it is made, and a look-up compares at most [`WAYS`] entries.
//! - Who fills it pushes out the oldest: a packet whose fragments come at once is past before that happens.
//! - A fragment waits only while its packet has an entry; `waiting` counts them.
//! - Of a packet that is put together a part that is refused is the end: nobody sees the others (RFC 5722, 4).

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use flow::FlowKey;
use model::{Millis, PortId, WorkerId};
use nic::MAX_BURST;
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
/// Fragments that wait on one worker, from one burst to the next.
const HELD: usize = 256;
/// Within a burst, each of whose fragments may take the place of one that leaves with it.
const MOST: usize = HELD + MAX_BURST;
/// Parts of one packet that is put together: of 64 KiB in 1,500 bytes all.
const PARTS: usize = 64;
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
    /// Nowhere until all have come: they are put together.
    Together,
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
    /// Fragments that wait.
    waiting: u8,
    /// Why one of them was refused, if one was.
    spoilt: Option<DropReason>,
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
            spoilt: None,
            is_whole: false,
        }
    }

    /// Ends what is put together: a part of it is lost.
    fn spoil(&mut self, reason: DropReason) {
        self.spoilt = Some(reason);
        if self.destination == Destination::Together {
            self.destination = Destination::Dropped(reason);
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

/// All parts of a packet, in the order in which they came.
pub(crate) type All<F> = ArrayVec<Held<F>, PARTS>;

/// What has waited, and what becomes of it.
pub(crate) enum Release<F> {
    /// A fragment goes where the first went.
    Goes(Held<F>, Destination),
    /// A fragment is dropped.
    Drop(Held<F>, DropReason),
    /// All parts of a packet become one.
    Whole(All<F>),
}

/// A worker's fragments.
pub(crate) struct Fragments<F> {
    entries: Vec<Entry>,
    held: VecDeque<Held<F>>,
    /// Whether some that wait can go.
    is_ready: bool,
    cursor: usize,
}

impl<F> Fragments<F> {
    /// An empty table. All memory it will ever need is allocated here.
    pub(crate) fn new() -> Self {
        let entries = std::iter::repeat_with(Entry::vacant).take(SETS * WAYS).collect();
        Self { entries, held: VecDeque::with_capacity(MOST), is_ready: false, cursor: 0 }
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
        let (waits, most) = match entry.destination {
            Destination::Unknown => (!fragment.is_first(), HELD_OF_ONE),
            Destination::Together => (true, PARTS as u8),
            _ => (false, 0),
        };
        let added = match waits && entry.waiting >= most {
            true => Err(DropReason::FragmentQueueFull),
            false => entry.parts.add(fragment, length),
        };
        match added {
            Ok(is_whole) => entry.is_whole |= is_whole,
            Err(reason) => {
                entry.spoil(reason);
                self.is_ready |= entry.waiting > 0 && entry.destination != Destination::Unknown;
                return Err(reason);
            }
        }
        entry.waiting += u8::from(waits);
        let destination = entry.destination;
        match destination {
            Destination::Unknown => {}
            Destination::Together => self.is_ready |= entry.is_whole,
            _ => entry.go_when_done(),
        }
        Ok((Position(position), destination))
    }

    /// Says that a packet is to be put together, whose first fragment is to wait as well.
    ///
    /// # Errors
    /// When one of its parts was refused.
    pub(crate) fn put_together(&mut self, position: Position, now: Millis) -> Result<(), DropReason> {
        let entry = self.entries.get_mut(position.0).ok_or(DropReason::FragmentTableFull)?;
        if let Some(reason) = entry.spoilt {
            self.learn(position, Destination::Dropped(reason), now);
            return Err(reason);
        }
        (entry.destination, entry.until) = (Destination::Together, Some(now.after(LIFETIME)));
        entry.waiting += 1;
        self.is_ready |= entry.is_whole;
        Ok(())
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
        let has_room = self.held.len() < HELD || self.give_up_oldest(now) && self.held.len() < MOST;
        let entry = self.find(key, hash, now).and_then(|position| self.entries.get_mut(position));
        let Some(entry) = entry else { return Err((frame, DropReason::FragmentTableFull)) };
        if !has_room {
            entry.waiting = entry.waiting.saturating_sub(1);
            entry.spoil(DropReason::FragmentQueueFull);
            self.is_ready |= entry.waiting > 0 && entry.destination != Destination::Unknown;
            return Err((frame, DropReason::FragmentQueueFull));
        }
        self.held.push_back(Held { frame, packet, port, key: *key, hash });
        Ok(())
    }

    /// Gives up the packet whose parts wait longest for others, so that nobody fills the room for longer than others need it; false when
    /// none of the oldest does. Its parts leave with this burst.
    fn give_up_oldest(&mut self, now: Millis) -> bool {
        /// Parts looked at: each fragment that finds no room looks, and there may be many.
        const LOOKED_AT: usize = 8;
        for held in 0..self.held.len().min(LOOKED_AT) {
            let Some((key, hash)) = self.held.get(held).map(|held| (held.key, held.hash)) else {
                return false;
            };
            let Some(entry) = self.find(&key, hash, now).and_then(|at| self.entries.get_mut(at)) else {
                continue;
            };
            if entry.destination == Destination::Together && !entry.is_whole {
                entry.spoil(DropReason::FragmentQueueFull);
                self.is_ready = true;
                return true;
            }
        }
        false
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

    /// Begins to release those that wait and can go; how many there are to look at.
    pub(crate) fn begin_release(&mut self) -> usize {
        self.is_ready = false;
        self.held.len()
    }

    /// Takes the next one out that can go, in the order in which they came, with what becomes of it. `left` are to be looked at.
    pub(crate) fn release(&mut self, left: &mut usize, now: Millis) -> Option<Release<F>> {
        while let Some(less) = left.checked_sub(1) {
            *left = less;
            let held = self.held.pop_front()?;
            let entry = self.find(&held.key, held.hash, now).and_then(|at| self.entries.get_mut(at));
            let Some(entry) = entry else {
                return Some(Release::Drop(held, DropReason::FragmentTableFull));
            };
            match entry.destination {
                Destination::Together if entry.is_whole => {
                    entry.until = None;
                    let all = self.gather(held);
                    // All others came later, so they were still to be looked at.
                    *left = left.saturating_sub(all.len() - 1);
                    return Some(Release::Whole(all));
                }
                Destination::Unknown | Destination::Together => self.held.push_back(held),
                destination => {
                    entry.waiting = entry.waiting.saturating_sub(1);
                    entry.go_when_done();
                    return Some(Release::Goes(held, destination));
                }
            }
        }
        None
    }

    /// Takes out all parts of the packet that one is of; the others stay in their order.
    fn gather(&mut self, first: Held<F>) -> All<F> {
        let (key, mut all) = (first.key, All::new());
        all.push(first);
        for _ in 0..self.held.len() {
            let Some(held) = self.held.pop_front() else { break };
            if held.key == key && !all.is_full() {
                all.push(held);
            } else {
                self.held.push_back(held);
            }
        }
        all
    }

    /// Looks at `budget` entries, and forgets those whose time is over; gives what waits for such a packet to `drop`, with the reason.
    pub(crate) fn expire(&mut self, now: Millis, budget: usize, mut drop: impl FnMut(F, DropReason)) {
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
        for _ in 0..self.held.len() {
            let Some(held) = self.held.pop_front() else { break };
            match self.find(&held.key, held.hash, now) {
                Some(_) => self.held.push_back(held),
                None => {
                    let reason = self.loss(&held);
                    drop(held.frame, reason);
                }
            }
        }
    }

    /// What has not come of a packet whose time is over.
    fn loss(&self, held: &Held<F>) -> DropReason {
        let mut entries = Self::ways(held.hash).filter_map(|position| self.entries.get(position));
        match entries.find(|entry| entry.key == held.key).map(|entry| entry.destination) {
            Some(Destination::Together) => DropReason::FragmentMissing,
            _ => DropReason::FragmentHeadLost,
        }
    }

    /// Gives up all that wait.
    pub(crate) fn drop_held(&mut self, mut drop: impl FnMut(F)) {
        for held in self.held.drain(..) {
            drop(held.frame);
        }
        self.entries.iter_mut().for_each(|entry| entry.waiting = 0);
    }
}
