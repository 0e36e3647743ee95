//! Stores metadata in the tags of a secret. The service allows 50 tags, with names of 1 to 128 and
//! values of 0 to 256 characters: letters, digits, white space and `_ . : / = + - @`; see
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Tag.html>. The description is
//! not a tag but an attribute of the secret.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_secretsmanager::primitives::DateTime;
use aws_sdk_secretsmanager::types::Tag;
use strongroom_core::{Error, ErrorKind, Metadata, Result, Rfc3339};

const KIND: &str = "strongroom.kind";
const TIER: &str = "strongroom.tier";
const EXPIRES_AT: &str = "strongroom.expires_at";
const ROTATION_INTERVAL: &str = "strongroom.rotation_interval";
const CREATED_BY: &str = "strongroom.created_by";
const UPDATED_BY: &str = "strongroom.updated_by";
/// The beginning of the names of our own tags, which no other tag may have.
const RESERVED: &str = "strongroom";
/// The beginning of the names of tags that AWS itself manages.
const STORE_MANAGED: &str = "aws:";
/// The beginning of a value in which bytes are escaped as `=XX`.
const ESCAPED: &str = "strongroom:";
/// The longest value of a tag, in characters.
const MAX_VALUE_LENGTH: usize = 256;
/// The most tags of a secret.
const MAX_TAGS: usize = 50;

/// Tags by name.
pub(crate) type Tags = BTreeMap<String, String>;

/// The changes from one set of metadata to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MetadataChanges {
    pub(crate) removed: Vec<String>,
    pub(crate) set: Tags,
    /// The new description, if it changes; empty to remove it.
    pub(crate) description: Option<String>,
    /// Whether the limit of tags requires that old ones are removed before new ones are set.
    pub(crate) removes_first: bool,
}

/// The metadata in tags, those of other tools included.
pub(crate) fn from_tags(tags: &[Tag]) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for (name, text) in pairs(tags) {
        match name {
            KIND => metadata.kind = text.parse().map_err(|_| corrupt(KIND))?,
            TIER => metadata.tier = text.parse().map_err(|_| corrupt(TIER))?,
            EXPIRES_AT => {
                let time = humantime::parse_rfc3339(text).map_err(|_| corrupt(EXPIRES_AT))?;
                metadata.expires_at = Some(time);
            }
            ROTATION_INTERVAL => {
                let interval = humantime::parse_duration(text);
                metadata.rotation_interval =
                    Some(interval.map_err(|_| corrupt(ROTATION_INTERVAL))?);
            }
            CREATED_BY => metadata.created_by = Some(unescape(text)),
            UPDATED_BY => metadata.updated_by = Some(unescape(text)),
            name if name.starts_with(RESERVED) || name.starts_with(STORE_MANAGED) => {}
            name => {
                metadata.tags.insert(name.to_owned(), unescape(text));
            }
        }
    }
    Ok(metadata)
}

/// The tags that store metadata.
pub(crate) fn to_tags(metadata: &Metadata) -> Result<Tags> {
    let mut tags = Tags::new();
    let mut set = |name: &str, text: String| tags.insert(name.to_owned(), text);
    let default = Metadata::default();
    if metadata.kind != default.kind {
        set(KIND, metadata.kind.to_string());
    }
    if metadata.tier != default.tier {
        set(TIER, metadata.tier.to_string());
    }
    if let Some(time) = metadata.expires_at {
        set(EXPIRES_AT, Rfc3339::millis(time).to_string());
    }
    if let Some(interval) = metadata.rotation_interval {
        set(ROTATION_INTERVAL, humantime::format_duration(interval).to_string());
    }
    let principals = [(CREATED_BY, &metadata.created_by), (UPDATED_BY, &metadata.updated_by)];
    let principals = principals.into_iter().filter_map(|(name, by)| Some((name, by.as_ref()?)));
    let texts = metadata.tags.iter().map(|(name, text)| (name.as_str(), text));
    for (name, text) in texts.chain(principals) {
        let text = escape(text);
        if text.chars().count() > MAX_VALUE_LENGTH {
            return Err(invalid_tags(
                "a tag's value has more than 256 characters after escaping those that AWS does not accept",
            ));
        }
        set(name, text);
    }
    Ok(tags)
}

/// The changes from `old` to `new`, given all `stored` tags. Unchanged tags are not validated: other
/// tools may have stored values that this backend would not.
pub(crate) fn diff(stored: &[Tag], old: &Metadata, new: &Metadata) -> Result<MetadataChanges> {
    let (mut before, mut after) = (old.clone(), new.clone());
    before.tags.retain(|name, text| new.tags.get(name) != Some(text));
    after.tags.retain(|name, text| old.tags.get(name) != Some(text));
    let gone = std::mem::take(&mut before.tags);
    let (own, set) = (to_tags(&before)?, to_tags(&after)?);
    let mut names: Vec<_> = own.into_keys().chain(gone.into_keys()).collect();
    names.sort_unstable();
    let removed: Vec<_> = names.into_iter().filter(|name| !set.contains_key(name)).collect();
    let is_stored = |name: &str, text: &str| pairs(stored).any(|tag| tag == (name, text));
    let set: Tags = set.into_iter().filter(|(name, text)| !is_stored(name, text)).collect();
    let added = set.keys().filter(|name| pairs(stored).all(|(stored, _)| stored != name.as_str()));
    let peak = stored.len() + added.count();
    let count = peak.saturating_sub(removed.len());
    if count > MAX_TAGS && count > stored.len() {
        return Err(invalid_tags("the secret would have more than the 50 tags that AWS allows"));
    }
    let description =
        (old.description != new.description).then(|| new.description.clone().unwrap_or_default());
    Ok(MetadataChanges { removed, set, description, removes_first: peak > MAX_TAGS })
}

pub(crate) fn pairs(tags: &[Tag]) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().filter_map(|tag| Some((tag.key()?, tag.value().unwrap_or_default())))
}

/// Whether AWS accepts all characters of a text in a tag.
pub(crate) fn is_storable(text: &str) -> bool {
    let allowed = |character: char| match character {
        ' ' | '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@' => true,
        // AWS decides by Unicode's general categories, which the standard library does not expose.
        // In the blocks of Latin, Greek, Cyrillic, Kana, Han and Hangul, both agree on letters.
        '\u{c0}'..='\u{24f}'
        | '\u{370}'..='\u{481}'
        | '\u{48a}'..='\u{52f}'
        | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fa}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}' => character.is_alphanumeric(),
        character => character.is_ascii_alphanumeric(),
    };
    text.chars().all(allowed)
}

fn escape(text: &str) -> String {
    if is_storable(text) && !text.starts_with(ESCAPED) {
        return text.to_owned();
    }
    let mut escaped = ESCAPED.to_owned();
    for character in text.chars() {
        let mut buffer = [0; 4];
        let encoded = character.encode_utf8(&mut buffer);
        if character != '=' && is_storable(encoded) {
            escaped.push(character);
        } else {
            escaped.extend(encoded.bytes().map(|byte| format!("={byte:02X}")));
        }
    }
    escaped
}

/// Reverses [`escape`]. Text of another tool with the same beginning stays as it is.
fn unescape(text: &str) -> String {
    let decoded = text.strip_prefix(ESCAPED).and_then(|escaped| {
        let mut parts = escaped.split('=');
        let mut bytes = parts.next()?.as_bytes().to_vec();
        for part in parts {
            let (code, rest) = part.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(code, 16).ok()?);
            bytes.extend_from_slice(rest.as_bytes());
        }
        String::from_utf8(bytes).ok()
    });
    decoded.unwrap_or_else(|| text.to_owned())
}

/// A time in an answer, truncated to the millisecond.
pub(crate) fn time(time: Option<&DateTime>) -> Option<SystemTime> {
    let milliseconds = u64::try_from(time?.to_millis().ok()?).ok()?;
    Some(UNIX_EPOCH + Duration::from_millis(milliseconds))
}

fn corrupt(tag: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "correct or remove the tag in AWS")
        .because(format!("the secret's tag `{tag}` has no valid value"))
}

fn invalid_tags(cause: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, "use other tags").because(cause)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_core::{MetadataPatch, SecretKind, Tier};

    use super::*;

    fn metadata_of(patch: &MetadataPatch) -> Metadata {
        patch.for_new_secret().unwrap()
    }

    fn stored(tags: &[(&str, &str)]) -> Vec<Tag> {
        tags.iter().map(|(name, text)| Tag::builder().key(*name).value(*text).build()).collect()
    }

    fn as_stored(metadata: &Metadata) -> Vec<Tag> {
        let tags = to_tags(metadata).unwrap();
        stored(&tags.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>())
    }

    #[test]
    fn metadata_survives_the_round_trip() {
        let metadata = metadata_of(
            &MetadataPatch::new()
                .kind(SecretKind::DbCredential)
                .tier(Tier::Critical)
                .expires_at(UNIX_EPOCH + Duration::from_millis(1_900_000_000_123))
                .rotation_interval(Duration::from_millis(90 * 86_400_000 + 1))
                .updated_by("spiffe://hexr.cloud/agent/acme/my-agent/researcher")
                .tag("empty", "")
                .tag("odd", "\"quoted\" 50% = a, 鍵 – 😀")
                .tag("marks", "e\u{301} \u{24d0} हि")
                .tag("escaped", "strongroom:=41"),
        );
        let tags = as_stored(&metadata);
        assert!(
            pairs(&tags).all(|(name, text)| is_storable(name) && is_storable(text)),
            "{tags:?}"
        );
        assert_eq!(from_tags(&tags).unwrap(), metadata);
    }

    #[test]
    fn reads_tags_of_other_tools_unchanged() {
        let tags = stored(&[
            ("aws:cloudformation:stack-name", "x"),
            ("strongroom.future", "x"),
            ("Name with space", "strongroom:=4"),
            ("other", "strongroom:=FF"),
        ]);
        let metadata = from_tags(&tags).unwrap();
        let read: Vec<_> = metadata.tags.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert_eq!(read, [("Name with space", "strongroom:=4"), ("other", "strongroom:=FF")]);
    }

    #[test]
    fn a_malformed_tag_of_ours_is_corrupt() {
        for name in [KIND, TIER, EXPIRES_AT, ROTATION_INTERVAL] {
            let error = from_tags(&stored(&[(name, "?")])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn changes_only_what_differs() {
        let old = metadata_of(
            &MetadataPatch::new().tag("a", "1").tag("b", "2").tier(Tier::Critical).description("d"),
        );
        let mut new = old.clone();
        let patch = MetadataPatch::new().remove_tag("a").tag("c", "3").tier(Tier::Sensitive);
        patch.clear_description().apply(&mut new).unwrap();
        let changes = diff(&as_stored(&old), &old, &new).unwrap();
        assert_eq!(changes.removed, ["a", TIER]);
        assert_eq!(changes.set, Tags::from([("c".into(), "3".into())]));
        assert_eq!(changes.description.as_deref(), Some(""));
        assert_eq!(diff(&as_stored(&old), &old, &old).unwrap(), MetadataChanges::default());
    }

    #[test]
    fn checks_the_limits_of_the_service_before_a_request() {
        let long = metadata_of(&MetadataPatch::new().tag("a", "\"".repeat(100)));
        assert_eq!(to_tags(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
        let names: Vec<_> = (0..49).map(|i| format!("aws:{i}")).collect();
        let full = stored(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
        let none = Metadata::default();
        let one = metadata_of(&MetadataPatch::new().tag("a", ""));
        let two = metadata_of(&MetadataPatch::new().tag("a", "").tag("b", ""));
        assert!(diff(&full, &none, &one).is_ok());
        assert_eq!(diff(&full, &none, &two).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn truncates_times_to_the_millisecond() {
        let time_in_answer = DateTime::from_secs_and_nanos(1_700_000_000, 123_999_999);
        let expected = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(time(Some(&time_in_answer)), Some(expected));
        assert_eq!(time(Some(&DateTime::from_secs(-1))), None);
    }

    proptest! {
        #[test]
        fn escapes_any_text_to_characters_that_aws_accepts(text in "\\PC*") {
            let escaped = escape(&text);
            prop_assert!(is_storable(&escaped));
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
