//! Webhooks: events of the log that are sent to HTTP endpoints.
//!
//! How far the deliveries are is in the log itself (`cursor.rs`), so all processes that share it share that, too. What a
//! process does about them is decided without I/O (`dispatcher.rs`, which `explore.rs` explores); `delivery.rs` carries it
//! out, on a thread of its own (`worker.rs`), and `endpoint.rs` sends to addresses that `target.rs` allows.

#[cfg(feature = "webhooks")]
mod address;
mod check;
mod cursor;
#[cfg(feature = "webhooks")]
mod delivery;
#[cfg(feature = "webhooks")]
mod dispatcher;
#[cfg(feature = "webhooks")]
mod endpoint;
mod events;
#[cfg(feature = "webhooks")]
#[cfg(test)]
mod explore;
#[cfg(feature = "webhooks")]
mod redeliver;
#[cfg(feature = "webhooks")]
mod signature;
#[cfg(feature = "webhooks")]
mod target;
#[cfg(feature = "webhooks")]
#[cfg(test)]
mod tests;
#[cfg(feature = "webhooks")]
mod worker;

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use strongroom_core::FilePath;

use crate::TenantName;

pub(crate) use self::check::check_webhooks;
#[cfg(feature = "webhooks")]
pub(crate) use self::cursor::Advance;
#[cfg(test)]
pub(crate) use self::cursor::HolderId;
pub(crate) use self::cursor::{Cursor, DeadLetter, KEPT_AFTER_LEASE, WebhookAdvance};
use self::events::DEFAULT_EVENTS;
#[cfg(feature = "webhooks")]
pub use self::signature::{WebhookHeaders, verify_webhook};
#[cfg(feature = "webhooks")]
pub(crate) use self::worker::{Worker, load};

/// An HTTP endpoint to which events of the log are sent, signed as
/// [Standard Webhooks](https://www.standardwebhooks.com) say. Needs the cargo feature `webhooks`.
///
/// It is checked when the rules are opened. A new webhook, that is, a new name, begins at the end of the log. All
/// processes that share a log have the same webhooks, and one of them delivers.
///
/// # Examples
/// ```
/// use strongroom_access::{AccessConfig, Webhook};
///
/// let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// let webhook = Webhook::new("approvals", "https://hooks.example.com/strongroom", secret)
///     .events(["approval.*", "vault.denied"]);
/// let config = AccessConfig::in_memory().webhook(webhook);
/// ```
#[derive(Clone)]
pub struct Webhook {
    pub(crate) name: String,
    url: SecretString,
    secret: Secret,
    events: Vec<String>,
    tenant: Option<TenantName>,
    allows_private: bool,
    #[cfg(all(test, feature = "webhooks"))]
    limits: Option<dispatcher::Limits>,
}

#[derive(Clone)]
enum Secret {
    Text(SecretString),
    File(PathBuf),
}

impl Webhook {
    /// A webhook with a name that it keeps: its progress is stored under it. `url` begins with `https`; `secret` is
    /// `whsec_` and 24 to 64 random bytes in base64, which the receiver has as well.
    ///
    /// During a rotation of the secret, give the new and the old one, separated by a blank: each message gets both
    /// signatures.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        url: impl Into<SecretString>,
        secret: impl Into<SecretString>,
    ) -> Self {
        Self::with_secret(name.into(), url.into(), Secret::Text(secret.into()))
    }

    /// A webhook with a file that holds the secret, or two secrets in two lines. Its group and others cannot access
    /// the file. It is read when the rules are opened.
    #[must_use]
    pub fn with_secret_file(
        name: impl Into<String>,
        url: impl Into<SecretString>,
        file: impl Into<PathBuf>,
    ) -> Self {
        Self::with_secret(name.into(), url.into(), Secret::File(file.into()))
    }

    fn with_secret(name: String, url: SecretString, secret: Secret) -> Self {
        Self {
            name,
            url,
            secret,
            events: DEFAULT_EVENTS.map(ToOwned::to_owned).to_vec(),
            tenant: None,
            allows_private: false,
            #[cfg(all(test, feature = "webhooks"))]
            limits: None,
        }
    }

    /// Sends events with these names, or with names that begin as those do that end with `*`. Unless it is set:
    /// `approval.*`, `grant.*`, `token.*`, `vault.denied`, `secret.*` and `rotation.*`.
    #[must_use]
    pub fn events<I>(mut self, events: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.events = events.into_iter().map(Into::into).collect();
        self
    }

    /// Sends events of this tenant alone; those of all tenants unless it is set.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantName) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Lets the endpoint be in a private network or on this machine, also with plain `http` on this machine. Link-local
    /// addresses and the metadata services of clouds are refused nevertheless.
    #[must_use]
    pub fn allow_private_targets(mut self, allow: bool) -> Self {
        self.allows_private = allow;
        self
    }

    /// The file of its secret.
    pub(crate) fn secret_file(&self) -> Option<&Path> {
        match &self.secret {
            Secret::Text(_) => None,
            Secret::File(file) => Some(file),
        }
    }

    #[cfg(all(test, feature = "webhooks"))]
    fn limits(mut self, limits: dispatcher::Limits) -> Self {
        self.limits = Some(limits);
        self
    }
}

/// The URL as `Debug` shows it: scheme, host and port, which are not confidential.
#[cfg(feature = "webhooks")]
fn shown_url(webhook: &Webhook) -> String {
    let url = secrecy::ExposeSecret::expose_secret(&webhook.url);
    let target = target::Target::parse(url, webhook.allows_private);
    target.map_or_else(|_| "[invalid]".to_owned(), |target| target.origin())
}

#[cfg(not(feature = "webhooks"))]
fn shown_url(webhook: &Webhook) -> &SecretString {
    &webhook.url
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::File(file) => f.debug_tuple("File").field(&FilePath::new(file)).finish(),
        }
    }
}

/// Shows neither the secret nor the path of the URL.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("url", &shown_url(self))
            .field("secret", &self.secret)
            .field("events", &self.events)
            .field("tenant", &self.tenant)
            .field("allow_private_targets", &self.allows_private)
            .finish_non_exhaustive()
    }
}
