//! What can be asked, and the answers.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::Shared;
use crate::{metrics, view};

/// Flows listed unless the request says otherwise.
const FLOWS: usize = 1_000;
/// Flows listed at most.
pub const MAX_FLOWS: usize = 100_000;

pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/virtual-servers", get(async |State(s): State<Shared>| Json(s.plane.virtual_servers())))
        .route("/v1/pools", get(async |State(s): State<Shared>| Json(s.plane.pools())))
        .route("/v1/backends", get(async |State(s): State<Shared>| Json(s.plane.backends())))
        .route("/v1/ports", get(async |State(s): State<Shared>| Json(s.plane.ports())))
        .route("/v1/workers", get(async |State(s): State<Shared>| Json(s.plane.workers())))
        .route("/v1/generation", get(async |State(s): State<Shared>| Json(s.plane.published())))
        .route("/v1/balance", get(async |State(s): State<Shared>| Json(s.plane.balance())))
        .route("/v1/flows", get(flows))
        .route("/v1/drops", get(drops))
        .route("/v1/reload", post(reload))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is no such page"))
        .method_not_allowed_fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, "not by this method"))
        .layer(DefaultBodyLimit::max(4_096))
        .with_state(shared)
}

fn problem(status: StatusCode, error: impl ToString) -> Response {
    (status, Json(view::Problem { error: error.to_string() })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowsQuery {
    limit: Option<usize>,
}

async fn flows(State(shared): State<Shared>, query: Result<Query<FlowsQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(FlowsQuery { limit })) => {
            let limit = limit.unwrap_or(FLOWS).min(MAX_FLOWS);
            let mut rows = shared.workers.list_flows(limit).await;
            rows.truncate(limit);
            Json(shared.plane.name_flows(&rows)).into_response()
        }
        Err(rejection) => problem(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropsQuery {
    /// Present in any form: also the reasons for which nothing was dropped.
    all: Option<String>,
}

async fn drops(State(shared): State<Shared>, query: Result<Query<DropsQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(DropsQuery { all })) => {
            let mut rows = shared.plane.drops();
            rows.retain(|row| all.is_some() || row.packets > 0);
            Json(rows).into_response()
        }
        Err(rejection) => problem(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

async fn reload(State(shared): State<Shared>) -> Response {
    // In a task of its own: a client that goes away does not cut the change in half.
    let outcome = tokio::spawn(async move { shared.plane.reload(&shared.file).await }).await;
    match outcome {
        Ok(Ok(applied)) => Json(applied).into_response(),
        Ok(Err(error)) => problem(StatusCode::UNPROCESSABLE_ENTITY, error),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match metrics::render(&shared.plane) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.plane.is_ready() {
        "ready\n".into_response()
    } else {
        problem(StatusCode::SERVICE_UNAVAILABLE, "not all workers have begun, or the gateway is draining")
    }
}
