//! A pool's table, kept from one snapshot to the next.

use std::sync::Arc;

use balance::Table;
use datapath::snapshot::Pool;
use model::{Address, BackendId, MAGLEV_SLOTS};

/// Address, port and weight of each of a pool's backends: what its table is made of.
type Members = Vec<(Address, u16, u16)>;

/// A pool's table and the last pool that was made of it.
///
/// Only configuration rebuilds the table; health assigns its slots anew; when neither changed, the pool is shared.
#[derive(Clone)]
pub(super) struct PoolTable {
    seed: [u8; 16],
    members: Members,
    table: Arc<Table>,
    latest: Option<(Vec<bool>, Arc<Pool>)>,
}

impl PoolTable {
    pub(super) fn build(pool: &model::Pool, seed: [u8; 16]) -> Self {
        let members = members(pool);
        let table = Arc::new(balance::Maglev::build(seed, &members, MAGLEV_SLOTS));
        Self { seed, members, table, latest: None }
    }

    /// Whether the table is still right for this pool.
    pub(super) fn fits(&self, pool: &model::Pool, seed: [u8; 16]) -> bool {
        self.seed == seed && self.members == members(pool)
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

fn members(pool: &model::Pool) -> Members {
    pool.backends.iter().map(|b| (b.address.ip().into(), b.address.port(), b.weight)).collect()
}
