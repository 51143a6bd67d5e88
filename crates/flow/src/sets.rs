//! Where flows lie: sets of positions, and a tag for each position.
//!
//! The hash of the client's end of a flow, its address and port, names a walk through the sets, whichever direction a packet goes
//! in. A flow lies in the first set on its walk that had room; in that set any position will do. Its tag, 16 bits of the same hash,
//! says where to look. Tags lie apart from the flows, in half a cache line a set, so that a look-up among a million flows misses
//! the caches for the flow itself only.
//!
//! Each full set that a flow passed counts it, until it leaves. A look-up therefore ends at the first set that nothing has passed:
//! nearly always the first one. *Guests* lie at any vacant position and are found by other means; the first set on their walk
//! counts them as well, so that who finds nothing there knows whether to look for them.

/// Positions in a set.
pub(crate) const WAYS: usize = 15;
/// How many hundredths of all positions may be taken: of Poisson(12.3) flows a set, 4 % find it full.
const LOAD: usize = 82;
/// Sets of the smallest table: among fewer, a walk meets the same ones again before it has tried all.
const FEWEST: usize = 32;
/// Sets of a walk that are tried. At the highest load one in five is full, and all of them once in 10¹¹.
const TRIES: usize = 16;
/// Of a linear congruential sequence of full period (Numerical Recipes, 7.1).
const MULTIPLIER: u32 = 1_664_525;
/// The tag of a position that is vacant.
const VACANT: u16 = 0;
/// The tag of a guest; no hash has it.
const GUEST: u16 = 1;
/// A bit that all hashes' tags have.
const TAGGED: u16 = 2;
/// The lowest bit of a hash that is in its tag.
const TAG: u32 = 48;
/// Bits of a mask of slots, two each, as [`cpu::equal_words`] gives them.
const SLOTS: u32 = (1 << (2 * WAYS)) - 1;

/// A hash with [`TAGGED`] in the bits that are its tag.
#[inline(always)]
pub(crate) const fn tagged(hash: u64) -> u64 {
    hash | (TAGGED as u64) << TAG
}

/// The tags of one set.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Set {
    /// By slot, and behind them, in the place of a last one, how many flows have passed this set because it was full.
    tags: [u16; WAYS + 1],
}

const _: () = assert!(size_of::<Set>() == 32);

/// All sets.
pub(crate) struct Sets {
    sets: Box<[Set]>,
}

/// A way through the sets that a hash names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// Where it is, as a fraction of all sets: of 2³².
    place: u32,
    /// What makes it go on differently from others that come by the same place.
    step: u32,
    tag: u16,
}

impl Walk {
    #[inline(always)]
    fn new(hash: u64) -> Self {
        // Tagged or not, a hash has one walk.
        let hash = tagged(hash);
        Self { place: hash as u32, step: (hash >> 32) as u32 | 1, tag: (hash >> TAG) as u16 }
    }

    #[inline(always)]
    const fn step(&mut self) {
        self.place = self.place.wrapping_mul(MULTIPLIER).wrapping_add(self.step);
    }
}

/// Where a flow may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vacancy {
    /// The position.
    pub(crate) position: usize,
    /// How many flows with the same tag its walk passes.
    pub(crate) alike: usize,
}

/// Where the first flow with a tag lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lying {
    /// At this position.
    At(usize),
    /// There is none.
    Nowhere,
    /// Not in these sets.
    Elsewhere,
}

/// What there is on a hash's walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survey {
    /// A flow that is known.
    Known,
    /// Room, and no such flow. All flows with the same tag are counted.
    Vacant(Vacancy),
    /// Neither.
    Full,
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

    /// Which set a walk is at. A multiplication instead of a mask, so that there may be any number of sets.
    #[inline(always)]
    fn set_of(&self, walk: Walk) -> usize {
        ((u64::from(walk.place) * self.sets.len() as u64) >> 32) as usize
    }

    /// The set with which a hash's walk begins.
    #[inline(always)]
    pub(crate) fn first(&self, hash: u64) -> u32 {
        self.set_of(Walk::new(hash)) as u32
    }

    /// Asks for the tags of a set; false when there is no such set.
    #[inline(always)]
    pub(crate) fn prefetch(&self, set: u32) -> bool {
        let set = self.sets.get(set as usize);
        if let Some(set) = set {
            cpu::prefetch(set);
        }
        set.is_some()
    }

    /// The first position that has the tag of a hash, which is [`tagged`] and whose walk begins with a set. [`Lying::Elsewhere`] when there is no such set.
    #[inline(always)]
    pub(crate) fn find_first(&self, hash: u64, number: u32) -> Lying {
        let number = number as usize;
        let Some(set) = self.sets.get(number) else { return Lying::Elsewhere };
        match set.matches(number, (hash >> TAG) as u16).next() {
            Some(position) => Lying::At(position),
            None if set.passed() == 0 => Lying::Nowhere,
            None => self.find_further(hash),
        }
    }

    /// The same for a hash whose first set has nothing with its tag.
    #[inline(never)]
    fn find_further(&self, hash: u64) -> Lying {
        self.find(hash, |_| true).map_or(Lying::Nowhere, Lying::At)
    }

    /// The first position whose tag is the hash's and that `is_right`.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, mut is_right: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut walk = Walk::new(hash);
        for _ in 0..TRIES {
            let number = self.set_of(walk);
            let set = self.sets.get(number)?;
            if let Some(position) = set.matches(number, walk.tag).find(|&position| is_right(position)) {
                return Some(position);
            }
            if set.passed() == 0 {
                return None;
            }
            walk.step();
        }
        None
    }

    /// The first vacant position on a hash's walk.
    pub(crate) fn vacancy(&self, hash: u64) -> Option<Vacancy> {
        let mut walk = Walk::new(hash);
        let mut alike = 0;
        for _ in 0..TRIES {
            let number = self.set_of(walk);
            let set = self.sets.get(number)?;
            alike += set.matches(number, walk.tag).count();
            if let Some(position) = set.matches(number, VACANT).next() {
                return Some(Vacancy { position, alike });
            }
            walk.step();
        }
        None
    }

    /// The same, when none of the flows with the same tag is `known`: those too that lie behind the vacant position, because it
    /// was not vacant when they came.
    #[inline(always)]
    pub(crate) fn survey(&self, hash: u64, mut known: impl FnMut(usize) -> bool) -> Survey {
        let mut walk = Walk::new(hash);
        let (mut alike, mut vacant) = (0, None);
        for _ in 0..TRIES {
            let number = self.set_of(walk);
            let Some(set) = self.sets.get(number) else { break };
            for position in set.matches(number, walk.tag) {
                if known(position) {
                    return Survey::Known;
                }
                alike += 1;
            }
            vacant = vacant.or_else(|| set.matches(number, VACANT).next());
            if set.passed() == 0 && vacant.is_some() {
                break;
            }
            walk.step();
        }
        vacant.map_or(Survey::Full, |position| Survey::Vacant(Vacancy { position, alike }))
    }

    /// The positions of a set at which flows lie.
    pub(crate) fn taken(&self, number: usize) -> Matches {
        let vacant = self.sets.get(number).map_or(SLOTS, |set| cpu::equal_words(&set.tags, VACANT));
        Matches { slots: !vacant & SLOTS, first: number * WAYS }
    }

    /// Whether a flow lies at a position.
    pub(crate) fn is_taken(&self, position: usize) -> bool {
        self.tag(position).is_some_and(|tag| tag != VACANT)
    }

    /// Whether a guest lies at a position.
    pub(crate) fn is_guest(&self, position: usize) -> bool {
        self.tag(position) == Some(GUEST)
    }

    /// Takes a position, which [`Sets::vacancy`] named for this hash.
    pub(crate) fn settle(&mut self, position: usize, hash: u64) {
        self.count_passing(position, hash, |passed| passed.saturating_add(1));
        self.set_tag(position, Walk::new(hash).tag);
    }

    /// Takes a vacant position for a guest with this hash.
    pub(crate) fn settle_guest(&mut self, position: usize, hash: u64) {
        self.recount(self.set_of(Walk::new(hash)), |passed| passed.saturating_add(1));
        self.set_tag(position, GUEST);
    }

    /// Gives a position up, which was taken with this hash.
    pub(crate) fn leave(&mut self, position: usize, hash: u64) {
        // A count that has reached its end is not known any more, and stays.
        let one_less = |passed: u16| if passed == u16::MAX { passed } else { passed.saturating_sub(1) };
        if self.is_guest(position) {
            self.recount(self.set_of(Walk::new(hash)), one_less);
        } else {
            self.count_passing(position, hash, one_less);
        }
        self.set_tag(position, VACANT);
    }

    /// Whether a guest, or another flow that found it full, may have passed the first set on a hash's walk.
    #[inline(always)]
    pub(crate) fn is_passed(&self, hash: u64) -> bool {
        self.sets.get(self.set_of(Walk::new(hash))).is_some_and(|set| set.passed() > 0)
    }

    /// Changes the counts of all sets that a hash's walk passes on its way to a position.
    fn count_passing(&mut self, position: usize, hash: u64, change: impl Fn(u16) -> u16) {
        let mut walk = Walk::new(hash);
        for _ in 0..TRIES {
            let number = self.set_of(walk);
            if number == position / WAYS {
                return;
            }
            self.recount(number, &change);
            walk.step();
        }
    }

    /// Changes the count of a set.
    fn recount(&mut self, number: usize, change: impl Fn(u16) -> u16) {
        if let Some(passed) = self.sets.get_mut(number).and_then(|set| set.tags.last_mut()) {
            *passed = change(*passed);
        }
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

impl Set {
    /// The positions of this set, whose number it is, with a tag.
    #[inline(always)]
    fn matches(&self, number: usize, tag: u16) -> Matches {
        Matches { slots: cpu::equal_words(&self.tags, tag) & SLOTS, first: number * WAYS }
    }

    /// How many flows have passed it.
    #[inline(always)]
    fn passed(&self) -> u16 {
        let [.., passed] = self.tags;
        passed
    }
}

/// Positions of one set, from the lowest on.
#[derive(Clone, Copy)]
pub(crate) struct Matches {
    /// Two bits each.
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
        let bit = self.slots.trailing_zeros();
        self.slots &= !(3 << bit);
        Some(self.first + bit as usize / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash whose walk begins in set 0, with a tag of its own for each number.
    fn hash(number: u64) -> u64 {
        (number * 4) << 48
    }

    fn settle(sets: &mut Sets, hash: u64) -> Vacancy {
        let vacancy = sets.vacancy(hash).unwrap();
        sets.settle(vacancy.position, hash);
        vacancy
    }

    fn all(sets: &Sets, hash: u64) -> Vec<usize> {
        let mut positions = Vec::new();
        assert_eq!(sets.find(hash, |position| (positions.push(position), false).1), None);
        // A walk may come back to a set.
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    #[test]
    fn what_settles_is_found_by_its_tag_until_it_leaves() {
        let mut sets = Sets::with_capacity(1000);
        let vacancies = [7, 8, 7].map(|tag| settle(&mut sets, hash(tag)));
        assert_eq!(vacancies.map(|vacancy| (vacancy.position, vacancy.alike)), [(0, 0), (1, 0), (2, 1)]);
        assert_eq!((all(&sets, hash(7)), all(&sets, hash(8))), (vec![0, 2], vec![1]));
        assert_eq!(sets.find(hash(7), |position| position != 0), Some(2));
        sets.leave(0, hash(7));
        assert_eq!(all(&sets, hash(7)), [2]);
        assert!(!sets.is_taken(0) && sets.is_taken(1));
        assert_eq!(sets.taken(0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_finds_a_set_full_is_found_elsewhere_and_takes_its_count_back() {
        let mut sets = Sets::with_capacity(1000);
        let hashes: Vec<u64> = (10..50).map(hash).collect();
        let positions: Vec<usize> = hashes.iter().map(|&hash| settle(&mut sets, hash).position).collect();
        assert!(
            sets.sets[0].passed() >= 25
                && positions.iter().filter(|&&position| position < WAYS).count() == WAYS
        );
        for (&hash, position) in hashes.iter().zip(&positions) {
            assert_eq!(all(&sets, hash), [*position]);
        }
        for (&hash, &position) in hashes.iter().zip(&positions) {
            sets.leave(position, hash);
            assert_eq!(all(&sets, hash), []);
        }
        assert!(sets.sets.iter().all(|set| set.tags == [VACANT; WAYS + 1]));
    }

    #[test]
    fn a_survey_sees_what_lies_behind_a_position_that_was_given_up() {
        let mut sets = Sets::with_capacity(1000);
        let positions: Vec<usize> =
            (10..10 + WAYS as u64 + 1).map(|number| settle(&mut sets, hash(number)).position).collect();
        let last = hash(10 + WAYS as u64);
        sets.leave(positions[3], hash(13));
        assert_eq!(sets.survey(last, |position| position == positions[WAYS]), Survey::Known);
        let vacancy = Vacancy { position: positions[3], alike: 1 };
        assert_eq!(sets.survey(last, |_| false), Survey::Vacant(vacancy));
    }

    #[test]
    fn a_guest_is_found_by_no_hash_and_counted_where_its_walk_begins() {
        let mut sets = Sets::with_capacity(1000);
        let elsewhere = 20 * WAYS;
        sets.settle_guest(elsewhere, hash(40));
        assert!(sets.is_guest(elsewhere) && sets.is_taken(elsewhere));
        assert!((0..41).all(|tag| all(&sets, hash(tag)).is_empty()));
        assert!(sets.is_passed(hash(40)) && !sets.is_passed(u64::from(u32::MAX)));
        sets.leave(elsewhere, hash(40));
        assert!(!sets.is_passed(hash(40)));
        assert!(sets.sets.iter().all(|set| set.tags == [VACANT; WAYS + 1]));
    }

    #[test]
    fn a_count_that_has_reached_its_end_stays() {
        let mut sets = Sets::with_capacity(1000);
        (0..=u32::from(u16::MAX)).for_each(|_| sets.settle_guest(3, hash(40)));
        (0..=u32::from(u16::MAX)).for_each(|_| {
            sets.set_tag(3, GUEST);
            sets.leave(3, hash(40));
        });
        assert!(sets.is_passed(hash(40)));
    }

    #[test]
    fn a_count_is_never_taken_for_a_tag() {
        let mut sets = Sets::with_capacity(1000);
        (10..10 + WAYS as u64 + 2).for_each(|tag| assert!(settle(&mut sets, hash(tag)).alike == 0));
        let passed = u64::from(sets.sets[0].passed());
        assert!(passed >= 2);
        assert_eq!(all(&sets, passed << 48), []);
    }

    #[test]
    fn there_is_room_for_more_flows_than_asked_for() {
        for flows in [0, 1, 500, 1000, 1 << 20] {
            let positions = Sets::with_capacity(flows).positions();
            assert!(positions >= flows && positions <= (flows * 100 / LOAD + WAYS).max(FEWEST * WAYS));
        }
    }
}
