//! A value with its version and metadata.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use crate::clock::time_suspended;
use crate::{Error, ErrorKind, EscapedText, Metadata, Result, Rfc3339, SecretPath, SecretValue};

/// The opaque id that a store gives each write: `3` in Vault and native, a UUID in AWS.
///
/// Versions are immutable: the same id names the same value as long as the secret lives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Number(u64),
    Id(Arc<str>),
}

impl Version {
    /// A version from its text form, as [`text`](Self::text) gives it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        match id.parse::<u64>() {
            Ok(number) if number.to_string() == id => Self(Repr::Number(number)),
            _ => Self(Repr::Id(Arc::from(id))),
        }
    }

    /// The id as the store knows it. `Display` shows the same, with control characters escaped and cut
    /// after 256 characters.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::Number(number) => Cow::Owned(number.to_string()),
            Repr::Id(id) => Cow::Borrowed(id),
        }
    }

    /// The number, if the store numbers its versions.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self.0 {
            Repr::Number(number) => Some(number),
            Repr::Id(_) => None,
        }
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(Repr::Number(number))
    }
}

impl From<&str> for Version {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<&Version> for Version {
    fn from(version: &Version) -> Self {
        version.clone()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => write!(f, "{number}"),
            Repr::Id(id) => EscapedText::name(id).fmt(f),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

/// Which version to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionSelector {
    /// The active version: the newest, unless a rollback chose another.
    #[default]
    Active,
    /// Exactly this version.
    Exact(Version),
    /// The version that carries this label, such as `AWSPREVIOUS` in AWS Secrets Manager.
    Stage(Arc<str>),
}

/// A secret as it was read: value, version and metadata. Cloning is cheap and shares the value,
/// which is wiped when the last clone is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Reading>);

/// One reading of a secret. Several readings can share the content, each with a reference count of its
/// own.
///
/// The fields that a reader needs come first, beside the count: the last ones may share a cache line
/// with the count of another reading, which another thread changes.
#[repr(C)]
struct Reading {
    content: Arc<Content>,
    is_stale: bool,
    lease: Option<Duration>,
    read_at: Instant,
    /// How long the machine had been suspended at that time.
    suspended: Duration,
}

struct Content {
    path: SecretPath,
    version: Version,
    metadata: Metadata,
    value: SecretValue,
}

impl Secret {
    /// A secret that a backend has just read.
    #[must_use]
    pub fn new(path: SecretPath, version: Version, metadata: Metadata, value: SecretValue) -> Self {
        let content = Arc::new(Content { path, version, metadata, value });
        let read_at = Instant::now();
        Self(Arc::new(Reading {
            content,
            read_at,
            suspended: time_suspended(),
            lease: None,
            is_stale: false,
        }))
    }

    /// Sets the time after which the store itself replaces this version, as it does with the password
    /// of a static database role. No cache keeps it longer.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        let Reading { content, read_at, suspended, is_stale, .. } = &*self.0;
        Self(Arc::new(Reading {
            content: Arc::clone(content),
            is_stale: *is_stale,
            lease: Some(lease),
            read_at: *read_at,
            suspended: *suspended,
        }))
    }

    /// The same secret, with a reference count of its own, as read at `read_at`; stale if the store
    /// was unavailable when it was requested. For caches.
    #[must_use]
    pub fn reissue(&self, read_at: Instant, is_stale: bool) -> Self {
        let Reading { content, lease, .. } = &*self.0;
        let suspended = if read_at == self.0.read_at { self.0.suspended } else { time_suspended() };
        let (content, lease) = (Arc::clone(content), *lease);
        Self(Arc::new(Reading { content, is_stale, lease, read_at, suspended }))
    }

    /// A reference that does not keep the secret in memory. For caches.
    #[must_use]
    pub fn downgrade(&self) -> WeakSecret {
        WeakSecret(Arc::downgrade(&self.0))
    }

    /// The time since the store was asked for it, also while the machine was suspended (see
    /// [`time_suspended`]).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.0.read_at.elapsed() + time_suspended().saturating_sub(self.0.suspended)
    }

    /// The time at which the store was asked for it.
    #[must_use]
    pub fn read_at(&self) -> Instant {
        self.0.read_at
    }

    /// Whether it is a stale copy from the cache, returned because the store is unavailable; the store
    /// may have a newer version. [`age`](Self::age) is its age.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.is_stale
    }

    /// How long after it was read the store itself replaces this version, if the store said so.
    #[must_use]
    pub fn lease(&self) -> Option<Duration> {
        self.0.lease
    }

    /// The full path of the secret in its store.
    #[must_use]
    pub fn path(&self) -> &SecretPath {
        &self.0.content.path
    }

    /// The version that was read.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.0.content.version
    }

    /// The metadata of the secret.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.content.metadata
    }

    /// The value, masked.
    #[must_use]
    pub fn value(&self) -> &SecretValue {
        &self.0.content.value
    }

    /// The value's bytes, in the clear.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.value().expose_bytes()
    }

    /// The value's text, in the clear.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not UTF-8.
    pub fn expose_text(&self) -> Result<&str> {
        self.value().expose_text().map_err(|error| error.at(self.path()))
    }

    /// One member of a value that is a JSON object; see [`SecretValue::field`].
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not a JSON object,
    /// [`ErrorKind::FieldNotFound`] if the object has no such member.
    pub fn field(&self, name: &str) -> Result<SecretValue> {
        self.value().field(name).map_err(|error| error.at(self.path()))
    }

    /// The value as `T`, from its JSON; see [`SecretValue::parse_json`].
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not JSON of this type.
    pub fn parse_json<T: DeserializeOwned>(&self) -> Result<T> {
        self.value().parse_json().map_err(|error| error.at(self.path()))
    }
}

/// A reference to a [`Secret`] that does not keep it in memory: it is wiped when the last `Secret` is dropped.
#[derive(Clone)]
pub struct WeakSecret(Weak<Reading>);

impl WeakSecret {
    /// The secret, if it is still in memory.
    #[must_use]
    pub fn upgrade(&self) -> Option<Secret> {
        self.0.upgrade().map(Secret)
    }
}

impl fmt::Debug for WeakSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakSecret(..)")
    }
}

impl ExposeSecret<[u8]> for Secret {
    fn expose_secret(&self) -> &[u8] {
        self.expose_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Content { path, version, metadata, value } = &*self.0.content;
        let mut shown = f.debug_struct("Secret");
        shown.field("path", path).field("version", version).field("metadata", metadata);
        if self.is_stale() {
            shown.field("is_stale", &true);
        }
        shown.field("value", value).finish()
    }
}

/// The version and the metadata of a secret, without its value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// The path.
    pub path: SecretPath,
    /// The active version.
    pub version: Version,
    /// The metadata.
    pub metadata: Metadata,
    /// Details that only this kind of store has, for operators, such as the regions of replicas. Never
    /// a secret.
    pub details: BTreeMap<Cow<'static, str>, String>,
}

impl Description {
    /// Describes the secret at `path`.
    #[must_use]
    pub fn new(path: SecretPath, version: Version, metadata: Metadata) -> Self {
        Self { path, version, metadata, details: BTreeMap::new() }
    }

    /// Adds a detail for operators. Control characters in it are escaped, and it is cut after 1,000
    /// characters.
    #[must_use]
    pub fn detail(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.details.insert(name.into(), EscapedText::clause(&value.into()).to_string());
        self
    }
}

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionInfo {
    /// The version's id.
    pub version: Version,
    /// When it was written, if the store knows.
    pub created_at: Option<SystemTime>,
    /// Whether it is the active one.
    pub active: bool,
    /// The labels that it carries, by which [`VersionSelector::Stage`] finds it, if the store has
    /// such labels.
    pub stages: Vec<String>,
}

impl VersionInfo {
    /// Describes one version.
    #[must_use]
    pub fn new(version: Version, created_at: Option<SystemTime>, active: bool) -> Self {
        Self { version, created_at, active, stages: Vec::new() }
    }
}

/// The outcome of a rotation by the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotateOutcome {
    /// The version that the rotation created, if the store reports it.
    pub version: Option<Version>,
}

impl Metadata {
    /// Refuses a secret whose expiry has passed at `now`.
    ///
    /// # Errors
    /// [`ErrorKind::Expired`].
    pub fn ensure_not_expired(&self, now: SystemTime) -> Result<()> {
        match self.expires_at {
            Some(expiry) if expiry <= now => Err(Error::new(
                ErrorKind::Expired,
                "write a new value with a later expiry, or change the expiry with `annotate`",
            )
            .because(format!("its expiry was {}", Rfc3339::seconds(expiry)))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
