//! The configuration of a managed key.

use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretKind};

use super::header::ExpiryHeaders;
use super::issuer::KeyIssuer;
use super::password::PasswordIssuer;
use super::policy::RotationPolicy;
use super::timestamp::ExpiryUnit;

/// A key that an engine manages: where it is stored, which issuer makes new ones, and when.
#[derive(Clone, Debug)]
pub struct ManagedKey {
    pub(super) path: String,
    pub(super) issuer: IssuerChoice,
    pub(super) policy: RotationPolicy,
    pub(super) headers: ExpiryHeaders,
}

impl ManagedKey {
    /// The key at `path`, which `issuer` replaces. Response headers tell the key's remaining time in
    /// seconds, unless [`headers`](Self::headers) sets another unit.
    #[must_use]
    pub fn new(path: impl Into<String>, issuer: impl KeyIssuer) -> Self {
        Self::with_issuer(path.into(), IssuerChoice::Issuer(Arc::new(issuer)))
    }

    /// A secret that the store itself replaces, such as the password of a static role in Vault, or a
    /// secret with a rotation function in AWS. The engine asks the store to do so when the secret is due.
    #[must_use]
    pub fn store_managed(path: impl Into<String>) -> Self {
        Self::with_issuer(path.into(), IssuerChoice::Store)
    }

    /// A secret whose kind selects the issuer: the store itself replaces a `db_credential`, and the default
    /// [`PasswordIssuer`] a `custom` secret. Other kinds need an issuer: use [`new`](Self::new).
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

/// The source of new keys.
#[derive(Clone, Debug)]
pub(super) enum IssuerChoice {
    Issuer(Arc<dyn KeyIssuer>),
    Store,
    /// Selected by the secret's kind.
    Kind,
}

impl IssuerChoice {
    /// The issuer, or `None` if the store itself replaces the secret.
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
