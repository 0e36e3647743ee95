//! The changes of the secrets that the caller may read, as they come. They take no room of requests: a listener stays.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use http::Extensions;
use http::header::CONTENT_TYPE;
use strongroom_core::{Error, ErrorKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::Answer;
use crate::app::{App, hold};
use crate::caller::Caller;
use crate::openapi::OfStore;
use crate::params::NoQuery;
use crate::peer::Peer;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(listen))
}

/// Listen to changes of secrets.
///
/// The first event is `listening`. Then come `secrets` with `paths` that have changed, or `any`.
#[utoipa::path(
    get, path = "/v1/changes", operation_id = "listen_to_changes", tag = "events",
    responses(
        (status = 200, description = "Events, until the token or the certificate ends.", body = String, content_type = "text/event-stream"),
        OfStore,
    ),
)]
async fn listen(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    extensions: Extensions,
    NoQuery: NoQuery,
) -> Answer {
    if !actor.is_living() {
        let error = Error::new(ErrorKind::Unavailable, "listen again later");
        return Err(error.because("the access rules cannot be read now").into());
    }
    let listening = app.principals.listen(actor.principal())?;
    let secrets = app.secrets.guard(actor.clone())?;
    let Some(events) = app.changes.listen(secrets, actor) else {
        let error = Error::new(ErrorKind::Unsupported, "read again at an interval");
        return Err(error.because("the store of this server tells of no changes").into());
    };
    let events = events.take_until(Box::pin(Peer::wait_for_end(&extensions)));
    // A proxy that collects an answer would keep the events back.
    let headers = [(CONTENT_TYPE.as_str(), "text/event-stream"), ("x-accel-buffering", "no")];
    Ok((headers, hold(Body::from_stream(events), listening)).into_response())
}
