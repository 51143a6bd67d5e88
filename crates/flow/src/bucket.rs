//! The index of the flow table, for keys that its sets do not lead to: buckets of one cache line each.
//!
//! A key's hash names a walk through the buckets. An entry goes to the first one on the walk that has room; each full bucket
//! that it passed counts it in `overflow`, until it is removed. A look-up therefore ends at the first bucket that nothing has
//! passed: nearly always the first one.

/// Entries that fit in a bucket.
const SLOTS: usize = 7;
/// Buckets of a walk that are tried.
const TRIES: usize = 16;

/// Where a flow is, and which of its keys led there; the table's to divide.
pub(crate) type Entry = u32;

/// One cache line. A slot whose fingerprint is 0 is vacant.
#[derive(Clone, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// The last one belongs to no slot and is always 0; with it they are compared eight at once.
    fingerprints: [u32; SLOTS + 1],
    entries: [Entry; SLOTS],
    /// Entries that would have been placed here, had there been room.
    overflow: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The slots with this fingerprint, one bit each.
    #[inline(always)]
    fn slots(&self, fingerprint: u32) -> u32 {
        cpu::equal_lanes(&self.fingerprints, fingerprint)
    }

    #[inline(always)]
    fn entry(&self, slot: u32) -> Option<Entry> {
        self.entries.get(slot as usize).copied()
    }

    fn vacancy(&self) -> Option<usize> {
        self.fingerprints.iter().take(SLOTS).position(|&fingerprint| fingerprint == 0)
    }

    /// The slot of exactly this entry.
    fn slot_of(&self, fingerprint: u32, entry: Entry) -> Option<usize> {
        let mut slots = self.fingerprints.iter().zip(&self.entries);
        slots.position(|slot| slot == (&fingerprint, &entry))
    }
}

/// Where to look for a hash.
#[derive(Clone, Copy)]
struct Walk {
    /// Where it is, as a fraction of all buckets: of 2³².
    place: u32,
    fingerprint: u32,
}

impl Walk {
    /// The low half of a hash says where to begin, the high one what to look for and how to go on.
    #[inline(always)]
    fn new(hash: u64) -> Self {
        Self { place: hash as u32, fingerprint: ((hash >> 32) as u32).max(1) }
    }

    /// To the next bucket, which may be any: a stride would come back to the same few buckets now and then.
    #[inline(always)]
    fn step(&mut self) {
        self.place = self.place.wrapping_mul(MULTIPLIER).wrapping_add(self.fingerprint | 1);
    }

    /// Which of `count` buckets it is at. A multiplication instead of a mask, so that `count` may be any number.
    #[inline(always)]
    const fn position(self, count: usize) -> usize {
        ((self.place as u64 * count as u64) >> 32) as usize
    }
}

/// Buckets of the smallest index: among fewer, a walk meets the same ones again before it has tried all.
const FEWEST: usize = 256;
/// Of a linear congruential sequence of full period (Numerical Recipes, 7.1).
const MULTIPLIER: u32 = 1_664_525;

/// All buckets.
pub(crate) struct Index {
    buckets: Box<[Bucket]>,
}

impl Index {
    /// Buckets for `entries` of them at a load of 75 %. Touches all of its memory.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self::with_buckets((entries * 4).div_ceil(SLOTS * 3).max(FEWEST))
    }

    fn with_buckets(buckets: usize) -> Self {
        let mut memory = cpu::vector_on_huge_pages(buckets);
        memory.resize(buckets, Bucket::default());
        Self { buckets: memory.into_boxed_slice() }
    }

    #[inline(always)]
    fn bucket(&self, walk: Walk) -> Option<&Bucket> {
        self.buckets.get(walk.position(self.buckets.len()))
    }

    fn bucket_mut(&mut self, walk: Walk) -> Option<&mut Bucket> {
        self.buckets.get_mut(walk.position(self.buckets.len()))
    }

    /// Asks for the bucket where a hash's walk begins.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.bucket(Walk::new(hash)) {
            cpu::prefetch(bucket);
        }
    }

    /// The first entry with this hash's fingerprint that `matches`.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, mut matches: impl FnMut(Entry) -> bool) -> Option<Entry> {
        let mut walk = Walk::new(hash);
        for _ in 0..TRIES {
            let bucket = self.bucket(walk)?;
            let mut slots = bucket.slots(walk.fingerprint);
            while slots != 0 {
                let entry = bucket.entry(slots.trailing_zeros())?;
                if matches(entry) {
                    return Some(entry);
                }
                slots &= slots - 1;
            }
            if bucket.overflow == 0 {
                return None;
            }
            walk.step();
        }
        None
    }

    /// Adds an entry; false when none of the buckets that are tried has room.
    #[must_use]
    pub(crate) fn enter(&mut self, hash: u64, entry: Entry) -> bool {
        let mut walk = Walk::new(hash);
        let mut passed = 0;
        let slot = loop {
            let Some(bucket) = self.bucket(walk).filter(|_| passed < TRIES) else { return false };
            if let Some(slot) = bucket.vacancy() {
                break slot;
            }
            walk.step();
            passed += 1;
        };
        self.put(walk, slot, walk.fingerprint, entry);
        let mut walk = Walk::new(hash);
        for _ in 0..passed {
            if let Some(bucket) = self.bucket_mut(walk) {
                bucket.overflow += 1;
            }
            walk.step();
        }
        true
    }

    /// Removes an entry that was entered with this hash.
    pub(crate) fn leave(&mut self, hash: u64, entry: Entry) {
        let Some(passed) = self.distance(hash, entry) else { return };
        let mut walk = Walk::new(hash);
        for _ in 0..passed {
            if let Some(bucket) = self.bucket_mut(walk) {
                bucket.overflow -= 1;
            }
            walk.step();
        }
        if let Some(slot) = self.bucket(walk).and_then(|bucket| bucket.slot_of(walk.fingerprint, entry)) {
            self.put(walk, slot, 0, 0);
        }
    }

    /// How many buckets an entry passed before it found room.
    fn distance(&self, hash: u64, entry: Entry) -> Option<usize> {
        let mut walk = Walk::new(hash);
        (0..TRIES).find(|_| {
            let bucket = self.bucket(walk);
            let found = bucket.is_some_and(|bucket| bucket.slot_of(walk.fingerprint, entry).is_some());
            walk.step();
            found
        })
    }

    fn put(&mut self, walk: Walk, slot: usize, fingerprint: u32, entry: Entry) {
        let Some(bucket) = self.bucket_mut(walk) else { return };
        if let Some(place) = bucket.fingerprints.get_mut(slot) {
            *place = fingerprint;
        }
        if let Some(place) = bucket.entries.get_mut(slot) {
            *place = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that all begin in bucket 0 and differ in their fingerprints.
    fn crowd() -> impl Iterator<Item = (u64, Entry)> {
        (1..=40).map(|number| (number << 32, number as Entry))
    }

    fn index() -> Index {
        Index::with_capacity(200)
    }

    fn find(index: &Index, hash: u64) -> Option<Entry> {
        index.find(hash, |_| true)
    }

    #[test]
    fn entries_that_find_their_bucket_full_are_found_elsewhere() {
        let mut index = index();
        for (hash, entry) in crowd() {
            assert!(index.enter(hash, entry));
        }
        assert!(index.buckets[0].overflow >= 33);
        for (hash, entry) in crowd() {
            assert_eq!(find(&index, hash), Some(entry));
        }
    }

    #[test]
    fn what_leaves_takes_back_what_it_counted() {
        let mut index = index();
        crowd().for_each(|(hash, entry)| assert!(index.enter(hash, entry)));
        for (hash, entry) in crowd() {
            index.leave(hash, entry);
            assert_eq!(find(&index, hash), None);
        }
        for bucket in &index.buckets {
            assert_eq!((bucket.fingerprints, bucket.overflow), ([0; 8], 0));
        }
    }

    #[test]
    fn entries_with_one_fingerprint_are_told_apart_by_what_they_lead_to() {
        let mut index = index();
        assert!(index.enter(5 << 32, 1) && index.enter(5 << 32, 2));
        assert_eq!(index.find(5 << 32, |entry| entry == 2), Some(2));
        index.leave(5 << 32, 2);
        assert_eq!(index.find(5 << 32, |entry| entry == 2), None);
        assert_eq!(find(&index, 5 << 32), Some(1));
    }

    #[test]
    fn a_hash_without_high_bits_is_not_taken_for_a_vacant_slot() {
        let mut index = index();
        assert_eq!(find(&index, 0), None);
        assert!(index.enter(0, 3));
        assert_eq!(find(&index, 0), Some(3));
    }

    #[test]
    fn an_index_without_room_refuses_and_stays_as_it_was() {
        let mut index = Index::with_buckets(1);
        let taken = crowd().filter(|&(hash, entry)| index.enter(hash, entry)).count();
        assert_eq!(taken, SLOTS);
        assert_eq!(index.buckets[0].overflow, 0);
    }

    #[test]
    fn what_was_never_entered_leaves_without_a_trace() {
        let mut index = index();
        crowd().for_each(|(hash, entry)| assert!(index.enter(hash, entry)));
        let before = index.buckets[0].overflow;
        index.leave(99 << 32, 99);
        assert_eq!(index.buckets[0].overflow, before);
    }
}
