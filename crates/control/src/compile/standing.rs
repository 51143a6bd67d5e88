//! What backends may be used for, told from configuration and health.

use balance::Level;
use model::{AdminState, Backend, Pool};

use crate::health::{Condition, Health};

/// What a backend may be used for.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// Whether it is enabled, or drained for not too long, and up.
    pub(super) up: bool,
    /// How much of its weight it takes in new flows.
    pub(super) level: Level,
}

/// What each of a pool's backends may be used for.
pub(super) fn standings(pool: &Pool, health: &Health) -> Vec<Standing> {
    let mut standings: Vec<_> =
        pool.backends.iter().map(|backend| Standing::of(pool, backend, health)).collect();
    if let Some(least) = least_priority(pool, &standings) {
        for (standing, backend) in standings.iter_mut().zip(&pool.backends) {
            if backend.priority < least {
                standing.level = Level::NONE;
            }
        }
    }
    standings
}

impl Standing {
    fn of(pool: &Pool, backend: &Backend, health: &Health) -> Self {
        let healthy = health.of(pool, backend).condition == Condition::Up;
        let up = healthy && backend.state != AdminState::Disabled && !health.drains.is_over(pool, backend);
        let wanted = backend.state == AdminState::Enabled && backend.weight > 0;
        let is_usable = up && wanted && !health.is_draining();
        Self { up, level: if is_usable { health.level(pool, backend) } else { Level::NONE } }
    }
}

/// The priority of the last group that takes new flows: the first at which as many backends do as must.
fn least_priority(pool: &Pool, standings: &[Standing]) -> Option<u16> {
    let usable = pool.backends.iter().zip(standings).filter(|(_, standing)| standing.level > Level::NONE);
    let mut priorities: Vec<u16> = usable.map(|(backend, _)| backend.priority).collect();
    priorities.sort_unstable_by(|one, other| other.cmp(one));
    priorities.get(usize::from(pool.min_active).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture,
        health::{Cause, Check, Diagnosis},
    };

    /// Which of six backends take new flows, of which two each have the priorities 9, 5 and 1.
    fn active(min_active: u16, down: &[usize]) -> Vec<usize> {
        let mut pool = fixture::monitored_pool("objects", 6);
        pool.min_active = min_active;
        for (backend, priority) in pool.backends.iter_mut().zip([5, 5, 9, 9, 1, 1]) {
            backend.priority = priority;
        }
        let mut health = Health::optimistic();
        for &position in down {
            let check = Check::of(&pool.backends[position], &pool.monitors[0]);
            health.record(check, Diagnosis::down(Cause::Refused));
        }
        let standings = standings(&pool, &health);
        (0..6).filter(|&position| standings[position].level > Level::NONE).collect()
    }

    #[test]
    fn the_next_group_takes_new_flows_while_fewer_than_must_be_are_up() {
        assert_eq!(active(0, &[]), [0, 1, 2, 3, 4, 5], "priorities do not count");
        assert_eq!(active(1, &[]), [2, 3]);
        assert_eq!(active(2, &[]), [2, 3]);
        assert_eq!(active(2, &[3]), [0, 1, 2], "one is too few, so the next group helps");
        assert_eq!(active(1, &[3]), [2]);
        assert_eq!(active(1, &[2, 3]), [0, 1]);
        assert_eq!(active(4, &[0, 2]), [1, 3, 4, 5]);
        assert_eq!(active(9, &[5]), [0, 1, 2, 3, 4], "all, where there are not as many");
    }
}
