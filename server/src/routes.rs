//! The handlers, by what they are about. Each has its description beside it.

mod approvals;
mod audit;
mod changes;
mod events;
mod health;
mod import;
mod rules;
mod secrets;
mod store;
mod vault;
mod verify;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::openapi;

/// The routes that need a token and take room while they are answered.
pub(crate) fn limited() -> OpenApiRouter<Arc<App>> {
    secrets::router()
        .merge(store::router())
        .merge(rules::router())
        .merge(audit::router())
        .merge(verify::router())
        .merge(vault::router())
        .merge(import::router())
        .merge(approvals::router())
}

/// The routes that take no room: some need no token, and listeners stay.
pub(crate) fn unlimited() -> OpenApiRouter<Arc<App>> {
    health::router()
        .merge(changes::router())
        .merge(events::router())
        .merge(approvals::waiting_router())
        .merge(openapi::router())
}
