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

/// The tenant that a caller believes to be in.
pub(crate) const TENANT: &str = "strongroom-tenant";
/// Why a caller asks, for the audit.
pub(crate) const REASON: &str = "strongroom-reason";
/// The caller's id of the request, for the audit.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// A principal whose token was accepted.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) Actor);

impl Caller {
    /// Accepts the token of a request.
    pub(crate) fn authenticate(headers: &HeaderMap, app: &App) -> Answer<Self> {
        let actor = app.access.act_with(&token(headers)?, None)?;
        if let Some(tenant) = text(headers, TENANT)?
            && tenant != actor.tenant().as_str()
        {
            let advice = "use a token of that tenant, or name no tenant";
            let error = Error::new(ErrorKind::Denied, advice);
            return Err(error.because("the token belongs to another tenant").into());
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

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        match parts.extensions.get::<Self>() {
            Some(authenticated) => Ok(authenticated.clone()),
            None => Self::authenticate(&parts.headers, app),
        }
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

fn token(headers: &HeaderMap) -> Answer<SecretString> {
    let bearer = text(headers, AUTHORIZATION.as_str())?.and_then(|header| {
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = bearer.filter(|token| !token.is_empty()).ok_or_else(|| {
        Error::new(ErrorKind::Unauthenticated, "send `Authorization: Bearer` and a token")
            .because("the request has no token")
    })?;
    Ok(SecretString::from(token))
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
