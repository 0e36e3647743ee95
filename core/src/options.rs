//! Options of writes and listings.

use std::collections::BTreeMap;
use std::fmt;

use crate::{
    Error, ErrorKind, Metadata, MetadataPatch, Result, SecretKind, SecretPath, Tier, Version,
};

/// The condition under which a `put` writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Write unconditionally.
    #[default]
    None,
    /// The path must hold no secret, not even a deleted one that could be undeleted.
    MustNotExist,
    /// This must be the active version. A deleted secret keeps its active version.
    MustBeVersion(Version),
}

/// Options of a `put`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOptions {
    /// The condition under which the `put` writes.
    pub condition: Condition,
    /// Changes to metadata in the same write.
    pub metadata: MetadataPatch,
    /// The role of the writer's own agent that may read the secret from then on; `*` for every role of the agent. Needs
    /// [`Capability::Scopes`](crate::Capability::Scopes).
    pub scope: Option<String>,
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

    /// Lets a role of the writer's own agent read the secret from then on, such as `researcher`; `*` stands for every
    /// role of the agent.
    #[must_use]
    pub fn scope(mut self, role: impl Into<String>) -> Self {
        self.scope = Some(role.into());
        self
    }

    /// Fails if a scope is set: for a store without [`Capability::Scopes`](crate::Capability::Scopes).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub fn refuse_scope(&self) -> Result<()> {
        match &self.scope {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "leave the scope out, or act as a principal of access rules",
            )
            .because("this store has no access rules, so nothing can be scoped")),
        }
    }
}

/// Options of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListOptions {
    /// Only secrets that carry all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Only secrets of this kind.
    pub kind: Option<SecretKind>,
    /// Only secrets that the store keeps in this tier.
    pub tier: Option<Tier>,
    /// Also secrets that are deleted and can be undeleted.
    pub include_deleted: bool,
    /// The page to continue with, from [`ListPage::next`].
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

    /// Only secrets that the store keeps in this tier.
    #[must_use]
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Also secrets that are deleted and can be undeleted.
    #[must_use]
    pub fn include_deleted(mut self) -> Self {
        self.include_deleted = true;
        self
    }

    /// Continues after an earlier page.
    #[must_use]
    pub fn page(mut self, token: Option<PageToken>) -> Self {
        self.page = token;
        self
    }

    /// Whether the metadata of a secret decides if it is listed.
    #[must_use]
    pub fn needs_metadata(&self) -> bool {
        !self.tags.is_empty() || self.kind.is_some() || self.tier.is_some()
    }

    /// Whether a secret with this metadata has the tags, the kind and the tier.
    #[must_use]
    pub fn matches(&self, metadata: &Metadata) -> bool {
        self.kind.is_none_or(|kind| kind == metadata.kind)
            && self.tier.is_none_or(|tier| tier == metadata.tier)
            && self.tags.iter().all(|(name, text)| metadata.tags.get(name) == Some(text))
    }
}

/// The position where a listing continues. Opaque: only the backend that returned it can read it.
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

/// A page of paths, in no particular order. An empty page may have a next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The paths.
    pub paths: Vec<SecretPath>,
    /// The next page, or `None` after the last one.
    pub next: Option<PageToken>,
}

impl ListPage {
    /// A page.
    #[must_use]
    pub fn new(paths: Vec<SecretPath>, next: Option<PageToken>) -> Self {
        Self { paths, next }
    }
}
