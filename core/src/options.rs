//! What callers can ask for beyond a path.

use std::collections::BTreeMap;
use std::fmt;

use crate::{MetadataPatch, SecretKind, SecretPath, Version};

/// What must hold for a `put` to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Write in any case.
    #[default]
    None,
    /// The path must hold no secret, not even a deleted one that could be undeleted.
    MustNotExist,
    /// This must be the active version. A deleted secret keeps its active version.
    MustBeVersion(Version),
}

/// How to `put`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOptions {
    /// What must hold for anything to be written.
    pub condition: Condition,
    /// Metadata to set in the same write; what it does not mention stays as it is.
    pub metadata: MetadataPatch,
}

impl PutOptions {
    /// An unconditional write that leaves metadata as it is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes only if the path holds no secret.
    #[must_use]
    pub fn must_not_exist(mut self) -> Self {
        self.condition = Condition::MustNotExist;
        self
    }

    /// Writes only if `version` is the active one.
    #[must_use]
    pub fn must_be_version(mut self, version: impl Into<Version>) -> Self {
        self.condition = Condition::MustBeVersion(version.into());
        self
    }

    /// Changes metadata in the same write.
    #[must_use]
    pub fn metadata(mut self, patch: MetadataPatch) -> Self {
        self.metadata = patch;
        self
    }
}

/// Which paths to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListOptions {
    /// Only secrets that carry all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Only secrets of this kind.
    pub kind: Option<SecretKind>,
    /// Also secrets that are deleted and can be undeleted.
    pub include_deleted: bool,
    /// Where to go on; from [`ListPage::next`].
    pub page: Option<PageToken>,
}

impl ListOptions {
    /// All live secrets, from the first page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only secrets that carry this tag.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Only secrets of this kind.
    #[must_use]
    pub fn kind(mut self, kind: SecretKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Also secrets that are deleted and can be undeleted.
    #[must_use]
    pub fn include_deleted(mut self) -> Self {
        self.include_deleted = true;
        self
    }

    /// Goes on after an earlier page.
    #[must_use]
    pub fn page(mut self, token: Option<PageToken>) -> Self {
        self.page = token;
        self
    }
}

/// Where a listing goes on. Opaque: only the backend that gave it can read it.
#[derive(Clone, PartialEq, Eq)]
pub struct PageToken(String);

impl PageToken {
    /// Wraps a backend's own token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The backend's own token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageToken(..)")
    }
}

/// Some of the paths asked for, in no promised order. A page may be empty and still have a next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The paths.
    pub paths: Vec<SecretPath>,
    /// Where to go on, or `None` after the last page.
    pub next: Option<PageToken>,
}

impl ListPage {
    /// A page.
    #[must_use]
    pub fn new(paths: Vec<SecretPath>, next: Option<PageToken>) -> Self {
        Self { paths, next }
    }
}
