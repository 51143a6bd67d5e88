//! Backends that come back slowly (`slow_ramp`): from a sixteenth of their weight to all of it.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use balance::Level;
use model::{AdminState, Backend, Gateway, Pool};
use tokio::time::Instant;

/// Steps from the first sixteenth to all.
const STEPS: u32 = 16;

/// The backends that are on their way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ramps(HashMap<(String, SocketAddr), Ramp>);

#[derive(Clone, Copy, Debug)]
struct Ramp {
    begun: Instant,
    length: Duration,
    level: Level,
}

impl Ramps {
    /// A backend of this pool has come up, or is to come up.
    pub(crate) fn begin(&mut self, pool: &Pool, backend: &Backend, now: Instant) {
        if !pool.slow_ramp.is_zero() {
            let ramp = Ramp { begun: now, length: pool.slow_ramp, level: Level::sixteenths(1) };
            self.0.insert((pool.name.clone(), backend.address), ramp);
        }
    }

    /// Whether a backend is on its way, or will be once it is up.
    pub(crate) fn has(&self, pool: &Pool, backend: &Backend) -> bool {
        !self.0.is_empty() && self.0.contains_key(&(pool.name.clone(), backend.address))
    }

    /// How far it has come.
    pub(crate) fn level(&self, pool: &Pool, backend: &Backend) -> Level {
        if self.0.is_empty() {
            return Level::FULL;
        }
        self.0.get(&(pool.name.clone(), backend.address)).map_or(Level::FULL, |ramp| ramp.level)
    }

    /// Lets all of them come as far as they have at `now`; whether a backend of a pool takes another step, by the pool's position.
    pub(crate) fn advance(&mut self, gateway: &Gateway, now: Instant) -> Vec<usize> {
        let mut moved = Vec::new();
        self.0.retain(|(pool, _), ramp| {
            let step = (now.duration_since(ramp.begun).as_secs_f64() / ramp.length.as_secs_f64()).min(1.0);
            let level = Level::sixteenths(1 + (step * f64::from(STEPS - 1)) as u8);
            if level != ramp.level {
                moved.push(pool.clone());
            }
            ramp.level = level;
            level < Level::FULL
        });
        let is_moved = |(_, pool): &(usize, &Pool)| moved.contains(&pool.name);
        gateway.pools.iter().enumerate().filter(is_moved).map(|(position, _)| position).collect()
    }

    /// What is on its way when the configuration changes from `before` to `after`: what was, and what is new in a pool that was
    /// there, or is enabled again.
    pub(crate) fn carried_over(&self, before: &Gateway, after: &Gateway, now: Instant) -> Self {
        let old: HashMap<&str, &Pool> = before.pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
        let mut carried = Self::default();
        for pool in &after.pools {
            let Some(old) = old.get(pool.name.as_str()) else { continue };
            let was_enabled: HashMap<SocketAddr, bool> =
                old.backends.iter().map(|b| (b.address, b.state == AdminState::Enabled)).collect();
            for backend in pool.backends.iter().filter(|backend| backend.state == AdminState::Enabled) {
                let key = (pool.name.clone(), backend.address);
                if was_enabled.get(&backend.address) != Some(&true) {
                    carried.begin(pool, backend, now);
                } else if let Some(ramp) = self.0.get(&key).filter(|_| !pool.slow_ramp.is_zero()) {
                    carried.0.insert(key, *ramp);
                }
            }
        }
        carried
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn ramped(backends: u8) -> Pool {
        Pool { slow_ramp: Duration::from_secs(15), ..fixture::pool("objects", backends) }
    }

    #[test]
    fn a_backend_goes_from_a_sixteenth_to_all_in_the_time_given() {
        let gateway = fixture::gateway([fixture::pool("others", 1), ramped(2)]);
        let (pool, now) = (&gateway.pools[1], Instant::now());
        let mut ramps = Ramps::default();
        ramps.begin(pool, &pool.backends[1], now);
        for second in 0..15 {
            ramps.advance(&gateway, now + Duration::from_millis(second * 1000 + 500));
            assert_eq!(ramps.level(pool, &pool.backends[1]), Level::sixteenths(second as u8 + 1));
            assert_eq!(ramps.level(pool, &pool.backends[0]), Level::FULL);
        }
        assert!(ramps.advance(&gateway, now + Duration::from_millis(14_600)).is_empty(), "no step since");
        assert_eq!(ramps.advance(&gateway, now + Duration::from_secs(15)), [1]);
        assert!(!ramps.has(pool, &pool.backends[1]) && ramps.level(pool, &pool.backends[1]) == Level::FULL);
    }

    #[test]
    fn what_is_added_or_enabled_again_comes_slowly_and_a_new_pool_at_once() {
        let mut before = fixture::gateway([ramped(2)]);
        before.pools[0].backends[1].state = AdminState::Drain;
        let after = fixture::gateway([ramped(3), Pool { name: "new".to_owned(), ..ramped(1) }]);
        let ramps = Ramps::default().carried_over(&before, &after, Instant::now());
        let slow = |pool: &Pool| pool.backends.iter().map(|b| ramps.has(pool, b)).collect::<Vec<_>>();
        assert_eq!(slow(&after.pools[0]), [false, true, true]);
        assert_eq!(slow(&after.pools[1]), [false]);
        let again = ramps.carried_over(&after, &after, Instant::now());
        assert!(again.has(&after.pools[0], &after.pools[0].backends[2]), "and goes on after the next change");
    }

    #[test]
    fn without_a_time_nothing_comes_slowly() {
        let pool = fixture::pool("objects", 1);
        let mut ramps = Ramps::default();
        ramps.begin(&pool, &pool.backends[0], Instant::now());
        assert_eq!(ramps.level(&pool, &pool.backends[0]), Level::FULL);
    }
}
