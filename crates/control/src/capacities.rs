//! Measuring what backends of `adaptive` pools are able to take, for the workers' choices.

use std::{collections::HashMap, sync::Arc, time::Duration};

use balance::{CAPACITY_AS_WEIGHED, Capacity, Work, measure};
use model::{BackendId, Gateway, Method, Pool};
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::{
    Plane, Registry,
    traffic::{Fleet, Subject},
    view::Traffic,
};

/// What is known of backends, by their ids and how often these were others'.
#[derive(Default)]
pub struct Capacities(HashMap<(BackendId, u16), Known>);

#[derive(Clone, Copy, Default)]
struct Known {
    capacity: Capacity,
    /// What it had taken and given when it was looked at last, and how many flows had been opened.
    before: Option<(u64, u64)>,
}

/// Looks at the counters from time to time, and tells the workers what backends are able to take. Never returns.
pub(crate) async fn run(plane: Arc<Plane>) {
    let (mut capacities, mut last) = (Capacities::default(), Instant::now());
    let mut ticks = time::interval(Capacities::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let seconds = now.duration_since(last).as_secs_f64();
        if seconds > 0.0 {
            let state = plane.state();
            capacities.renew((&state.configuration.gateway, &state.registry), &plane.fleet, seconds);
            last = now;
        }
    }
}

impl Capacities {
    /// From one look at the counters to the next.
    pub const EVERY: Duration = Duration::from_millis(250);

    /// Learns from what backends have done in the last `seconds`, and tells the workers. What is no longer in an `adaptive` pool is
    /// forgotten.
    pub fn renew(&mut self, (gateway, registry): (&Gateway, &Registry), fleet: &Fleet, seconds: f64) {
        let mut renewed = HashMap::new();
        for pool in gateway.pools.iter().filter(|pool| pool.method == Method::Adaptive) {
            let members = registry.members(pool);
            let ids: Vec<_> = members.iter().copied().flatten().collect();
            let (mut seen, counts): (Vec<_>, Vec<_>) = ids
                .iter()
                .zip(weights(pool, &members))
                .map(|(id, weight)| self.look(*id, weight, fleet))
                .unzip();
            measure(&mut seen, seconds);
            for ((id, (capacity, _)), counts) in ids.into_iter().zip(seen).zip(counts) {
                let told = (capacity.relative() * CAPACITY_AS_WEIGHED as f64).round();
                fleet.capacities.set(id.0, (told as u64).max(1));
                renewed.insert(id, Known { capacity, before: Some(counts) });
            }
        }
        for (id, _) in self.0.keys().filter(|id| !renewed.contains_key(id)) {
            if !renewed.keys().any(|(other, _)| other == id) {
                fleet.capacities.set(*id, 0);
            }
        }
        self.0 = renewed;
    }

    /// What a backend has done since the last look, and what it had done until now.
    fn look(&self, id: (BackendId, u16), weight: u32, fleet: &Fleet) -> ((Capacity, Work), (u64, u64)) {
        let Traffic { flows, flows_opened, bytes_in, bytes_out, .. } = fleet.traffic(Subject::Backend(id.0));
        let known = self.0.get(&id).copied().unwrap_or_default();
        let counts = (bytes_in + bytes_out, flows_opened);
        let before = known.before.unwrap_or(counts);
        let work = Work {
            bytes: counts.0.saturating_sub(before.0),
            flows,
            opened: counts.1.saturating_sub(before.1),
            weight,
        };
        ((known.capacity, work), counts)
    }
}

/// The weights of those backends that have an id.
fn weights<'a>(pool: &'a Pool, members: &'a [Option<(BackendId, u16)>]) -> impl Iterator<Item = u32> + 'a {
    let known = pool.backends.iter().zip(members).filter(|(_, member)| member.is_some());
    known.map(|(backend, _)| u32::from(backend.weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_backend_that_takes_little_of_what_it_is_given_is_told_of_and_forgotten_when_the_method_changes() {
        let mut gateway = fixture::gateway([fixture::pool("objects", 4)]);
        gateway.pools[0].method = Method::Adaptive;
        let (plane, _readers) = fixture::plane(gateway.clone());
        let mut capacities = Capacities::default();
        let renew = |capacities: &mut Capacities| {
            let state = plane.state();
            capacities.renew((&state.configuration.gateway, &state.registry), &plane.fleet, 0.25);
        };
        let meters = &plane.fleet.members;
        (0..4).for_each(|id| meters[0].meters.backend(BackendId(id)).unwrap().flows_opened.add(4));
        for _ in 0..40 {
            for (id, bytes) in [(0, 1_000_000), (1, 1_000_000), (2, 100_000), (3, 1_000_000)] {
                meters[1].meters.backend(BackendId(id)).unwrap().bytes_in.add(bytes);
            }
            renew(&mut capacities);
        }
        let told: Vec<f64> = (0..4)
            .map(|id| plane.fleet.capacities.of(BackendId(id)) as f64 / CAPACITY_AS_WEIGHED as f64)
            .collect();
        assert!((0.08..0.15).contains(&(told[2] / told[0])), "{told:?}");
        assert!((0.9..1.1).contains(&(told[3] / told[0])), "{told:?}");

        gateway.pools[0].method = Method::LeastConnections;
        plane.state().configuration = fixture::configuration(gateway).into();
        renew(&mut capacities);
        assert_eq!(plane.fleet.capacities.of(BackendId(2)), CAPACITY_AS_WEIGHED);
    }
}
