//! The format of a value in a KV secret, which is a JSON object.
//!
//! | value | KV data |
//! |---|---|
//! | text | `{"value": "…"}` |
//! | fields | the fields themselves |
//! | binary | `{"value": "<base64>", "strongroom_format": "base64"}` |
//! | fields that a server would change or refuse | `{"value": "<JSON>", "strongroom_format": "json"}` |
//!
//! Values of other tools are read by the same table: an object with the single member `value`, a
//! string, is text, and any other object is fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use strongroom_core::{Error, ErrorKind, Result, SecretValue, ValueFormat};
use zeroize::{Zeroize, Zeroizing};

const BASE64: &str = "base64";
const JSON: &str = "json";

/// OpenBao counts the strings in a request, names included, and refuses about 1,000
/// (`max_request_json_strings`).
const MAX_STRINGS: usize = 800;
/// Both servers limit the nesting of a request, from 300 levels on.
const MAX_DEPTH: usize = 100;
/// The largest whole number that a double holds exactly: servers read numbers as doubles.
const MAX_EXACT_INTEGER: u64 = 1 << 53;

/// The data of a KV secret in a request.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum KvValue<'a> {
    /// Stored data as it is, or fields that need no encoding.
    Raw(&'a RawValue),
    /// Text, or fields as JSON in a text.
    Text {
        value: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        strongroom_format: Option<&'static str>,
    },
    /// Bytes in base64.
    Binary {
        #[serde(serialize_with = "serialize_text")]
        value: Zeroizing<String>,
        strongroom_format: &'static str,
    },
}

fn serialize_text<S: Serializer>(
    text: &Zeroizing<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// Encodes a value as data.
pub(crate) fn to_kv(value: &SecretValue) -> Result<KvValue<'_>> {
    if value.format() == ValueFormat::Binary {
        let encoded = Zeroizing::new(STANDARD.encode(value.expose_bytes()));
        return Ok(KvValue::Binary { value: encoded, strongroom_format: BASE64 });
    }
    let text = value.expose_text()?;
    if value.format() != ValueFormat::Fields {
        return Ok(KvValue::Text { value: text, strongroom_format: None });
    }
    match serde_json::from_str(text) {
        Ok(object) if round_trips(text) && !looks_wrapped(text) && !has_duplicate_name(value)? => {
            Ok(KvValue::Raw(object))
        }
        _ => Ok(KvValue::Text { value: text, strongroom_format: Some(JSON) }),
    }
}

/// Data with a single value: text, or another format in a text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapper<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow, default)]
    strongroom_format: Option<&'a RawValue>,
}

fn parse_wrapper(data: &str) -> Option<Wrapper<'_>> {
    let wrapper: Wrapper<'_> = serde_json::from_str(data).ok()?;
    wrapper.value.get().starts_with('"').then_some(wrapper)
}

/// Whether a read would take fields for a single value.
fn looks_wrapped(data: &str) -> bool {
    parse_wrapper(data).is_some()
}

/// Whether two members have the same name: servers keep the last one, which may have another type.
fn has_duplicate_name(value: &SecretValue) -> Result<bool> {
    let mut names = value.field_names()?;
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    Ok(names.len() < count)
}

/// Decodes data.
pub(crate) fn from_kv(data: &RawValue) -> Result<SecretValue> {
    let data = data.get();
    let whole = SecretValue::from_stored(ValueFormat::Fields, Vec::from(data))?;
    let Some(wrapper) = parse_wrapper(data) else { return Ok(whole) };
    let format = wrapper.strongroom_format.map(|format| format.get().trim_matches('"'));
    if format.is_some_and(|format| format != BASE64 && format != JSON) {
        return Ok(whole);
    }
    let text = whole.field("value").map_err(|_| corrupt("a text is not valid Unicode"))?;
    match format {
        None => Ok(text),
        Some(BASE64) => decode_base64(&text),
        Some(_) => {
            // Reject all but a JSON object, which is what this backend writes.
            text.field_names()
                .map_err(|_| corrupt("a value marked as JSON is not a JSON object"))?;
            SecretValue::from_stored(ValueFormat::Fields, Vec::from(text.expose_bytes()))
        }
    }
}

/// The bytes in a text of base64, wiped like it.
pub(crate) fn decode_base64(text: &SecretValue) -> Result<SecretValue> {
    let encoded = text.expose_bytes();
    let mut bytes = vec![0; base64::decoded_len_estimate(encoded.len())];
    let Ok(length) = STANDARD.decode_slice(encoded, &mut bytes) else {
        bytes.zeroize();
        return Err(corrupt("a value marked as base64 is not base64"));
    };
    bytes.truncate(length);
    Ok(SecretValue::binary(bytes))
}

fn corrupt(cause: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "write the secret again").because(cause)
}

/// Whether servers return JSON as it was sent, except for order and white space: they turn numbers
/// into doubles, replace halves of surrogate pairs, and limit sizes.
fn round_trips(json: &str) -> bool {
    let (mut strings, mut depth) = (0, 0_usize);
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        match first {
            '"' => {
                let Some(length) = string_length(rest) else { return false };
                let (string, after) = rest.split_at(length);
                // Escapes of code points from U+D000 on: all surrogates, and a few others.
                if string.contains("\\ud") || string.contains("\\uD") {
                    return false;
                }
                strings += 1;
                rest = after;
                continue;
            }
            '-' | '0'..='9' => {
                let end = rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                if !is_exact(number) {
                    return false;
                }
                rest = after;
                continue;
            }
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if strings > MAX_STRINGS || depth > MAX_DEPTH {
            return false;
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    strings <= MAX_STRINGS
}

/// The length of the string token that `json` begins with, quotes included.
fn string_length(json: &str) -> Option<usize> {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some(end + 2)
}

fn is_exact(number: &str) -> bool {
    let digits = number.strip_prefix('-').filter(|digits| *digits != "0").unwrap_or(number);
    digits.parse::<u64>().is_ok_and(|value| value <= MAX_EXACT_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(value: &SecretValue) -> String {
        serde_json::to_string(&to_kv(value).unwrap()).unwrap()
    }

    fn decode(data: &str) -> SecretValue {
        from_kv(serde_json::from_str(data).unwrap()).unwrap()
    }

    fn assert_round_trip(value: &SecretValue) {
        let back = decode(&encode(value));
        assert_eq!(back.format(), value.format(), "{}", encode(value));
        assert!(back.constant_time_eq(value), "{}", encode(value));
    }

    fn fields(json: &str) -> SecretValue {
        SecretValue::from_stored(ValueFormat::Fields, json.into()).unwrap()
    }

    #[test]
    fn every_format_round_trips() {
        for text in ["", "hunter2", "{\"a\":1}", "line\nbreak \"quoted\" ž 鍵 \u{0}"] {
            assert_round_trip(&text.into());
        }
        for bytes in [vec![], vec![0, 255, 10], vec![7; 1_000]] {
            assert_round_trip(&SecretValue::binary(bytes));
        }
        for json in [
            "{}",
            r#"{"user":"app","password":"p"}"#,
            r#"{"value":"p"}"#,
            r#"{"value":"p","strongroom_format":"base64"}"#,
            r#"{"value":"p","strongroom_format":"another"}"#,
            r#"{"value":5}"#,
            r#"{"value":"p","more":"q"}"#,
            r#"{"big":12345678901234567890,"f":1.50,"n":null}"#,
        ] {
            assert_round_trip(&fields(json));
        }
    }

    #[test]
    fn stores_fields_as_members_where_the_server_keeps_them() {
        let plain =
            r#"{"user":"app","port":5432,"deep":{"a":[1,-2,true,null]},"esc":"\\ \" \u00e9"}"#;
        assert_eq!(encode(&fields(plain)), plain);
        for wrapped in [
            r#"{"a":9007199254740993}"#,
            r#"{"a":-9007199254740993}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":-0}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\\\uDC00"}"#,
            r#"{"value":1,"value":"x"}"#,
            r#"{"value":"aGk=","strongroom_format":"x","strongroom_format":"base64"}"#,
            &format!("{{\"a\":{}{}}}", "[".repeat(120), "]".repeat(120)),
            &format!(
                "{{{}}}",
                (0..600).map(|i| format!("\"{i}\":\"\"")).collect::<Vec<_>>().join(",")
            ),
        ] {
            let value = fields(wrapped);
            assert!(encode(&value).contains(r#""strongroom_format":"json""#), "{wrapped}");
            assert_round_trip(&value);
        }
    }

    #[test]
    fn reads_values_of_other_tools() {
        assert_eq!(decode(r#" { "value" : "p\u003cq" } "#).expose_text().unwrap(), "p<q");
        let value = decode(r#"{"user": "app", "id": 12345678901234567890}"#);
        assert_eq!(value.field("id").unwrap().expose_text().unwrap(), "12345678901234567890");
        assert_eq!(decode("{}").format(), ValueFormat::Fields);
    }

    #[test]
    fn a_damaged_marked_value_is_corrupt() {
        for data in [
            r#"{"value":"!","strongroom_format":"base64"}"#,
            r#"{"value":"[1]","strongroom_format":"json"}"#,
            r#"{"value":"\ud800"}"#,
        ] {
            let error = from_kv(serde_json::from_str(data).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{data}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_and_bytes_round_trip(text: String, bytes: Vec<u8>) {
            assert_round_trip(&SecretValue::from(text));
            assert_round_trip(&SecretValue::binary(bytes));
        }

        #[test]
        fn any_fields_round_trip(fields: std::collections::BTreeMap<String, String>) {
            let pairs = fields.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            assert_round_trip(&SecretValue::fields(pairs));
        }
    }
}
