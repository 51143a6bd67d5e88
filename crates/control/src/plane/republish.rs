//! Publishing what the monitors found, and letting go of snapshots that nobody reads.

use std::{sync::Arc, time::Duration};

use model::Generation;
use tokio::time;

use super::{Plane, pace::Pace};

/// How long a change of health waits for others, as when a whole rack goes down.
const GATHER: Duration = Duration::from_millis(10);
/// Publications at once before [`EVERY`] counts.
const BURST: u32 = 4;
/// Under flapping there is one publication in this time.
const EVERY: Duration = Duration::from_millis(500);
/// How often old snapshots are looked after.
const RECLAIM: Duration = Duration::from_secs(1);
/// A worker that has not taken up a snapshot after this time is spoken of.
const STALLED: Duration = Duration::from_secs(5);

/// Publishes changes of health, soon but not too often. Never returns.
pub(crate) async fn run(plane: Arc<Plane>) {
    tokio::join!(publish(&plane), reclaim(&plane));
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
    /// Publishes health as it is now.
    pub(super) fn publish_health(&self) -> Generation {
        let mut state = self.state();
        let (configuration, health) = (Arc::clone(&state.configuration), state.health.clone());
        state.publish(configuration, health, &self.fleet)
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
