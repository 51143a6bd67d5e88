//! Backends that are drained for a time only (`drain_deadline`): what they have left then is ended.

use std::{collections::HashMap, net::SocketAddr};

use model::{AdminState, Backend, Gateway, Pool};
use tokio::time::Instant;

/// The backends that are drained in pools with a deadline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drains(HashMap<(String, SocketAddr), Drain>);

#[derive(Clone, Copy, Debug)]
struct Drain {
    begun: Instant,
    is_over: bool,
}

impl Drains {
    /// Whether a backend is drained, and its deadline has passed.
    pub(crate) fn is_over(&self, pool: &Pool, backend: &Backend) -> bool {
        backend.state == AdminState::Drain
            && self.0.get(&(pool.name.clone(), backend.address)).is_some_and(|drain| drain.is_over)
    }

    /// Takes up what is drained now, lets go of what no longer is, and looks whose deadline has passed at `now`; whether it is over
    /// for any of them that it was not before, or no longer.
    pub(crate) fn advance(&mut self, gateway: &Gateway, now: Instant) -> bool {
        let mut drains = HashMap::new();
        let mut has_changed = false;
        for pool in &gateway.pools {
            let Some(deadline) = pool.drain_deadline else { continue };
            for backend in pool.backends.iter().filter(|backend| backend.state == AdminState::Drain) {
                let key = (pool.name.clone(), backend.address);
                let known = self.0.remove(&key).unwrap_or(Drain { begun: now, is_over: false });
                let is_over = now.duration_since(known.begun) >= deadline;
                has_changed |= is_over != known.is_over;
                drains.insert(key, Drain { is_over, ..known });
            }
        }
        has_changed |= self.0.values().any(|gone| gone.is_over);
        self.0 = drains;
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture;

    #[test]
    fn a_drain_is_over_at_its_deadline_and_begins_anew_after_the_backend_was_enabled() {
        let pool = Pool { drain_deadline: Some(Duration::from_secs(60)), ..fixture::pool("objects", 2) };
        let mut gateway = fixture::gateway([pool]);
        let (mut drains, now) = (Drains::default(), Instant::now());
        let is_over = |drains: &Drains, gateway: &Gateway| {
            [0, 1].map(|position| drains.is_over(&gateway.pools[0], &gateway.pools[0].backends[position]))
        };
        gateway.pools[0].backends[1].state = AdminState::Drain;
        assert!(!drains.advance(&gateway, now));
        assert!(!drains.advance(&gateway, now + Duration::from_secs(59)));
        assert_eq!(is_over(&drains, &gateway), [false, false]);
        assert!(drains.advance(&gateway, now + Duration::from_secs(60)));
        assert!(!drains.advance(&gateway, now + Duration::from_secs(61)), "this is known");
        assert_eq!(is_over(&drains, &gateway), [false, true]);
        gateway.pools[0].backends[1].state = AdminState::Enabled;
        assert_eq!(is_over(&drains, &gateway), [false, false], "at once");
        assert!(drains.advance(&gateway, now + Duration::from_secs(62)));
        gateway.pools[0].backends[1].state = AdminState::Drain;
        assert!(!drains.advance(&gateway, now + Duration::from_secs(63)));
        assert_eq!(is_over(&drains, &gateway), [false, false]);
    }

    #[test]
    fn without_a_deadline_a_drain_is_never_over() {
        let mut gateway = fixture::gateway([fixture::pool("objects", 1)]);
        gateway.pools[0].backends[0].state = AdminState::Drain;
        let (mut drains, now) = (Drains::default(), Instant::now());
        drains.advance(&gateway, now);
        assert!(!drains.advance(&gateway, now + Duration::from_secs(1 << 30)));
    }
}
