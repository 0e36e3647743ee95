//! What happens in the caller's tenant, as it comes. It takes no room of requests: a listener stays.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use strongroom::access::AuditQuery;
use strongroom_core::{Error, ErrorKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audit::{number, select};
use crate::answer::{Answer, Refusal};
use crate::app::{App, hold};
use crate::caller::Caller;
use crate::events::View;
use crate::params::Params;
use crate::peer::Peer;

/// The last event that a client has had, which it sends when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(listen))
}

/// Listen to what the audit records.
///
/// Each event has the number of a record as `id`, its name as `event`, and the record as `data`. The first event is
/// `listening`. An event `gap` says that records were pruned. With `Last-Event-ID` a listener continues.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "listen_to_events", tag = "events",
    params(
        ("Last-Event-ID" = Option<u64>, Header, description = "The id of the last event that the client has; it wins over `after`."),
        ("after" = Option<u64>, Query, description = "The number of the record after which to begin."),
        ("path" = Option<String>, Query, description = "Records of this path."),
        ("below" = Option<String>, Query, description = "Records of paths below this one; not with `path`."),
        ("principal" = Option<String>, Query, description = "Records of this principal."),
        ("event" = Option<Vec<String>>, Query, description = "Records of these events, such as `vault.accessed`; may be repeated."),
    ),
    responses(
        (status = 200, description = "Events, until the token or the certificate ends.", body = String, content_type = "text/event-stream"),
    ),
)]
async fn listen(State(app): State<Arc<App>>, Caller(actor): Caller, request: Request) -> Answer {
    let mut params = Params::of(&request);
    let query = select(&mut params, AuditQuery::new())?;
    let after = params.take("after")?.map(|after| number(&after)).transpose()?;
    params.finish()?;
    let after = last_event(request.headers())?.or(after);
    let end = Peer::wait_for_end(request.extensions());
    if !actor.is_living() {
        let error = Error::new(ErrorKind::Unavailable, "listen again later");
        return Err(error.because("the access rules cannot be read now").into());
    }
    let listening = app.principals.listen(actor.principal())?;
    let view = View::new(actor.clone(), app.secrets.guard(actor.clone())?, query);
    if view.reads_audit() {
        actor.rules().record_audit_read().await?;
    }
    let listener = app.events.listen(view, after).await?;
    // A proxy that collects an answer would keep the events back.
    let headers = [(CONTENT_TYPE.as_str(), "text/event-stream"), ("x-accel-buffering", "no")];
    let events = listener.into_stream().take_until(Box::pin(end));
    Ok((headers, hold(Body::from_stream(events), listening)).into_response())
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
