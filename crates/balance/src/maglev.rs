//! Weighted Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4), over a power of two of slots.
//!
//! Each backend has its own order in which it likes the slots, and takes the first one still free whenever its turn
//! comes. Turns come in proportion to the weights: the k-th of a backend with weight w is due at (k − phase)/w, whoever
//! else there is. Therefore a backend more or less changes little in what the others take. The phase is a random number
//! of the backend's own from 0 to 1, so that fractions of a slot are rounded up as often as they deserve.

use std::sync::Arc;

use crate::{
    Candidate, UNASSIGNED,
    free::Free,
    turn::{Share, TURN, each_turn},
};

/// What the numbers that a backend's identity yields are for.
const OFFSET: u64 = 0;
const SKIP: u64 = 1;
const PHASE: u64 = 2;

/// The order in which one backend likes the slots: from `next` on, always `skip` further. An odd number and a power of
/// two have no common divisor, so it comes through all slots.
struct Preference {
    position: u32,
    next: usize,
    skip: usize,
}

/// The backend of each slot, by position in the list that `order` is made of.
pub(crate) fn fill(seed: [u8; 16], order: &[(u32, &Candidate)], slots: usize) -> Arc<[u32]> {
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
