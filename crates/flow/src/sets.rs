//! Where flows are at home: sets of positions, and a tag for each position.
//!
//! The hash of the client's end of a flow, its address and port, names the flow's home set, whichever direction a packet goes
//! in. In that set any position will do; its tag, 16 bits of the same hash, says where to look. Tags lie apart from the flows, in
//! half a cache line a set, so that a look-up of a million flows misses the caches for the flow itself only.
//!
//! A set that is full sends flows elsewhere as *guests* and counts them in `spilled`: who does not find a flow at home must look
//! in the [`Index`](crate::bucket::Index) if that is not zero.

/// Positions in a set.
pub(crate) const WAYS: usize = 15;
/// How many hundredths of all positions may be taken: of Poisson(12.3) flows a set, 4 % find it full.
const LOAD: usize = 82;
/// Sets of the smallest table.
const FEWEST: usize = 1;
/// Sets that are looked at for a vacant position. At the highest load one in five is full, and all of them once in 10¹¹.
const TRIES: usize = 16;
/// The tag of a position that is vacant.
const VACANT: u16 = 0;
/// The tag of a flow that is not at home; no hash has it.
const GUEST: u16 = 1;
/// Bits of a mask of slots.
const SLOTS: u32 = (1 << WAYS) - 1;

/// The tags of one set.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Set {
    /// By slot, and behind them, in the place of a last one, how many flows of this set are guests elsewhere.
    tags: [u16; WAYS + 1],
}

const _: () = assert!(size_of::<Set>() == 32);

/// All sets.
pub(crate) struct Sets {
    sets: Box<[Set]>,
}

/// Where a hash is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// Which set.
    pub(crate) set: usize,
    tag: u16,
}

impl Sets {
    /// Sets for so many flows. Touches all of its memory.
    pub(crate) fn with_capacity(flows: usize) -> Self {
        let count = (flows * 100).div_ceil(WAYS * LOAD).max(FEWEST);
        let mut memory = cpu::vector_on_huge_pages(count);
        memory.resize(count, Set { tags: [VACANT; WAYS + 1] });
        Self { sets: memory.into_boxed_slice() }
    }

    /// How many sets there are.
    pub(crate) fn count(&self) -> usize {
        self.sets.len()
    }

    /// How many positions there are.
    pub(crate) fn positions(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Where a hash is at home. A multiplication instead of a mask, so that there may be any number of sets.
    #[inline(always)]
    pub(crate) fn home(&self, hash: u64) -> Home {
        let set = (u64::from(hash as u32) * self.sets.len() as u64) >> 32;
        Home { set: set as usize, tag: ((hash >> 48) as u16).max(GUEST + 1) }
    }

    /// Asks for the tags of a hash's home.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(set) = self.sets.get(self.home(hash).set) {
            cpu::prefetch(set);
        }
    }

    /// The positions at home whose tag is the hash's.
    #[inline(always)]
    pub(crate) fn matches(&self, home: Home) -> Matches {
        let tags = self.sets.get(home.set).map_or(&[VACANT; WAYS + 1], |set| &set.tags);
        Matches { slots: cpu::equal_words(tags, home.tag) & SLOTS, first: home.set * WAYS }
    }

    /// How many flows whose home is a set are guests elsewhere.
    #[inline]
    pub(crate) fn spilled(&self, set: usize) -> u16 {
        self.sets.get(set).and_then(|set| set.tags.last()).copied().unwrap_or(0)
    }

    /// A vacant position of a set.
    pub(crate) fn vacancy(&self, set: usize) -> Option<usize> {
        let slots = cpu::equal_words(&self.sets.get(set)?.tags, VACANT) & SLOTS;
        (slots != 0).then(|| set * WAYS + slots.trailing_zeros() as usize)
    }

    /// A vacant position of any of the sets that a walk from `hash` meets.
    pub(crate) fn vacancy_elsewhere(&self, hash: u64) -> Option<usize> {
        let first = self.home(hash).set;
        let mut sets = (first..self.sets.len()).chain(0..first).take(TRIES);
        sets.find_map(|set| self.vacancy(set))
    }

    /// The positions of a set at which flows lie.
    pub(crate) fn taken(&self, set: usize) -> Matches {
        let vacant = self.sets.get(set).map_or(SLOTS, |set| cpu::equal_words(&set.tags, VACANT));
        Matches { slots: !vacant & SLOTS, first: set * WAYS }
    }

    /// Whether a flow lies at a position.
    pub(crate) fn is_taken(&self, position: usize) -> bool {
        self.tag(position).is_some_and(|tag| tag != VACANT)
    }

    /// Whether the flow at a position is not at home.
    pub(crate) fn is_guest(&self, position: usize) -> bool {
        self.tag(position) == Some(GUEST)
    }

    /// Takes a position for a flow that is at home there.
    pub(crate) fn settle(&mut self, position: usize, home: Home) {
        self.set_tag(position, home.tag);
    }

    /// Takes a position for a flow whose home is elsewhere; false when too many of that home are guests.
    #[must_use]
    pub(crate) fn settle_guest(&mut self, position: usize, home: Home) -> bool {
        let counted = self.sets.get_mut(home.set).and_then(|set| set.tags.last_mut());
        let Some((spilled, more)) = counted.and_then(|spilled| Some((spilled.checked_add(1)?, spilled))) else {
            return false;
        };
        *more = spilled;
        self.set_tag(position, GUEST);
        true
    }

    /// Gives a position up.
    pub(crate) fn leave(&mut self, position: usize, home: Home) {
        if self.is_guest(position)
            && let Some(spilled) = self.sets.get_mut(home.set).and_then(|set| set.tags.last_mut())
        {
            *spilled = spilled.saturating_sub(1);
        }
        self.set_tag(position, VACANT);
    }

    fn tag(&self, position: usize) -> Option<u16> {
        self.sets.get(position / WAYS)?.tags.get(position % WAYS).copied()
    }

    fn set_tag(&mut self, position: usize, tag: u16) {
        let set = self.sets.get_mut(position / WAYS);
        if let Some(place) = set.and_then(|set| set.tags.get_mut(position % WAYS)) {
            *place = tag;
        }
    }
}

/// Positions of one set, from the lowest on.
#[derive(Clone, Copy)]
pub(crate) struct Matches {
    slots: u32,
    first: usize,
}

impl Iterator for Matches {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.slots == 0 {
            return None;
        }
        let slot = self.slots.trailing_zeros();
        self.slots &= self.slots - 1;
        Some(self.first + slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash at home in set 0, with a tag.
    fn hash(tag: u64) -> u64 {
        tag << 48
    }

    #[test]
    fn what_settles_is_matched_by_its_tag_until_it_leaves() {
        let mut sets = Sets::with_capacity(1000);
        let homes = [7, 8, 7].map(|tag| sets.home(hash(tag)));
        let positions = homes.map(|home| {
            let position = sets.vacancy(home.set).unwrap();
            sets.settle(position, home);
            position
        });
        assert_eq!(positions, [0, 1, 2]);
        assert_eq!(sets.matches(homes[0]).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(sets.matches(homes[1]).collect::<Vec<_>>(), [1]);
        sets.leave(0, homes[0]);
        assert_eq!(sets.matches(homes[0]).collect::<Vec<_>>(), [2]);
        assert!(!sets.is_taken(0) && sets.is_taken(1));
    }

    #[test]
    fn a_full_set_counts_its_guests() {
        let mut sets = Sets::with_capacity(1000);
        let home = sets.home(hash(9));
        while let Some(position) = sets.vacancy(home.set) {
            sets.settle(position, home);
        }
        let guests: Vec<usize> = (0..3)
            .map(|_| {
                let position = sets.vacancy_elsewhere(hash(9)).unwrap();
                assert!(sets.settle_guest(position, home) && sets.is_guest(position));
                position
            })
            .collect();
        assert_eq!((sets.spilled(home.set), sets.matches(home).count()), (3, WAYS));
        guests.iter().for_each(|&position| sets.leave(position, home));
        assert_eq!(sets.spilled(home.set), 0);
    }

    #[test]
    fn tags_of_vacant_positions_and_guests_are_no_hashs() {
        let sets = Sets::with_capacity(10);
        for tag in 0..3 {
            assert!(sets.home(hash(tag)).tag > GUEST);
            assert_eq!(sets.matches(sets.home(hash(tag))).count(), 0);
        }
    }

    #[test]
    fn a_count_of_guests_is_never_taken_for_a_tag() {
        let mut sets = Sets::with_capacity(1000);
        let home = sets.home(hash(2));
        for _ in 0..2 {
            assert!(sets.settle_guest(20, home));
        }
        assert_eq!((sets.spilled(home.set), sets.matches(home).count()), (2, 0));
    }

    #[test]
    fn there_is_room_for_more_flows_than_asked_for() {
        for flows in [0, 1, 12, 13, 1000, 1 << 20] {
            let positions = Sets::with_capacity(flows).positions();
            assert!(positions >= flows && positions <= flows * 100 / LOAD + WAYS);
        }
    }
}
