//! An issuer of API keys and the API that accepts them, over real HTTP, with or without TLS.
//!
//! | request | response |
//! |---|---|
//! | `POST /api/keys/rotate` | 200 `{"new_key": …}`, with `expires_at` in Unix seconds if the key expires |
//! | `DELETE /api/keys/{key}` | 204; 410 if the key was already revoked, 404 if the issuer has never issued it |
//! | `GET /api/keys` | 200 `{"keys": [{"key": …}, …]}` with the live keys |
//! | `GET /api/whoami` | 204 |
//! | `GET` or `POST /work` | 200 and some text, with `X-Key-Expires-In` if the key expires |
//!
//! Each request needs a live key as its bearer token; otherwise the response is 401. All keys belong to one
//! client. Another process needs only the address.

mod faults;
mod keys;
mod serve;
mod tls;
mod work;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom_core::SecretValue;

use self::keys::Keys;
use self::serve::Shared;
use crate::loopback::Loopback;

pub use self::faults::Fault;
pub use self::keys::{Counts, KeyStatus};
pub use self::tls::Tls;

/// How an [`Issuer`] behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whether the same `Idempotency-Key` gives the same key; default yes.
    pub honours_ids: bool,
    /// Whether `GET /api/keys` exists; default yes.
    pub lists_keys: bool,
    /// How long the first key works; default: no expiry.
    pub first_key_life: Option<Duration>,
    /// How long each other key works; default: no expiry.
    pub key_life: Option<Duration>,
    /// The unit of `X-Key-Expires-In`; default: seconds.
    pub unit: Unit,
    /// The number of pieces of the response of `/work`; default: one.
    pub pieces: usize,
    /// The pause before each piece except the first; default: none.
    pub pause: Duration,
    /// The certificates for `https`; default: `http`.
    pub tls: Option<Tls>,
}

/// The unit of `X-Key-Expires-In`, which is rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// `3600`
    Seconds,
    /// `5`
    Days,
    /// `5d`, `36h` or `90s`: the largest unit that is at least one.
    Suffixed,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            honours_ids: true,
            lists_keys: true,
            first_key_life: None,
            key_life: None,
            unit: Unit::Seconds,
            pieces: 1,
            pause: Duration::ZERO,
            tls: None,
        }
    }
}

/// A server on a free loopback port with its own thread. Dropping it stops it.
pub struct Issuer {
    server: Loopback,
    shared: Arc<Shared>,
    first_key: SecretValue,
}

impl Issuer {
    /// Starts an issuer that has issued one key.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let (keys, first_key) = Keys::new(options.first_key_life);
        let shared = Arc::new(Shared::new(options, keys));
        let serving = Arc::clone(&shared);
        let server = Loopback::new(move |stream| serve::connection(stream, Arc::clone(&serving)));
        Self { server, shared, first_key }
    }

    /// The base URL: `http://` or `https://`, 127.0.0.1 and a port.
    #[must_use]
    pub fn base(&self) -> String {
        let scheme = if self.shared.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address())
    }

    /// The key that the issuer starts with.
    #[must_use]
    pub fn first_key(&self) -> SecretValue {
        self.first_key.clone()
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.keys().counts()
    }

    /// Sets all counters to zero. Keys do not change.
    pub fn reset_counts(&self) {
        self.shared.keys().reset_counts();
    }

    /// The keys that work now, in the order of their issue.
    #[must_use]
    pub fn live_keys(&self) -> Vec<SecretValue> {
        self.shared.keys().live().into_iter().map(SecretValue::from).collect()
    }

    /// The status of a key; `None` if the issuer has never issued it.
    #[must_use]
    pub fn status(&self, key: &SecretValue) -> Option<KeyStatus> {
        self.shared.keys().status(key.expose_text().ok()?)
    }

    /// Whether a key works now.
    #[must_use]
    pub fn is_live(&self, key: &SecretValue) -> bool {
        self.status(key) == Some(KeyStatus::Live)
    }

    /// The number of requests to `/work` in flight with this key.
    #[must_use]
    pub fn in_flight(&self, key: &SecretValue) -> usize {
        key.expose_text().map_or(0, |key| self.shared.keys().in_flight(key))
    }

    /// Issues a key without counting a request.
    #[must_use]
    pub fn make_key(&self, life: Option<Duration>) -> SecretValue {
        SecretValue::from(self.shared.keys().make(life))
    }

    /// Sets when a key expires.
    pub fn expire_at(&self, key: &SecretValue, at: SystemTime) {
        self.shared.keys().expire_at(key.expose_text().expect("a key is text"), at);
    }

    /// Revokes a key without counting a request.
    pub fn revoke(&self, key: &SecretValue) {
        self.shared.keys().revoke(key.expose_text().expect("a key is text"));
    }

    /// Sets the fault of the next `count` requests for a key. Faults occur in the order in which they are
    /// set.
    pub fn next_issues(&self, count: usize, fault: Fault) {
        self.shared.faults().on_issue(count, fault);
    }

    /// Sets the fault of the next `count` revocations.
    pub fn next_revocations(&self, count: usize, fault: Fault) {
        self.shared.faults().on_revocation(count, fault);
    }

    /// Removes the faults that have not occurred yet.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("base", &self.base())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
