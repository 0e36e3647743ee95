//! Reads a configuration from any format that serde supports.
//!
//! Reading never fails: the parser of the application's file would put the offending line, which
//! may hold a key, into its message. [`Config`](crate::Config) reports a value of the wrong kind when
//! the store is opened.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use strongroom_core::SecretString;

/// A value in a configuration file.
pub(crate) enum ConfigValue {
    Scalar(SecretString),
    List(Vec<ConfigValue>),
    Table(Vec<(String, ConfigValue)>),
    /// No value, or one that no setting takes.
    Other,
}

impl<'de> Deserialize<'de> for ConfigValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConfigValueVisitor)
    }
}

struct ConfigValueVisitor;

fn scalar(value: impl fmt::Display) -> ConfigValue {
    ConfigValue::Scalar(SecretString::from(value.to_string()))
}

impl<'de> Visitor<'de> for ConfigValueVisitor {
    type Value = ConfigValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_str<E>(self, value: &str) -> Result<ConfigValue, E> {
        Ok(ConfigValue::Scalar(SecretString::from(value)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<ConfigValue, E> {
        Ok(scalar(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ConfigValue, E> {
        Ok(scalar(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ConfigValue, E> {
        Ok(scalar(value))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<ConfigValue, E> {
        Ok(ConfigValue::Other)
    }

    fn visit_bytes<E>(self, _value: &[u8]) -> Result<ConfigValue, E> {
        Ok(ConfigValue::Other)
    }

    fn visit_unit<E>(self) -> Result<ConfigValue, E> {
        Ok(ConfigValue::Other)
    }

    fn visit_none<E>(self) -> Result<ConfigValue, E> {
        Ok(ConfigValue::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<ConfigValue, D::Error> {
        ConfigValue::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<ConfigValue, D::Error> {
        ConfigValue::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ConfigValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(ConfigValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ConfigValue, A::Error> {
        let mut table = Vec::new();
        while let Some(member) = members.next_entry()? {
            table.push(member);
        }
        Ok(ConfigValue::Table(table))
    }
}
