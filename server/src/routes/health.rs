//! Whether the server runs, and whether it can serve: for every caller.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, HealthStatus};
use tokio::time::Instant;

use crate::answer::{Answer, json};
use crate::app::App;

/// For how long an answer of the store stands.
const KNOWN_FOR: Duration = Duration::from_secs(1);

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/v1/health", get(health)).route("/v1/ready", get(ready))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

const OK: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

async fn health() -> Answer {
    json(&OK)
}

/// Whether the store serves. It says no more, and asks the store once a second at most: anyone may ask.
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
