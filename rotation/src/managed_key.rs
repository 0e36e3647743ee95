//! What an engine is told of a key.

use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretKind};

use super::header::{ExpiryHeaders, ExpiryUnit};
use super::issuer::KeyIssuer;
use super::password::PasswordIssuer;
use super::policy::RotationPolicy;

/// A key to be kept fresh: where it is stored, who makes new ones, and when.
#[derive(Clone, Debug)]
pub struct ManagedKey {
    pub(super) path: String,
    pub(super) means: Means,
    pub(super) policy: RotationPolicy,
    pub(super) headers: ExpiryHeaders,
}

impl ManagedKey {
    /// The key at `path`, replaced by keys of `issuer`. Response headers that tell the key's remaining
    /// time do so in seconds, unless [`headers`](Self::headers) says otherwise.
    #[must_use]
    pub fn new(path: impl Into<String>, issuer: impl KeyIssuer) -> Self {
        Self::by(path.into(), Means::Issuer(Arc::new(issuer)))
    }

    /// A secret that the store itself replaces, such as the password of a static role in Vault, or a
    /// secret with a rotation function in AWS: the store is asked to when it is due.
    #[must_use]
    pub fn store_managed(path: impl Into<String>) -> Self {
        Self::by(path.into(), Means::Store)
    }

    /// A secret that is replaced as its kind says: a `db_credential` by the store itself, a `custom`
    /// secret by a password of [`PasswordIssuer`]'s. Kinds whose keys somebody else makes need
    /// [`new`](Self::new) with their issuer.
    #[must_use]
    pub fn for_kind(path: impl Into<String>) -> Self {
        Self::by(path.into(), Means::Kind)
    }

    fn by(path: String, means: Means) -> Self {
        Self {
            path,
            means,
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

    /// Sets which response headers tell when the key ends.
    #[must_use]
    pub fn headers(mut self, headers: ExpiryHeaders) -> Self {
        self.headers = headers;
        self
    }
}

/// Who makes new keys.
#[derive(Clone, Debug)]
pub(super) enum Means {
    Issuer(Arc<dyn KeyIssuer>),
    Store,
    /// What suits the secret's kind.
    Kind,
}

impl Means {
    /// The issuer, or `None` if the store replaces the secret itself.
    pub(super) fn issuer(self, kind: SecretKind) -> Result<Option<Arc<dyn KeyIssuer>>> {
        match (self, kind) {
            (Self::Issuer(issuer), _) => Ok(Some(issuer)),
            (Self::Store, _) | (Self::Kind, SecretKind::DbCredential) => Ok(None),
            (Self::Kind, SecretKind::Custom) => Ok(Some(Arc::new(PasswordIssuer::default()))),
            (Self::Kind, kind) => Err(Error::new(
                ErrorKind::InvalidInput,
                "name who makes new keys, with `ManagedKey::new`",
            )
            .because(format!("nobody is known who makes secrets of the kind `{kind}`"))),
        }
    }
}
