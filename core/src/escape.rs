//! Text from outside, for messages.

use std::fmt::{self, Write as _};

/// How many characters of one clause of a message are shown.
const MAX_CLAUSE: usize = 1_000;
/// How many characters of a name that a store gave are shown.
const MAX_NAME: usize = 256;

/// Text that may come from outside, in a form that is safe in a log or on a terminal: control
/// characters, line breaks and characters that change the direction of text are escaped as in a Rust
/// string, and what is too long is cut.
///
/// # Examples
/// ```
/// use strongroom_core::EscapedText;
///
/// assert_eq!(EscapedText::name("eu-west-1").to_string(), "eu-west-1");
/// assert_eq!(EscapedText::name("a\n\u{1b}[2J").to_string(), r"a\n\u{1b}[2J");
/// ```
#[derive(Clone, Copy)]
pub struct EscapedText<'a> {
    text: &'a str,
    max: usize,
}

impl<'a> EscapedText<'a> {
    /// A name or another short text that a store or a server gave, up to 256 characters of it.
    #[must_use]
    pub const fn name(text: &'a str) -> Self {
        Self { text, max: MAX_NAME }
    }

    /// A clause of a message, up to 1,000 characters of it.
    #[must_use]
    pub const fn clause(text: &'a str) -> Self {
        Self { text, max: MAX_CLAUSE }
    }
}

impl fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.text.chars();
        for character in characters.by_ref().take(self.max) {
            if needs_escape(character) {
                write!(f, "{}", character.escape_debug())?;
            } else {
                f.write_char(character)?;
            }
        }
        if characters.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Characters that move the cursor, end a line, change the direction of text or have no width. The
/// ranges are those of the bidirectional formatting characters (Unicode Standard Annex 9, section 2),
/// the separators of lines and paragraphs, and tags.
fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        BackendInfo, Capabilities, Description, Error, ErrorKind, Health, HealthStatus, Metadata,
        Operation, RotateOutcome, Secret, SecretPath, SecretValue, Version, VersionInfo,
        VersionSelector,
    };

    #[test]
    fn escapes_what_moves_the_cursor_or_hides_text() {
        let shown =
            EscapedText::name("é\r\n\t\u{1b}[0m\u{9b}\u{2028}\u{202e}\u{feff}\\").to_string();
        assert_eq!(shown, r"é\r\n\t\u{1b}[0m\u{9b}\u{2028}\u{202e}\u{feff}\");
    }

    #[test]
    fn shortens_what_is_too_long() {
        assert_eq!(EscapedText::name(&"é".repeat(256)).to_string(), "é".repeat(256));
        assert_eq!(EscapedText::name(&"é".repeat(257)).to_string(), "é".repeat(256) + "…");
        assert_eq!(EscapedText::clause(&"a".repeat(2_000)).to_string(), "a".repeat(1_000) + "…");
    }

    /// Everything of this crate that may hold text from outside, as people see it.
    fn shown(text: &str) -> Vec<String> {
        let path = SecretPath::parse("a/b").unwrap();
        let version = Version::new(text);
        let mut metadata = Metadata::default();
        metadata.tags.insert(text.to_owned(), text.to_owned());
        metadata.description = Some(text.to_owned());
        let secret = Secret::new(path.clone(), version.clone(), metadata.clone(), text.into());
        let error = Error::new(ErrorKind::Denied, text.to_owned())
            .because(text.to_owned())
            .with_retry_after(Duration::from_secs(1))
            .during(Operation::Get)
            .at(&path);
        let config = Error::config(vec![text.to_owned(), text.to_owned()]);
        let description =
            Description::new(path, version.clone(), metadata.clone()).detail("arn", text);
        let mut info = VersionInfo::new(version.clone(), None, true);
        info.stages.push(text.to_owned());
        let health = Health::new(HealthStatus::Ready).detail("version", text);
        let backend = BackendInfo::new("env", text, Capabilities::default());
        vec![
            error.to_string(),
            format!("{error:?}"),
            config.to_string(),
            format!("{config:?}"),
            version.to_string(),
            format!("{version:?}"),
            format!("{metadata:?}"),
            format!("{secret:?}"),
            format!("{description:?}"),
            description.details["arn"].clone(),
            format!("{info:?}"),
            format!("{health:?}"),
            health.details["version"].clone(),
            format!("{backend:?}"),
            backend.instance,
            format!("{:?}", VersionSelector::Exact(version.clone())),
            format!("{:?}", VersionSelector::Stage(text.into())),
            format!("{:?}", RotateOutcome { version: Some(version) }),
            format!("{:?}", SecretValue::from(text)),
        ]
    }

    proptest! {
        #[test]
        fn nothing_shows_text_from_outside_raw(text in "\\PC{0,3}[\\x00-\\x1f\u{7f}-\u{9f}\u{2028}\u{202e}]{1,3}\\PC{0,3}") {
            for shown in shown(&text) {
                prop_assert!(!shown.chars().any(needs_escape), "{shown:?}");
            }
        }
    }
}
