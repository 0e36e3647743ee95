//! A JSON document as a tree that borrows what it can, wipes what it had to unescape, and feeds
//! serde.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Number;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::parser::Parser;

pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    /// As it stands: integers of 128 bits do not fit into a [`Number`].
    Number(&'a str),
    Plain(&'a str),
    Unescaped(Zeroizing<String>),
    Array(Vec<Node<'a>>),
    Object(Vec<(String, Node<'a>)>),
}

impl<'a> Node<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, RedactedError> {
        Parser::new(json).parse_document()
    }

    /// Whether both have the same type and content. Members may be in any order; of those with one name the
    /// last counts.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(another)) => one == another,
            (Self::Number(one), Self::Number(another)) => {
                one.as_bytes().ct_eq(another.as_bytes()).into()
            }
            (Self::Array(ones), Self::Array(others)) => {
                ones.len() == others.len() && are_same(ones.iter().zip(others))
            }
            (Self::Object(ones), Self::Object(others)) => {
                let (ones, others) = (index(ones), index(others));
                ones.keys().eq(others.keys())
                    && are_same(ones.into_values().zip(others.into_values()))
            }
            _ => match (self.text(), other.text()) {
                (Some(one), Some(another)) => one.as_bytes().ct_eq(another.as_bytes()).into(),
                _ => false,
            },
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Unescaped(text) => Some(text),
            _ => None,
        }
    }
}

/// Compares all pairs without an early end: how much is equal does not show in the time.
fn are_same<'n, 'a: 'n>(pairs: impl Iterator<Item = (&'n Node<'a>, &'n Node<'a>)>) -> bool {
    pairs.fold(true, |all, (one, other)| all & one.is_same(other))
}

/// The last member of each name.
fn index<'n, 'a>(members: &'n [(String, Node<'a>)]) -> BTreeMap<&'n str, &'n Node<'a>> {
    members.iter().map(|(name, node)| (name.as_str(), node)).collect()
}

impl<'de> de::Deserializer<'de> for Node<'de> {
    type Error = RedactedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RedactedError> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Number(raw) => Ok(serde_json::from_str::<Number>(raw)?.deserialize_any(visitor)?),
            // Never `visit_borrowed_str`: `T` is owned, and a borrow could not outlive the value.
            Self::Plain(text) => visitor.visit_str(text),
            Self::Unescaped(text) => visitor.visit_str(&text),
            Self::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Self::Object(members) => {
                let mut members = MapDeserializer::new(members.into_iter());
                let value = visitor.visit_map(&mut members)?;
                members.end().map(|()| value)
            }
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RedactedError> {
        match self {
            Self::Number(raw) => visitor.visit_i128(raw.parse().map_err(|_| RedactedError)?),
            _ => Err(RedactedError),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RedactedError> {
        match self {
            Self::Number(raw) => visitor.visit_u128(raw.parse().map_err(|_| RedactedError)?),
            _ => Err(RedactedError),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, RedactedError> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RedactedError> {
        match self {
            Self::Null => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RedactedError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RedactedError> {
        match self {
            Self::Plain(variant) => {
                variant.into_deserializer().deserialize_enum(name, variants, visitor)
            }
            Self::Unescaped(variant) => {
                variant.as_str().into_deserializer().deserialize_enum(name, variants, visitor)
            }
            Self::Object(members) if members.len() == 1 => {
                let members = MapDeserializer::new(members.into_iter());
                MapAccessDeserializer::new(members).deserialize_enum(name, variants, visitor)
            }
            _ => Err(RedactedError),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier
    }
}

impl<'de> IntoDeserializer<'de, RedactedError> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// An error without the message of serde, which quotes values.
#[derive(Debug)]
pub(super) struct RedactedError;

impl fmt::Display for RedactedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not JSON of the requested type")
    }
}

impl std::error::Error for RedactedError {}

impl de::Error for RedactedError {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

impl From<serde_json::Error> for RedactedError {
    fn from(_error: serde_json::Error) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Shape {
        Unit,
        Newtype(u8),
        Tuple(u8, String),
        Struct { a: Option<i64>, b: Vec<f64> },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapper(BTreeMap<String, Shape>);

    const SHAPES: &str = r#"{"1": "unit", "2": {"newtype": 255}, "3": {"tuple": [1, "a\"b"]},
        "4": {"struct": {"a": null, "b": [1, 2.5]}}, "5": "un\u0069t"}"#;

    #[test]
    fn derived_types_read_as_with_serde_json() {
        let ours: Wrapper = super::super::parse(SHAPES).unwrap();
        assert_eq!(ours, serde_json::from_str(SHAPES).unwrap());
    }

    #[test]
    fn wrong_types_are_refused() {
        for json in [
            r#"{"1": {"newtype": 256}}"#,
            r#"{"1": {"tuple": [1]}}"#,
            r#"{"1": "other"}"#,
            r#"{"1": {"tuple": [1, "a", 2]}}"#,
            r#"{"1": {"unit": 1, "newtype": 2}}"#,
            "[]",
            "{} {}",
        ] {
            assert!(super::super::parse::<Wrapper>(json).is_err(), "{json}");
        }
    }

    /// How `T` reads `json`, which must be as with `serde_json`.
    fn read<T>(json: &str) -> Option<T>
    where
        T: for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
    {
        let ours = super::super::parse(json).ok();
        assert_eq!(ours, serde_json::from_str(json).ok(), "{json}");
        ours
    }

    #[test]
    fn a_number_is_read_as_far_as_its_type_reaches() {
        let (above, below) = ("340282366920938463463374607431768211456", "-1e400");
        for json in ["0", "-0", "-1", "1.5", "1e3", "18446744073709551616", above, below, "\"1\""] {
            read::<u64>(json);
            read::<i64>(json);
            read::<f64>(json);
            read::<u128>(json);
            read::<i128>(json);
        }
        assert_eq!(read("18446744073709551616"), Some(1_u128 << 64));
        assert_eq!(read("-18446744073709551616"), Some(-(1_i128 << 64)));
        assert_eq!(read("18446744073709551616"), Some(18_446_744_073_709_551_616.0));
    }

    #[test]
    fn members_that_a_type_ignores_are_not_parsed() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Only {
            a: u8,
        }
        assert_eq!(read(r#"{"b": 1e999, "a": 1}"#), Some(Only { a: 1 }));
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_integer_reads_as_with_serde_json(signed: i128, unsigned: u128) {
            prop_assert_eq!(read(&signed.to_string()), Some(signed));
            prop_assert_eq!(read(&unsigned.to_string()), Some(unsigned));
        }

        #[test]
        fn every_document_reads_as_with_serde_json(value in document()) {
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let theirs: Value = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(super::super::parse::<Value>(&json).unwrap(), theirs);
            }
        }
    }
}
