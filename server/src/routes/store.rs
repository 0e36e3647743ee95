//! The store behind the server, for clients.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use strongroom_core::Backend as _;
use strongroom_wire::{HealthReport, StoreInfo};

use crate::answer::{Answer, json};
use crate::app::App;
use crate::caller::Secrets;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/v1/store", get(info)).route("/v1/store/health", get(health))
}

async fn info(Secrets(secrets): Secrets) -> Answer {
    let info = secrets.info();
    json(&StoreInfo::new(info.kind, info.capabilities, info.distinct_paths))
}

async fn health(Secrets(secrets): Secrets) -> Answer {
    json(&HealthReport::from(secrets.health().await?))
}
