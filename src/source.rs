//! Reads a configuration out of any format that serde knows.
//!
//! Nothing here fails: the parser of the application's file would put the offending line, which
//! may hold a key, into its message. What is wrong is noted and reported when the store is opened.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use strongroom_core::SecretString;

/// A piece of configuration as it stands in the file.
pub(crate) enum Source {
    Scalar(SecretString),
    List(Vec<Source>),
    Table(Vec<(String, Source)>),
    /// Nothing, or something that no setting can be.
    Other,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

fn scalar(value: impl fmt::Display) -> Source {
    Source::Scalar(SecretString::from(value.to_string()))
}

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_str<E>(self, value: &str) -> Result<Source, E> {
        Ok(Source::Scalar(SecretString::from(value)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Source, E> {
        Ok(scalar(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Source, E> {
        Ok(scalar(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Source, E> {
        Ok(scalar(value))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_bytes<E>(self, _value: &[u8]) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_unit<E>(self) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_none<E>(self) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Source, D::Error> {
        Source::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Source, D::Error> {
        Source::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Source, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Source::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Source, A::Error> {
        let mut table = Vec::new();
        while let Some(member) = members.next_entry()? {
            table.push(member);
        }
        Ok(Source::Table(table))
    }
}
