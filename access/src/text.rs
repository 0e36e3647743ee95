//! Types that serde writes as text.

/// Implements `FromStr`, `Serialize` and `Deserialize` with the `parse` and the `Display` of each type.
macro_rules! impl_text {
    ($($name:ty),+ $(,)?) => {$(
        impl std::str::FromStr for $name {
            type Err = strongroom_core::Error;

            fn from_str(text: &str) -> strongroom_core::Result<Self> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize<'de>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )+};
}

pub(crate) use impl_text;

/// Whether a text shows as it is: without characters that move the cursor, end a line, change the direction of text
/// or have no width, by which an approver would read another text than the log holds.
pub(crate) fn is_plain(text: &str) -> bool {
    // The escaped form of a text of over 1,000 characters is cut, so such a text is none.
    strongroom_core::EscapedText::clause(text).to_string() == text
}
