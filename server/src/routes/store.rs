//! The store behind the server, for clients.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use strongroom_core::{Backend as _, Error, ErrorKind};
use strongroom_wire::{HealthReport, StoreInfo};

use crate::answer::{Answer, json};
use crate::app::App;
use crate::caller::{Caller, Secrets};

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/store", get(info))
        .route("/v1/store/health", get(health))
        .route("/v1/changes", get(changes))
}

/// The changes of the secrets that the caller may read, as they come.
async fn changes(State(app): State<Arc<App>>, Caller(actor): Caller) -> Answer {
    if !app.changes.has_feed() {
        let error = Error::new(ErrorKind::Unsupported, "read again at an interval");
        return Err(error.because("the store of this server tells of no changes").into());
    }
    let secrets = app.secrets.guard(actor.clone())?;
    let body = Body::from_stream(app.changes.listen(secrets, actor));
    Ok(([(CONTENT_TYPE, "text/event-stream")], body).into_response())
}

async fn info(Secrets(secrets): Secrets) -> Answer {
    let info = secrets.info();
    json(&StoreInfo::new(info.kind, info.capabilities, info.distinct_paths))
}

async fn health(Secrets(secrets): Secrets) -> Answer {
    json(&HealthReport::from(secrets.health().await?))
}
