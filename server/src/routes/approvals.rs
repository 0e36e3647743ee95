//! Requests for approval: principals ask, and people decide.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use strongroom::access::{
    Actor, Approval, ApprovalId, ApprovalState, ApprovalStatus, ApprovalUse, NewApproval,
    PendingApproval, VersionPolicy,
};
use strongroom_core::{Error, ErrorKind, Result, SecretPath};
use strongroom_wire::{
    ApprovalBody, ApprovalList, DenialBody, MAX_APPROVAL_WAIT_SECONDS, NewApprovalBody,
};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rules::{created, time};
use crate::answer::{Answer, Refusal, json};
use crate::app::{App, full};
use crate::body::read_json;
use crate::caller::Caller;
use crate::openapi::OfApproval;
use crate::params::{Id, NoQuery, Params};
use crate::peer::Peer;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, request))
        .routes(routes!(approve))
        .routes(routes!(deny))
        .routes(routes!(withdraw))
}

/// The request that may wait. It takes no room of requests, and has a limit of its own.
pub(super) fn waiting_router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Ask for an approval.
///
/// People decide the request. The caller waits for them with `GET /v1/approvals/{id}?wait=60`.
#[utoipa::path(
    post, path = "/v1/approvals", operation_id = "request_approval", tag = "approvals",
    request_body = NewApprovalBody,
    responses((status = 201, description = "The request.", body = ApprovalBody), OfApproval),
)]
async fn request(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    NoQuery: NoQuery,
    body: Body,
) -> Answer {
    let new = new_approval(read_json(body, app.max_body).await?)?;
    let pending = actor.rules().request_approval(new).await?;
    Ok(created(json(&state_of(&pending)?)?))
}

fn new_approval(body: NewApprovalBody) -> Answer<NewApproval> {
    let path = SecretPath::parse(&body.path)?;
    let mut new = NewApproval::read(path, body.purpose, body.reason);
    if let Some(action) = &body.action {
        new = new.action(action.parse()?);
    }
    if let Some(version) = body.version {
        new = new.version(VersionPolicy::Exact(version));
    }
    if let Some(quorum) = body.quorum {
        let quorum = NonZeroU8::new(quorum).ok_or_else(|| {
            Refusal::invalid("the quorum is 0", "let at least one person approve it")
        })?;
        new = new.quorum(quorum);
    }
    if let Some(seconds) = body.usable_for_seconds {
        new = new.usable_for(Duration::from_secs(seconds));
    }
    if let Some(seconds) = body.open_for_seconds {
        new = new.open_for(Duration::from_secs(seconds));
    }
    Ok(new)
}

/// List the open requests for approval that the caller may decide.
#[utoipa::path(
    get, path = "/v1/approvals", operation_id = "list_approvals", tag = "approvals",
    responses((status = 200, description = "The open requests, by their age.", body = ApprovalList)),
)]
async fn list(Caller(actor): Caller, NoQuery: NoQuery) -> Answer {
    let open = actor.rules().open_approvals();
    let approvals = open.iter().map(|approval| body_of(approval, ApprovalStatus::Open)).collect();
    json(&ApprovalList { approvals })
}

/// Show a request for approval, of the caller's own or one that it may decide.
#[utoipa::path(
    get, path = "/v1/approvals/{id}", operation_id = "get_approval", tag = "approvals",
    params(
        ("id" = String, Path, description = "The id of the request."),
        ("wait" = Option<u64>, Query, description = "For how many seconds, at most 60, the answer waits while the request is open."),
    ),
    responses((status = 200, description = "The request, with its state.", body = ApprovalBody), OfApproval),
)]
async fn show(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    request: Request,
) -> Answer {
    // It takes no room of the server, and counts for its principal, which so does not take every place.
    let _under_way = app.principals.begin(actor.principal())?;
    let end = Peer::wait_for_end(request.extensions());
    let wait = wait_of(Params::of(&request))?;
    let id = parse_id(&id)?;
    let pending = find(&actor, id)?;
    if wait.is_zero() || pending.status() != ApprovalStatus::Open {
        return json(&state_of(&pending)?);
    }
    let Ok(_permit) = app.waiting.try_acquire() else { return Err(full()) };
    tokio::select! {
        // Also if it stays open for longer, or the rules are closed.
        _ = timeout(wait, pending.wait_while_open()) => {}
        () = app.changes.stopped() => {}
        () = end => {
            let error = Error::new(ErrorKind::Unauthenticated, "connect again, with a new certificate");
            return Err(error.because("the certificate of the connection has ended").into());
        }
    }
    if !actor.is_living() {
        let error = Error::new(ErrorKind::Unauthenticated, "ask again, with a new token");
        return Err(error.because("the token has ended, or the rules cannot be read").into());
    }
    // The caller may have lost the right to see it.
    json(&state_of(&find(&actor, id)?)?)
}

/// How long a request waits for a decision.
fn wait_of(mut params: Params) -> Answer<Duration> {
    let wait = params.take("wait")?;
    params.finish()?;
    let seconds = match wait {
        None => Some(0),
        Some(text) => text.parse().ok().filter(|wait| *wait <= MAX_APPROVAL_WAIT_SECONDS),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| {
        Refusal::invalid("`wait` is not a number of seconds from 0 to 60", "use one, or none")
    })
}

/// Approve a request, as a person.
#[utoipa::path(
    post, path = "/v1/approvals/{id}/approve", operation_id = "approve", tag = "approvals",
    params(("id" = String, Path, description = "The id of the request.")),
    responses((status = 200, description = "The request, with its state.", body = ApprovalBody), OfApproval),
)]
async fn approve(Caller(actor): Caller, Id(id): Id, NoQuery: NoQuery) -> Answer {
    let id = parse_id(&id)?;
    actor.rules().approve(id).await?;
    json(&state_of(&find(&actor, id)?)?)
}

/// Deny a request, or end its approval, as a person.
#[utoipa::path(
    post, path = "/v1/approvals/{id}/deny", operation_id = "deny", tag = "approvals",
    params(("id" = String, Path, description = "The id of the request.")),
    request_body = DenialBody,
    responses((status = 200, description = "The request, with its state.", body = ApprovalBody), OfApproval),
)]
async fn deny(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    NoQuery: NoQuery,
    body: Body,
) -> Answer {
    let id = parse_id(&id)?;
    let body: DenialBody = read_json(body, app.max_body).await?;
    actor.rules().deny(id, &body.reason).await?;
    json(&state_of(&find(&actor, id)?)?)
}

/// Give an own request up, or its approval.
#[utoipa::path(
    post, path = "/v1/approvals/{id}/withdraw", operation_id = "withdraw", tag = "approvals",
    params(("id" = String, Path, description = "The id of the request.")),
    responses((status = 200, description = "The request, with its state.", body = ApprovalBody), OfApproval),
)]
async fn withdraw(Caller(actor): Caller, Id(id): Id, NoQuery: NoQuery) -> Answer {
    let pending = find(&actor, parse_id(&id)?)?;
    actor.rules().withdraw(pending.id()).await?;
    json(&state_of(&pending)?)
}

/// The id in a URL. A text that is none stands for a request that does not exist, so that both are answered alike.
fn parse_id(text: &str) -> Result<ApprovalId> {
    ApprovalId::parse(text).or_else(|_| ApprovalId::parse("00000000000000000000000000000000"))
}

/// A request of the caller's own, or one that it may decide.
fn find(actor: &Actor, id: ApprovalId) -> Result<PendingApproval> {
    actor.rules().visible_approval(id)
}

fn state_of(pending: &PendingApproval) -> Result<ApprovalBody> {
    let (approval, status) = pending.approval().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "ask again").because("the request ended long ago")
    })?;
    Ok(body_of(&approval, status))
}

fn body_of(approval: &Approval, status: ApprovalStatus) -> ApprovalBody {
    let request = &approval.request;
    let mut body = ApprovalBody::new(request.id.to_string(), name_of(status));
    body.requester.clone_from(&request.requester);
    body.action.clone_from(&request.action);
    body.path.clone_from(&request.path);
    if let VersionPolicy::Exact(version) = &request.version {
        body.version = Some(version.clone());
    }
    body.purpose.clone_from(&request.purpose);
    body.reason.clone_from(&request.reason);
    body.quorum = request.quorum.get();
    if let ApprovalUse::For(duration) = request.usage {
        body.usable_for_seconds = Some(duration.as_secs());
    }
    body.requested_at = time(request.requested_at);
    body.ends_at = time(approval.ends_at());
    match &approval.state {
        ApprovalState::Open { approved_by: by } | ApprovalState::Approved { by, .. } => {
            body.approved_by = by.iter().cloned().collect();
        }
        ApprovalState::Denied { by, reason, .. } => {
            body.denied_by = Some(by.clone());
            body.denied_because = Some(reason.clone());
        }
        _ => {}
    }
    body
}

fn name_of(status: ApprovalStatus) -> &'static str {
    match status {
        ApprovalStatus::Open => "open",
        ApprovalStatus::Approved => "approved",
        ApprovalStatus::Denied => "denied",
        ApprovalStatus::Withdrawn => "withdrawn",
        ApprovalStatus::Used => "used",
        // Expired, and those of a later release.
        _ => "expired",
    }
}
