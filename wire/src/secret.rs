//! Secrets with their values.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strongroom_core::{Result, Secret, SecretPath, SecretValue, ValueFormat, Version};
use zeroize::Zeroizing;

use crate::metadata::MetadataBody;
use crate::problem::Problem;
use crate::value::{ROOM, ValueMembers, body_of, decode_value, malformed, to_wiped};

#[derive(Serialize)]
struct Body<'a> {
    path: &'a str,
    version: Cow<'a, str>,
    #[serde(flatten)]
    value: ValueMembers<'a>,
    metadata: MetadataBody,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ms: Option<u64>,
}

impl<'a> Body<'a> {
    fn new(path: &'a SecretPath, secret: &'a Secret) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            path: path.as_str(),
            version: secret.version().text(),
            value: ValueMembers::new(secret.value()),
            metadata: MetadataBody::from(secret.metadata()),
            stale: secret.is_stale(),
            lease_ms: secret.lease().map(millis),
        }
    }
}

/// A secret with its value, in `value` or in `value_base64`.
#[cfg(feature = "openapi")]
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = Secret)]
pub struct SecretSchema {
    /// The path.
    pub path: String,
    /// The version.
    pub version: String,
    /// A text or an object of fields.
    #[schema(schema_with = crate::openapi::shown_value)]
    pub value: Option<String>,
    /// Bytes that are not text.
    #[schema(schema_with = crate::openapi::shown_base64)]
    pub value_base64: Option<String>,
    /// The metadata.
    pub metadata: MetadataBody,
    /// Whether the store could not be asked, and the secret comes from the cache; left out otherwise.
    pub stale: Option<bool>,
    /// For how many milliseconds the store lends the secret, if it does.
    pub lease_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Received<'a> {
    path: SecretPath,
    version: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    value_base64: Option<&'a RawValue>,
    #[serde(default)]
    metadata: MetadataBody,
    #[serde(default)]
    stale: bool,
    lease_ms: Option<u64>,
}

/// The body of a secret, with the path by which the caller knows it.
///
/// # Errors
/// [`Internal`](strongroom_core::ErrorKind::Internal).
pub fn encode_secret(path: &SecretPath, secret: &Secret) -> Result<Zeroizing<Vec<u8>>> {
    to_wiped(&Body::new(path, secret), secret.value().len() + ROOM)
}

/// The secret of a body. It is as old as the answer.
///
/// # Errors
/// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput).
pub fn decode_secret(body: Zeroizing<Vec<u8>>) -> Result<Secret> {
    decode(&body_of(body)?)
}

fn decode(whole: &SecretValue) -> Result<Secret> {
    let body: Received<'_> =
        serde_json::from_str(whole.expose_text()?).map_err(|error| malformed(&error))?;
    let value = decode_value(whole, body.value, body.value_base64)?;
    let secret = Secret::new(body.path, Version::new(&body.version), body.metadata.into(), value);
    let secret = match body.lease_ms {
        Some(lease) => secret.with_lease(Duration::from_millis(lease)),
        None => secret,
    };
    Ok(if body.stale { secret.reissue(secret.read_at(), true) } else { secret })
}

/// What a batch is to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchRequest {
    /// The paths, at most [`MAX_BATCH`](crate::MAX_BATCH).
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, max_items = 1000))]
    pub paths: Vec<SecretPath>,
}

/// One answer of a batch.
pub type BatchEntry = Result<Secret>;

#[derive(Serialize)]
#[serde(untagged)]
enum EntryBody<'a> {
    Secret(Body<'a>),
    Problem { path: &'a str, problem: Problem },
}

/// The body of a batch: an answer for each of the first paths, in their order.
///
/// # Errors
/// [`Internal`](strongroom_core::ErrorKind::Internal).
pub fn encode_batch(paths: &[SecretPath], results: &[BatchEntry]) -> Result<Zeroizing<Vec<u8>>> {
    #[derive(Serialize)]
    struct Batch<'a> {
        secrets: Vec<EntryBody<'a>>,
    }
    fn entry<'a>((path, result): (&'a SecretPath, &'a BatchEntry)) -> EntryBody<'a> {
        match result {
            Ok(secret) => EntryBody::Secret(Body::new(path, secret)),
            Err(error) => EntryBody::Problem { path: path.as_str(), problem: Problem::new(error) },
        }
    }
    let length = |result: &BatchEntry| result.as_ref().map_or(0, |secret| secret.value().len());
    let capacity = results.iter().map(|result| length(result) + ROOM).sum();
    to_wiped(&Batch { secrets: paths.iter().zip(results).map(entry).collect() }, capacity)
}

/// The answers of a batch. After 4 MiB of values it ends, and the rest is to be asked for again.
#[cfg(feature = "openapi")]
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = Batch)]
pub struct BatchSchema {
    /// A secret or a problem for each of the first paths, in their order.
    #[schema(schema_with = crate::openapi::batch_entries)]
    pub secrets: Vec<SecretSchema>,
}

/// The answers of a batch.
///
/// # Errors
/// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput).
pub fn decode_batch(body: Zeroizing<Vec<u8>>) -> Result<Vec<BatchEntry>> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        secrets: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Failed {
        problem: Problem,
    }
    let whole = body_of(body)?;
    let batch: Batch<'_> =
        serde_json::from_str(whole.expose_text()?).map_err(|error| malformed(&error))?;
    let entry = |raw: &&RawValue| {
        if let Ok(Failed { problem }) = serde_json::from_str(raw.get()) {
            return Ok(Err(problem.into_error()));
        }
        let one = SecretValue::from_stored(ValueFormat::Text, Vec::from(raw.get()))?;
        decode(&one).map(Ok)
    };
    batch.secrets.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_core::{Error, ErrorKind, Metadata, MetadataPatch, SecretKind};

    use super::*;
    use crate::value::{NewVersion, decode_put, encode_put};

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    fn secret(value: SecretValue) -> Secret {
        let mut metadata = Metadata::default();
        metadata.kind = SecretKind::ApiKey;
        Secret::new(path("acme/a"), Version::from(7), metadata, value)
    }

    fn check(value: &SecretValue) {
        let body = encode_secret(&path("a"), &secret(value.clone())).unwrap();
        let read = decode_secret(body).unwrap();
        assert_eq!(read.path(), &path("a"));
        assert_eq!(read.version(), &Version::from(7));
        assert_eq!(read.metadata().kind, SecretKind::ApiKey);
        assert_eq!(read.value().format(), value.format());
        assert!(read.value().constant_time_eq(value));
        let new = NewVersion {
            value: value.clone(),
            metadata: MetadataPatch::new().tag("a", "b"),
            scope: Some("writer".into()),
        };
        let read = decode_put(encode_put(&new).unwrap()).unwrap();
        assert!(read.value.constant_time_eq(value));
        assert_eq!(read.value.format(), value.format());
        assert_eq!((&read.metadata, &read.scope), (&new.metadata, &new.scope));
    }

    #[test]
    fn each_form_of_a_value_survives() {
        check(&SecretValue::from(""));
        check(&SecretValue::from("{\"looks\":\"like fields\"}"));
        check(&SecretValue::from("\u{0} \u{1f512} \" \\ \u{7f}\r\n"));
        check(&SecretValue::binary(vec![0, 159, 146, 150]));
        check(&SecretValue::binary(b"text in binary".to_vec()));
        check(&SecretValue::binary(Vec::new()));
        check(&SecretValue::fields([("user", "app"), ("password", "\u{e4}\"")]));
        check(&SecretValue::fields([]));
        let numbers = b"{\"n\":12345678901234567890, \"d\": 1.50}".to_vec();
        check(&SecretValue::from_stored(ValueFormat::Fields, numbers).unwrap());
    }

    #[test]
    fn staleness_and_a_lease_survive() {
        let read = secret("a".into()).with_lease(Duration::from_secs(90));
        let stale = read.reissue(read.read_at(), true);
        let decoded = decode_secret(encode_secret(&path("a"), &stale).unwrap()).unwrap();
        assert!(decoded.is_stale());
        assert_eq!(decoded.lease(), Some(Duration::from_secs(90)));
        assert!(!decode_secret(encode_secret(&path("a"), &read).unwrap()).unwrap().is_stale());
    }

    #[test]
    fn a_batch_has_an_answer_for_each_path() {
        let paths = [path("a"), path("b")];
        let missing = Error::new(ErrorKind::NotFound, "write it");
        let body = encode_batch(&paths, &[Ok(secret("1".into())), Err(missing)]).unwrap();
        let read = decode_batch(body).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].as_ref().unwrap().expose_text().unwrap(), "1");
        assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_body_of_another_form_is_refused_and_not_quoted() {
        let canary = "canary-7f3a";
        for body in [
            String::new(),
            canary.to_owned(),
            format!("{{\"value\": \"{canary}"),
            format!("{{\"value\": \"{canary}\", \"value_base64\": \"YQ==\"}}"),
            format!("{{\"value\": [\"{canary}\"]}}"),
            format!("{{\"valeu\": \"{canary}\"}}"),
            format!("{{\"value\": \"{canary}\\ud800\"}}"),
            format!("{{\"value_base64\": \"{canary}\"}}"),
            format!("{{\"value\": \"a\", \"metadata\": {{\"{canary}\": 1}}}}"),
            "{\"value\": 1}".to_owned(),
            "{\"value\": null}".to_owned(),
            "{}".to_owned(),
        ] {
            let error = decode_put(Zeroizing::new(body.clone().into_bytes())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{body}");
            assert!(!format!("{error} {error:?}").contains(canary), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>()) {
            check(&SecretValue::from(text.as_str()));
        }

        #[test]
        fn any_bytes_survive(bytes in any::<Vec<u8>>()) {
            check(&SecretValue::binary(bytes));
        }
    }
}
