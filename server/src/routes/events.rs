//! What happens in the caller's tenant, as it comes. It takes no room of requests: a listener stays.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use strongroom::access::AuditQuery;
use strongroom_core::{Error, ErrorKind};

use super::audit::{number, select};
use crate::answer::{Answer, Refusal};
use crate::app::App;
use crate::caller::Caller;
use crate::events::View;
use crate::params::Params;

/// The last event that a client has had, which it sends when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/v1/events", get(listen))
}

async fn listen(State(app): State<Arc<App>>, Caller(actor): Caller, request: Request) -> Answer {
    let mut params = Params::of(&request);
    let query = select(&mut params, AuditQuery::new())?;
    let after = params.take("after")?.map(|after| number(&after)).transpose()?;
    params.finish()?;
    let after = last_event(request.headers())?.or(after);
    if !actor.is_living() {
        let error = Error::new(ErrorKind::Unavailable, "listen again later");
        return Err(error.because("the access rules cannot be read now").into());
    }
    let view = View::new(actor.clone(), app.secrets.guard(actor.clone())?, query);
    if view.reads_audit() {
        actor.rules().record_audit_read().await?;
    }
    let listener = app.events.listen(view, after).await?;
    // A proxy that collects an answer would keep the events back.
    let headers = [(CONTENT_TYPE.as_str(), "text/event-stream"), ("x-accel-buffering", "no")];
    Ok((headers, Body::from_stream(listener.into_stream())).into_response())
}

/// Where a client that connects again continues.
fn last_event(headers: &HeaderMap) -> Answer<Option<u64>> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(id), None) => match id.to_str().ok().and_then(|id| id.parse().ok()) {
            Some(seq) => Ok(Some(seq)),
            None => Err(bad_id()),
        },
        _ => Err(bad_id()),
    }
}

fn bad_id() -> Refusal {
    Refusal::invalid(
        "`Last-Event-ID` is not the id of an event of this server",
        "send the id of the last event once, or leave it out",
    )
}
