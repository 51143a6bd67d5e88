//! A change of configuration: all of it or nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use config::Configuration;
use model::Generation;
use tokio::time::{self, Instant};

use super::{Plane, difference};
use crate::view::Applied;

/// How long a change waits for the workers' acknowledgement.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(5);
/// How often it looks.
const ACKNOWLEDGE_POLL: Duration = Duration::from_millis(2);

/// Why a configuration cannot be applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Something differs that is settled when the gateway starts; each entry says what.
    #[error("nothing was changed: restart tidegate to change {}", .0.join("; "))]
    NeedsRestart(Vec<String>),
}

/// Why a file was not applied. The configuration in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It has mistakes, all of them in here, rendered for a person.
    #[error("{0}")]
    Mistakes(String),
    /// It is right, but cannot be applied to a running gateway.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Reading it came to no end.
    #[error("{path}: cannot be read: {reason}", path = path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Plane {
    /// Applies a checked configuration and waits, within limits, until all workers run with it.
    ///
    /// Pools, backends, virtual servers, profiles, monitors, routes, gateways, neighbours and the time to drain can
    /// change. One that says what is in force already changes nothing and keeps the generation.
    ///
    /// # Errors
    ///
    /// When something differs that needs a restart; nothing is changed then.
    pub async fn apply(&self, configuration: Configuration) -> Result<Applied, ApplyError> {
        let _one_at_a_time = self.transaction.lock().await;
        let (generation, changes) = self.change(configuration)?;
        let acknowledged = self.settle(generation).await;
        if acknowledged {
            tracing::info!(%generation, changes = changes.len(), "configuration is in force");
        } else {
            let workers = self.behind(generation);
            tracing::warn!(%generation, workers, "configuration is published, but workers have not taken it up");
        }
        Ok(Applied { generation: generation.0, acknowledged, changes })
    }

    /// Reads `path` and applies it. What is wrong is logged here, besides being returned.
    ///
    /// # Errors
    ///
    /// When the file has mistakes or cannot be applied; nothing is changed then.
    pub async fn reload(&self, path: &Path) -> Result<Applied, ReloadError> {
        let outcome = match read(path.to_owned()).await {
            Ok(configuration) => self.apply(configuration).await.map_err(ReloadError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            let (path, generation) = (path.display(), self.generation());
            tracing::error!(%path, %generation, "reload refused, the configuration in force stays: {error}");
        }
        outcome
    }

    fn change(&self, configuration: Configuration) -> Result<(Generation, Vec<String>), ApplyError> {
        let mut state = self.state();
        let needs_restart = difference::needs_restart(&state.configuration, &configuration);
        if !needs_restart.is_empty() {
            return Err(ApplyError::NeedsRestart(needs_restart));
        }
        let changes = difference::changes(&state.configuration, &configuration);
        if changes.is_empty() {
            return Ok((state.facts.generation, changes));
        }
        let health = state.health.carried_over(&state.configuration.gateway, &configuration.gateway);
        let generation = state.publish(Arc::new(configuration), health, &self.fleet);
        drop(state);
        self.changed.send_replace(());
        Ok((generation, changes))
    }

    /// Waits until all workers run with `generation`, and frees what they ran with before; `false` when the time is up.
    async fn settle(&self, generation: Generation) -> bool {
        let deadline = Instant::now() + ACKNOWLEDGE_LIMIT;
        loop {
            {
                let mut state = self.state();
                state.publisher.reclaim();
                if state.acknowledged() >= generation {
                    return true;
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            time::sleep(ACKNOWLEDGE_POLL).await;
        }
    }
}

/// Reads a file where reading it may take its time.
async fn read(path: PathBuf) -> Result<Configuration, ReloadError> {
    let file = path.clone();
    match tokio::task::spawn_blocking(move || config::read(&file)).await {
        Ok(read) => read.map_err(|mistakes| ReloadError::Mistakes(mistakes.to_string())),
        Err(error) => Err(ReloadError::Unread { path, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use model::AdminState;

    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn a_change_is_published_acknowledged_and_told() {
        let (plane, readers) = fixture::plane(fixture::gateway([fixture::pool("objects", 2)]));
        fixture::read_on(readers);
        let mut gateway = fixture::gateway([fixture::pool("objects", 3)]);
        gateway.pools[0].backends.remove(0);
        gateway.pools[0].backends[0].weight = 7;

        let applied = plane.apply(fixture::configuration(gateway)).await.unwrap();
        assert_eq!((applied.generation, applied.acknowledged), (2, true));
        let told = ["10.0.0.1:80 removed", "10.0.0.2:80 changed", "10.0.0.3:80 added"];
        assert_eq!(applied.changes, told.map(|change| format!("pool objects: backend {change}")));
        assert_eq!(plane.backends().len(), 2);
        assert_eq!(plane.published().acknowledged, 2);
    }

    #[tokio::test]
    async fn what_is_in_force_already_keeps_the_generation() {
        let gateway = fixture::gateway([fixture::pool("objects", 2)]);
        let (plane, _readers) = fixture::plane(gateway.clone());
        let applied = plane.apply(fixture::configuration(gateway)).await.unwrap();
        assert_eq!((applied.generation, applied.changes.len()), (1, 0));
    }

    #[tokio::test]
    async fn what_needs_a_restart_is_refused_and_nothing_is_changed() {
        let (plane, mut readers) = fixture::plane(fixture::gateway([fixture::pool("objects", 2)]));
        let mut gateway = fixture::gateway([fixture::pool("objects", 9)]);
        gateway.ports[0].device = "net_null1".to_owned();
        gateway.ports[0].host = true;
        let error = plane.apply(fixture::configuration(gateway)).await.unwrap_err().to_string();
        assert!(error.contains("`device` of port `uplink`; `host` of port `uplink`"), "{error}");
        assert_eq!(plane.generation(), Generation(1));
        assert_eq!(plane.backends().len(), 2);
        assert_eq!(readers[0].current().generation, Generation(1));

        let error = plane.apply(fixture::configuration(Default::default())).await.unwrap_err().to_string();
        assert!(error.contains("the list of ports (in force: uplink; in the file: )"), "{error}");
    }

    #[tokio::test]
    async fn routes_neighbours_and_states_change_without_a_restart() {
        let gateway = fixture::gateway([fixture::pool("objects", 2)]);
        let (plane, mut readers) = fixture::plane(gateway.clone());
        let mut changed = gateway;
        changed.ports[0].gateways.pop();
        changed.pools[0].backends[0].state = AdminState::Disabled;
        let (generation, changes) = plane.change(fixture::configuration(changed)).unwrap();
        assert_eq!(changes, ["port uplink changed", "pool objects: backend 10.0.0.1:80 changed"]);
        let snapshot = readers[1].current();
        assert_eq!(snapshot.generation, generation);
        assert!(snapshot.backends[0].is_none() && snapshot.backends[1].is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_worker_delays_the_acknowledgement_and_nothing_else() {
        let (plane, mut readers) = fixture::plane(fixture::gateway([fixture::pool("objects", 2)]));
        let held = readers[1].current();
        let changed = fixture::gateway([fixture::pool("objects", 3)]);
        let applied = plane.apply(fixture::configuration(changed)).await.unwrap();
        assert_eq!((applied.generation, applied.acknowledged), (2, false));
        assert_eq!(held.pools[0].members.len(), 2, "it still has what it had");
        assert_eq!(readers[0].current().pools[0].members.len(), 3, "and the other has the new");
        assert_eq!(plane.published().acknowledged, 1);
    }

    #[tokio::test]
    async fn a_file_is_read_again_and_one_with_mistakes_is_refused() {
        let (_directory, path) = fixture::file(fixture::FILE);
        let (plane, readers) = Plane::new(config::read(&path).unwrap(), fixture::facts(), fixture::fleet());
        fixture::read_on(readers);
        fs::write(&path, fixture::FILE.replace("10.0.0.2:80", "10.0.0.3:80")).unwrap();
        let applied = plane.reload(&path).await.unwrap();
        assert_eq!((applied.generation, applied.changes.len()), (2, 2), "{:?}", applied.changes);

        fs::write(&path, fixture::FILE.replace("pool: objects", "pool: nobody")).unwrap();
        let error = plane.reload(&path).await.unwrap_err();
        assert!(matches!(&error, ReloadError::Mistakes(text) if text.contains("nobody")), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(plane.reload(&path).await.is_err());
        assert_eq!(plane.generation(), Generation(2));
    }
}
