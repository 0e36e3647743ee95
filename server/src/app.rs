//! What all requests share, and which handler answers which request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use strongroom::SecretsManager;
use strongroom::access::Access;
use strongroom_core::{Error, ErrorKind};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::answer::{Refusal, seal};
use crate::changes::Changes;
use crate::config::ServerConfig;
use crate::routes;

/// When a request that there is no room for is to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// The most requests that wait for the decision about an approval at a time.
const MAX_WAITING: usize = 4_096;

/// What all requests share.
pub(crate) struct App {
    pub(crate) secrets: SecretsManager,
    pub(crate) access: Access,
    pub(crate) changes: Changes,
    pub(crate) max_body: usize,
    /// Whether the store serves, and when it was asked.
    pub(crate) ready: Mutex<Option<(Instant, bool)>>,
    /// One permit for each request that waits for the decision about an approval.
    pub(crate) waiting: Semaphore,
    /// One permit for each request that may be under way.
    room: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(config: &ServerConfig, secrets: SecretsManager, access: Access) -> Self {
        let room = Arc::new(Semaphore::new(config.max_requests));
        let changes = Changes::follow(&secrets);
        let max_body = config.max_body;
        let waiting = Semaphore::new(MAX_WAITING);
        Self { secrets, access, changes, max_body, ready: Mutex::default(), waiting, room }
    }
}

/// The handlers.
pub(crate) fn router(app: Arc<App>) -> Router {
    let limited = routes::secrets::router()
        .merge(routes::store::router())
        .merge(routes::rules::router())
        .merge(routes::audit::router())
        .merge(routes::approvals::router())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), limit));
    Router::new()
        .merge(limited)
        .merge(routes::health::router())
        .merge(routes::changes::router())
        .merge(routes::approvals::waiting_router())
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::map_response(async |response: Response| seal(response)))
        .with_state(app)
}

/// Refuses a request that there is no room for.
pub(crate) fn full() -> Refusal {
    let error = Error::new(ErrorKind::Unavailable, "send the request again later")
        .because("the server answers as many requests as it can")
        .with_retry_after(COME_BACK);
    Refusal::from(error)
}

/// Answers a request only if there is room for it: one that waited would hold memory.
async fn limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(&app.room).try_acquire_owned() else {
        return full().into_response();
    };
    next.run(request).await.map(|body| Body::new(Held { body, _permit: permit }))
}

/// An answer that takes its room until it is sent.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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
