//! What the process is told from outside while it runs.

use std::{io, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time,
};

/// The signals that a gateway listens to, from before it touches anything: one that comes during the start waits.
pub(crate) struct Signals {
    runtime: Runtime,
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM: end once the flows have ended.
    Drain,
    /// SIGINT: end now.
    End,
}

impl Signals {
    /// Listens.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let hang_up = signal(SignalKind::hangup())?;
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(inside);
        Ok(Self { runtime, hang_up, terminate, interrupt })
    }

    /// Waits for a signal, `patience` at most; `None` when none came. A watchdog that waits for us hears from us.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<Wish> {
        let Self { runtime, hang_up, terminate, interrupt } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => Some(Wish::End),
                _ = terminate.recv() => Some(Wish::Drain),
                _ = hang_up.recv() => Some(Wish::Reload),
                () = time::sleep(patience) => None,
            }
        })
    }

    /// Runs a task of control's on this thread.
    pub(crate) fn block_on<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }
}

/// Tells the service manager, if there is one.
pub(crate) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
