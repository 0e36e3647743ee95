//! What all requests share, and which handler answers which request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use strongroom::SecretsManager;
use strongroom::access::Access;
use strongroom_core::{Error, ErrorKind};
use tokio::sync::Semaphore;

use crate::answer::{Refusal, seal};
use crate::changes::Changes;
use crate::config::ServerConfig;
use crate::routes;

/// When a request that there is no room for is to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// What all requests share.
pub(crate) struct App {
    pub(crate) secrets: SecretsManager,
    pub(crate) access: Access,
    pub(crate) changes: Changes,
    pub(crate) max_body: usize,
    /// One permit for each request that may be under way.
    room: Semaphore,
}

impl App {
    pub(crate) fn new(config: &ServerConfig, secrets: SecretsManager, access: Access) -> Self {
        let room = Semaphore::new(config.max_requests);
        let changes = Changes::follow(&secrets);
        Self { secrets, access, changes, max_body: config.max_body, room }
    }
}

/// The handlers.
pub(crate) fn router(app: Arc<App>) -> Router {
    let limited = routes::secrets::router()
        .merge(routes::store::router())
        .merge(routes::rules::router())
        .merge(routes::audit::router())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), limit));
    Router::new()
        .merge(limited)
        .merge(routes::health::router())
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::map_response(async |response: Response| seal(response)))
        .with_state(app)
}

/// Answers a request only if there is room for it: one that waited would hold memory.
async fn limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = app.room.try_acquire() else {
        let error = Error::new(ErrorKind::Unavailable, "send the request again later")
            .because("the server answers as many requests as it can")
            .with_retry_after(COME_BACK);
        return Refusal::from(error).into_response();
    };
    next.run(request).await
}

async fn not_found() -> Refusal {
    Refusal::invalid("there is no such resource", "check the path in the description of the API")
        .with_status(StatusCode::NOT_FOUND)
}

async fn not_allowed() -> Refusal {
    Refusal::invalid(
        "this resource does not take that method",
        "check the method in the description of the API",
    )
    .with_status(StatusCode::METHOD_NOT_ALLOWED)
}
