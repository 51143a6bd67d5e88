//! Choosing a backend for a new flow.
//!
//! A [`Chooser`] is a pool's method, compiled. Methods that choose by hash have a table of *slots*, a power of two of them, each
//! with a backend; the hash of a flow (or of its client) names a slot. What is in the slots follows from two steps, so that as
//! little as possible changes when something happens:
//!
//! 1. [`Table::maglev`]: from the configuration alone, each slot gets its primary backend, in proportion to the weights.
//! 2. [`Table::assign`]: a slot whose primary is not usable at present is lent to another backend.
//!
//! The others take turns, or look at what backends have to do ([`Sight`]), which somebody else counts. What a backend is able to
//! take is told by [`measure`] from what it has taken.
//!
//! What must stay true:
//!
//! - The same seed and the same backends give the same table everywhere, in whatever order they are listed and whatever
//!   happened before. Several gateways agree without talking to each other.
//! - When a backend goes down, only the slots move that lead to it, and they spread over the others by weight. When it
//!   comes back, exactly those return.
//! - Looking up a slot never searches: one mask, one load. Who looks at what backends have to do looks at each once.
//!
//! What it leaves to others: the hash (`flow`), which backends are usable (`control`), limits of a backend (`datapath`).
#![forbid(unsafe_code)]

mod capacity;
mod chooser;
mod fallback;
mod free;
mod least;
mod level;
mod maglev;
mod mix;
mod rotation;
mod table;
mod turn;

pub use capacity::{Capacity, Work, measure};
pub use chooser::{Chooser, Hashes};
pub use least::{CAPACITY_AS_WEIGHED, Member, Sight};
pub use level::Level;
pub use rotation::Rotation;
pub use table::{Candidate, Table};

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
