//! The metadata of a secret.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_core::{Error, ErrorKind, Metadata, Result, Rfc3339, SecretKind, Tier};

/// The metadata of a secret in JSON; members that are not set are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetadataBody {
    /// The kind of credential.
    #[cfg_attr(feature = "openapi", schema(schema_with = crate::openapi::kind))]
    pub kind: SecretKind,
    /// How sensitive it is.
    #[cfg_attr(feature = "openapi", schema(schema_with = crate::openapi::tier))]
    pub tier: Tier,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// A description for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was first written, if the store knows.
    #[serde(skip_serializing_if = "Option::is_none", with = "time")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub created_at: Option<SystemTime>,
    /// When it was last changed, if the store knows.
    #[serde(skip_serializing_if = "Option::is_none", with = "time")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub updated_at: Option<SystemTime>,
    /// Who first wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who last changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
    /// From when on reads fail.
    #[serde(skip_serializing_if = "Option::is_none", with = "time")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<SystemTime>,
    /// How often it should be replaced.
    #[serde(
        rename = "rotation_interval_seconds",
        skip_serializing_if = "Option::is_none",
        with = "seconds"
    )]
    #[cfg_attr(feature = "openapi", schema(schema_with = crate::openapi::seconds))]
    pub rotation_interval: Option<Duration>,
}

impl From<&Metadata> for MetadataBody {
    fn from(metadata: &Metadata) -> Self {
        Self {
            kind: metadata.kind,
            tier: metadata.tier,
            tags: metadata.tags.clone(),
            description: metadata.description.clone(),
            created_at: metadata.created_at,
            updated_at: metadata.updated_at,
            created_by: metadata.created_by.clone(),
            updated_by: metadata.updated_by.clone(),
            expires_at: metadata.expires_at,
            rotation_interval: metadata.rotation_interval,
        }
    }
}

impl From<MetadataBody> for Metadata {
    fn from(body: MetadataBody) -> Self {
        let mut metadata = Self::default();
        metadata.kind = body.kind;
        metadata.tier = body.tier;
        metadata.tags = body.tags;
        metadata.description = body.description;
        metadata.created_at = body.created_at;
        metadata.updated_at = body.updated_at;
        metadata.created_by = body.created_by;
        metadata.updated_by = body.updated_by;
        metadata.expires_at = body.expires_at;
        metadata.rotation_interval = body.rotation_interval;
        metadata
    }
}

/// A time in RFC 3339 and UTC.
///
/// # Errors
/// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput).
pub fn parse_time(text: &str) -> Result<SystemTime> {
    humantime::parse_rfc3339(text).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, "use one such as `2030-12-31T23:59:59Z`")
            .because("a time is not one in RFC 3339 and UTC")
    })
}

/// Times in RFC 3339, to the millisecond.
pub(crate) mod time {
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, Rfc3339, Serializer, SystemTime, parse_time};

    #[expect(clippy::ref_option, reason = "serde passes the member as it is")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(&Rfc3339::millis(*time)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse = |text: String| parse_time(&text);
        text.map(parse).transpose().map_err(|_| D::Error::custom("not a time in RFC 3339"))
    }
}

/// Seconds, exact to the millisecond.
mod seconds {
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, Duration, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes the member as it is")]
    pub(super) fn serialize<S: Serializer>(
        interval: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match interval {
            Some(whole) if whole.subsec_nanos() == 0 => serializer.serialize_u64(whole.as_secs()),
            Some(interval) => serializer.serialize_f64(interval.as_secs_f64()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let Some(seconds) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
        let interval = Duration::try_from_secs_f64(seconds)
            .map_err(|_| D::Error::custom("not a number of seconds"))?;
        // The nearest millisecond: a fraction of a second is not exact in binary.
        let nearest = interval.saturating_add(Duration::from_micros(500));
        Ok(Some(Duration::new(nearest.as_secs(), nearest.subsec_millis() * 1_000_000)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn metadata_survives_json() {
        let time = Some(UNIX_EPOCH + Duration::from_millis(1_900_000_000_123));
        let mut metadata = Metadata::default();
        let empty = serde_json::to_string(&MetadataBody::from(&metadata)).unwrap();
        assert_eq!(empty, r#"{"kind":"custom","tier":"sensitive"}"#);
        metadata.kind = SecretKind::SshKey;
        metadata.tier = Tier::Critical;
        metadata.tags.insert("team".into(), "zahlungen \u{1f512}".into());
        metadata.description = Some("\"quoted\"".into());
        metadata.created_at = time;
        metadata.updated_at = time;
        metadata.created_by = Some("person:a".into());
        metadata.updated_by = Some("spiffe://a/b".into());
        metadata.expires_at = time;
        for millis in [1, 999, 1_000, 86_400_001, 253_402_300_799_999] {
            metadata.rotation_interval = Some(Duration::from_millis(millis));
            let text = serde_json::to_string(&MetadataBody::from(&metadata)).unwrap();
            let read: MetadataBody = serde_json::from_str(&text).unwrap();
            assert_eq!(Metadata::from(read), metadata, "{text}");
        }
    }
}
