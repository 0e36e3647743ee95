//! Values: text and fields are a `SecretString`, binary is a `SecretBinary`. The service takes
//! neither empty, so an empty one is text in a wrapper, and so is text that looks like one.

use aws_sdk_secretsmanager::primitives::Blob;
use strongroom_core::{Error, ErrorKind, Result, SecretValue, ValueFormat};
use zeroize::Zeroizing;

/// The largest value in bytes; see
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>.
const LARGEST: usize = 65_536;
/// What a wrapper begins with, to the byte.
const WRAPPER: &str = r#"{"strongroom_format":"#;
const EMPTY_TEXT: &str = r#"{"strongroom_format":"text","value":""}"#;
const EMPTY_BINARY: &str = r#"{"strongroom_format":"binary","value":""}"#;

/// A value as the service takes it.
pub(crate) enum Sent {
    Text(Zeroizing<String>),
    Binary(Zeroizing<Vec<u8>>),
}

/// Copies for the SDK, which takes owned values.
impl Sent {
    pub(crate) fn text(&self) -> Option<String> {
        if let Self::Text(text) = self { Some(text.to_string()) } else { None }
    }

    pub(crate) fn binary(&self) -> Option<Blob> {
        if let Self::Binary(bytes) = self { Some(Blob::new(bytes.to_vec())) } else { None }
    }
}

pub(crate) fn to_aws(value: &SecretValue) -> Result<Sent> {
    let sent = match value.format() {
        ValueFormat::Binary if value.is_empty() => Sent::Text(EMPTY_BINARY.to_owned().into()),
        ValueFormat::Binary => Sent::Binary(value.expose_bytes().to_vec().into()),
        _ => match value.expose_text()? {
            "" => Sent::Text(EMPTY_TEXT.to_owned().into()),
            text if text.starts_with(WRAPPER) => Sent::Text(wrapped(text)?),
            text => Sent::Text(text.to_owned().into()),
        },
    };
    let length = match &sent {
        Sent::Text(text) => text.len(),
        Sent::Binary(bytes) => bytes.len(),
    };
    if length > LARGEST {
        return Err(Error::new(ErrorKind::InvalidInput, "split the value or store a reference")
            .because(format!("the value has {length} bytes, more than {LARGEST}")));
    }
    Ok(sent)
}

fn wrapped(text: &str) -> Result<Zeroizing<String>> {
    let quoted = SecretValue::json(text)?;
    Ok(Zeroizing::new([WRAPPER, r#""text","value":"#, quoted.expose_text()?, "}"].concat()))
}

/// The value in an answer; `None` if it has none.
pub(crate) fn from_aws(text: Option<String>, binary: Option<Blob>) -> Option<SecretValue> {
    match (text, binary) {
        (Some(text), _) if text.starts_with(WRAPPER) => {
            let text = SecretValue::from(text);
            Some(unwrapped(&text).unwrap_or(text))
        }
        (Some(text), _) => Some(text.into()),
        (None, Some(bytes)) => Some(SecretValue::binary(bytes.into_inner())),
        (None, None) => None,
    }
}

/// What is in a wrapper. Something else that begins like one was written by somebody else.
fn unwrapped(text: &SecretValue) -> Option<SecretValue> {
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
        match to_aws(value).unwrap() {
            Sent::Text(text) => {
                assert!(!text.is_empty());
                (text.to_string(), from_aws(Some(text.to_string()), None).unwrap())
            }
            Sent::Binary(bytes) => {
                assert!(!bytes.is_empty());
                (String::new(), from_aws(None, Some(Blob::new(bytes.to_vec()))).unwrap())
            }
        }
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
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
    fn what_others_wrote_is_theirs() {
        for text in [
            "plain",
            r#"{"user":"app"}"#,
            r#"{"strongroom_format":"text"}"#,
            r#"{"strongroom_format":"other","value":"x"}"#,
            r#"{"strongroom_format":"binary","value":"x"}"#,
            r#"{"strongroom_format":"#,
        ] {
            let read = from_aws(Some(text.to_owned()), None).unwrap();
            assert!(read.expose_text().unwrap() == text, "{text}");
        }
        assert!(from_aws(None, None).is_none());
    }

    #[test]
    fn a_value_has_a_limit() {
        assert!(to_aws(&"x".repeat(LARGEST).into()).is_ok());
        assert!(to_aws(&SecretValue::binary(vec![0; LARGEST])).is_ok());
        for value in ["ž".repeat(LARGEST / 2 + 1).into(), SecretValue::binary(vec![0; LARGEST + 1])]
        {
            let error = to_aws(&value).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
