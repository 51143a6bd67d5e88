//! Which backends a check speaks of.

use std::collections::HashMap;

use model::{Backend, Gateway, Pool};

use crate::health::Check;

/// For each check of a configuration: pool and backend, by position.
pub(super) struct Subjects(HashMap<Check, Vec<(usize, usize)>>);

impl Subjects {
    pub(super) fn of(gateway: &Gateway) -> Self {
        let mut by_check: HashMap<Check, Vec<(usize, usize)>> = HashMap::new();
        for (pool_position, pool) in gateway.pools.iter().enumerate() {
            for (position, backend) in pool.backends.iter().enumerate() {
                let subject = (pool_position, position);
                for check in pool.monitors.iter().map(|monitor| Check::of(backend, monitor)) {
                    let subjects = by_check.entry(check).or_default();
                    // A pool's monitors may agree in all of it.
                    if subjects.last() != Some(&subject) {
                        subjects.push(subject);
                    }
                }
            }
        }
        Self(by_check)
    }

    /// The backends that a check speaks of, with the positions of their pools. `gateway` is the one given before.
    pub(super) fn of_check<'a>(
        &'a self,
        gateway: &'a Gateway,
        check: &Check,
    ) -> impl Iterator<Item = (usize, &'a Pool, &'a Backend)> {
        let subjects = self.0.get(check).into_iter().flatten();
        subjects.filter_map(|&(pool_position, position)| {
            let pool = gateway.pools.get(pool_position)?;
            Some((pool_position, pool, pool.backends.get(position)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_check_speaks_of_each_backend_once_that_shares_it() {
        let mut gateway = fixture::gateway([
            fixture::monitored_pool("a", 2),
            fixture::pool("b", 2),
            fixture::monitored_pool("c", 1),
        ]);
        let monitor = gateway.pools[0].monitors[0].clone();
        gateway.pools[0].monitors.push(monitor.clone());
        let subjects = Subjects::of(&gateway);
        let pools = |backend| {
            let check = Check::of(&gateway.pools[0].backends[backend], &monitor);
            subjects.of_check(&gateway, &check).map(|(position, ..)| position).collect::<Vec<_>>()
        };
        assert_eq!((pools(0), pools(1)), (vec![0, 2], vec![0]));
    }
}
