//! Weighted Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4), over a power of two of slots.
//!
//! Each backend has its own order in which it likes the slots, and takes the first one still free whenever its turn
//! comes. Turns come in proportion to the weights: the k-th of a backend with weight w is due at (k − phase)/w, whoever
//! else there is. Therefore a backend more or less changes little in what the others take. The phase is a random number
//! of the backend's own from 0 to 1, so that fractions of a slot are rounded up as often as they deserve.

use std::sync::Arc;

use model::Address;

use crate::{
    UNASSIGNED,
    fallback::{StandIn, stand_in},
    free::Free,
    mix::keyed,
    turn::{Share, TURN, each_turn},
};

/// What the numbers that a backend's identity yields are for.
const OFFSET: u64 = 0;
const SKIP: u64 = 1;
const PHASE: u64 = 2;
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
    fn number(&self, seed: [u8; 16], purpose: u64) -> u64 {
        let address = u128::from_be_bytes(self.address.octets());
        let words = [(address >> 64) as u64, address as u64, u64::from(self.port), purpose];
        keyed(seed, &words)
    }
}

/// A pool's table as the configuration alone makes it.
#[derive(Debug)]
pub struct Maglev {
    seed: [u8; 16],
    primary: Arc<[u32]>,
    /// In an order that does not depend on the list's.
    stand_ins: Box<[StandIn]>,
}

impl Maglev {
    /// A table of `slots` slots (rounded up to a power of two, 2²⁴ at most) for these backends, no address and port
    /// twice.
    ///
    /// Shares are exact to a slot or two. A backend of a weight that is worth less than a slot may get none.
    #[must_use]
    pub fn build(seed: [u8; 16], candidates: &[Candidate], slots: usize) -> Self {
        let slots = slots.clamp(1, MAX_SLOTS).next_power_of_two();
        let mut order: Vec<(u32, &Candidate)> = (0..).zip(candidates).collect();
        order.retain(|(_, candidate)| candidate.weight > 0);
        order.sort_by_key(|(_, candidate)| (candidate.address, candidate.port));
        let stand_ins = order.iter().map(|&(position, candidate)| StandIn {
            position,
            identity: STAND_IN.map(|purpose| candidate.number(seed, purpose)),
            share: 1.0 / f64::from(candidate.weight),
        });
        Self { seed, stand_ins: stand_ins.collect(), primary: fill(seed, &order, slots) }
    }

    /// The backend of each slot while all are usable, by position in the list; [`UNASSIGNED`] if there is none.
    #[must_use]
    pub fn primary(&self) -> &[u32] {
        &self.primary
    }

    /// The backend of each slot while those are usable for which `usable` says so at their position in the list.
    ///
    /// A slot whose primary is usable has that; another has a stand-in; [`UNASSIGNED`] when nobody is usable. This takes
    /// time in proportion to slots without their primary × usable backends. When nobody is missed, the primaries are shared.
    #[must_use]
    pub fn assign(&self, usable: &[bool]) -> Arc<[u32]> {
        let is_usable = |position: u32| usable.get(position as usize).is_some_and(|&usable| usable);
        if self.stand_ins.iter().all(|candidate| is_usable(candidate.position)) {
            return Arc::clone(&self.primary);
        }
        let stand_ins: Vec<StandIn> =
            self.stand_ins.iter().copied().filter(|stand_in| is_usable(stand_in.position)).collect();
        let slots = self.primary.iter().zip(0_u64..).map(|(&primary, slot)| {
            if is_usable(primary) {
                return primary;
            }
            stand_in(keyed(self.seed, &[slot, SLOT]), &stand_ins).unwrap_or(UNASSIGNED)
        });
        slots.collect()
    }
}

/// The order in which one backend likes the slots: from `next` on, always `skip` further. An odd number and a power of
/// two have no common divisor, so it comes through all slots.
struct Preference {
    position: u32,
    next: usize,
    skip: usize,
}

fn fill(seed: [u8; 16], order: &[(u32, &Candidate)], slots: usize) -> Arc<[u32]> {
    let mut preferences: Vec<Preference> = order
        .iter()
        .map(|&(position, candidate)| Preference {
            position,
            next: candidate.number(seed, OFFSET) as usize,
            skip: candidate.number(seed, SKIP) as usize | 1,
        })
        .collect();
    let shares = order.iter().map(|&(_, candidate)| Share {
        weight: u64::from(candidate.weight),
        phase: candidate.number(seed, PHASE) % TURN,
    });
    let mut primary: Arc<[u32]> = std::iter::repeat_n(UNASSIGNED, slots).collect();
    if let Some(primary) = Arc::get_mut(&mut primary) {
        let mut free = Free::all(slots);
        each_turn(&shares.collect::<Vec<_>>(), slots, |index| {
            let Some(preference) = preferences.get_mut(index) else { return };
            let slot = free.take(preference.next, preference.skip);
            preference.next = slot.wrapping_add(preference.skip);
            if let Some(slot) = primary.get_mut(slot) {
                *slot = preference.position;
            }
        });
    }
    primary
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

    fn build(candidates: &[Candidate]) -> Maglev {
        Maglev::build(SEED, candidates, MAGLEV_SLOTS)
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
        let table = Maglev::build(SEED, &candidates([1, 2, 3]), 16);
        assert_eq!(table.primary(), [2, 1, 1, 2, 1, 0, 1, 0, 2, 2, 2, 2, 1, 2, 0, 2]);
        assert_eq!(*table.assign(&[true, true, false]), [1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn the_same_configuration_gives_the_same_table_and_another_seed_another() {
        let backends = candidates([10; 20]);
        assert_eq!(build(&backends).primary(), build(&backends).primary());
        let other = Maglev::build([8; 16], &backends, MAGLEV_SLOTS);
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
            let table = Maglev::build(SEED, &candidates(weights.iter().copied()), slots);
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
            let table = Maglev::build(SEED, list, slots);
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
        assert!(!table.assign(&[false, true, true]).contains(&1));
        assert!(table.assign(&[false, true, false]).iter().all(|&position| position == UNASSIGNED));
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
        let table = Maglev::build(SEED, &candidates([5; 100]), 64);
        assert!(counts(table.primary(), 100).into_iter().all(|count| count <= 1));
        assert_eq!(table.primary().len(), 64);
    }

    #[test]
    fn the_number_of_slots_is_rounded_up_to_a_power_of_two() {
        for (asked, given) in [(0, 1), (1, 1), (5, 8), (65_536, 65_536), (65_537, 131_072)] {
            assert_eq!(Maglev::build(SEED, &candidates([1]), asked).primary().len(), given);
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
        let slots = build(&candidates(weights)).assign(&[true, true, true, false]);
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
                let table = Maglev::build(SEED, &list, 1024);
                (identities(table.primary(), &list), identities(&table.assign(&usable), &list))
            });
            prop_assert!(one == two);
        }

        #[test]
        fn a_change_of_health_moves_only_the_slots_concerned_and_back(
            weights in vec(1_u16..100, 3..30),
            health in vec(prop::bool::weighted(0.7), 30),
            changed in any::<prop::sample::Index>(),
        ) {
            let table = Maglev::build(SEED, &candidates(weights.iter().copied()), 1024);
            let changed = changed.index(weights.len());
            let [without, with] = [false, true].map(|up| {
                let mut usable = health.clone();
                usable[changed] = up;
                table.assign(&usable)
            });
            for (slot, (&without, &with)) in without.iter().zip(&*with).enumerate() {
                prop_assert!(without == with || with == changed as u32);
                prop_assert!(without != changed as u32);
                prop_assert!(table.primary()[slot] != changed as u32 || with == changed as u32);
            }
            let all = table.assign(&vec![true; weights.len()]);
            prop_assert!(*all == *table.primary());
        }
    }
}
