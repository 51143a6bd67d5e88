//! Small numbers for keys that come and go.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
};

/// Ids that rest at least until this many others were given up after them, as long as there are fresh ones: a worker
/// may still count for, and list flows of, what an id meant before.
const RESTING: usize = 1_024;

/// Gives each key an id that it keeps for as long as it is wanted.
#[derive(Clone, Debug)]
pub(super) struct Ids<K> {
    by_key: HashMap<K, u32>,
    /// By id: how many keys had it before the present one.
    earlier_uses: Vec<u16>,
    /// Given up, the longest ago first.
    resting: VecDeque<u32>,
    limit: usize,
}

impl<K: Clone + Eq + Hash> Ids<K> {
    /// At most `limit` ids, none in use.
    pub(super) fn new(limit: usize) -> Self {
        Self { by_key: HashMap::new(), earlier_uses: Vec::new(), resting: VecDeque::new(), limit }
    }

    /// Gives up the ids of keys that are not `wanted` and gives ids to those that have none.
    ///
    /// A key stays without when the limit is reached; configurations beyond it are refused before.
    pub(super) fn renew(&mut self, wanted: &[K]) {
        let keep: HashSet<&K> = wanted.iter().collect();
        let mut given_up: Vec<u32> = Vec::new();
        self.by_key.retain(|key, id| {
            keep.contains(key) || {
                given_up.push(*id);
                false
            }
        });
        given_up.sort_unstable();
        self.resting.extend(given_up);
        for key in wanted {
            if !self.by_key.contains_key(key)
                && let Some(id) = self.take()
            {
                self.by_key.insert(key.clone(), id);
            }
        }
    }

    /// The id of a key, and how many keys had it before.
    pub(super) fn id(&self, key: &K) -> Option<(u32, u16)> {
        let id = *self.by_key.get(key)?;
        Some((id, self.earlier_uses.get(id as usize).copied()?))
    }

    /// One more than the greatest id ever given.
    pub(super) fn end(&self) -> usize {
        self.earlier_uses.len()
    }

    fn take(&mut self) -> Option<u32> {
        let fresh = self.earlier_uses.len();
        if self.resting.len() > RESTING || fresh >= self.limit {
            let id = self.resting.pop_front()?;
            let uses = self.earlier_uses.get_mut(id as usize)?;
            *uses = uses.wrapping_add(1);
            return Some(id);
        }
        self.earlier_uses.push(0);
        u32::try_from(fresh).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_keeps_its_id_while_others_come_and_go() {
        let mut ids = Ids::new(100);
        ids.renew(&["a", "b", "c"]);
        let b = ids.id(&"b");
        ids.renew(&["x", "b", "y", "z"]);
        assert_eq!(ids.id(&"b"), b);
        assert_eq!(ids.id(&"a"), None);
    }

    #[test]
    fn an_id_that_was_given_up_rests_before_it_is_used_again() {
        let mut ids = Ids::new(100_000);
        for round in 0..RESTING {
            ids.renew(&[round]);
            assert_eq!(ids.id(&round), Some((round as u32, 0)));
        }
        ids.renew(&[usize::MAX]);
        ids.renew(&[0]);
        assert_eq!(ids.id(&0), Some((0, 1)), "the longest rested, used a second time");
    }

    #[test]
    fn at_the_limit_the_longest_rested_id_is_used_again() {
        let mut ids = Ids::new(3);
        ids.renew(&["a", "b", "c"]);
        ids.renew(&["b"]);
        ids.renew(&["b", "d", "e", "too many"]);
        assert_eq!([ids.id(&"d"), ids.id(&"e")], [Some((0, 1)), Some((2, 1))]);
        assert_eq!(ids.id(&"too many"), None);
    }

    proptest! {
        #[test]
        fn no_two_keys_share_an_id_and_none_changes_while_wanted(
            rounds in proptest::collection::vec(proptest::collection::hash_set(0u8..40, 0..20), 1..20)
        ) {
            let mut ids = Ids::new(24);
            for wanted in rounds {
                let wanted: Vec<u8> = wanted.into_iter().collect();
                let before: Vec<_> = wanted.iter().map(|key| ids.id(key)).collect();
                ids.renew(&wanted);
                let after: Vec<_> = wanted.iter().map(|key| ids.id(key).unwrap()).collect();
                prop_assert_eq!(after.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(), wanted.len());
                for (before, after) in before.iter().zip(&after) {
                    prop_assert!(before.is_none_or(|before| before == *after));
                }
            }
        }
    }
}
