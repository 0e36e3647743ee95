//! Tokens and grants of the caller's tenant, as far as the caller may see and change them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get};
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use strongroom::access::{
    Grant, GrantId, NewGrant, NewToken, Scope, SpiffeId, Subject, Token, TokenId,
};
use strongroom_core::{Error, ErrorKind, Rfc3339, WipedBuffer};
use strongroom_wire::parse_time;

use crate::answer::{Answer, Refusal, done, json, wiped};
use crate::app::App;
use crate::body::read_json;
use crate::caller::Caller;
use crate::params::Id;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/self", get(who))
        .route("/v1/tokens", get(list_tokens).post(issue_token))
        .route("/v1/tokens/{id}", delete(revoke_token))
        .route("/v1/grants", get(list_grants).post(create_grant))
        .route("/v1/grants/{id}", delete(delete_grant))
}

/// Who the server takes the caller for.
#[derive(Serialize)]
struct Who<'a> {
    principal: &'a str,
    tenant: &'a str,
}

async fn who(Caller(actor): Caller) -> Answer {
    json(&Who { principal: actor.principal(), tenant: actor.tenant().as_str() })
}

pub(super) fn created(response: Response) -> Response {
    (StatusCode::CREATED, response).into_response()
}

/// Milliseconds since 1970 as text.
pub(super) fn time(millis: i64) -> String {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    Rfc3339::millis(UNIX_EPOCH + since).to_string()
}

#[derive(Serialize)]
struct TokenBody<'a> {
    id: String,
    scopes: &'a [Scope],
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uses: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_to: Option<&'a SpiffeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    waives_sensitive: bool,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTokenBody {
    scopes: BTreeSet<String>,
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

async fn issue_token(State(app): State<Arc<App>>, Caller(actor): Caller, body: Body) -> Answer {
    /// The text of the token is in this answer alone.
    #[derive(Serialize)]
    struct Issued<'a> {
        token: &'a str,
        #[serde(flatten)]
        about: TokenBody<'a>,
    }
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

async fn list_tokens(Caller(actor): Caller) -> Answer {
    #[derive(Serialize)]
    struct Tokens<'a> {
        tokens: Vec<TokenBody<'a>>,
    }
    let tokens = actor.rules().tokens()?;
    json(&Tokens { tokens: tokens.iter().map(TokenBody::new).collect() })
}

async fn revoke_token(Caller(actor): Caller, Id(id): Id) -> Answer {
    actor.rules().revoke_token(TokenId::parse(&id)?).await?;
    Ok(done())
}

#[derive(Serialize)]
struct GrantBody<'a> {
    id: String,
    subject: String,
    scopes: &'a [Scope],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
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

async fn create_grant(State(app): State<Arc<App>>, Caller(actor): Caller, body: Body) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        subject: String,
        scopes: BTreeSet<String>,
        expires_at: Option<String>,
        reason: String,
    }
    let body: Body = read_json(body, app.max_body).await?;
    let mut new = NewGrant::new(Subject::parse(&body.subject)?, scopes(&body.scopes)?, body.reason);
    if let Some(end) = &body.expires_at {
        new = new.until(parse_time(end)?);
    }
    let grant = actor.rules().create_grant(new).await?;
    Ok(created(json(&GrantBody::new(&grant))?))
}

async fn list_grants(Caller(actor): Caller) -> Answer {
    #[derive(Serialize)]
    struct Grants<'a> {
        grants: Vec<GrantBody<'a>>,
    }
    let grants = actor.rules().grants();
    json(&Grants { grants: grants.iter().map(GrantBody::new).collect() })
}

async fn delete_grant(Caller(actor): Caller, Id(id): Id) -> Answer {
    actor.rules().delete_grant(GrantId::parse(&id)?).await?;
    Ok(done())
}
