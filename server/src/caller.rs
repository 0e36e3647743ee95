//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use secrecy::SecretString;
use strongroom::access::{Actor, Guarded};
use strongroom_core::{Error, ErrorKind};

use crate::answer::{Answer, Refusal};
use crate::app::App;
use crate::peer::Peer;

/// The tenant that a caller believes to be in.
const TENANT: &str = "strongroom-tenant";
/// Why a caller asks, for the audit.
const REASON: &str = "strongroom-reason";
/// The caller's id of the request, for the audit.
const REQUEST_ID: &str = "x-request-id";

/// A principal that is known by its token, by the certificate of its connection, or by both.
pub(crate) struct Caller(pub(crate) Actor);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        let headers = &parts.headers;
        let principal = Peer::of(&parts.extensions).and_then(Peer::principal);
        let actor = match (token(headers)?, principal) {
            (Some(token), principal) => app.access.act_with(&token, principal)?,
            (None, Some(principal)) => app.access.act_as(principal.clone())?,
            (None, None) => return Err(unauthenticated().into()),
        };
        if let Some(tenant) = text(headers, TENANT)?
            && tenant != actor.tenant().as_str()
        {
            let advice = "use an identity of that tenant, or name no tenant";
            let error = Error::new(ErrorKind::Denied, advice);
            return Err(error.because("the caller belongs to another tenant").into());
        }
        let actor = match text(headers, REASON)? {
            Some(reason) => actor.because(reason)?,
            None => actor,
        };
        Ok(Self(match text(headers, REQUEST_ID)? {
            Some(id) => actor.with_request_id(id)?,
            None => actor,
        }))
    }
}

/// The value of a header that is given at most once.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Answer<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => Err(Refusal::invalid(
            "a header about the caller is given twice, or is not ASCII text",
            "give each of `Authorization`, `Strongroom-Tenant`, `Strongroom-Reason` and `X-Request-Id` once",
        )),
    }
}

/// The token of the request. A header that holds something else is refused, and not passed over.
fn token(headers: &HeaderMap) -> Answer<Option<SecretString>> {
    let Some(header) = text(headers, AUTHORIZATION.as_str())? else { return Ok(None) };
    let bearer = header
        .split_once(' ')
        .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()));
    let token = bearer.filter(|token| !token.is_empty()).ok_or_else(unauthenticated)?;
    Ok(Some(SecretString::from(token)))
}

fn unauthenticated() -> Error {
    let advice = "send `Authorization: Bearer` and a token, or connect with a client certificate that the server trusts";
    Error::new(ErrorKind::Unauthenticated, advice)
        .because("the request has no token, and its connection no certificate")
}

/// The store as a caller may use it.
pub(crate) struct Secrets(pub(crate) Guarded);

impl FromRequestParts<Arc<App>> for Secrets {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        let Caller(actor) = Caller::from_request_parts(parts, app).await?;
        Ok(Self(app.secrets.guard(actor)?))
    }
}
