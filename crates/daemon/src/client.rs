//! Asking a running gateway over its unix socket.

use std::{io, path::Path};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time};

use crate::failure::Failure;

/// How long a gateway may take to answer.
const PATIENCE: time::Duration = time::Duration::from_secs(10);

/// The JSON at `path` of the gateway that listens at `socket`.
///
/// # Errors
/// When there is no gateway, it must not be asked, or does not answer.
pub(crate) fn get(socket: &Path, path: &str) -> Result<Vec<u8>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| broken(socket, &error))?;
    runtime.block_on(async {
        match time::timeout(PATIENCE, ask(socket, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(broken(socket, &format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    })
}

async fn ask(socket: &Path, path: &str) -> Result<Vec<u8>, Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(socket, &error))?;
    let failed = |error: hyper::Error| broken(socket, &error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // It ends by itself when the answer has been read; what is wrong with it shows there.
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "tidegate").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| broken(socket, &error))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(failed)?.to_bytes().to_vec();
    if status == StatusCode::OK { Ok(body) } else { Err(refused(socket, status, &body)) }
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let socket = socket.display();
    let failure = Failure::unreachable(format_args!("cannot reach a gateway at {socket}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => failure.remedy(
            "start one with `tidegate run -c FILE`, or name the socket of the one that runs \
             (control.socket of its configuration) with --socket or TIDEGATE_SOCKET",
        ),
        io::ErrorKind::ConnectionRefused => failure.remedy(
            "the gateway that made this socket has ended: start it again with `tidegate run -c FILE`",
        ),
        io::ErrorKind::PermissionDenied => {
            failure.remedy("ask as root, or as a member of the group that owns the socket")
        }
        _ => failure.remedy("name the socket of a running gateway with --socket or TIDEGATE_SOCKET"),
    }
}

fn broken(socket: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::unreachable(format_args!(
        "the gateway at {} does not answer properly: {error}",
        socket.display()
    ))
    .remedy("see whether it is tidegate that listens there, of the same version, and what it logs")
}

fn refused(socket: &Path, status: StatusCode, body: &[u8]) -> Failure {
    let problem: Result<control::view::Problem, _> = serde_json::from_slice(body);
    let error = problem.map_or_else(|_| status.to_string(), |problem| problem.error);
    broken(socket, &error)
}
