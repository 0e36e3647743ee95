//! Changes to metadata.

mod json;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, ErrorKind, Metadata, Result, SecretKind, Tier};

/// A change to metadata. Fields and tags that it does not mention stay as they are.
///
/// Limits, so that every store can hold it: 32 tags; a tag's name 1 to 100 bytes of
/// `A-Z a-z 0-9 _ . : / = + - @`, not beginning with `aws:` or `strongroom`; a tag's value and the
/// description at most 256 and 512 bytes without control characters; the name of a principal 1 to 256 bytes
/// without control characters; times and intervals to the
/// millisecond, between the years 1970 and 9999; a rotation interval of at least one second.
///
/// # Examples
/// ```
/// use std::time::{Duration, SystemTime};
/// use strongroom_core::{MetadataPatch, SecretKind};
///
/// let patch = MetadataPatch::new()
///     .kind(SecretKind::ApiKey)
///     .tag("team", "payments")
///     .expires_at(SystemTime::now() + Duration::from_secs(90 * 86_400));
/// # let _ = patch;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataPatch {
    kind: Option<SecretKind>,
    tier: Option<Tier>,
    description: Change<String>,
    expires_at: Change<SystemTime>,
    rotation_interval: Change<Duration>,
    updated_by: Option<String>,
    tags: BTreeMap<String, Change<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T: Clone> Change<T> {
    fn apply(&self, current: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *current = None,
            Self::Set(new) => *current = Some(new.clone()),
        }
    }
}

/// The last millisecond of the year 9999, in milliseconds since 1970.
const LAST_MILLISECOND: u128 = 253_402_300_799_999;

impl MetadataPatch {
    /// The most tags a secret may have.
    pub const MAX_TAGS: usize = 32;
    /// The longest name of a tag, in bytes.
    pub const MAX_TAG_NAME: usize = 100;
    /// The longest value of a tag, in bytes.
    pub const MAX_TAG_VALUE: usize = 256;
    /// The longest description, in bytes.
    pub const MAX_DESCRIPTION: usize = 512;
    /// The longest name of a principal, in bytes.
    pub const MAX_PRINCIPAL: usize = 256;

    /// A patch that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind(mut self, kind: SecretKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Sets the tier.
    #[must_use]
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Change::Set(description.into());
        self
    }

    /// Removes the description.
    #[must_use]
    pub fn clear_description(mut self) -> Self {
        self.description = Change::Clear;
        self
    }

    /// Sets the expiry, from which on reads fail with `Expired`.
    #[must_use]
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Change::Set(to_millisecond(time));
        self
    }

    /// Removes the expiry.
    #[must_use]
    pub fn clear_expires_at(mut self) -> Self {
        self.expires_at = Change::Clear;
        self
    }

    /// Sets how often the secret should be replaced.
    #[must_use]
    pub fn rotation_interval(mut self, interval: Duration) -> Self {
        self.rotation_interval = Change::Set(whole_milliseconds(interval));
        self
    }

    /// Removes the rotation interval.
    #[must_use]
    pub fn clear_rotation_interval(mut self) -> Self {
        self.rotation_interval = Change::Clear;
        self
    }

    /// Sets one tag.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), Change::Set(value.into()));
        self
    }

    /// Removes one tag; no error if it is not there.
    #[must_use]
    pub fn remove_tag(mut self, name: impl Into<String>) -> Self {
        self.tags.insert(name.into(), Change::Clear);
        self
    }

    /// Names the principal that makes the change: `updated_by`, and `created_by` of a new secret.
    ///
    /// A change that names nobody keeps both. The access rules set it to the principal that acts; a host
    /// without them may set what it knows.
    #[must_use]
    pub fn updated_by(mut self, principal: impl Into<String>) -> Self {
        self.updated_by = Some(principal.into());
        self
    }

    /// Whether the patch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the patch changes nothing besides [`updated_by`](Self::updated_by): a store without room for the name, or
    /// without the right to write it, still writes a value.
    #[must_use]
    pub fn only_names_principal(&self) -> bool {
        *self == Self { updated_by: self.updated_by.clone(), ..Self::default() }
    }

    /// The same patch, which names no principal.
    #[must_use]
    pub fn without_principal(mut self) -> Self {
        self.updated_by = None;
        self
    }

    /// The metadata of a secret that is created with this patch.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if a limit is exceeded.
    pub fn for_new_secret(&self) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        self.apply(&mut metadata)?;
        metadata.created_by.clone_from(&self.updated_by);
        Ok(metadata)
    }

    /// Applies the patch, so that a backend has the new metadata to store; for a secret that does not exist
    /// yet, see [`for_new_secret`](Self::for_new_secret).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if a limit is exceeded; `metadata` is unchanged then.
    pub fn apply(&self, metadata: &mut Metadata) -> Result<()> {
        self.validate()?;
        let mut tags = metadata.tags.clone();
        for (name, value) in &self.tags {
            match value {
                Change::Set(value) => tags.insert(name.clone(), value.clone()),
                Change::Clear | Change::Keep => tags.remove(name),
            };
        }
        // A store's own tools may have set more: that is no reason to refuse another change.
        if tags.len() > Self::MAX_TAGS && tags.len() > metadata.tags.len() {
            return Err(invalid("there are more than 32 tags"));
        }
        metadata.tags = tags;
        metadata.kind = self.kind.unwrap_or(metadata.kind);
        metadata.tier = self.tier.unwrap_or(metadata.tier);
        self.description.apply(&mut metadata.description);
        self.expires_at.apply(&mut metadata.expires_at);
        self.rotation_interval.apply(&mut metadata.rotation_interval);
        if let Some(principal) = &self.updated_by {
            metadata.updated_by = Some(principal.clone());
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        for (name, value) in &self.tags {
            validate_tag_name(name)?;
            if matches!(value, Change::Set(value) if !is_plain(value, Self::MAX_TAG_VALUE)) {
                return Err(invalid("a tag's value is over 256 bytes or has control characters"));
            }
        }
        if let Change::Set(description) = &self.description
            && (description.is_empty() || !is_plain(description, Self::MAX_DESCRIPTION))
        {
            return Err(invalid(
                "the description is empty, over 512 bytes or has control characters",
            ));
        }
        if let Some(principal) = &self.updated_by
            && (principal.is_empty() || !is_plain(principal, Self::MAX_PRINCIPAL))
        {
            return Err(invalid(
                "the principal's name is empty, over 256 bytes or has control characters",
            ));
        }
        if let Change::Set(time) = self.expires_at
            && time.duration_since(UNIX_EPOCH).map_or(true, |d| d.as_millis() > LAST_MILLISECOND)
        {
            return Err(invalid("the expiry is before the year 1970 or after 9999"));
        }
        if let Change::Set(interval) = self.rotation_interval
            && (interval.as_secs() == 0 || interval.as_millis() > LAST_MILLISECOND)
        {
            return Err(invalid("the rotation interval is below one second or out of range"));
        }
        Ok(())
    }
}

fn validate_tag_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/=+-@".contains(&byte);
    if name.is_empty() || name.len() > MetadataPatch::MAX_TAG_NAME || !name.bytes().all(allowed) {
        return Err(invalid("a tag's name is empty, over 100 bytes or has other characters"));
    }
    if name.starts_with("aws:") || name.starts_with("strongroom") {
        return Err(invalid("names of tags beginning with `aws:` or `strongroom` are reserved"));
    }
    Ok(())
}

fn is_plain(text: &str, max: usize) -> bool {
    text.len() <= max && !text.chars().any(char::is_control)
}

fn whole_milliseconds(interval: Duration) -> Duration {
    Duration::new(interval.as_secs(), interval.subsec_millis() * 1_000_000)
}

/// Truncates a time to the millisecond; `validate` refuses one before 1970.
fn to_millisecond(time: SystemTime) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => UNIX_EPOCH + whole_milliseconds(since),
        Err(_) => time,
    }
}

fn invalid(cause: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, "see the limits of `MetadataPatch`").because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(patch: &MetadataPatch) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        patch.apply(&mut metadata)?;
        Ok(metadata)
    }

    #[test]
    fn fields_that_a_patch_does_not_mention_stay() {
        let mut metadata = apply(
            &MetadataPatch::new().tag("a", "1").tag("b", "2").description("d").tier(Tier::Critical),
        )
        .unwrap();
        MetadataPatch::new().remove_tag("a").remove_tag("zz").apply(&mut metadata).unwrap();
        assert_eq!(metadata.tags, BTreeMap::from([("b".to_owned(), "2".to_owned())]));
        assert_eq!(metadata.description.as_deref(), Some("d"));
        assert_eq!(metadata.tier, Tier::Critical);
    }

    #[test]
    fn the_first_principal_stays_the_creator() {
        let mut metadata = MetadataPatch::new().updated_by("first").for_new_secret().unwrap();
        MetadataPatch::new().updated_by("second").apply(&mut metadata).unwrap();
        MetadataPatch::new().tier(Tier::Critical).apply(&mut metadata).unwrap();
        assert_eq!(metadata.created_by.as_deref(), Some("first"));
        assert_eq!(metadata.updated_by.as_deref(), Some("second"));
        assert_eq!(MetadataPatch::new().for_new_secret().unwrap(), Metadata::default());
        let named = MetadataPatch::new().updated_by("first");
        assert!(named.only_names_principal() && MetadataPatch::new().only_names_principal());
        assert!(!named.clone().tag("a", "").only_names_principal());
        assert!(named.without_principal().is_empty());
    }

    #[test]
    fn a_patch_over_a_limit_is_refused_and_changes_nothing() {
        let mut full = Metadata::default();
        for i in 0..32 {
            MetadataPatch::new().tag(i.to_string(), "").apply(&mut full).unwrap();
        }
        let mut over_limit = full.clone();
        over_limit.tags.insert("set-by-another-tool".into(), String::new());
        assert!(MetadataPatch::new().tag("0", "changed").apply(&mut over_limit).is_ok());
        assert!(MetadataPatch::new().tag("one-more", "").apply(&mut over_limit).is_err());
        let before = full.clone();
        assert!(MetadataPatch::new().tag("one-more", "").apply(&mut full).is_err());
        assert!(MetadataPatch::new().tag("one-more", "").remove_tag("0").apply(&mut full).is_ok());
        assert_eq!(before.tags.len(), full.tags.len());

        for patch in [
            MetadataPatch::new().updated_by(""),
            MetadataPatch::new().updated_by("a\nb"),
            MetadataPatch::new().updated_by("x".repeat(257)),
            MetadataPatch::new().tag("", "x"),
            MetadataPatch::new().tag("a b", "x"),
            MetadataPatch::new().tag("x".repeat(101), "x"),
            MetadataPatch::new().tag("aws:x", "x"),
            MetadataPatch::new().tag("strongroom.kind", "x"),
            MetadataPatch::new().tag("a", "x".repeat(257)),
            MetadataPatch::new().tag("a", "line\nbreak"),
            MetadataPatch::new().description("x".repeat(513)),
            MetadataPatch::new().expires_at(UNIX_EPOCH - Duration::from_secs(1)),
            MetadataPatch::new().expires_at(UNIX_EPOCH + Duration::from_secs(300_000_000_000)),
            MetadataPatch::new().rotation_interval(Duration::from_millis(999)),
        ] {
            assert_eq!(apply(&patch).unwrap_err().kind(), ErrorKind::InvalidInput, "{patch:?}");
        }
    }

    #[test]
    fn times_are_kept_to_the_millisecond() {
        let time = UNIX_EPOCH + Duration::from_nanos(1_234_567_891);
        let metadata = apply(&MetadataPatch::new().expires_at(time)).unwrap();
        assert_eq!(metadata.expires_at, Some(UNIX_EPOCH + Duration::from_millis(1234)));
    }
}
