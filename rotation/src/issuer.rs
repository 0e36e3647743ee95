//! Who makes keys, and makes them stop working.

use std::fmt;
use std::time::SystemTime;

use strongroom_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use uuid::Uuid;

use super::clock;

/// Names one attempt to get a key. It stays the same when the attempt is repeated, also after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueId(String);

impl IssueId {
    /// A name that nobody has used before.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// A name that was noted before.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is no UUID.
    pub fn parse(text: &str) -> Result<Self> {
        let id = Uuid::try_parse(text).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, "give the id of an attempt to get a key, a UUID")
        })?;
        Ok(Self(id.to_string()))
    }

    pub(crate) fn from_uuid(id: Uuid) -> Self {
        Self(id.to_string())
    }

    /// The name as text, a UUID.
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
    /// A fencing token: it grows with each instance that starts an attempt or takes one over. An issuer
    /// that remembers the largest token it has seen refuses a call with a smaller one, with a permanent
    /// [`Conflict`](ErrorKind::Conflict): the instance that makes it stood still while another one went
    /// on.
    pub fencing_token: u64,
}

impl IssueAttempt {
    /// An attempt with this name and token.
    #[must_use]
    pub const fn new(id: IssueId, fencing_token: u64) -> Self {
        Self { id, fencing_token }
    }

    /// An attempt with a name of its own. Its token is the calendar time in milliseconds since 1970, as
    /// that of the engine's attempts is at least.
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
    /// A key whose end is not known.
    #[must_use]
    pub fn new(value: impl Into<SecretValue>) -> Self {
        Self { value: value.into(), expires_at: None }
    }

    /// Says when the key stops working.
    #[must_use]
    pub fn expires_at(mut self, moment: SystemTime) -> Self {
        self.expires_at = Some(moment);
        self
    }
}

/// Makes keys for one client, and makes them stop working.
///
/// Calls are repeated after errors that are temporary, and after a crash with the same [`IssueId`].
#[async_trait]
pub trait KeyIssuer: fmt::Debug + Send + Sync + 'static {
    /// Gets a new key while `current` still works. Repeated with the same id, it gives the same key
    /// where the issuer can do that.
    async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey>;

    /// Makes `key` stop working; `current` authorises that. Succeeds if the issuer does not know the
    /// key or has revoked it before.
    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()>;

    /// Succeeds if the issuer accepts `key`, or cannot be asked;
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) or [`Denied`](ErrorKind::Denied) if it does
    /// not.
    async fn verify(&self, key: &SecretValue) -> Result<()> {
        let _ = key;
        Ok(())
    }

    /// Whether an attempt can be repeated without leaving a key behind that nobody knows:
    /// [`issue`](Self::issue) with the same id gives the same key again, or a key that was not stored is
    /// worth nothing once there is another. Otherwise, a process that dies before it has stored a new
    /// key may leave one behind, which is then looked for in the [`list`](Self::list).
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Lists all keys of this client, in full, where the issuer can do that. After an attempt to get a
    /// key of which nobody knows how it ended, those that are not stored are revoked: the client's
    /// account must have no keys but those of this one secret. A list without `current` is not believed.
    async fn list(&self, current: &SecretValue) -> Result<Vec<SecretValue>> {
        let _ = current;
        Err(Error::new(ErrorKind::Unsupported, "look for keys that nobody uses at the issuer")
            .because("this issuer cannot list its keys"))
    }
}
