//! What a caller can ask of one read.

use std::time::Duration;

use strongroom_core::VersionSelector;

use crate::cache::Terms;

/// How one read is made, where it is not to be as the [`ReadPolicy`](crate::ReadPolicy) says.
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
    /// The secret must have been read from the store less than so long ago, also while the store is
    /// unavailable (a stale copy that is young enough will do then). Zero asks the store in any case.
    pub max_age: Option<Duration>,
    /// The longest time that this read takes in all.
    pub timeout: Option<Duration>,
    /// Whether an error is preferred to a stale copy while the store is unavailable.
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

    /// Accepts only what was read from the store less than so long ago.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Bounds the time of this read.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Prefers an error to a stale copy.
    #[must_use]
    pub fn never_stale(mut self) -> Self {
        self.never_stale = true;
        self
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms { max_age: self.max_age, accepts_stale: !self.never_stale }
    }
}
