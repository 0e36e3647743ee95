//! How a value lies in a KV secret, which is a JSON object.
//!
//! | value | KV data |
//! |---|---|
//! | text | `{"value": "…"}` |
//! | fields | the fields themselves |
//! | binary | `{"value": "<base64>", "strongroom_format": "base64"}` |
//! | fields that a server would change or refuse | `{"value": "<JSON>", "strongroom_format": "json"}` |
//!
//! What other tools wrote reads by the same table: an object with the one member `value`, a string,
//! is text, and any other object is fields.

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
const MOST_STRINGS: usize = 800;
/// Both servers limit how deep a request may be nested, from 300 levels on.
const DEEPEST: usize = 100;
/// The largest whole number that a double holds exactly: servers read numbers as doubles.
const LARGEST_EXACT: u64 = 1 << 53;

/// The data of a KV secret, as it is sent.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum KvValue<'a> {
    Whole(&'a RawValue),
    Wrapped {
        value: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        strongroom_format: Option<&'static str>,
    },
    Encoded {
        #[serde(serialize_with = "as_text")]
        value: Zeroizing<String>,
        strongroom_format: &'static str,
    },
}

fn as_text<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// The data that stands for a value.
pub(crate) fn to_kv(value: &SecretValue) -> Result<KvValue<'_>> {
    if value.format() == ValueFormat::Binary {
        let encoded = Zeroizing::new(STANDARD.encode(value.expose_bytes()));
        return Ok(KvValue::Encoded { value: encoded, strongroom_format: BASE64 });
    }
    let text = value.expose_text()?;
    if value.format() != ValueFormat::Fields {
        return Ok(KvValue::Wrapped { value: text, strongroom_format: None });
    }
    match serde_json::from_str(text) {
        Ok(object) if survives(text) && !is_wrapper(text) && !repeats_a_name(value)? => {
            Ok(KvValue::Whole(object))
        }
        _ => Ok(KvValue::Wrapped { value: text, strongroom_format: Some(JSON) }),
    }
}

/// The members that tell a wrapped value from fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapper<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow, default)]
    strongroom_format: Option<&'a RawValue>,
}

fn wrapper(data: &str) -> Option<Wrapper<'_>> {
    let wrapper: Wrapper<'_> = serde_json::from_str(data).ok()?;
    wrapper.value.get().starts_with('"').then_some(wrapper)
}

/// Whether fields would be taken for a wrapped value when they are read.
fn is_wrapper(data: &str) -> bool {
    wrapper(data).is_some()
}

/// Whether two members have the same name: servers keep the last, which may make another type.
fn repeats_a_name(value: &SecretValue) -> Result<bool> {
    let mut names = value.field_names()?;
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    Ok(names.len() < count)
}

/// The value that KV data stands for.
pub(crate) fn from_kv(data: &RawValue) -> Result<SecretValue> {
    let data = data.get();
    let whole = SecretValue::from_stored(ValueFormat::Fields, Vec::from(data))?;
    let Some(wrapper) = wrapper(data) else { return Ok(whole) };
    let format = wrapper.strongroom_format.map(|format| format.get().trim_matches('"'));
    if format.is_some_and(|format| format != BASE64 && format != JSON) {
        return Ok(whole);
    }
    let text = whole.field("value").map_err(|_| corrupt("a text is not valid Unicode"))?;
    match format {
        None => Ok(text),
        Some(BASE64) => decoded(&text),
        Some(_) => {
            // It is refused unless it is what was written: a JSON object.
            text.field_names().map_err(|_| corrupt("a value marked as JSON is no JSON object"))?;
            SecretValue::from_stored(ValueFormat::Fields, Vec::from(text.expose_bytes()))
        }
    }
}

fn decoded(text: &SecretValue) -> Result<SecretValue> {
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

/// Whether servers give JSON back as it was sent, up to order and white space: they turn numbers
/// into doubles, replace halves of surrogate pairs, and limit size in several ways.
fn survives(json: &str) -> bool {
    let (mut strings, mut depth) = (0, 0_usize);
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        match first {
            '"' => {
                let Some(length) = string_length(rest) else { return false };
                let (string, after) = rest.split_at(length);
                // Escapes of code points from U+D000 on: surrogates, and a few that are none.
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
        if strings > MOST_STRINGS || depth > DEEPEST {
            return false;
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    strings <= MOST_STRINGS
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
    digits.parse::<u64>().is_ok_and(|value| value <= LARGEST_EXACT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &SecretValue) -> String {
        serde_json::to_string(&to_kv(value).unwrap()).unwrap()
    }

    fn read(data: &str) -> SecretValue {
        from_kv(serde_json::from_str(data).unwrap()).unwrap()
    }

    fn assert_round_trip(value: &SecretValue) {
        let back = read(&sent(value));
        assert_eq!(back.format(), value.format(), "{}", sent(value));
        assert!(back.constant_time_eq(value), "{}", sent(value));
    }

    fn fields(json: &str) -> SecretValue {
        SecretValue::from_stored(ValueFormat::Fields, json.into()).unwrap()
    }

    #[test]
    fn every_form_comes_back_as_it_was() {
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
    fn fields_lie_open_for_other_tools_where_that_is_safe() {
        let open =
            r#"{"user":"app","port":5432,"deep":{"a":[1,-2,true,null]},"esc":"\\ \" \u00e9"}"#;
        assert_eq!(sent(&fields(open)), open);
        for closed in [
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
            let value = fields(closed);
            assert!(sent(&value).contains(r#""strongroom_format":"json""#), "{closed}");
            assert_round_trip(&value);
        }
    }

    #[test]
    fn what_other_tools_wrote_reads_sensibly() {
        assert_eq!(read(r#" { "value" : "p\u003cq" } "#).expose_text().unwrap(), "p<q");
        let value = read(r#"{"user": "app", "id": 12345678901234567890}"#);
        assert_eq!(value.field("id").unwrap().expose_text().unwrap(), "12345678901234567890");
        assert_eq!(read("{}").format(), ValueFormat::Fields);
    }

    #[test]
    fn damaged_marked_values_are_corrupt() {
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
        fn any_text_and_bytes_come_back(text: String, bytes: Vec<u8>) {
            assert_round_trip(&SecretValue::from(text));
            assert_round_trip(&SecretValue::binary(bytes));
        }

        #[test]
        fn any_fields_come_back(fields: std::collections::BTreeMap<String, String>) {
            let pairs = fields.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            assert_round_trip(&SecretValue::fields(pairs));
        }
    }
}
