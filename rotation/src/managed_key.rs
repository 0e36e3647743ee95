//! What an engine needs to know about a key.

use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretKind};

use super::header::{ExpiryHeaders, ExpiryUnit};
use super::issuer::KeyIssuer;
use super::password::PasswordIssuer;
use super::policy::RotationPolicy;

/// A key that an engine is to manage: where it is stored, who makes new ones, and when.
#[derive(Clone, Debug)]
pub struct ManagedKey {
    pub(super) path: String,
    pub(super) issuer: IssuerChoice,
    pub(super) policy: RotationPolicy,
    pub(super) headers: ExpiryHeaders,
}

impl ManagedKey {
    /// The key at `path`, replaced by keys of `issuer`. Response headers that tell the key's remaining
    /// time do so in seconds, unless [`headers`](Self::headers) says otherwise.
    #[must_use]
    pub fn new(path: impl Into<String>, issuer: impl KeyIssuer) -> Self {
        Self::with_issuer(path.into(), IssuerChoice::Issuer(Arc::new(issuer)))
    }

    /// A secret that the store itself replaces, such as the password of a static role in Vault, or a
    /// secret with a rotation function in AWS: the store is asked to when it is due.
    #[must_use]
    pub fn store_managed(path: impl Into<String>) -> Self {
        Self::with_issuer(path.into(), IssuerChoice::Store)
    }

    /// A secret that is replaced as its kind says: a `db_credential` by the store itself, a `custom`
    /// secret by a password of [`PasswordIssuer`]'s. Other kinds need an issuer: use [`new`](Self::new).
    #[must_use]
    pub fn for_kind(path: impl Into<String>) -> Self {
        Self::with_issuer(path.into(), IssuerChoice::Kind)
    }

    fn with_issuer(path: String, issuer: IssuerChoice) -> Self {
        Self {
            path,
            issuer,
            policy: RotationPolicy::default(),
            headers: ExpiryHeaders::new(ExpiryUnit::Seconds),
        }
    }

    /// Sets when the key is replaced, and how long each step may take.
    #[must_use]
    pub fn policy(mut self, policy: RotationPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets which response headers tell when the key expires.
    #[must_use]
    pub fn headers(mut self, headers: ExpiryHeaders) -> Self {
        self.headers = headers;
        self
    }
}

/// Who makes new keys.
#[derive(Clone, Debug)]
pub(super) enum IssuerChoice {
    Issuer(Arc<dyn KeyIssuer>),
    Store,
    /// What suits the secret's kind.
    Kind,
}

impl IssuerChoice {
    /// The issuer, or `None` if the store replaces the secret by its own means.
    pub(super) fn choose(self, kind: SecretKind) -> Result<Option<Arc<dyn KeyIssuer>>> {
        match (self, kind) {
            (Self::Issuer(issuer), _) => Ok(Some(issuer)),
            (Self::Store, _) | (Self::Kind, SecretKind::DbCredential) => Ok(None),
            (Self::Kind, SecretKind::Custom) => Ok(Some(Arc::new(PasswordIssuer::default()))),
            (Self::Kind, kind) => {
                Err(Error::new(ErrorKind::InvalidInput, "pass one to `ManagedKey::new`")
                    .because(format!("no issuer is registered for secrets of the kind `{kind}`")))
            }
        }
    }
}
