//! Tokens and grants of the caller's tenant, as far as the caller may see and change them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use strongroom::access::{
    Grant, GrantId, NewGrant, NewToken, Principal, Scope, SpiffeId, Subject, Token, TokenId,
};
use strongroom_core::{Error, ErrorKind, Rfc3339, WipedBuffer};
use strongroom_wire::parse_time;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, Refusal, done, json, wiped};
use crate::app::App;
use crate::body::read_json;
use crate::caller::{Caller, principal};
use crate::openapi::OfRule;
use crate::params::Id;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(who))
        .routes(routes!(list_tokens, issue_token))
        .routes(routes!(revoke_token))
        .routes(routes!(list_grants, create_grant))
        .routes(routes!(delete_grant))
}

/// Who the server takes the caller for.
#[derive(Serialize, ToSchema)]
struct Who<'a> {
    principal: &'a str,
    tenant: &'a str,
    /// The SPIFFE id that the caller has proved with a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<&'a str>,
}

/// Show who the server takes the caller for.
#[utoipa::path(
    get, path = "/v1/self", operation_id = "get_self", tag = "rules",
    responses((status = 200, description = "The caller.", body = Who<'static>)),
)]
async fn who(State(app): State<Arc<App>>, Caller(actor): Caller, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let principal = principal(&parts, &app)?;
    let spiffe_id = match principal.as_deref() {
        Some(Principal::Workload(id)) => Some(id.as_str()),
        _ => None,
    };
    json(&Who { principal: actor.principal(), tenant: actor.tenant().as_str(), spiffe_id })
}

pub(super) fn created(response: Response) -> Response {
    (StatusCode::CREATED, response).into_response()
}

/// Milliseconds since 1970 as text.
pub(super) fn time(millis: i64) -> String {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    Rfc3339::millis(UNIX_EPOCH + since).to_string()
}

/// A token without its text.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenBody<'a> {
    id: String,
    #[schema(value_type = Vec<String>)]
    scopes: &'a [Scope],
    #[schema(format = DateTime)]
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uses: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    bound_to: Option<&'a SpiffeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    waives_sensitive: bool,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: &'a str,
    reason: &'a str,
}

impl<'a> TokenBody<'a> {
    fn new(token: &'a Token) -> Self {
        Self {
            id: token.id.to_string(),
            scopes: &token.scopes,
            expires_at: time(token.expires_at),
            max_uses: token.max_uses,
            bound_to: token.bound_to.as_ref(),
            person: token.person.as_ref().map(ToString::to_string),
            waives_sensitive: token.waives_sensitive,
            created_at: time(token.created_at),
            created_by: &token.created_by,
            reason: &token.reason,
        }
    }
}

/// A token to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
struct NewTokenBody {
    scopes: BTreeSet<String>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    expires_in_seconds: Option<u64>,
    max_uses: Option<u32>,
    bound_to: Option<String>,
    #[serde(default)]
    waives_sensitive: bool,
    reason: String,
}

/// The end of a token, which has one.
fn end_of_token(body: &NewTokenBody) -> Answer<SystemTime> {
    let end = match (&body.expires_at, body.expires_in_seconds) {
        (Some(time), None) => parse_time(time).ok(),
        (None, Some(seconds)) => SystemTime::now().checked_add(Duration::from_secs(seconds)),
        _ => None,
    };
    end.ok_or_else(|| {
        Refusal::invalid(
            "the token has no valid end",
            "send `expires_in_seconds`, or `expires_at` as in `2030-12-31T23:59:59Z`",
        )
    })
}

fn scopes(texts: &BTreeSet<String>) -> Result<Vec<Scope>, Error> {
    texts.iter().map(|text| Scope::parse(text)).collect()
}

/// The text of the token is in this answer alone.
#[derive(Serialize, ToSchema)]
struct Issued<'a> {
    #[schema(format = Password)]
    token: &'a str,
    #[serde(flatten)]
    about: TokenBody<'a>,
}

/// Issue a token.
///
/// The answer is the only one with the text of the token. Send `expires_at` or `expires_in_seconds`.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "issue_token", tag = "rules",
    request_body = NewTokenBody,
    responses((status = 201, description = "The token with its text.", body = Issued<'static>)),
)]
async fn issue_token(State(app): State<Arc<App>>, Caller(actor): Caller, body: Body) -> Answer {
    let body: NewTokenBody = read_json(body, app.max_body).await?;
    let mut new = NewToken::new(scopes(&body.scopes)?, end_of_token(&body)?, body.reason);
    if let Some(uses) = body.max_uses {
        new = new.max_uses(uses);
    }
    if let Some(workload) = &body.bound_to {
        new = new.bound_to(SpiffeId::parse(workload)?);
    }
    if body.waives_sensitive {
        new = new.waive_sensitive();
    }
    let (token, text) = actor.rules().issue_token(new).await?;
    let issued = Issued { token: text.expose_secret(), about: TokenBody::new(&token) };
    let mut body = WipedBuffer::default();
    serde_json::to_writer(&mut body, &issued)
        .map_err(|_| Error::new(ErrorKind::Internal, "report this").because("no JSON form"))?;
    Ok(created(wiped(body.into_inner())))
}

/// The tokens that the caller may see.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenList)]
struct Tokens<'a> {
    tokens: Vec<TokenBody<'a>>,
}

/// List tokens.
///
/// The answer never has the text of a token.
#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "list_tokens", tag = "rules",
    responses((status = 200, description = "The tokens.", body = Tokens<'static>)),
)]
async fn list_tokens(Caller(actor): Caller) -> Answer {
    let tokens = actor.rules().tokens()?;
    json(&Tokens { tokens: tokens.iter().map(TokenBody::new).collect() })
}

/// Revoke a token.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", operation_id = "revoke_token", tag = "rules",
    params(Id),
    responses((status = 204, description = "It is done."), OfRule),
)]
async fn revoke_token(Caller(actor): Caller, Id(id): Id) -> Answer {
    actor.rules().revoke_token(TokenId::parse(&id)?).await?;
    Ok(done())
}

/// A grant.
#[derive(Serialize, ToSchema)]
#[schema(as = Grant)]
struct GrantBody<'a> {
    id: String,
    subject: String,
    #[schema(value_type = Vec<String>)]
    scopes: &'a [Scope],
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: &'a str,
    reason: &'a str,
}

impl<'a> GrantBody<'a> {
    fn new(grant: &'a Grant) -> Self {
        Self {
            id: grant.id.to_string(),
            subject: grant.subject.to_string(),
            scopes: &grant.scopes,
            expires_at: grant.expires_at.map(time),
            created_at: time(grant.created_at),
            created_by: &grant.created_by,
            reason: &grant.reason,
        }
    }
}

/// A grant to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGrant)]
struct NewGrantBody {
    subject: String,
    scopes: BTreeSet<String>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    reason: String,
}

/// Create a grant.
#[utoipa::path(
    post, path = "/v1/grants", operation_id = "create_grant", tag = "rules",
    request_body = NewGrantBody,
    responses((status = 201, description = "The grant.", body = GrantBody<'static>)),
)]
async fn create_grant(State(app): State<Arc<App>>, Caller(actor): Caller, body: Body) -> Answer {
    let body: NewGrantBody = read_json(body, app.max_body).await?;
    let mut new = NewGrant::new(Subject::parse(&body.subject)?, scopes(&body.scopes)?, body.reason);
    if let Some(end) = &body.expires_at {
        new = new.until(parse_time(end)?);
    }
    let grant = actor.rules().create_grant(new).await?;
    Ok(created(json(&GrantBody::new(&grant))?))
}

/// The grants that the caller may see.
#[derive(Serialize, ToSchema)]
#[schema(as = GrantList)]
struct Grants<'a> {
    grants: Vec<GrantBody<'a>>,
}

/// List grants.
#[utoipa::path(
    get, path = "/v1/grants", operation_id = "list_grants", tag = "rules",
    responses((status = 200, description = "The grants.", body = Grants<'static>)),
)]
async fn list_grants(Caller(actor): Caller) -> Answer {
    let grants = actor.rules().grants();
    json(&Grants { grants: grants.iter().map(GrantBody::new).collect() })
}

/// Delete a grant.
#[utoipa::path(
    delete, path = "/v1/grants/{id}", operation_id = "delete_grant", tag = "rules",
    params(Id),
    responses((status = 204, description = "It is done."), OfRule),
)]
async fn delete_grant(Caller(actor): Caller, Id(id): Id) -> Answer {
    actor.rules().delete_grant(GrantId::parse(&id)?).await?;
    Ok(done())
}
