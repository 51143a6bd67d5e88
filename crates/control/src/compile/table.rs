//! A pool's table, kept from one snapshot to the next.

use std::sync::Arc;

use balance::{Candidate, Chooser, Level, Table};
use datapath::snapshot::Pool;
use model::{BackendId, Method};

/// A pool's table and the last pool that was made of it.
///
/// Only configuration rebuilds the table; health assigns its slots anew; when neither changed, the pool is shared.
#[derive(Clone)]
pub(super) struct PoolTable {
    seed: [u8; 16],
    method: Method,
    candidates: Arc<[Candidate]>,
    slots: usize,
    table: Arc<Table>,
    latest: Option<(Vec<Level>, Arc<Pool>)>,
}

impl PoolTable {
    pub(super) fn build(pool: &model::Pool, seed: [u8; 16]) -> Self {
        let (candidates, slots) = (candidates(pool).collect::<Arc<[_]>>(), pool.table_slots());
        let table = match pool.method {
            Method::Maglev | Method::SourceHash => Table::maglev(seed, &candidates, slots),
            Method::Rendezvous => Table::rendezvous(seed, &candidates, slots),
            // The others choose by no table.
            _ => Table::maglev(seed, &[], 1),
        };
        Self { seed, method: pool.method, candidates, slots, table: Arc::new(table), latest: None }
    }

    /// Whether the table is still right for this pool.
    pub(super) fn fits(&self, pool: &model::Pool, seed: [u8; 16]) -> bool {
        let is_of_that_form =
            self.seed == seed && self.method == pool.method && self.slots == pool.table_slots();
        is_of_that_form && self.candidates.iter().copied().eq(candidates(pool))
    }

    /// The pool in which the backends take new flows at these levels, by position.
    pub(super) fn pool(&mut self, members: Vec<BackendId>, levels: Vec<Level>) -> Arc<Pool> {
        if let Some((before, pool)) = &self.latest
            && *before == levels
            && pool.members == members
        {
            return Arc::clone(pool);
        }
        let weights: Vec<u16> = self.candidates.iter().map(|candidate| candidate.weight).collect();
        let chooser = Chooser::of(self.method, &self.table, &weights, &levels);
        let pool = Arc::new(Pool::new(chooser, members, levels.clone()));
        self.latest = Some((levels, Arc::clone(&pool)));
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
