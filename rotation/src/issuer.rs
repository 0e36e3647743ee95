//! The source of keys: it issues, verifies, lists and revokes them.

use std::fmt;
use std::time::SystemTime;

use strongroom_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use uuid::Uuid;

use super::clock;

/// Names one attempt to get a key. It stays the same when the attempt is repeated, also after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueId(String);

impl IssueId {
    /// A new id, which no other attempt has.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// The id of an attempt that was stored.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not a UUID.
    pub fn parse(text: &str) -> Result<Self> {
        let id = Uuid::try_parse(text).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, "pass the id of an attempt to get a key, a UUID")
        })?;
        Ok(Self(id.to_string()))
    }

    pub(crate) fn from_uuid(id: Uuid) -> Self {
        Self(id.to_string())
    }

    /// The id as text, a UUID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IssueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One call for a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssueAttempt {
    /// Names the attempt. It stays the same when the attempt is repeated, also by another instance.
    pub id: IssueId,
    /// A fencing token. Each claim of the attempt, by the same instance or another one, gets a larger
    /// token, and at least the time in milliseconds since 1970. An issuer that remembers the largest token
    /// it has seen rejects a call with a smaller one, with a permanent [`Conflict`](ErrorKind::Conflict):
    /// the instance that makes the call was paused while another one went on.
    pub fencing_token: u64,
}

impl IssueAttempt {
    /// An attempt with this id and token.
    #[must_use]
    pub const fn new(id: IssueId, fencing_token: u64) -> Self {
        Self { id, fencing_token }
    }

    /// An attempt with a new id. Its token is the time in milliseconds since 1970, as the first token of an
    /// attempt of the engine.
    #[must_use]
    pub fn random() -> Self {
        let now = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::new(IssueId::random(), u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A key that an issuer has made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuedKey {
    /// The key itself.
    pub value: SecretValue,
    /// When it stops working, if the issuer said so.
    pub expires_at: Option<SystemTime>,
}

impl IssuedKey {
    /// A key whose expiry is unknown.
    #[must_use]
    pub fn new(value: impl Into<SecretValue>) -> Self {
        Self { value: value.into(), expires_at: None }
    }

    /// Sets when the key stops working.
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }
}

/// Makes keys for one client, and makes them stop working.
///
/// Calls are repeated after errors that are temporary, and after a crash with the same [`IssueId`].
///
/// Implement it with `async_trait`, which `strongroom` and `strongroom-core` re-export, and `Debug` without
/// keys. Put the first key into the store before you add the key to an engine.
///
/// # Examples
/// ```
/// use strongroom_core::{Error, ErrorKind, Result, SecretValue, async_trait};
/// use strongroom_rotation::{IssueAttempt, IssuedKey, KeyIssuer};
///
/// #[derive(Debug)]
/// struct ExampleIssuer {
///     api: Api,
/// }
///
/// #[async_trait]
/// impl KeyIssuer for ExampleIssuer {
///     async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
///         let key = self.api.create_key(current.expose_text()?, attempt.id.as_str()).await;
///         key.map(IssuedKey::new).ok_or_else(|| {
///             // A temporary error is tried again; `Denied` says that no key was made.
///             Error::new(ErrorKind::Unavailable, "see whether the example API is well")
///         })
///     }
///
///     async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
///         self.api.delete_key(current.expose_text()?, key.expose_text()?).await;
///         Ok(())
///     }
///
///     /// The API gives the same key for the same attempt.
///     fn is_idempotent(&self) -> bool {
///         true
///     }
/// }
/// # #[derive(Debug)]
/// # struct Api;
/// # impl Api {
/// #     async fn create_key(&self, _: &str, id: &str) -> Option<String> { Some(id.to_owned()) }
/// #     async fn delete_key(&self, _: &str, _: &str) {}
/// # }
/// ```
#[async_trait]
pub trait KeyIssuer: fmt::Debug + Send + Sync + 'static {
    /// Gets a new key while `current` still works. A call with the id of an earlier one returns the same
    /// key, if the issuer can do that.
    async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey>;

    /// Makes `key` stop working; `current` authorises the call. Succeeds if the issuer does not know the
    /// key or has revoked it before.
    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()>;

    /// Succeeds if the issuer accepts `key`, or has no way to tell.
    ///
    /// A new key that works only after some seconds may fail at first: the engine verifies it again for
    /// [`attempt_lease`](super::RotationPolicy::attempt_lease).
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) or [`Denied`](ErrorKind::Denied) if the issuer does
    /// not accept the key.
    async fn verify(&self, key: &SecretValue) -> Result<()> {
        let _ = key;
        Ok(())
    }

    /// Whether an attempt can be repeated without leaving an untracked key: [`issue`](Self::issue) with the
    /// same id returns the same key again, or a key that was not stored stops working once there is another.
    /// Otherwise, a process that dies before it has stored a new key may leave one behind, which the engine
    /// then looks for in the [`list`](Self::list).
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Lists all keys of this client, in full, if the issuer can do that. After an attempt whose outcome is
    /// unknown, the engine revokes the listed keys that the store does not hold: the client's account must
    /// have no keys but those of this one secret. The engine ignores a list without `current`.
    async fn list(&self, current: &SecretValue) -> Result<Vec<SecretValue>> {
        let _ = current;
        Err(Error::new(ErrorKind::Unsupported, "look for unused keys at the issuer")
            .because("this issuer cannot list its keys"))
    }
}
