//! A pool's table: slots, the backend that each belongs to, and whom it is lent to.

use std::sync::Arc;

use model::Address;

use crate::{
    Level, UNASSIGNED,
    fallback::{StandIn, stand_in},
    maglev::fill,
    mix::{folded_multiply, keyed},
};

/// What the numbers that a backend's identity yields are for; `maglev` has those before.
const STAND_IN: [u64; 2] = [3, 4];
/// And a slot's.
const SLOT: u64 = 5;

/// Slots of a table at most.
const MAX_SLOTS: usize = 1 << 24;

/// A backend as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its address.
    pub address: Address,
    /// Its port.
    pub port: u16,
    /// Its share of the slots relative to the others'; 0: none, not as a stand-in either.
    pub weight: u16,
}

impl Candidate {
    pub(crate) fn number(&self, seed: [u8; 16], purpose: u64) -> u64 {
        let address = u128::from_be_bytes(self.address.octets());
        let words = [(address >> 64) as u64, address as u64, u64::from(self.port), purpose];
        keyed(seed, &words)
    }
}

/// A pool's table as the configuration alone makes it.
#[derive(Debug)]
pub struct Table {
    seed: [u8; 16],
    primary: Arc<[u32]>,
    /// In an order that does not depend on the list's.
    stand_ins: Box<[StandIn]>,
}

impl Table {
    /// A table of `slots` slots (rounded up to a power of two, 2²⁴ at most) for these backends, no address and port
    /// twice, filled by weighted Maglev hashing.
    ///
    /// Shares are exact to a slot or two. A backend of a weight that is worth less than a slot may get none.
    #[must_use]
    pub fn maglev(seed: [u8; 16], candidates: &[Candidate], slots: usize) -> Self {
        let slots = slots.clamp(1, MAX_SLOTS).next_power_of_two();
        let order = ordered(candidates);
        Self { seed, primary: fill(seed, &order, slots), stand_ins: stand_ins(seed, &order) }
    }

    /// The same, filled by weighted rendezvous: a backend more or less moves nothing but its own slots, and shares are
    /// what chance makes of the weights (with n slots to a backend, to about 1/√n).
    #[must_use]
    pub fn rendezvous(seed: [u8; 16], candidates: &[Candidate], slots: usize) -> Self {
        let slots = slots.clamp(1, MAX_SLOTS).next_power_of_two();
        let stand_ins = stand_ins(seed, &ordered(candidates));
        let chosen = |slot| stand_in(keyed(seed, &[slot, SLOT]), stand_ins.iter()).unwrap_or(UNASSIGNED);
        Self { seed, primary: (0..slots as u64).map(chosen).collect(), stand_ins }
    }

    /// The backend of each slot while all are usable, by position in the list; [`UNASSIGNED`] if there is none.
    #[must_use]
    pub fn primary(&self) -> &[u32] {
        &self.primary
    }

    /// The backend of each slot while the backends, by their position in the list, are at these levels.
    ///
    /// A backend at its full level has its own slots, one at a lower level a part of them, and one at the level 0 none; more
    /// level means more slots, and none less. Another slot has a stand-in; [`UNASSIGNED`] when nobody is usable. This takes
    /// time in proportion to slots without their primary × usable backends. When nobody is missed, the primaries are shared.
    #[must_use]
    pub fn assign(&self, levels: &[Level]) -> Arc<[u32]> {
        let level = |position: u32| levels.get(position as usize).copied().unwrap_or_default();
        if self.stand_ins.iter().all(|candidate| level(candidate.position) == Level::FULL) {
            return Arc::clone(&self.primary);
        }
        let usable: Vec<(StandIn, Level)> =
            self.stand_ins.iter().map(|one| (*one, level(one.position))).collect();
        let usable: Vec<_> = usable.into_iter().filter(|(_, level)| *level > Level::NONE).collect();
        let mut by_position = vec![None; levels.len()];
        for &(one, level) in &usable {
            if let Some(entry) = by_position.get_mut(one.position as usize) {
                *entry = Some((one, level));
            }
        }
        let slots = self.primary.iter().zip(0_u64..).map(|(&primary, slot)| {
            let number = keyed(self.seed, &[slot, SLOT]);
            match by_position.get(primary as usize) {
                Some(Some((owner, level))) if level.has(number, owner) => primary,
                _ => lent(number, &usable),
            }
        });
        slots.collect()
    }
}

/// Who has a slot with this number that its primary does not have: one whose level extends to it, if there is one.
fn lent(number: u64, usable: &[(StandIn, Level)]) -> u32 {
    let willing = usable.iter().filter(|(one, level)| level.has(number, one)).map(|(one, _)| one);
    let anybody = || stand_in(number, usable.iter().map(|(one, _)| one));
    stand_in(number, willing).or_else(anybody).unwrap_or(UNASSIGNED)
}

impl Level {
    /// Whether a backend at this level has its part in the slot with this number: in the same slots at each level, and then some.
    fn has(self, number: u64, backend: &StandIn) -> bool {
        let [first, second] = backend.identity;
        self == Self::FULL
            || folded_multiply(number ^ second, number.rotate_left(16) ^ first) >> 60 < u64::from(self.0)
    }
}

/// What has weight, in an order that does not depend on the list's, with the positions in the list.
fn ordered(candidates: &[Candidate]) -> Vec<(u32, &Candidate)> {
    let mut order: Vec<(u32, &Candidate)> = (0..).zip(candidates).collect();
    order.retain(|(_, candidate)| candidate.weight > 0);
    order.sort_by_key(|(_, candidate)| (candidate.address, candidate.port));
    order
}

fn stand_ins(seed: [u8; 16], order: &[(u32, &Candidate)]) -> Box<[StandIn]> {
    let stand_in = |&(position, candidate): &(u32, &Candidate)| StandIn {
        position,
        identity: STAND_IN.map(|purpose| candidate.number(seed, purpose)),
        share: 1.0 / f64::from(candidate.weight),
    };
    order.iter().map(stand_in).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use model::MAGLEV_SLOTS;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SEED: [u8; 16] = [7; 16];

    fn candidates(weights: impl IntoIterator<Item = u16>) -> Vec<Candidate> {
        let numbered = (0_u32..).zip(weights);
        let address = |number: u32| Address::from_v4((0x0a01_0000 + number).to_be_bytes());
        numbered.map(|(number, weight)| Candidate { address: address(number), port: 9000, weight }).collect()
    }

    fn build(candidates: &[Candidate]) -> Table {
        Table::maglev(SEED, candidates, MAGLEV_SLOTS)
    }

    fn levels(usable: &[bool]) -> Vec<Level> {
        usable.iter().map(|&usable| Level::of(usable)).collect()
    }

    fn counts(slots: &[u32], backends: usize) -> Vec<usize> {
        let mut counts = vec![0; backends];
        slots.iter().for_each(|&position| counts[position as usize] += 1);
        counts
    }

    fn differences(left: &[u32], right: &[u32]) -> usize {
        left.iter().zip(right).filter(|(left, right)| left != right).count()
    }

    /// The identities in the slots, which unlike positions do not depend on the list.
    fn identities(slots: &[u32], candidates: &[Candidate]) -> Vec<Address> {
        slots.iter().map(|&position| candidates[position as usize].address).collect()
    }

    #[test]
    fn a_table_stays_the_same_from_release_to_release() {
        // Gateways of two releases share traffic while they are being upgraded.
        let table = Table::maglev(SEED, &candidates([1, 2, 3]), 16);
        assert_eq!(table.primary(), [2, 1, 1, 2, 1, 0, 1, 0, 2, 2, 2, 2, 1, 2, 0, 2]);
        assert_eq!(
            *table.assign(&levels(&[true, true, false])),
            [1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 1]
        );
    }

    #[test]
    fn the_same_configuration_gives_the_same_table_and_another_seed_another() {
        let backends = candidates([10; 20]);
        assert_eq!(build(&backends).primary(), build(&backends).primary());
        let other = Table::maglev([8; 16], &backends, MAGLEV_SLOTS);
        assert!(differences(build(&backends).primary(), other.primary()) > MAGLEV_SLOTS / 2);
    }

    #[test]
    fn shares_are_exact_to_two_slots() {
        for weights in [vec![1; 7], vec![1, 2, 3, 4, 90], (1..=200).collect(), vec![65_535, 300, 1000]] {
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let table = build(&candidates(weights.iter().copied()));
            for (count, &weight) in counts(table.primary(), weights.len()).into_iter().zip(&weights) {
                let share = MAGLEV_SLOTS as f64 * f64::from(weight) / total;
                assert!((count as f64 - share).abs() <= 2.0, "{count} slots for {share}");
            }
        }
    }

    #[test]
    fn shares_come_within_a_hundredth_where_the_number_of_slots_is_not_configured() {
        for weights in
            [vec![1; 2], vec![1; 10], vec![1; 100], vec![1; 512], vec![3, 4, 5], (10..60).collect()]
        {
            let slots = model::slots_for(weights.iter().copied());
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let table = Table::maglev(SEED, &candidates(weights.iter().copied()), slots);
            for (count, &weight) in counts(table.primary(), weights.len()).into_iter().zip(&weights) {
                let share = slots as f64 * f64::from(weight) / total;
                assert!((count as f64 - share).abs() <= share * 0.01, "{count} slots of {slots} for {share}");
            }
        }
    }

    #[test]
    fn one_backend_more_or_less_moves_little_else_in_a_small_table_either() {
        let table = |list: &[Candidate]| {
            let slots = model::slots_for(list.iter().map(|candidate| candidate.weight));
            let table = Table::maglev(SEED, list, slots);
            identities(table.primary(), list)
        };
        for backends in [4, 10, 14, 60, 100] {
            let all = candidates(vec![10; backends]);
            let mut rest = all.clone();
            let gone = rest.pop().unwrap().address;
            let (before, after) = (table(&all), table(&rest));
            assert_eq!(before.len(), after.len());
            let moved =
                before.iter().zip(&after).filter(|(before, after)| before != after && **before != gone);
            let extra = moved.count() as f64 / before.len() as f64;
            assert!(extra <= 0.025, "{extra} of all slots besides those of the one of {backends}");
        }
    }

    #[test]
    fn a_backend_without_weight_gets_no_slot_and_stands_in_for_nobody() {
        let table = build(&candidates([1, 0, 1]));
        assert!(!table.primary().contains(&1));
        assert!(!table.assign(&levels(&[false, true, true])).contains(&1));
        assert!(table.assign(&levels(&[false, true, false])).iter().all(|&position| position == UNASSIGNED));
    }

    #[test]
    fn a_pool_without_backends_has_nobody_in_its_slots() {
        for table in [build(&[]), build(&candidates([0, 0]))] {
            assert_eq!(table.primary().len(), MAGLEV_SLOTS);
            assert!(
                table
                    .primary()
                    .iter()
                    .chain(table.assign(&[]).iter())
                    .all(|&position| position == UNASSIGNED)
            );
        }
    }

    #[test]
    fn more_backends_than_slots_leave_some_without() {
        let table = Table::maglev(SEED, &candidates([5; 100]), 64);
        assert!(counts(table.primary(), 100).into_iter().all(|count| count <= 1));
        assert_eq!(table.primary().len(), 64);
    }

    #[test]
    fn the_number_of_slots_is_rounded_up_to_a_power_of_two() {
        for (asked, given) in [(0, 1), (1, 1), (5, 8), (65_536, 65_536), (65_537, 131_072)] {
            assert_eq!(Table::maglev(SEED, &candidates([1]), asked).primary().len(), given);
        }
    }

    #[test]
    fn ports_of_one_address_are_backends_of_their_own() {
        let address = Address::from_v4([10, 1, 0, 1]);
        let backends = [1, 2, 3, 4].map(|port| Candidate { address, port, weight: 1 });
        assert_eq!(counts(build(&backends).primary(), 4), [MAGLEV_SLOTS / 4; 4]);
    }

    #[test]
    fn one_backend_more_or_less_moves_little_else() {
        for backends in [3, 20, 100, 300] {
            let all = candidates(vec![10; backends]);
            let removed = backends / 2;
            let mut rest = all.clone();
            let gone = rest.remove(removed).address;
            let before = identities(build(&all).primary(), &all);
            let after = identities(build(&rest).primary(), &rest);
            let moved =
                before.iter().zip(&after).filter(|(before, after)| before != after && **before != gone);
            let extra = moved.count() as f64 / MAGLEV_SLOTS as f64;
            assert!(extra <= 0.012, "{extra} of all slots besides those of the one of {backends}");
        }
    }

    #[test]
    fn the_slots_of_a_dead_backend_spread_by_weight() {
        let weights = [10, 20, 30, 40];
        let slots = build(&candidates(weights)).assign(&levels(&[true, true, true, false]));
        for (count, weight) in counts(&slots, 3).into_iter().zip(weights) {
            let share = MAGLEV_SLOTS as f64 * f64::from(weight) / 60.0;
            assert!((count as f64 - share).abs() <= share * 0.03, "{count} slots for {share}");
        }
    }

    #[test]
    fn a_table_for_a_thousand_backends_is_soon_built() {
        // Some milliseconds when optimised. The bound is for a busy machine and an unoptimised build.
        let weights = [1, 1000, 30].into_iter().cycle().take(1000);
        let begin = Instant::now();
        build(&candidates(weights));
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn rendezvous_moves_nothing_but_the_slots_of_what_comes_or_goes() {
        let all = candidates([10, 20, 30, 5, 10, 10]);
        let mut rest = all.clone();
        let gone = rest.remove(2).address;
        let table =
            |list: &[Candidate]| identities(Table::rendezvous(SEED, list, MAGLEV_SLOTS).primary(), list);
        let (before, after) = (table(&all), table(&rest));
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == gone));
        let shares = counts(Table::rendezvous(SEED, &all, MAGLEV_SLOTS).primary(), all.len());
        for (count, candidate) in shares.into_iter().zip(&all) {
            let share = MAGLEV_SLOTS as f64 * f64::from(candidate.weight) / 85.0;
            assert!((count as f64 - share).abs() <= share * 0.05, "{count} slots for {share}");
        }
    }

    #[test]
    fn a_backend_that_comes_back_slowly_takes_its_own_slots_bit_by_bit_and_none_else_moves() {
        let table = build(&candidates([10; 8]));
        let at = |level| {
            let mut levels = vec![Level::FULL; 8];
            levels[3] = Level::sixteenths(level);
            table.assign(&levels)
        };
        let mut before = at(0);
        for level in 1..=16 {
            let after = at(level);
            let own = after.iter().filter(|&&position| position == 3).count();
            let expected = MAGLEV_SLOTS / 8 * usize::from(level) / 16;
            assert!(own.abs_diff(expected) <= expected / 8, "{own} slots for {expected}");
            for (&before, &after) in before.iter().zip(&*after) {
                assert!(before == after || after == 3);
            }
            before = after;
        }
        assert_eq!(*before, *table.primary());
    }

    #[test]
    fn where_everybody_comes_back_slowly_no_slot_is_left_alone() {
        let slots = build(&candidates([10; 4])).assign(&[Level::sixteenths(1); 4]);
        for count in counts(&slots, 4) {
            assert!(count.abs_diff(MAGLEV_SLOTS / 4) < MAGLEV_SLOTS / 40, "{count}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_table_does_not_depend_on_the_order_of_the_list(
            weights in vec(0_u16..100, 1..40),
            rotation in any::<prop::sample::Index>(),
            dead in any::<prop::sample::Index>(),
        ) {
            let listed = candidates(weights.iter().copied().chain([1, 1]));
            let dead = listed[dead.index(listed.len())];
            let mut other = listed.clone();
            other.rotate_left(rotation.index(listed.len()));
            other.reverse();
            let [one, two] = [listed, other].map(|list| {
                let usable: Vec<bool> = list.iter().map(|&candidate| candidate != dead).collect();
                let table = Table::maglev(SEED, &list, 1024);
                (identities(table.primary(), &list), identities(&table.assign(&levels(&usable)), &list))
            });
            prop_assert!(one == two);
        }

        #[test]
        fn a_change_of_health_moves_only_the_slots_concerned_and_back(
            weights in vec(1_u16..100, 3..30),
            health in vec(prop::bool::weighted(0.7), 30),
            changed in any::<prop::sample::Index>(),
        ) {
            let table = Table::maglev(SEED, &candidates(weights.iter().copied()), 1024);
            let changed = changed.index(weights.len());
            let [without, with] = [false, true].map(|up| {
                let mut usable = health.clone();
                usable[changed] = up;
                table.assign(&levels(&usable))
            });
            for (slot, (&without, &with)) in without.iter().zip(&*with).enumerate() {
                prop_assert!(without == with || with == changed as u32);
                prop_assert!(without != changed as u32);
                prop_assert!(table.primary()[slot] != changed as u32 || with == changed as u32);
            }
            let all = table.assign(&vec![Level::FULL; weights.len()]);
            prop_assert!(*all == *table.primary());
        }
    }
}
