//! Whether the server runs, and whether it can serve: for whoever asks.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, HealthStatus};

use crate::answer::{Answer, Refusal, json};
use crate::app::App;

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

/// Whether the store serves. It says no more: anyone may ask.
async fn ready(State(app): State<Arc<App>>) -> Answer<Response> {
    match app.secrets.health().await {
        Ok(health) if health.status != HealthStatus::Unavailable => json(&OK),
        _ => {
            let error = Error::new(ErrorKind::Unavailable, "ask the server's operator")
                .because("the store cannot be used now");
            Err(Refusal::from(error).with_status(StatusCode::SERVICE_UNAVAILABLE))
        }
    }
}
