//! The encoding of values: text and fields are a `SecretString`, binary is a `SecretBinary`. The
//! service accepts neither empty, so an empty value is text in a wrapper; so is text that begins
//! like the wrapper.

use aws_sdk_secretsmanager::primitives::Blob;
use strongroom_core::{Error, ErrorKind, Result, SecretValue, ValueFormat};
use zeroize::Zeroizing;

/// The largest value in bytes; see
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>.
const MAX_BYTES: usize = 65_536;
/// The first bytes of a wrapper.
const WRAPPER: &str = r#"{"strongroom_format":"#;
const EMPTY_TEXT: &str = r#"{"strongroom_format":"text","value":""}"#;
const EMPTY_BINARY: &str = r#"{"strongroom_format":"binary","value":""}"#;

/// A value as the service stores it.
pub(crate) enum EncodedValue {
    Text(Zeroizing<String>),
    Binary(Zeroizing<Vec<u8>>),
}

/// Copies for the SDK, which takes owned values.
impl EncodedValue {
    pub(crate) fn text(&self) -> Option<String> {
        if let Self::Text(text) = self { Some(text.to_string()) } else { None }
    }

    pub(crate) fn binary(&self) -> Option<Blob> {
        if let Self::Binary(bytes) = self { Some(Blob::new(bytes.to_vec())) } else { None }
    }
}

pub(crate) fn encode(value: &SecretValue) -> Result<EncodedValue> {
    let encoded = match value.format() {
        ValueFormat::Binary if value.is_empty() => {
            EncodedValue::Text(EMPTY_BINARY.to_owned().into())
        }
        ValueFormat::Binary => EncodedValue::Binary(value.expose_bytes().to_vec().into()),
        _ => match value.expose_text()? {
            "" => EncodedValue::Text(EMPTY_TEXT.to_owned().into()),
            text if text.starts_with(WRAPPER) => EncodedValue::Text(wrap(text)?),
            text => EncodedValue::Text(text.to_owned().into()),
        },
    };
    let length = match &encoded {
        EncodedValue::Text(text) => text.len(),
        EncodedValue::Binary(bytes) => bytes.len(),
    };
    if length > MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidInput, "split the value or store a reference")
            .because(format!("the value has {length} bytes, more than {MAX_BYTES}")));
    }
    Ok(encoded)
}

fn wrap(text: &str) -> Result<Zeroizing<String>> {
    let quoted = SecretValue::json(text)?;
    Ok(Zeroizing::new([WRAPPER, r#""text","value":"#, quoted.expose_text()?, "}"].concat()))
}

/// The value in an answer; `None` if the answer has none.
pub(crate) fn decode(text: Option<String>, binary: Option<Blob>) -> Option<SecretValue> {
    match (text, binary) {
        (Some(text), _) if text.starts_with(WRAPPER) => {
            let text = SecretValue::from(text);
            Some(decode_wrapper(&text).unwrap_or(text))
        }
        (Some(text), _) => Some(text.into()),
        (None, Some(bytes)) => Some(SecretValue::binary(bytes.into_inner())),
        (None, None) => None,
    }
}

/// The value in a wrapper. Other JSON that begins like a wrapper was written by another tool.
fn decode_wrapper(text: &SecretValue) -> Option<SecretValue> {
    let format = text.field("strongroom_format").ok()?;
    let value = text.field("value").ok()?;
    match format.expose_text().ok()? {
        "text" => Some(value),
        "binary" if value.is_empty() => Some(SecretValue::binary(Vec::new())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &SecretValue) -> (String, SecretValue) {
        match encode(value).unwrap() {
            EncodedValue::Text(text) => {
                assert!(!text.is_empty());
                (text.to_string(), decode(Some(text.to_string()), None).unwrap())
            }
            EncodedValue::Binary(bytes) => {
                assert!(!bytes.is_empty());
                (String::new(), decode(None, Some(Blob::new(bytes.to_vec()))).unwrap())
            }
        }
    }

    #[test]
    fn every_value_survives_the_round_trip() {
        for text in [
            "",
            "a",
            " ",
            "{}",
            r#"{"a":1}"#,
            EMPTY_TEXT,
            EMPTY_BINARY,
            "{\"strongroom_format\":\"\n",
        ] {
            let (sent, back) = round_trip(&text.into());
            assert!(back.constant_time_eq(&text.into()), "{sent}");
            assert_eq!(back.format(), ValueFormat::Text);
        }
        for bytes in [vec![], vec![0], vec![255, 0, 10]] {
            let value = SecretValue::binary(bytes);
            let (sent, back) = round_trip(&value);
            assert!(back.constant_time_eq(&value), "{sent}");
        }
        let fields = SecretValue::fields([("strongroom_format", "text"), ("value", "")]);
        let (sent, back) = round_trip(&fields);
        assert!(back.expose_text().unwrap() == fields.expose_text().unwrap(), "{sent}");
    }

    #[test]
    fn reads_text_of_other_tools_unchanged() {
        for text in [
            "plain",
            r#"{"user":"app"}"#,
            r#"{"strongroom_format":"text"}"#,
            r#"{"strongroom_format":"other","value":"x"}"#,
            r#"{"strongroom_format":"binary","value":"x"}"#,
            r#"{"strongroom_format":"#,
        ] {
            let read = decode(Some(text.to_owned()), None).unwrap();
            assert!(read.expose_text().unwrap() == text, "{text}");
        }
        assert!(decode(None, None).is_none());
    }

    #[test]
    fn rejects_values_over_the_size_limit() {
        assert!(encode(&"x".repeat(MAX_BYTES).into()).is_ok());
        assert!(encode(&SecretValue::binary(vec![0; MAX_BYTES])).is_ok());
        for value in
            ["ž".repeat(MAX_BYTES / 2 + 1).into(), SecretValue::binary(vec![0; MAX_BYTES + 1])]
        {
            let error = encode(&value).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
