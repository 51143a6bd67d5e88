//! Choosing a backend for a new flow.
//!
//! A pool has a table of *slots*, a power of two of them, each with a backend; the hash of a flow names a slot. What is in
//! the slots follows from two steps, so that as little as possible changes when something happens:
//!
//! 1. [`Maglev::build`]: from the configuration alone, each slot gets its primary backend, in proportion to the weights.
//! 2. [`Maglev::assign`]: a slot whose primary is not usable at present is lent to another backend.
//!
//! What must stay true:
//!
//! - The same seed and the same backends give the same table everywhere, in whatever order they are listed and whatever
//!   happened before. Several gateways agree without talking to each other.
//! - When a backend goes down, only the slots move that lead to it, and they spread over the others by weight. When it
//!   comes back, exactly those return.
//! - Looking up never searches: one mask, one load.
//!
//! What it leaves to others: the hash (`flow`), which backends are usable (`control`), limits of a backend (`datapath`).
#![forbid(unsafe_code)]

mod fallback;
mod free;
mod maglev;
mod mix;
mod turn;

pub use maglev::{Candidate, Maglev};

/// What a slot holds when no backend is usable.
pub const UNASSIGNED: u32 = u32::MAX;

/// The backend for a flow with this hash, by its position in the list that the table was built from.
///
/// `None` when no backend is usable. The number of slots is a power of two; the low bits of the hash decide.
#[inline]
#[must_use]
pub fn choose(slots: &[u32], hash: u64) -> Option<u32> {
    let mask = slots.len().checked_sub(1)?;
    slots.get(hash as usize & mask).copied().filter(|&position| position != UNASSIGNED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_bits_of_a_hash_choose_the_slot() {
        let slots = [10, 11, UNASSIGNED, 13];
        let chosen = [0, 1, 2, 7, u64::MAX - 1].map(|hash| choose(&slots, hash));
        assert_eq!(chosen, [Some(10), Some(11), None, Some(13), None]);
    }

    #[test]
    fn without_slots_there_is_no_choice() {
        assert_eq!(choose(&[], 5), None);
    }
}
