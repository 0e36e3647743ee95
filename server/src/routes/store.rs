//! The store behind the server, for clients.

use std::sync::Arc;

use strongroom_core::Backend as _;
use strongroom_wire::{HealthReport, StoreInfo};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, json};
use crate::app::App;
use crate::caller::Secrets;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(info)).routes(routes!(health))
}

/// Describe the store.
#[utoipa::path(
    get, path = "/v1/store", operation_id = "describe_store", tag = "store",
    responses((status = 200, description = "What the store is and can do.", body = StoreInfo)),
)]
async fn info(Secrets(secrets): Secrets) -> Answer {
    let info = secrets.info();
    json(&StoreInfo::new(info.kind, info.capabilities, info.distinct_paths))
}

/// Report how the store is.
#[utoipa::path(
    get, path = "/v1/store/health", operation_id = "get_store_health", tag = "store",
    responses((status = 200, description = "How the store is.", body = HealthReport)),
)]
async fn health(Secrets(secrets): Secrets) -> Answer {
    json(&HealthReport::from(secrets.health().await?))
}
