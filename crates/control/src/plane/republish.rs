//! Publishing what the monitors found, and letting go of snapshots that nobody reads.

use std::{sync::Arc, time::Duration};

use model::Generation;
use tokio::time::{self, Instant};

use super::{Plane, State, pace::Pace};

/// How long a change of health waits for others, as when a whole rack goes down.
const GATHER: Duration = Duration::from_millis(10);
/// Publications at once before [`EVERY`] counts.
const BURST: u32 = 4;
/// Under flapping there is one publication in this time.
const EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether backends that come up slowly are due for a step.
const STEP: Duration = Duration::from_millis(100);
/// How often old snapshots are looked after.
const RECLAIM: Duration = Duration::from_secs(1);
/// A worker that has not taken up a snapshot after this time is spoken of.
const STALLED: Duration = Duration::from_secs(5);

/// Publishes changes of health, soon but not too often. Never returns.
pub(crate) async fn run(plane: Arc<Plane>) {
    tokio::join!(publish(&plane), ramp(&plane), reclaim(&plane));
}

async fn publish(plane: &Plane) {
    let mut pace = Pace::new(BURST, EVERY);
    loop {
        plane.health_changed.notified().await;
        time::sleep(GATHER).await;
        pace.turn().await;
        plane.publish_health();
    }
}

/// Lets backends that come up slowly take their steps, and ends what is drained for too long.
async fn ramp(plane: &Plane) {
    loop {
        time::sleep(STEP).await;
        let mut state = plane.state();
        let State { configuration, health, changed, .. } = &mut *state;
        if health.drains.advance(&configuration.gateway, Instant::now()) {
            tracing::info!("the deadline of a drain has passed, or a backend is back after it");
            let (configuration, health) = (Arc::clone(configuration), health.clone());
            state.publish(configuration, health, &plane.fleet);
            continue;
        }
        let moved = health.ramps.advance(&configuration.gateway, Instant::now());
        if !moved.is_empty() {
            changed.extend(moved);
            plane.health_changed.notify_one();
        }
    }
}

async fn reclaim(plane: &Plane) {
    let mut spoken_of = Generation(0);
    loop {
        time::sleep(RECLAIM).await;
        let (generation, acknowledged, age) = {
            let mut state = plane.state();
            state.publisher.reclaim();
            (state.facts.generation, state.acknowledged(), state.published.elapsed())
        };
        if acknowledged < generation && age > STALLED && spoken_of < generation {
            let workers = plane.behind(generation);
            tracing::warn!(%generation, %acknowledged, workers, "workers have not taken up the published snapshot");
            spoken_of = generation;
        }
    }
}

impl Plane {
    /// Lets no new flows in from now on and keeps those that are open: what comes before the end.
    pub fn drain(&self) -> Generation {
        let mut state = self.state();
        let (configuration, health) = (Arc::clone(&state.configuration), state.health.draining());
        state.publish(configuration, health, &self.fleet)
    }

    /// Flows that are open, over all workers.
    #[must_use]
    pub fn open_flows(&self) -> u64 {
        self.fleet.members.iter().map(|member| member.meters.flows.read()).sum()
    }

    /// Publishes health as it is now.
    pub(super) fn publish_health(&self) -> Generation {
        self.state().publish_health()
    }

    /// The workers that say they run with less than `generation`, for a message.
    pub(super) fn behind(&self, generation: Generation) -> String {
        let workers = self.fleet.members.iter().enumerate();
        let behind = workers.filter(|(_, member)| member.meters.generation.read() < generation.0);
        let named = behind.map(|(number, member)| {
            format!("{number} (lcore {}, generation {})", member.lcore, member.meters.generation.read())
        });
        named.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use model::OnBackendDown;

    use super::*;
    use crate::{
        fixture,
        health::{Cause, Check, Diagnosis},
    };

    #[tokio::test(start_paused = true)]
    async fn a_transition_is_published_soon_and_old_snapshots_are_freed() {
        let (plane, readers) = fixture::plane(fixture::gateway([fixture::monitored_pool("objects", 2)]));
        fixture::read_on(readers);
        tokio::spawn(run(Arc::clone(&plane)));
        let pool = &plane.configuration().gateway.pools[0];
        for backend in &pool.backends {
            plane.report(Check::of(backend, &pool.monitors[0]), Diagnosis::UP);
        }
        time::sleep(Duration::from_millis(50)).await;
        assert_eq!(plane.generation(), Generation(2), "both in one");
        assert!(plane.state().snapshot().pools[0].is_available());
        time::sleep(RECLAIM * 2).await;
        assert_eq!(plane.state().publisher.reclaim(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_comes_back_gets_its_slots_step_by_step() {
        let mut gateway = fixture::gateway([fixture::monitored_pool("objects", 2)]);
        gateway.pools[0].slow_ramp = Duration::from_secs(16);
        let (plane, readers) = fixture::plane(gateway);
        fixture::read_on(readers);
        tokio::spawn(run(Arc::clone(&plane)));
        let pool = &plane.configuration().gateway.pools[0];
        let [one, other] = [0, 1].map(|position| Check::of(&pool.backends[position], &pool.monitors[0]));
        let slots = || {
            let slots = Arc::clone(&plane.state().snapshot().pools[0].slots);
            [0, 1].map(|position| slots.iter().filter(|&&slot| slot == position).count())
        };
        plane.report(one, Diagnosis::UP);
        plane.report(other, Diagnosis::UP);
        time::sleep(Duration::from_millis(50)).await;
        assert_eq!(slots(), [128; 2], "at the start nobody is slow");
        plane.report(other, Diagnosis::down(Cause::Refused));
        time::sleep(Duration::from_millis(600)).await;
        assert_eq!(slots(), [256, 0]);
        plane.report(other, Diagnosis::UP);
        let mut before = 0;
        for part in [20..44, 42..72, 72..104, 96..126] {
            time::sleep(Duration::from_secs(4) - Duration::from_millis(400)).await;
            let [_, own] = slots();
            assert!(part.contains(&own) && own > before, "{own} of 128");
            before = own;
        }
        time::sleep(Duration::from_secs(3)).await;
        assert_eq!(slots(), [128; 2]);
        assert!(plane.generation().0 <= 4 + 16, "a step is a publication, no more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_drained_backend_has_left_at_its_deadline_is_ended() {
        let mut gateway = fixture::gateway([fixture::pool("objects", 2)]);
        gateway.pools[0].drain_deadline = Some(Duration::from_secs(30));
        let (plane, readers) = fixture::plane(gateway.clone());
        fixture::read_on(readers);
        tokio::spawn(run(Arc::clone(&plane)));
        gateway.pools[0].backends[1].state = model::AdminState::Drain;
        plane.apply(fixture::configuration(gateway.clone())).await.unwrap();
        let backend = || {
            let state = plane.state();
            let snapshot = state.snapshot();
            let id = model::BackendId(1);
            (snapshot.up.is_up(id), snapshot.backend(id).map(|backend| backend.on_down))
        };
        time::sleep(Duration::from_secs(29)).await;
        assert_eq!(backend(), (true, Some(OnBackendDown::None)));
        time::sleep(Duration::from_secs(2)).await;
        assert_eq!(backend(), (false, Some(OnBackendDown::Reset)));
        gateway.pools[0].backends[1].state = model::AdminState::Enabled;
        plane.apply(fixture::configuration(gateway)).await.unwrap();
        time::sleep(Duration::from_secs(1)).await;
        assert_eq!(backend(), (true, Some(OnBackendDown::None)));
    }

    #[tokio::test(start_paused = true)]
    async fn flapping_is_published_twice_a_second_at_most_and_its_end_is_not_lost() {
        let (plane, readers) = fixture::plane(fixture::gateway([fixture::monitored_pool("objects", 1)]));
        fixture::read_on(readers);
        tokio::spawn(run(Arc::clone(&plane)));
        let pool = &plane.configuration().gateway.pools[0];
        let check = Check::of(&pool.backends[0], &pool.monitors[0]);
        for turn in 0..500 {
            let diagnosis = if turn % 2 == 0 { Diagnosis::UP } else { Diagnosis::down(Cause::Refused) };
            plane.report(check, diagnosis);
            time::sleep(Duration::from_millis(20)).await;
        }
        let publications = plane.generation().0 - 1;
        assert!((10..=25).contains(&publications), "{publications} in 10 s");
        plane.report(check, Diagnosis::UP);
        time::sleep(EVERY * 2).await;
        assert!(plane.state().snapshot().pools[0].is_available());
    }

    #[tokio::test]
    async fn a_draining_gateway_keeps_its_flows_and_takes_no_new_ones() {
        let (plane, mut readers) = fixture::plane(fixture::gateway([fixture::pool("objects", 2)]));
        plane.fleet.members.iter().for_each(|member| member.meters.generation.set(1));
        assert!(plane.is_ready());
        let generation = plane.drain();
        let snapshot = readers[0].current();
        assert_eq!(snapshot.generation, generation);
        assert!(!snapshot.pools[0].is_available() && snapshot.up.is_up(model::BackendId(0)));
        assert!(!plane.is_ready());
        fixture::read_on(readers);
        let reloaded = fixture::gateway([fixture::pool("objects", 3)]);
        plane.apply(fixture::configuration(reloaded)).await.unwrap();
        assert!(!plane.state().snapshot().pools[0].is_available(), "a reload does not undo it");
    }

    #[test]
    fn what_the_configuration_let_go_of_is_not_reported() {
        let (plane, _readers) = fixture::plane(fixture::gateway([fixture::monitored_pool("objects", 1)]));
        let stranger = fixture::monitored_pool("others", 3);
        let check = Check::of(&stranger.backends[2], &stranger.monitors[0]);
        plane.report(check, Diagnosis::UP);
        assert!(!plane.state().health.watches(&check));
    }
}
