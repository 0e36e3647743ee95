//! The options of an import.

use strongroom_core::{MetadataPatch, Result, SecretKind, SecretPath, Tier};

/// How an import names secrets, what metadata it gives them, and what it does with those that exist.
///
/// # Examples
/// ```
/// use strongroom::{ImportOptions, SecretKind, Tier};
///
/// let options = ImportOptions::new()
///     .tier_prefix("DB_", Tier::Critical)
///     .kind(SecretKind::ApiKey)
///     .tag("team", "payments")
///     .dry_run();
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the caller")]
pub struct ImportOptions {
    keep_names: bool,
    tier: Option<Tier>,
    tier_prefixes: Vec<(String, Tier)>,
    pub(super) metadata: MetadataPatch,
    pub(super) overwrite: bool,
    pub(super) dry_run: bool,
    pub(super) without_comparison: bool,
}

impl ImportOptions {
    /// Creates secrets that do not exist, with names in lower case and `-` for `_`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes names as they stand for paths.
    #[must_use]
    pub fn keep_names(mut self) -> Self {
        self.keep_names = true;
        self
    }

    /// The tier of secrets for whose names no prefix gives one.
    #[must_use]
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// The tier of secrets whose names begin with `prefix`, as they stand before they become paths. The longest
    /// prefix wins; of two that are the same, the later one.
    #[must_use]
    pub fn tier_prefix(mut self, prefix: impl Into<String>, tier: Tier) -> Self {
        self.tier_prefixes.push((prefix.into(), tier));
        self
    }

    /// The kind of the secrets.
    #[must_use]
    pub fn kind(mut self, kind: SecretKind) -> Self {
        self.metadata = self.metadata.kind(kind);
        self
    }

    /// A tag of the secrets.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata = self.metadata.tag(name, value);
        self
    }

    /// The metadata of the secrets, in place of what was set before. A tier of the options replaces its tier.
    #[must_use]
    pub fn metadata(mut self, patch: MetadataPatch) -> Self {
        self.metadata = patch;
        self
    }

    /// Writes a new version of secrets that exist with another value, and sets metadata of those with the same one.
    #[must_use]
    pub fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// Reads only, and reports what an import would do. It takes a deleted secret for one that does not exist.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Takes every secret that exists for one with another value, so that neither the report nor the metadata tells
    /// whether the values are the same: for callers who may not read them.
    #[must_use]
    pub fn without_comparison(mut self) -> Self {
        self.without_comparison = true;
        self
    }

    /// The path that an import gives to a value of this name: `db-host` for `DB_HOST`, unless names are kept.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](strongroom_core::ErrorKind::InvalidInput) if the name gives no path.
    pub fn path_of(&self, name: &str) -> Result<SecretPath> {
        if self.keep_names {
            return SecretPath::parse(name);
        }
        SecretPath::parse(&name.to_ascii_lowercase().replace('_', "-"))
    }

    /// The tier that the options give to a secret of this name.
    pub(super) fn tier_of(&self, name: &str) -> Option<Tier> {
        let prefixes = self.tier_prefixes.iter().filter(|(prefix, _)| name.starts_with(prefix));
        prefixes.max_by_key(|(prefix, _)| prefix.len()).map(|(_, tier)| *tier).or(self.tier)
    }
}
