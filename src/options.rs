//! The options of one read.

use std::time::Duration;

use strongroom_core::VersionSelector;

use crate::cache::Freshness;

/// How one read differs from the [`ReadPolicy`](crate::ReadPolicy).
///
/// # Examples
/// ```
/// # async fn run(secrets: strongroom::SecretsManager) -> strongroom::Result<()> {
/// use std::time::Duration;
/// use strongroom::ReadOptions;
///
/// let options = ReadOptions::new().max_age(Duration::from_secs(10)).timeout(Duration::from_secs(2));
/// let key = secrets.get_with("openai/api-key", options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Which version to read; the active one unless set.
    pub version: VersionSelector,
    /// The store must have been asked less than this long ago. While it is unavailable, a stale copy of that age will
    /// do. Zero always asks the store, whose answer may come from a replica and be as old as that may be.
    pub max_age: Option<Duration>,
    /// How long this read takes at most, with waiting and retries. A request that it shares with other callers ends
    /// with [`ReadPolicy::timeout`](crate::ReadPolicy::timeout); if this read has time left, it asks again.
    pub timeout: Option<Duration>,
    /// While the store is unavailable, the read fails rather than give a stale copy.
    pub never_stale: bool,
}

impl ReadOptions {
    /// A read as [`get`](crate::SecretsManager::get) makes it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the version to read.
    #[must_use]
    pub fn version(mut self, version: VersionSelector) -> Self {
        self.version = version;
        self
    }

    /// Accepts only an answer that the store gave less than this long ago.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Limits the time of this read.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Fails rather than give a stale copy.
    #[must_use]
    pub fn never_stale(mut self) -> Self {
        self.never_stale = true;
        self
    }

    pub(crate) fn freshness(&self) -> Freshness {
        Freshness { max_age: self.max_age, accepts_stale: !self.never_stale }
    }
}
