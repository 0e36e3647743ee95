//! Whether the server runs, and whether it can serve: for every caller.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, HealthStatus};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, json};
use crate::app::App;
use crate::openapi::NotReady;

/// For how long an answer of the store stands.
const KNOWN_FOR: Duration = Duration::from_secs(1);

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready))
}

/// That the server runs.
#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
    version: &'static str,
}

const OK: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// Say that the server runs.
#[utoipa::path(
    get, path = "/v1/health", operation_id = "get_health", tag = "server", security(()),
    responses((status = 200, description = "The server runs.", body = Health)),
)]
async fn health() -> Answer {
    json(&OK)
}

/// Say whether the store serves.
///
/// The server asks the store once a second at most.
#[utoipa::path(
    get, path = "/v1/ready", operation_id = "get_readiness", tag = "server", security(()),
    responses((status = 200, description = "The store serves.", body = Health), NotReady),
)]
// Whether the store serves. It says no more, and asks the store once a second at most: anyone may ask.
async fn ready(State(app): State<Arc<App>>) -> Answer<Response> {
    let mut known = app.ready.lock().await;
    let is_ready = match *known {
        Some((at, is_ready)) if at.elapsed() < KNOWN_FOR => is_ready,
        _ => {
            let health = app.secrets.health().await;
            let is_ready = health.is_ok_and(|health| health.status != HealthStatus::Unavailable);
            *known = Some((Instant::now(), is_ready));
            is_ready
        }
    };
    if is_ready {
        return json(&OK);
    }
    let error = Error::new(ErrorKind::Unavailable, "ask the server's operator");
    Err(error.because("the store cannot be used now").into())
}
