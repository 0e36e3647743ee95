//! JSON without unwiped copies.
//!
//! `serde_json` unescapes strings in a scratch buffer that it frees unwiped, its writer grows a
//! vector, and its errors quote what they found. Here the structure is found with borrowed raw
//! slices, text is unescaped into exact buffers that are wiped, and errors carry no content.

mod parser;
mod text;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde::de::{DeserializeOwned, Deserializer as _, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroize;

use crate::value::wrong_type;
use crate::{Error, ErrorKind, Result};

/// Serializes into a vector whose capacity is its length, writing once.
pub(crate) fn to_exact_vec<T: Serialize + ?Sized>(source: &T) -> Result<Vec<u8>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, source).map_err(|_| not_json())?;
    let mut bytes = Vec::with_capacity(length.0);
    let written = serde_json::to_writer(Bounded(&mut bytes), source);
    if written.is_err() || bytes.len() != bytes.capacity() {
        bytes.zeroize();
        return Err(not_json());
    }
    Ok(bytes)
}

fn not_json() -> Error {
    wrong_type(
        "the data cannot be represented in JSON",
        "serialise the same data each time, with maps that have text keys",
    )
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses to grow: growing would leave a copy behind.
struct Bounded<'a>(&'a mut Vec<u8>);

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.capacity() - self.0.len() < bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of one member, in a vector of exactly that size.
pub(crate) fn field(json: &str, name: &str) -> Result<Vec<u8>> {
    let Members(members) = Members::parse(json)?;
    let found = members.iter().rev().find(|(key, _)| key == name).map(|(_, raw)| raw.get());
    match found {
        None | Some("null") => {
            Err(Error::new(ErrorKind::FieldNotFound, "check the name against `field_names`")
                .because("the field is absent or null"))
        }
        Some(raw) if raw.starts_with('"') => text::unescape(raw).map_err(|_| not_an_object()),
        Some(raw) => Ok(Vec::from(raw)),
    }
}

/// The object with text members set, or removed where there is no text; others stay as they stand.
pub(crate) fn edit(json: &str, changes: &[(&str, Option<&str>)]) -> Result<Vec<u8>> {
    let Members(members) = Members::parse(json)?;
    let is_changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = members.iter().filter(|(name, _)| !is_changed(name));
    let kept = kept.map(|(name, raw)| (name.as_str(), Member::Kept(raw)));
    let set = changes.iter().filter_map(|(name, text)| Some((*name, Member::Set((*text)?))));
    to_exact_vec(&Object(kept.chain(set).collect()))
}

/// An object to be written, member by member.
struct Object<'a>(Vec<(&'a str, Member<'a>)>);

#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Kept(&'a RawValue),
    Set(&'a str),
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, member)| (name, member)))
    }
}

/// The members: the last of each name, without those that are null. `value` takes the bytes that [`field`]
/// gives, and whether they are an object.
pub(crate) fn members<T>(
    json: &str,
    value: impl Fn(Vec<u8>, bool) -> T,
) -> Result<Vec<(String, T)>> {
    let Members(members) = Members::parse(json)?;
    let last: BTreeMap<_, _> =
        members.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
    let is_last = |(i, (name, _)): &(usize, (String, &RawValue))| last.get(name) == Some(i);
    let kept = members.into_iter().enumerate().filter(is_last);
    kept.filter(|(_, (_, raw))| raw.get() != "null")
        .map(|(_, (name, raw))| {
            let raw = raw.get();
            let bytes = if raw.starts_with('"') {
                text::unescape(raw).map_err(|_| not_an_object())?
            } else {
                Vec::from(raw)
            };
            Ok((name, value(bytes, raw.starts_with('{'))))
        })
        .collect()
}

pub(crate) fn field_names(json: &str) -> Result<Vec<String>> {
    Ok(Members::parse(json)?.0.into_iter().map(|(key, _)| key).collect())
}

/// Whether both texts are objects with the same members, in any order and with any white space.
pub(crate) fn is_same_object(one: &str, other: &str) -> bool {
    match (tree::Node::parse(one), tree::Node::parse(other)) {
        (Ok(one @ tree::Node::Object(_)), Ok(other)) => one.is_same(&other),
        _ => false,
    }
}

pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    tree::Node::parse(json).and_then(|tree| T::deserialize(tree)).map_err(|_| {
        wrong_type(
            "the value is not JSON of the requested type",
            "compare the type's fields with the secret's `field_names`; a value has at most a million parts \
             and 128 levels",
        )
    })
}

fn not_an_object() -> Error {
    wrong_type(
        "the value is not a JSON object and has no fields",
        "read it whole, or store it with `SecretValue::fields` or `put_json`",
    )
}

/// A JSON object's members as they stand in the text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn parse(json: &'a str) -> Result<Self> {
        if !json.trim_ascii_start().starts_with('{') {
            return Err(not_an_object());
        }
        let mut parser = serde_json::Deserializer::from_str(json);
        let members = parser.deserialize_map(MembersVisitor).and_then(|m| parser.end().map(|()| m));
        members.map(Self).map_err(|_| not_an_object())
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_text(json: &str, name: &str) -> String {
        String::from_utf8(field(json, name).unwrap()).unwrap()
    }

    #[test]
    fn a_field_is_text_without_quotes_or_json_as_it_stands() {
        let json = r#" { "a": "x\"\u00e9\ud83d\ude00\n", "port": 5432, "big": 12345678901234567890123,
            "on": true, "deep": {"b": [1, "two"]}, "none": null, "a2": "", "port": 5433 } "#;
        assert_eq!(field_text(json, "a"), "x\"é😀\n");
        assert_eq!(field_text(json, "port"), "5433");
        assert_eq!(field_text(json, "big"), "12345678901234567890123");
        assert_eq!(field_text(json, "on"), "true");
        assert_eq!(field_text(json, "deep"), r#"{"b": [1, "two"]}"#);
        assert_eq!(field_text(json, "a2"), "");
        for absent in ["none", "missing", "b"] {
            assert_eq!(field(json, absent).unwrap_err().kind(), ErrorKind::FieldNotFound);
        }
    }

    #[test]
    fn anything_but_one_whole_object_has_no_fields() {
        for json in
            ["", "text", "[1]", "\"{}\"", "{", "{\"a\":1", "{\"a\":1} x", "{\"a\":\"\\ud800\"}"]
        {
            let result = field(json, "a");
            assert_eq!(result.unwrap_err().kind(), ErrorKind::WrongType, "{json}");
        }
    }

    #[test]
    fn serialising_fills_the_buffer_exactly() {
        let map = BTreeMap::from([("k\"", "välue\n"), ("z", "")]);
        let bytes = to_exact_vec(&map).unwrap();
        assert_eq!(bytes.capacity(), bytes.len());
        assert_eq!(bytes, serde_json::to_vec(&map).unwrap());
    }

    #[test]
    fn data_without_json_is_refused() {
        let map = BTreeMap::from([((1, 2), "value")]);
        assert_eq!(to_exact_vec(&map).unwrap_err().kind(), ErrorKind::WrongType);
    }

    #[test]
    fn an_error_never_quotes_the_value() {
        let error = parse::<u64>("\"hunter2\"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
