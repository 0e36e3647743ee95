//! A patch in JSON: a merge patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)) of metadata.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Change, MetadataPatch, to_millisecond, whole_milliseconds};
use crate::{Rfc3339, SecretKind, Tier};

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Members {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<SecretKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    #[serde(skip_serializing_if = "Change::is_kept")]
    description: Change<String>,
    #[serde(skip_serializing_if = "Change::is_kept")]
    expires_at: Change<String>,
    #[serde(skip_serializing_if = "Change::is_kept")]
    rotation_interval_seconds: Change<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, Change<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_by: Option<String>,
}

impl<T> Change<T> {
    fn is_kept(&self) -> bool {
        matches!(self, Self::Keep)
    }

    fn try_map<M, E>(self, convert: impl FnOnce(T) -> Result<M, E>) -> Result<Change<M>, E> {
        Ok(match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(convert(value)?),
        })
    }

    fn map<M>(self, convert: impl FnOnce(T) -> M) -> Change<M> {
        match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(convert(value)),
        }
    }
}

/// A member that is there: what is kept is left out.
impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

/// As a merge patch: a member for each change, `null` for what is removed.
impl Serialize for MetadataPatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let patch = self.clone();
        let members = Members {
            kind: patch.kind,
            tier: patch.tier,
            description: patch.description,
            expires_at: patch.expires_at.map(|time| Rfc3339::millis(time).to_string()),
            rotation_interval_seconds: patch
                .rotation_interval
                .map(|interval| interval.as_secs_f64()),
            tags: patch.tags.into_iter().filter(|(_, change)| !change.is_kept()).collect(),
            updated_by: patch.updated_by,
        };
        members.serialize(serializer)
    }
}

/// From a merge patch with the members `kind`, `tier`, `description`, `expires_at` (RFC 3339), `rotation_interval_seconds`,
/// `tags` and `updated_by`; `null` removes. The limits are checked where the patch is applied.
impl<'de> Deserialize<'de> for MetadataPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;

        let members = Members::deserialize(deserializer)?;
        let expires_at = members.expires_at.try_map(|text| {
            let time = humantime::parse_rfc3339(&text);
            time.map(to_millisecond).map_err(|_| {
                D::Error::custom("`expires_at` is not a time as in `2030-12-31T23:59:59Z`")
            })
        })?;
        let rotation_interval = members.rotation_interval_seconds.try_map(|seconds| {
            let interval = Duration::try_from_secs_f64(seconds);
            interval.map(rounded).map_err(|_| {
                D::Error::custom("`rotation_interval_seconds` is not a number of seconds")
            })
        })?;
        Ok(Self {
            kind: members.kind,
            tier: members.tier,
            description: members.description,
            expires_at,
            rotation_interval,
            updated_by: members.updated_by,
            tags: members.tags,
        })
    }
}

/// To the millisecond that is nearest: a fraction of a second is not exact in binary.
fn rounded(interval: Duration) -> Duration {
    whole_milliseconds(interval.saturating_add(Duration::from_micros(500)))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn parse(text: &str) -> Result<MetadataPatch, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_patch_survives_json() {
        let time = UNIX_EPOCH + Duration::from_millis(1_900_000_000_123);
        let patches = [
            MetadataPatch::new(),
            MetadataPatch::new()
                .kind(SecretKind::ApiKey)
                .tier(Tier::Critical)
                .description("für alle")
                .expires_at(time)
                .rotation_interval(Duration::from_millis(86_400_001))
                .tag("team", "payments")
                .remove_tag("owner")
                .updated_by("person:a"),
            MetadataPatch::new().clear_description().clear_expires_at().clear_rotation_interval(),
        ];
        for patch in patches {
            let text = serde_json::to_string(&patch).unwrap();
            assert_eq!(parse(&text).unwrap(), patch, "{text}");
        }
        assert_eq!(serde_json::to_string(&MetadataPatch::new()).unwrap(), "{}");
        let removes = MetadataPatch::new().clear_expires_at().remove_tag("a");
        let text = r#"{"expires_at":null,"tags":{"a":null}}"#;
        assert_eq!(serde_json::to_string(&removes).unwrap(), text);
    }

    #[test]
    fn each_interval_of_milliseconds_is_exact() {
        for milliseconds in (0..3_000).chain([31_536_000_000, 31_536_000_001, 253_402_300_799_999])
        {
            let patch = MetadataPatch::new().rotation_interval(Duration::from_millis(milliseconds));
            let text = serde_json::to_string(&patch).unwrap();
            assert_eq!(parse(&text).unwrap(), patch, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_refused() {
        for text in [
            r#"{"tiers":"critical"}"#,
            r#"{"tier":"top"}"#,
            r#"{"expires_at":"tomorrow"}"#,
            r#"{"rotation_interval_seconds":-1}"#,
            r#"{"tags":{"a":1}}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
