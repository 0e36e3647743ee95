//! The secret bytes: masked in every format, wiped on drop.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, ErrorKind, Result, json};

/// The form of a value, so that a store can keep it in its most natural form.
///
/// A store that has only text and binary returns [`Fields`](Self::Fields) back as
/// [`Text`](Self::Text); both are read in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueFormat {
    /// UTF-8 text, kept byte for byte.
    Text,
    /// Any bytes, kept byte for byte.
    Binary,
    /// Named fields: a JSON object. Its members are kept; order and white space may change.
    Fields,
}

/// A secret's bytes.
///
/// Cloning shares them; they are wiped when the last clone is dropped. `Debug` is masked, and
/// there is no `Display`, no `Serialize` and no `==`: reading takes a call whose name begins with
/// `expose`, comparing takes [`constant_time_eq`](Self::constant_time_eq).
///
/// # Examples
/// ```
/// use strongroom_core::SecretValue;
///
/// let value = SecretValue::from("hunter2");
/// assert_eq!(format!("{value:?}"), "SecretValue(Text, [REDACTED])");
/// assert_eq!(value.expose_text()?, "hunter2");
/// # Ok::<(), strongroom_core::Error>(())
/// ```
///
/// Printing, serialising and comparing with `==` do not compile:
/// ```compile_fail
/// println!("{}", strongroom_core::SecretValue::from("hunter2"));
/// ```
/// ```compile_fail
/// serde_json::to_string(&strongroom_core::SecretValue::from("hunter2"));
/// ```
/// ```compile_fail
/// strongroom_core::SecretValue::from("a") == strongroom_core::SecretValue::from("a");
/// ```
#[derive(Clone)]
pub struct SecretValue(Arc<Inner>);

struct Inner {
    format: ValueFormat,
    bytes: SecretSlice<u8>,
}

impl SecretValue {
    /// A value of any bytes. A vector with excess capacity is copied and wiped.
    #[must_use]
    pub fn binary(bytes: Vec<u8>) -> Self {
        Self::new(ValueFormat::Binary, bytes)
    }

    /// A value of named text fields. Of two with the same name the last counts.
    ///
    /// # Examples
    /// ```
    /// use strongroom_core::SecretValue;
    ///
    /// let value = SecretValue::fields([("user", "app"), ("password", "hunter2")]);
    /// assert_eq!(value.field("password")?.expose_text()?, "hunter2");
    /// # Ok::<(), strongroom_core::Error>(())
    /// ```
    #[must_use]
    pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let fields: BTreeMap<_, _> = fields.into_iter().collect();
        let bytes = json::to_exact_vec(&fields).unwrap_or_default();
        Self::new(ValueFormat::Fields, bytes)
    }

    /// A value serialised as JSON: [`Fields`](ValueFormat::Fields) if `source` becomes an object,
    /// text otherwise. No unwiped copy is made on the way.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if `source` cannot be represented in JSON.
    pub fn json<T: Serialize + ?Sized>(source: &T) -> Result<Self> {
        let bytes = json::to_exact_vec(source)?;
        let format =
            if bytes.first() == Some(&b'{') { ValueFormat::Fields } else { ValueFormat::Text };
        Ok(Self::new(format, bytes))
    }

    /// A value in the format that a store has recorded for it, from exactly its bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if text or fields are not UTF-8.
    pub fn from_stored(format: ValueFormat, mut bytes: Vec<u8>) -> Result<Self> {
        if format != ValueFormat::Binary && std::str::from_utf8(&bytes).is_err() {
            bytes.zeroize();
            return Err(Error::new(
                ErrorKind::Corrupt,
                "restore the record from a backup or write the secret again",
            )
            .because("a text value is not UTF-8"));
        }
        Ok(Self::new(format, bytes))
    }

    fn new(format: ValueFormat, mut bytes: Vec<u8>) -> Self {
        // Shrinking could move the bytes and leave the old memory unwiped.
        let exact = if bytes.capacity() == bytes.len() {
            bytes.into_boxed_slice()
        } else {
            let exact = Box::from(bytes.as_slice());
            bytes.zeroize();
            exact
        };
        Self(Arc::new(Inner { format, bytes: SecretSlice::new(exact) }))
    }

    /// The form of the value.
    #[must_use]
    pub fn format(&self) -> ValueFormat {
        self.0.format
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.expose_bytes().len()
    }

    /// Whether the value has no bytes. An empty value is a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expose_bytes().is_empty()
    }

    /// The bytes, in the clear.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.bytes.expose_secret()
    }

    /// The text, in the clear. Fields are given as their JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not UTF-8.
    pub fn expose_text(&self) -> Result<&str> {
        std::str::from_utf8(self.expose_bytes()).map_err(|_| {
            wrong_type("the value is binary, not UTF-8 text", "read it with `expose_bytes`")
        })
    }

    /// A copy of the text for an API that takes `secrecy`'s type. The copy is wiped on drop, too.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not UTF-8.
    pub fn to_secret_string(&self) -> Result<SecretString> {
        Ok(SecretString::from(self.expose_text()?))
    }

    /// One member of a value that is a JSON object: a text member without its quotes, any other as
    /// its JSON text. Of members with the same name the last counts; `null` counts as absent.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not a JSON object,
    /// [`ErrorKind::FieldNotFound`] if the object has no such member.
    pub fn field(&self, name: &str) -> Result<Self> {
        let bytes = json::field(self.expose_text()?, name)?;
        Ok(Self::new(ValueFormat::Text, bytes))
    }

    /// A value with the same members, but for text members that are set, or removed where there is
    /// no text. Other members stay as they are.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not a JSON object.
    ///
    /// # Examples
    /// ```
    /// use strongroom_core::SecretValue;
    ///
    /// let value = SecretValue::from(r#"{"port": 5432, "password": "hunter2"}"#);
    /// let changed = value.with_fields(&[("password", Some("hunter3"))])?;
    /// assert_eq!(changed.expose_text()?, r#"{"port":5432,"password":"hunter3"}"#);
    /// # Ok::<(), strongroom_core::Error>(())
    /// ```
    pub fn with_fields(&self, changes: &[(&str, Option<&str>)]) -> Result<Self> {
        let bytes = json::edit(self.expose_text()?, changes)?;
        Ok(Self::new(ValueFormat::Fields, bytes))
    }

    /// The names of the members of a value that is a JSON object, in the order they stand.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not a JSON object.
    pub fn field_names(&self) -> Result<Vec<String>> {
        json::field_names(self.expose_text()?)
    }

    /// The members of a value that is a JSON object, in the order they stand: each as
    /// [`field`](Self::field) gives it, and one that is an object itself as a value of fields. `null` counts as
    /// absent.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not a JSON object.
    pub fn members(&self) -> Result<Vec<(String, Self)>> {
        json::members(self.expose_text()?, |bytes, is_object| {
            let format = if is_object { ValueFormat::Fields } else { ValueFormat::Text };
            Self::new(format, bytes)
        })
    }

    /// The value as `T`, from its JSON. Keep secret members of `T` in `SecretString`
    /// (`secrecy`'s `serde` feature), so that it is masked and wiped there as well.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] if the value is not JSON of this type.
    pub fn parse_json<T: DeserializeOwned>(&self) -> Result<T> {
        json::parse(self.expose_text()?)
    }

    /// Whether two values say the same: their bytes are equal, or one of them has fields, and both have the
    /// same members, in any order and with any white space between them. A store may change that of fields.
    /// A text is never the same as a number or an object, and a number is compared as it stands. Fields that
    /// nest more than 128 levels are compared by their bytes alone. The time depends on lengths, on the
    /// structure and on the names of members alone.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let has_fields = |value: &Self| value.0.format == ValueFormat::Fields;
        if self.constant_time_eq(other) {
            return true;
        }
        match (self.expose_text(), other.expose_text()) {
            (Ok(one), Ok(another)) if has_fields(self) || has_fields(other) => {
                json::is_same_object(one, another)
            }
            _ => false,
        }
    }

    /// Compares in a time that depends on the lengths alone. Text and fields with the same bytes
    /// are equal; binary is equal to binary only.
    #[must_use]
    pub fn constant_time_eq(&self, other: &Self) -> bool {
        let binary = |value: &Self| value.0.format == ValueFormat::Binary;
        binary(self) == binary(other) && self.expose_bytes().ct_eq(other.expose_bytes()).into()
    }
}

pub(crate) fn wrong_type(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::WrongType, advice).because(cause)
}

impl From<&str> for SecretValue {
    fn from(text: &str) -> Self {
        Self::new(ValueFormat::Text, Vec::from(text))
    }
}

/// Takes ownership of the text; a string with excess capacity is copied and wiped.
impl From<String> for SecretValue {
    fn from(text: String) -> Self {
        Self::new(ValueFormat::Text, text.into_bytes())
    }
}

impl From<SecretString> for SecretValue {
    fn from(text: SecretString) -> Self {
        Self::from(text.expose_secret())
    }
}

impl From<Zeroizing<String>> for SecretValue {
    fn from(text: Zeroizing<String>) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Vec<u8>> for SecretValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::binary(bytes)
    }
}

impl From<&[u8]> for SecretValue {
    fn from(bytes: &[u8]) -> Self {
        Self::binary(Vec::from(bytes))
    }
}

impl ExposeSecret<[u8]> for SecretValue {
    fn expose_secret(&self) -> &[u8] {
        self.expose_bytes()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({:?}, [REDACTED])", self.0.format)
    }
}

#[cfg(test)]
mod tests;
