//! An issuer that is asked over HTTP.
//!
//! Keys are masked and wiped as far as this library holds them. The HTTP library below copies the
//! requests and answers that carry them through buffers of its own, which it frees without wiping.
//! The private key of a client certificate is copied likewise when an issuer is made.

mod client;
mod config;
mod error;
mod pointer;
mod tls;

use std::fmt;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method};
use strongroom_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use zeroize::Zeroizing;

use self::client::{Answer, Bearer, Client, Request};
use self::config::Checked;
use self::error::{Purpose, failed, lasting};
use super::header::{self, ExpiryObservation};
use super::issuer::{IssueAttempt, IssuedKey, KeyIssuer};
use super::timestamp::Refused;

pub use self::config::HttpIssuerConfig;

/// Gets keys from an HTTP API, and revokes them there.
///
/// It needs `https`, except on this machine, and trusts [`ca_cert`](HttpIssuerConfig::ca_cert) alone
/// if it is given, else the platform's authorities. Redirects are not followed, and answers over
/// 64 KiB are refused. Errors say what happened and what to do, and hold nothing of a request or an
/// answer.
///
/// | answer | error |
/// |---|---|
/// | 401 | [`Unauthenticated`](ErrorKind::Unauthenticated) |
/// | 403 | [`Denied`](ErrorKind::Denied) |
/// | 404 or 410 to a revocation | none: the key is gone |
/// | 409 | [`Conflict`](ErrorKind::Conflict), temporary |
/// | 429 | [`RateLimited`](ErrorKind::RateLimited) |
/// | other 4xx | [`Config`](ErrorKind::Config) |
/// | 408, or none in time | [`Timeout`](ErrorKind::Timeout) |
/// | 3xx, 5xx, a refused certificate, or a broken connection | [`Unavailable`](ErrorKind::Unavailable) |
/// | a success without a new key | [`Corrupt`](ErrorKind::Corrupt) or [`Config`](ErrorKind::Config) |
pub struct HttpIssuer {
    client: Client,
    config: HttpIssuerConfig,
    checked: Checked,
}

impl HttpIssuer {
    /// An issuer that is asked as `config` says. No request is sent yet.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every problem of the configuration.
    pub fn new(config: &HttpIssuerConfig) -> Result<Self> {
        let (checked, tls) = config.checked()?;
        let client = Client::new(config, &checked, tls)?;
        Ok(Self { client, config: config.clone(), checked })
    }

    /// Sends a request of which only the success counts.
    async fn get(&self, purpose: Purpose, path: &str, key: &SecretValue) -> Result<Answer> {
        let answer = self.client.send(Request::new(&Method::GET, path, key)?).await?;
        if answer.is_success() { Ok(answer) } else { Err(purpose.refused(&answer)) }
    }

    /// The new key from the answer, with its end.
    fn issued(&self, headers: &HeaderMap, body: &[u8], current: &SecretValue) -> Result<IssuedKey> {
        let document = text_of(body)?;
        let found = self.checked.keys.iter().find_map(|pointer| pointer.find(document));
        let key = found.ok_or_else(|| {
            failed(
                ErrorKind::Config,
                "the answer has no key where one is looked for",
                "set `key_pointers` to where the answer holds it; a key that nobody knows of may be \
                 left at the issuer",
            )
        })?;
        let key = pointer::text(key).filter(|key| Bearer::new(key).is_some()).ok_or_else(|| {
            failed(
                ErrorKind::Corrupt,
                "what the answer gives as a key is not a text of visible ASCII",
                "set `key_pointers` to where the answer holds the key itself",
            )
        })?;
        if is_same(&key, current) {
            return Err(failed(
                ErrorKind::Corrupt,
                "the answer gives the current key as the new one",
                "set `key_pointers` to where the answer holds the new key",
            ));
        }
        let issued = IssuedKey::new(key);
        Ok(match self.end(headers, document, SystemTime::now()) {
            Some(at) => issued.expires_at(at),
            None => issued,
        })
    }

    /// The earliest end of the new key that the answer names believably.
    fn end(&self, headers: &HeaderMap, document: &str, now: SystemTime) -> Option<SystemTime> {
        let at =
            self.checked.expires_at.as_ref().and_then(|pointer| {
                believed(header::moment(&scalar(pointer.find(document)?)?, now))
            });
        let within = self.checked.expires_in.as_ref().and_then(|(pointer, unit)| {
            believed(header::remaining(&scalar(pointer.find(document)?)?, *unit, now))
        });
        let observed = self.config.expiry_headers.as_ref().map(|own| own.read(headers, now));
        let in_headers = match observed {
            Some(ExpiryObservation::Expiry { at, .. }) => Some(at),
            Some(ExpiryObservation::Implausible { why, .. }) => believed(Err(Refused(why))),
            Some(ExpiryObservation::Nothing) | None => None,
        };
        [at, within, in_headers].into_iter().flatten().min()
    }

    /// The keys in a list.
    fn listed(&self, body: &[u8]) -> Result<Vec<SecretValue>> {
        let Checked { list, list_key, .. } = &self.checked;
        let items = list.find(text_of(body)?).and_then(pointer::items).ok_or_else(|| {
            failed(
                ErrorKind::Config,
                "the answer has no list where one is looked for",
                "set `list_pointer` to where the answer holds the keys",
            )
        })?;
        let key = |item: &str| {
            if item.starts_with('"') {
                return pointer::text(item);
            }
            list_key.find(item).and_then(pointer::text)
        };
        items.into_iter().map(key).collect::<Option<_>>().ok_or_else(|| {
            failed(
                ErrorKind::Config,
                "the list has an item without a key",
                "set `list_key_pointer` to where an item holds its key",
            )
        })
    }
}

/// What is there besides a key must not stop the rotation: the key has been made.
fn believed(end: Result<SystemTime, Refused>) -> Option<SystemTime> {
    end.map_err(|Refused(why)| {
        tracing::warn!(why, "the end of the new key in the issuer's answer is not believed");
    })
    .ok()
}

fn text_of(body: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(body).ok();
    text.filter(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
        .ok_or_else(unreadable)
}

fn unreadable() -> Error {
    failed(
        ErrorKind::Corrupt,
        "the answer is not JSON",
        "check what answers at `base`; a key that nobody knows of may be left at the issuer",
    )
}

/// Whether the bytes are the same, however they were given: a store may keep a key as binary.
fn is_same(one: &SecretValue, other: &SecretValue) -> bool {
    let bytes = |key: &SecretValue| SecretValue::from(key.expose_bytes());
    bytes(one).constant_time_eq(&bytes(other))
}

/// A text without its quotes, or a number as it is written.
fn scalar(json: &str) -> Option<Zeroizing<String>> {
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
        let HttpIssuerConfig { issue_method, issue_path, .. } = &self.config;
        let mut request = Request::new(issue_method, issue_path, current)?;
        let value = HeaderValue::from_str(attempt.id.as_str()).ok();
        if let Some((name, value)) = self.checked.idempotency.as_ref().zip(value) {
            request = request.with(name, value);
        }
        let mut answer = self.client.send(request).await?;
        if !answer.is_success() {
            return Err(Purpose::Issue.refused(&answer));
        }
        let headers = std::mem::take(&mut answer.headers);
        let body = answer.body().await?;
        self.issued(&headers, &body, current)
    }

    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        let HttpIssuerConfig { revoke_method, revoke_path, .. } = &self.config;
        let request = Request::new(revoke_method, revoke_path, current)?.about(key)?;
        let answer = self.client.send(request).await?;
        if answer.is_success() || matches!(answer.status, 404 | 410) {
            return Ok(());
        }
        Err(Purpose::Revoke.refused(&answer))
    }

    async fn verify(&self, key: &SecretValue) -> Result<()> {
        match &self.config.verify_path {
            None => Ok(()),
            Some(path) => self.get(Purpose::Verify, path, key).await.map(drop),
        }
    }

    fn is_idempotent(&self) -> bool {
        self.config.honours_idempotency
    }

    /// `current` authorises the call. A list that does not name it is one of something else than keys:
    /// it is refused.
    async fn list(&self, current: &SecretValue) -> Result<Vec<SecretValue>> {
        let Some(path) = &self.config.list_path else {
            return Err(failed(
                ErrorKind::Unsupported,
                "this issuer is not set up to list its keys",
                "set `list_path`, or look for keys that nobody uses at the issuer",
            ));
        };
        let answer = self.get(Purpose::List, path, current).await?;
        let keys = self.listed(&answer.body().await?)?;
        if !keys.iter().any(|key| is_same(key, current)) {
            return Err(lasting(
                ErrorKind::Config,
                "the list does not name the current key: it may hold ids or masked keys, or be \
                 split into pages",
                "set `list_pointer` and `list_key_pointer` to keys in full, or unset `list_path`",
            ));
        }
        Ok(keys)
    }
}
