//! JSON pointers (RFC 6901) into responses. They find a value without copying it: it may be a key.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;
use strongroom_core::SecretValue;

/// The location of a value in a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// `None` if the text is not a pointer.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some(steps) = text.strip_prefix('/') else {
            return text.is_empty().then(Self::default);
        };
        steps.split('/').map(unescape).collect::<Option<_>>().map(Self)
    }

    /// The value as it is written; `None` if there is none, or it is `null`.
    pub(super) fn find<'a>(&self, document: &'a str) -> Option<&'a str> {
        let document: &RawValue = serde_json::from_str(document).ok()?;
        let found = self.0.iter().try_fold(document.get(), |json, step| child(json, step))?;
        (found != "null").then_some(found)
    }
}

/// One step of a pointer with its escapes replaced.
fn unescape(text: &str) -> Option<String> {
    let mut rest = text.split('~');
    let mut step = rest.next()?.to_owned();
    for piece in rest {
        step.push(if piece.starts_with('0') { '~' } else { '/' });
        step.push_str(piece.strip_prefix(['0', '1'])?);
    }
    Some(step)
}

/// The member or item that a step leads to. Of members with the same name, the last counts.
fn child<'a>(json: &'a str, step: &str) -> Option<&'a str> {
    if json.starts_with('[') {
        let index = step.parse().ok().filter(|index: &usize| index.to_string() == step)?;
        return items(json)?.get(index).copied();
    }
    let Members(members) = serde_json::from_str(json).ok()?;
    members.into_iter().rev().find(|(name, _)| name == step).map(|(_, raw)| raw.get())
}

/// The items of an array as they are written; `None` if the value is no array.
pub(super) fn items(json: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// A JSON string without its quotes and escapes; `None` if the value is no string.
pub(super) fn text(json: &str) -> Option<SecretValue> {
    SecretValue::from(json).parse_json().ok().map(|Text(text)| text)
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

struct Text(SecretValue);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wipe;

        impl Visitor<'_> for Wipe {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(SecretValue::from(text)))
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(SecretValue::from(text)))
            }
        }

        deserializer.deserialize_str(Wipe).map_err(|_| D::Error::custom("not a string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(pointer: &str, document: &'a str) -> Option<&'a str> {
        Pointer::parse(pointer).unwrap().find(document)
    }

    #[test]
    fn follows_objects_and_arrays() {
        let document = r#" {"a": {"b": [1, {"c/d~": "x\u0041"}]}, "": 0, "n": null, "a2": {}, "n2": 1, "n2": 2} "#;
        assert_eq!(find("/a/b/1/c~1d~0", document), Some(r#""x\u0041""#));
        assert_eq!(find("/a/b/0", document), Some("1"));
        assert_eq!(find("/", document), Some("0"));
        assert_eq!(find("", document), Some(document.trim()));
        assert_eq!(find("/n2", document), Some("2"));
        for nothing in ["/n", "/x", "/a/b/2", "/a/b/01", "/a/b/-", "/a/b/0/c", "/a2/b"] {
            assert_eq!(find(nothing, document), None, "{nothing}");
        }
        for broken in ["", "{", "[1", "{\"a\":1} x", "nul", "\"a"] {
            assert_eq!(find("/a", broken), None, "{broken}");
            assert_eq!(find("", broken), None, "{broken}");
        }
    }

    #[test]
    fn rejects_texts_that_are_not_pointers() {
        for text in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert!(Pointer::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn parses_strings_and_nothing_else() {
        assert_eq!(text(r#""x\u0041\n""#).unwrap().expose_text().unwrap(), "xA\n");
        assert_eq!(text("\"plain\"").unwrap().expose_text().unwrap(), "plain");
        for other in ["1", "null", "true", "{\"key\":\"a\"}", "[\"a\"]", "", "\"a"] {
            assert!(text(other).is_none(), "{other}");
        }
    }
}
