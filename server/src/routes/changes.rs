//! The changes of the secrets that the caller may read, as they come. They take no room of requests: a listener stays.

use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::get;
use futures_util::StreamExt as _;
use http::Extensions;
use http::header::CONTENT_TYPE;
use strongroom_core::{Error, ErrorKind};
use tokio::time::sleep;

use crate::answer::Answer;
use crate::app::App;
use crate::caller::Caller;
use crate::params::NoQuery;
use crate::peer::Peer;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/v1/changes", get(listen))
}

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
    let secrets = app.secrets.guard(actor.clone())?;
    let Some(events) = app.changes.listen(secrets, actor) else {
        let error = Error::new(ErrorKind::Unsupported, "read again at an interval");
        return Err(error.because("the store of this server tells of no changes").into());
    };
    let end = Peer::of(&extensions).and_then(Peer::end);
    let events = events.take_until(Box::pin(wait_until(end)));
    // A proxy that collects an answer would keep the events back.
    let headers = [(CONTENT_TYPE.as_str(), "text/event-stream"), ("x-accel-buffering", "no")];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// Waits until the certificate of the caller ends, or for ever if it has none.
async fn wait_until(end: Option<SystemTime>) {
    match end {
        Some(end) => sleep(end.duration_since(SystemTime::now()).unwrap_or_default()).await,
        None => pending().await,
    }
}
