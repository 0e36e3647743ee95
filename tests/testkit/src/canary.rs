//! The planted value, and the search for it in all output of a test run.

use std::fmt;
use std::io::{self, Write};
use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use strongroom_core::{Error, SecretValue};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// A text literal that begins with the canary, for constants.
#[macro_export]
macro_rules! planted {
    ($rest:literal) => {
        concat!("zq7KxWm2Vt9RpLd4YhBn8cJs", $rest)
    };
}

/// The text that every value in the conformance cases contains. It has letters and digits only, so that
/// no escaping changes it.
pub const CANARY: &str = planted!("");

/// The part of the canary that counts as a leak, in bytes: logs may truncate a value.
const FRAGMENT: usize = CANARY.len() / 2;

/// How much of the output a finding shows on each side, in bytes.
const CONTEXT: usize = 160;

/// A text value with the canary in it.
#[must_use]
pub fn text(rest: &str) -> SecretValue {
    SecretValue::from(format!("{CANARY}{rest}"))
}

/// An occurrence of the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The encoding of the canary.
    pub encoding: &'static str,
    /// The output around it.
    pub context: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found the canary as {}, in: {}", self.encoding, self.context)
    }
}

/// Searches for either half of the canary: plain in any case, in base64 (standard and URL-safe, at
/// each of the three alignments, padded or not, also wrapped), in hex, with `\u` escapes, and as a
/// byte array in the format of `Debug` and JSON.
#[must_use]
pub fn find(haystack: &[u8]) -> Option<Finding> {
    let text = String::from_utf8_lossy(haystack);
    // Pretty printing and line wrapping add white space to a value; no form contains any.
    let compact: String = text.split_ascii_whitespace().collect();
    let lowercase = compact.to_ascii_lowercase();
    forms().into_iter().find_map(|form| {
        let output = if form.ignores_case { &lowercase } else { &compact };
        let at = output.find(&form.text)?;
        Some(Finding { encoding: form.encoding, context: context(&text, at) })
    })
}

struct Form {
    encoding: &'static str,
    /// Whether the search ignores case; `text` is then in lower case.
    ignores_case: bool,
    text: String,
}

fn forms() -> Vec<Form> {
    CANARY.as_bytes().chunks(FRAGMENT).flat_map(forms_of).collect()
}

fn forms_of(fragment: &[u8]) -> Vec<Form> {
    let joined = |separator: &str, write: fn(&u8) -> String| {
        fragment.iter().map(write).collect::<Vec<_>>().join(separator)
    };
    let ignoring_case = [
        ("plain text", String::from_utf8_lossy(fragment).to_ascii_lowercase()),
        ("hex", hex::encode(fragment)),
        ("JSON with escapes", joined("", |byte| format!("\\u{byte:04x}"))),
        ("a string with hex escapes", joined("", |byte| format!("\\x{byte:02x}"))),
        ("a byte array", joined(",", u8::to_string)),
        ("a byte array in hex", joined(",", |byte| format!("{byte:02x}"))),
        ("a byte array in hex", joined(",", |byte| format!("0x{byte:02x}"))),
    ];
    let mut forms: Vec<_> = ignoring_case
        .into_iter()
        .map(|(encoding, text)| Form { encoding, ignores_case: true, text })
        .collect();
    for alignment in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let shifted = [&[0; 2][..alignment], fragment].concat();
            let encoded = engine.encode(&shifted);
            // Omit the digits that also encode bits of a neighbouring byte.
            let digits = (alignment * 8).div_ceil(6)..shifted.len() * 8 / 6;
            let text = encoded[digits].to_owned();
            forms.push(Form { encoding: "base64", ignores_case: false, text });
        }
    }
    forms
}

/// The part of `text` around byte number `at`, counted without white space.
fn context(text: &str, at: usize) -> String {
    let solid = text.bytes().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
    let middle = solid.map(|(position, _)| position).nth(at).unwrap_or_default();
    let shown = middle.saturating_sub(CONTEXT)..text.len().min(middle + CONTEXT);
    String::from_utf8_lossy(&text.as_bytes()[shown]).trim().to_owned()
}

/// Writes a value to the captured output in every format.
pub fn witness(value: &dyn fmt::Debug) {
    tracing::trace!(target: "witness", "{value:?} {value:#?}");
}

/// Writes an error to the captured output in every format.
pub fn witness_error(error: &Error) {
    tracing::trace!(target: "witness", "{error} {error:#} {error:?} {error:#?}");
}

/// Installs a subscriber that ends the process if any crate logs the canary, at any level. Further calls do
/// nothing.
pub fn watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(|| LeakDetector)
            .init();
    });
}

struct LeakDetector;

impl Write for LeakDetector {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some(finding) = find(event) {
            crate::report(finding);
            std::process::exit(101);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding_in(haystack: impl AsRef<[u8]>) -> Option<&'static str> {
        find(haystack.as_ref()).map(|finding| finding.encoding)
    }

    #[test]
    fn finds_every_form() {
        let bytes = CANARY.as_bytes();
        let each = |write: fn(&u8) -> String| bytes.iter().map(write).collect::<Vec<_>>().concat();
        for (output, encoding) in [
            (format!("value={CANARY}."), "plain text"),
            (format!("NAME={}", CANARY.to_ascii_uppercase()), "plain text"),
            (format!("cut: {}...", &CANARY[..FRAGMENT]), "plain text"),
            (format!("cut: ...{}", &CANARY[FRAGMENT..]), "plain text"),
            (hex::encode(bytes), "hex"),
            (hex::encode_upper(bytes), "hex"),
            (format!("{bytes:?}"), "a byte array"),
            (format!("{bytes:#?}"), "a byte array"),
            (format!("{bytes:02x?}"), "a byte array in hex"),
            (format!("{bytes:#04X?}"), "a byte array in hex"),
            (each(|byte| format!("\\u{byte:04X}")), "JSON with escapes"),
            (each(|byte| format!("\\x{byte:02x}")), "a string with hex escapes"),
        ] {
            assert_eq!(encoding_in(&output), Some(encoding), "{output}");
        }
    }

    #[test]
    fn finds_base64_at_every_alignment() {
        for before in ["", "?", "??", "???"] {
            for after in ["", ">", ">>"] {
                let whole = format!("{before}{CANARY}{after}");
                for encoded in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                    assert_eq!(encoding_in(format!("token: {encoded}==")), Some("base64"));
                    let (head, tail) = encoded.split_at(19);
                    assert_eq!(encoding_in(format!("{head}\n  {tail}")), Some("base64"));
                }
            }
        }
    }

    #[test]
    fn finds_nothing_in_other_output() {
        assert_eq!(find(b""), None);
        assert_eq!(find(b"SecretValue(Text, [REDACTED]) \xff\xfe"), None);
        assert_eq!(find(&CANARY.as_bytes()[..FRAGMENT - 1]), None);
        assert_eq!(find(STANDARD_NO_PAD.encode([7; 600]).as_bytes()), None);
    }

    #[test]
    fn shows_the_output_around_a_finding() {
        let output = format!("line one\nü a  b {CANARY}\nlast line\n");
        let finding = find(output.as_bytes()).unwrap();
        assert_eq!(finding.context, output.trim());
        assert!(finding.to_string().contains("plain text"));
    }
}
