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
use http::request::Parts;
use http_body::{Frame, SizeHint};
use strongroom::SecretsManager;
use strongroom::access::Access;
use strongroom_core::{Error, ErrorKind};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::answer::{Answer, Refusal, seal};
use crate::caller::Caller;
use crate::changes::Changes;
use crate::config::ServerConfig;
use crate::events::Events;
use crate::metrics::{Refused, count_refused, observe};
use crate::principals::{PrincipalLimits, UnderWay};
use crate::secret_ids::SecretIds;
use crate::verifier::Verifier;
use crate::workloads::Workloads;
use crate::{page, routes};

/// When a request that there is no room for is to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// The most requests that wait for the decision about an approval at a time.
const MAX_WAITING: usize = 4_096;

/// What all requests share.
pub(crate) struct App {
    pub(crate) secrets: SecretsManager,
    pub(crate) access: Access,
    pub(crate) workloads: Arc<Workloads>,
    pub(crate) changes: Changes,
    pub(crate) events: Events,
    pub(crate) verifier: Verifier,
    /// Of the secrets that requests name by ids.
    pub(crate) ids: SecretIds,
    pub(crate) max_body: usize,
    /// Whether the page for people is shown.
    has_page: bool,
    /// Whether the store serves, and when it was asked.
    pub(crate) ready: Mutex<Option<(Instant, bool)>>,
    pub(crate) principals: Arc<PrincipalLimits>,
    /// Changes that are under way, also those whose client has gone.
    pub(crate) changing: TaskTracker,
    /// One permit for each request that waits for the decision about an approval.
    pub(crate) waiting: Semaphore,
    /// One permit for each request that may be under way.
    room: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(
        config: &ServerConfig,
        secrets: SecretsManager,
        access: Access,
        workloads: Arc<Workloads>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(config.max_requests));
        let changes = Changes::follow(&secrets);
        let events = Events::new(access.clone());
        Self {
            secrets,
            access,
            workloads,
            changes,
            max_body: config.max_body,
            has_page: config.page,
            ready: Mutex::default(),
            principals: Arc::new(PrincipalLimits::new(config)),
            changing: TaskTracker::new(),
            events,
            verifier: Verifier::new(),
            waiting: Semaphore::new(MAX_WAITING),
            ids: SecretIds::default(),
            room,
        }
    }
}

/// The handlers.
pub(crate) fn router(app: Arc<App>) -> Router {
    let limited = Router::from(routes::limited())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), limit));
    let page = if app.has_page { page::router() } else { Router::new() };
    Router::new()
        .merge(page)
        .merge(limited)
        .merge(Router::from(routes::unlimited()))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::map_response(async |response: Response| seal(response)))
        .layer(middleware::from_fn(observe))
        .with_state(app)
}

/// Refuses a request that there is no room for.
pub(crate) fn full() -> Refusal {
    count_refused(Refused::Room);
    let error = Error::new(ErrorKind::Unavailable, "send the request again later")
        .because("the server answers as many requests as it can")
        .with_retry_after(COME_BACK);
    Refusal::from(error)
}

/// Answers a request only if its caller is known and there is room for it: one that waited would hold memory.
async fn limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let room = match app.take_room(&mut parts) {
        Ok(room) => room,
        Err(refusal) => return refusal.into_response(),
    };
    let request = Request::from_parts(parts, body);
    let is_read = request.method().is_safe();
    let answer = async move {
        let response = next.run(request).await;
        response.map(|body| hold(body, room))
    };
    if is_read {
        return answer.await;
    }
    // The future of a request is dropped when its client goes. A change that has begun is made to its end: several
    // steps can belong to it, such as those on the rules of a secret.
    app.changing.spawn(answer).await.unwrap_or_else(|failed| {
        error!(panicked = failed.is_panic(), "a change did not end");
        let error = Error::new(ErrorKind::Internal, "report this, and look at what is stored");
        Refusal::from(error.because("the server failed in the midst of a change")).into_response()
    })
}

impl App {
    /// Takes the room that a request needs, and leaves its caller with it.
    fn take_room(&self, parts: &mut Parts) -> Answer<Room> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return Err(full()) };
        let caller = Caller::authenticate(parts, self)?;
        let under_way = self.principals.begin(caller.0.principal())?;
        parts.extensions.insert(caller);
        Ok(Room { _permit: permit, _under_way: under_way })
    }
}

/// What a request takes while it is under way.
struct Room {
    _permit: OwnedSemaphorePermit,
    _under_way: UnderWay,
}

/// A body that holds something until it is sent or its client has gone.
pub(crate) fn hold(body: Body, held: impl Send + Unpin + 'static) -> Body {
    Body::new(Held { body, _held: held })
}

struct Held<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> http_body::Body for Held<T> {
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
