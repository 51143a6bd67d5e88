//! HTTP over a unix socket: state to read, one thing to do (reload), metrics.
//!
//! What must stay true: a client that sends too much, too slowly, or too often costs bounded memory and nobody else's
//! time; nothing here waits for a worker without a limit.
//!
//! What it leaves to others: the rows (`state`, `view`), who may open the socket (its mode, 0660).

mod routes;
mod socket;

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use datapath::FlowRow;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time,
};

pub use self::{
    routes::MAX_FLOWS,
    socket::{BindError, Socket},
};
use crate::Plane;

/// Connections at once; more wait in the socket's queue.
const CONNECTIONS: usize = 64;
/// How long a connection may take to say what it wants, and may be silent between two requests.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);
/// How long an answer may take after that.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long to rest when the system has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// What can be asked of the workers themselves.
pub trait Workers: Send + Sync + 'static {
    /// At most `limit` flows, of all workers.
    fn list_flows(&self, limit: usize) -> Pin<Box<dyn Future<Output = Vec<FlowRow>> + Send + '_>>;
}

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) plane: Arc<Plane>,
    pub(crate) workers: Arc<dyn Workers>,
    /// The file that a reload reads.
    pub(crate) file: PathBuf,
}

/// Answers requests on `listener`. Never returns.
pub(crate) async fn serve(listener: Arc<UnixListener>, shared: Shared) {
    let router = routes::router(shared);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    answer(stream, service).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one connection's requests, for as long as it may last. What goes wrong on it is the client's to notice.
async fn answer(stream: UnixStream, service: TowerToHyperService<axum::Router>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    if time::timeout(CONNECTION_LIMIT, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = time::timeout(FAREWELL, connection).await;
    }
}
