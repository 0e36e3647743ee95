//! Who asks.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use secrecy::SecretString;
use strongroom::access::{Actor, Guarded, Principal};
use strongroom_core::{Error, ErrorKind};

use crate::answer::{Answer, Refusal};
use crate::app::App;
use crate::forwarded;
use crate::peer::Peer;

/// The tenant that a caller believes to be in.
pub(crate) const TENANT: &str = "strongroom-tenant";
/// Why a caller asks, for the audit.
pub(crate) const REASON: &str = "strongroom-reason";
/// The caller's id of the request, for the audit.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// A principal that is known by its token, by the certificate of its connection, or by both.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) Actor);

impl Caller {
    /// Accepts the token of a request, the certificate of its connection, or both.
    pub(crate) fn authenticate(parts: &Parts, app: &App) -> Answer<Self> {
        let headers = &parts.headers;
        let principal = principal(parts, app)?;
        let actor = match (token(headers)?, principal) {
            (Some(token), principal) => app.access.act_with(&token, principal.as_deref())?,
            (None, Some(principal)) => app.access.act_as(principal.into_owned())?,
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

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        match parts.extensions.get::<Self>() {
            Some(authenticated) => Ok(authenticated.clone()),
            None => Self::authenticate(parts, app),
        }
    }
}

/// The workload that has proved its identity to this server, or to a proxy that is known here.
pub(crate) fn principal<'a>(parts: &'a Parts, app: &App) -> Answer<Option<Cow<'a, Principal>>> {
    let Some(peer) = Peer::of(&parts.extensions) else { return Ok(None) };
    // Without a certificate the header proves nothing, and the token alone counts.
    let Some(id) = peer.id() else { return Ok(None) };
    let forwarded = text(&parts.headers, forwarded::HEADER)?;
    match (app.workloads.is_proxy(id), forwarded) {
        (false, None) => Ok(peer.principal().map(Cow::Borrowed)),
        // It may forward the request of another one: it is not answered as its own.
        (false, Some(_)) => {
            let advice = "name the proxy in `STRONGROOM_SERVER_XFCC_PROXIES`, or send no `X-Forwarded-Client-Cert`";
            let error = Error::new(ErrorKind::Unauthenticated, advice);
            Err(error.because("the connection is not that of a proxy that is known here").into())
        }
        // A proxy never acts for itself.
        (true, None) => Ok(None),
        (true, Some(header)) => {
            let client = forwarded::parse(header)
                .filter(|client| app.workloads.may_ask(client) && !app.workloads.is_proxy(client));
            let client = client.ok_or_else(|| {
                let advice = "let the proxy forward the URI of the client's certificate, and check the allowed ids";
                Error::new(ErrorKind::Unauthenticated, advice)
                    .because("`X-Forwarded-Client-Cert` names no workload that may ask")
            })?;
            Ok(Some(Cow::Owned(Principal::Workload(client))))
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
            "give each of `Authorization`, `Strongroom-Tenant`, `Strongroom-Reason`, `X-Request-Id` and `X-Forwarded-Client-Cert` once",
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
