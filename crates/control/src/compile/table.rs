//! A pool's table, kept from one snapshot to the next.

use std::sync::Arc;

use balance::{Candidate, Maglev};
use datapath::snapshot::Pool;
use model::BackendId;

/// A pool's table and the last pool that was made of it.
///
/// Only configuration rebuilds the table; health assigns its slots anew; when neither changed, the pool is shared.
#[derive(Clone)]
pub(super) struct PoolTable {
    seed: [u8; 16],
    candidates: Arc<[Candidate]>,
    slots: usize,
    table: Arc<Maglev>,
    latest: Option<(Vec<bool>, Arc<Pool>)>,
}

impl PoolTable {
    pub(super) fn build(pool: &model::Pool, seed: [u8; 16]) -> Self {
        let (candidates, slots) = (candidates(pool).collect::<Arc<[_]>>(), pool.table_slots());
        let table = Arc::new(Maglev::build(seed, &candidates, slots));
        Self { seed, candidates, slots, table, latest: None }
    }

    /// Whether the table is still right for this pool.
    pub(super) fn fits(&self, pool: &model::Pool, seed: [u8; 16]) -> bool {
        let unchanged = self.seed == seed && self.slots == pool.table_slots();
        unchanged && self.candidates.iter().copied().eq(candidates(pool))
    }

    /// The pool in which the backends at the positions in `usable` take new flows.
    pub(super) fn pool(&mut self, members: Vec<BackendId>, usable: Vec<bool>) -> Arc<Pool> {
        if let Some((before, pool)) = &self.latest
            && *before == usable
            && pool.members == members
        {
            return Arc::clone(pool);
        }
        let pool = Arc::new(Pool { slots: self.table.assign(&usable), members });
        self.latest = Some((usable, Arc::clone(&pool)));
        pool
    }
}

fn candidates(pool: &model::Pool) -> impl Iterator<Item = Candidate> {
    let candidate = |backend: &model::Backend| Candidate {
        address: backend.address.ip().into(),
        port: backend.address.port(),
        weight: backend.weight,
    };
    pool.backends.iter().map(candidate)
}
