//! An issuer with an HTTP API.
//!
//! Keys are masked and wiped as far as this library holds them. The HTTP library below copies the
//! requests and responses that carry them through buffers of its own, which it frees without wiping.

mod client;
mod config;
mod error;
mod pointer;

use std::fmt;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method};
use strongroom_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use zeroize::Zeroizing;

use self::client::{Bearer, Client, Request, Response};
use self::config::{CheckedConfig, Pointers};
use self::error::{Purpose, error, permanent};
use super::header::{self, ExpiryObservation};
use super::issuer::{IssueAttempt, IssuedKey, KeyIssuer};
use super::timestamp::InvalidTime;

pub use self::config::{HttpEndpoints, HttpIssuerConfig, HttpResponseFormat};

/// Gets keys from an HTTP API, and revokes them there.
///
/// It needs `https`, except on this machine, and trusts the authorities of
/// [`tls.ca_certificates`](crate::TlsConfig::ca_certificates) alone if they are set, else those of the
/// platform. Certificates in files are read again when they change. The issuer follows no redirects and
/// rejects responses over 64 KiB. Errors say what happened and what to do, and hold nothing of a request or
/// a response.
///
/// | response | error |
/// |---|---|
/// | 401 | [`Unauthenticated`](ErrorKind::Unauthenticated) |
/// | 403 | [`Denied`](ErrorKind::Denied) |
/// | 404 or 410 to a revocation | none: the key does not exist |
/// | 409 | [`Conflict`](ErrorKind::Conflict), temporary |
/// | 429 | [`RateLimited`](ErrorKind::RateLimited) |
/// | other 4xx | [`Config`](ErrorKind::Config) |
/// | 408, or none in time | [`Timeout`](ErrorKind::Timeout) |
/// | 3xx, 5xx, a rejected certificate, or a broken connection | [`Unavailable`](ErrorKind::Unavailable) |
/// | a success without a new key | [`Corrupt`](ErrorKind::Corrupt) or [`Config`](ErrorKind::Config) |
pub struct HttpIssuer {
    client: Client,
    config: HttpIssuerConfig,
    checked: CheckedConfig,
}

impl HttpIssuer {
    /// An issuer that is called as `config` says. This sends no request.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every problem of the configuration and its certificates.
    pub fn new(config: &HttpIssuerConfig) -> Result<Self> {
        let (checked, tls) = config.check()?;
        let client = Client::new(config, &checked.base_url, tls)?;
        Ok(Self { client, config: config.clone(), checked })
    }

    /// Sends a GET request, and fails if the response is no success.
    async fn get(&self, purpose: Purpose, path: &str, key: &SecretValue) -> Result<Response> {
        let response = self.client.send(Request::new(&Method::GET, path, key)?).await?;
        if response.is_success() { Ok(response) } else { Err(response.to_error(purpose, path)) }
    }

    /// Parses the new key and its expiry from a response.
    fn parse_key(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        current: &SecretValue,
    ) -> Result<IssuedKey> {
        let document = parse_text(body)?;
        let found = self.checked.pointers.keys.iter().find_map(|pointer| pointer.find(document));
        let key = found.ok_or_else(|| {
            error(
                ErrorKind::Config,
                "the response has no key at any of `response.key_pointers`",
                "set `response.key_pointers` to where the response holds it; an unused key may be left \
                 at the issuer",
            )
        })?;
        let key = pointer::text(key).filter(|key| Bearer::new(key).is_some()).ok_or_else(|| {
            error(
                ErrorKind::Corrupt,
                "the response has something else than a string of visible ASCII in the place of a key",
                "set `response.key_pointers` to where the response holds the key itself",
            )
        })?;
        if is_same(&key, current) {
            return Err(error(
                ErrorKind::Corrupt,
                "the response has the current key in the place of the new one",
                "set `response.key_pointers` to where the response holds the new key",
            ));
        }
        let issued = IssuedKey::new(key);
        Ok(match self.parse_expiry(headers, document, SystemTime::now()) {
            Some(at) => issued.expires_at(at),
            None => issued,
        })
    }

    /// The earliest plausible expiry of the new key that the response names.
    fn parse_expiry(
        &self,
        headers: &HeaderMap,
        document: &str,
        now: SystemTime,
    ) -> Option<SystemTime> {
        let Pointers { expires_at, expires_in, .. } = &self.checked.pointers;
        let at = expires_at.as_ref().and_then(|pointer| {
            skip_implausible(header::parse_timestamp(&parse_scalar(pointer.find(document)?)?, now))
        });
        let within = expires_in.as_ref().and_then(|(pointer, unit)| {
            let text = parse_scalar(pointer.find(document)?)?;
            skip_implausible(header::parse_remaining(&text, *unit, now))
        });
        let expiry_headers = self.config.response.expiry_headers.as_ref();
        let in_headers = match expiry_headers.map(|own| own.read(headers, now)) {
            Some(ExpiryObservation::Expiry { at, .. }) => Some(at),
            Some(ExpiryObservation::Implausible { why, .. }) => {
                skip_implausible(Err(InvalidTime(why)))
            }
            Some(ExpiryObservation::Nothing) | None => None,
        };
        [at, within, in_headers].into_iter().flatten().min()
    }

    /// Parses the keys of a list.
    fn parse_list(&self, body: &[u8]) -> Result<Vec<SecretValue>> {
        let Pointers { list, list_key, .. } = &self.checked.pointers;
        let items = list.find(parse_text(body)?).and_then(pointer::items).ok_or_else(|| {
            error(
                ErrorKind::Config,
                "the response has no list at `response.list_pointer`",
                "set `response.list_pointer` to where the response holds the keys",
            )
        })?;
        let key = |item: &str| {
            if item.starts_with('"') {
                return pointer::text(item);
            }
            list_key.find(item).and_then(pointer::text)
        };
        items.into_iter().map(key).collect::<Option<_>>().ok_or_else(|| {
            error(
                ErrorKind::Config,
                "the list has an item without a key",
                "set `response.list_key_pointer` to where an item holds its key",
            )
        })
    }
}

/// Ignores an implausible expiry with a warning: the key exists, and the rotation must continue.
fn skip_implausible(expiry: Result<SystemTime, InvalidTime>) -> Option<SystemTime> {
    expiry
        .map_err(|InvalidTime(why)| {
            tracing::warn!(
                why,
                "the expiry of the new key in the issuer's response is implausible"
            );
        })
        .ok()
}

fn parse_text(body: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(body).ok();
    text.filter(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
        .ok_or_else(not_json)
}

fn not_json() -> Error {
    error(
        ErrorKind::Corrupt,
        "the response is not JSON",
        "check what answers at `base_url`; an unused key may be left at the issuer",
    )
}

/// Whether the bytes are the same, as text or binary: a store may keep a key as binary.
fn is_same(one: &SecretValue, other: &SecretValue) -> bool {
    let bytes = |key: &SecretValue| SecretValue::from(key.expose_bytes());
    bytes(one).constant_time_eq(&bytes(other))
}

/// The content of a JSON string, or a number as it is written.
fn parse_scalar(json: &str) -> Option<Zeroizing<String>> {
    match pointer::text(json) {
        Some(text) => Some(Zeroizing::new(text.expose_text().ok()?.to_owned())),
        None => Some(Zeroizing::new(json.to_owned())),
    }
}

impl fmt::Debug for HttpIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIssuer").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyIssuer for HttpIssuer {
    async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        let HttpEndpoints { issue_method, issue_path, .. } = &self.config.endpoints;
        let mut request = Request::new(issue_method, issue_path, current)?;
        let value = HeaderValue::from_str(attempt.id.as_str()).ok();
        if let Some((name, value)) = self.checked.idempotency_header.as_ref().zip(value) {
            request = request.with_header(name, value);
        }
        let mut response = self.client.send(request).await?;
        if !response.is_success() {
            return Err(response.to_error(Purpose::Issue, issue_path));
        }
        let headers = std::mem::take(&mut response.headers);
        let body = response.body().await?;
        self.parse_key(&headers, &body, current)
    }

    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        let HttpEndpoints { revoke_method, revoke_path, .. } = &self.config.endpoints;
        let request = Request::new(revoke_method, revoke_path, current)?.with_key_in_path(key)?;
        let response = self.client.send(request).await?;
        if response.is_success() || matches!(response.status, 404 | 410) {
            return Ok(());
        }
        Err(response.to_error(Purpose::Revoke, revoke_path))
    }

    async fn verify(&self, key: &SecretValue) -> Result<()> {
        match &self.config.endpoints.verify_path {
            None => Ok(()),
            Some(path) => self.get(Purpose::Verify, path, key).await.map(drop),
        }
    }

    fn is_idempotent(&self) -> bool {
        self.config.honours_idempotency
    }

    /// `current` authorises the call. A list without it is rejected, because it must hold something else
    /// than keys.
    async fn list(&self, current: &SecretValue) -> Result<Vec<SecretValue>> {
        let Some(path) = &self.config.endpoints.list_path else {
            return Err(error(
                ErrorKind::Unsupported,
                "this issuer is not configured to list its keys",
                "set `endpoints.list_path`, or look for unused keys at the issuer",
            ));
        };
        let response = self.get(Purpose::List, path, current).await?;
        let keys = self.parse_list(&response.body().await?)?;
        if !keys.iter().any(|key| is_same(key, current)) {
            return Err(permanent(
                ErrorKind::Config,
                "the list does not name the current key: it may hold ids or masked keys, or be \
                 split into pages",
                "set `response.list_pointer` and `response.list_key_pointer` to keys in full, or unset \
                 `endpoints.list_path`",
            ));
        }
        Ok(keys)
    }
}
