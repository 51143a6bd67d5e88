//! Everything that control does while the gateway runs.

use std::{io, path::PathBuf, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Plane,
    api::{self, Shared, Socket, Workers},
    monitor::{self, SourceFor},
    plane::republish,
    supervise::supervise,
};

/// What control needs besides the configuration.
pub struct Runtime {
    /// The owner of configuration and health.
    pub plane: Arc<Plane>,
    /// What can be asked of the workers.
    pub workers: Arc<dyn Workers>,
    /// Where the API listens.
    pub socket: Socket,
    /// The file that a reload reads.
    pub file: PathBuf,
    /// The address to connect from for a monitor's target.
    pub source: SourceFor,
}

/// What the process was told by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read the file again (SIGHUP).
    Reload,
}

/// Runs monitors, publication of health, and the API; carries out orders until their sender is dropped, then removes the
/// socket. A panic in one of them is logged and that one begins again.
///
/// # Errors
///
/// When the socket cannot be handed to the runtime.
pub async fn run(runtime: Runtime, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
    let Runtime { plane, workers, socket, file, source } = runtime;
    let listener = socket.listener()?;
    let shared = Shared { plane: Arc::clone(&plane), workers, file: file.clone() };
    let mut tasks = JoinSet::new();
    tasks.spawn(supervise("API", move || api::serve(Arc::clone(&listener), shared.clone())));
    let publishing = Arc::clone(&plane);
    tasks.spawn(supervise("publication", move || republish(Arc::clone(&publishing))));
    let watched = Arc::clone(&plane);
    tasks.spawn(supervise("monitors", move || monitor::run(Arc::clone(&watched), Arc::clone(&source))));
    while let Some(Order::Reload) = orders.recv().await {
        let (plane, file) = (Arc::clone(&plane), file.clone());
        // In a task of its own, so that a panic in it ends the reload only. Its outcome is logged where it arises.
        if tokio::spawn(async move { plane.reload(&file).await.is_ok() }).await.is_err() {
            tracing::error!("the reload panicked; the configuration in force stays");
        }
    }
    tasks.shutdown().await;
    drop(socket);
    Ok(())
}
