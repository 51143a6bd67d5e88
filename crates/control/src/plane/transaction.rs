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
