//! Tasks that begin again when they panic.

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time};

/// How long a task rests before it begins again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs `task`, and runs it again should it panic. Workers are not concerned: they go on with the last snapshot.
///
/// Dropping (or aborting) this drops the task.
pub(crate) async fn supervise<F: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    task: impl Fn() -> F,
) {
    loop {
        let mut running = Running(tokio::spawn(task()));
        match (&mut running.0).await {
            Ok(()) => return,
            Err(error) if error.is_panic() => {
                tracing::error!(
                    task = name,
                    "a control task panicked and begins again; traffic is not concerned"
                );
            }
            Err(_) => return,
        }
        time::sleep(PAUSE).await;
    }
}

/// A task that ends with its handle.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_begins_again() {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        supervise("test", move || {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            async move { assert!(run >= 2, "on purpose") }
        })
        .await;
        assert_eq!(runs.load(Ordering::Relaxed), 3);
    }
}
