//! The writer.

use std::collections::BTreeSet;

use strongroom_core::{Error, ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

use super::is_name;

/// Writes one line for each variable, which [`parse`](super::parse) reads back byte for byte.
///
/// A value is written bare if it has letters, digits and `_-./:@%+,=^` alone; else in single quotes, bare,
/// or in double quotes with escapes, whichever comes first of those that `python-dotenv` reads alike. That
/// needs its substitution of `${NAME}` off, and one value there is in no form: one that ends in `\` and has
/// a quote, a `#` or a line break as well.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput): a name is not one, or comes twice.
/// [`WrongType`](ErrorKind::WrongType): a value is binary.
pub fn write<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a SecretValue)>,
) -> Result<Zeroizing<String>> {
    let mut names = BTreeSet::new();
    let mut lines = Vec::new();
    for (name, value) in variables {
        if !is_name(name) {
            return Err(invalid("use letters, digits, `_`, `.` and `-`, and no digit first")
                .because(format!("`{}` is not the name of a variable", name.escape_default())));
        }
        if !names.insert(name) {
            return Err(invalid("give each name once").because(format!("`{name}` comes twice")));
        }
        lines.push((name, value.expose_text()?));
    }
    // Each character takes at most two bytes more, so the buffer does not move.
    let capacity = lines.iter().map(|(name, value)| name.len() + 2 * value.len() + 4).sum();
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    for (name, value) in lines {
        text.push_str(name);
        text.push('=');
        write_value(value, &mut text);
        text.push('\n');
    }
    Ok(text)
}

fn invalid(advice: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, advice)
}

fn write_value(value: &str, text: &mut String) {
    if value.bytes().all(is_plain) || (!fits_single_quotes(value) && fits_bare(value)) {
        text.push_str(value);
    } else if fits_single_quotes(value) {
        text.extend(["'", value, "'"]);
    } else {
        text.push('"');
        for c in value.chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                other => text.push(other),
            }
        }
        text.push('"');
    }
}

/// Whether a byte means itself to every reader of such files, and to shells.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'_' | b'-' | b'.' | b'/' | b':' | b'@' | b'%' | b'+' | b',' | b'=' | b'^'
        )
}

/// Whether every reader that has single quotes reads the value in them alike.
fn fits_single_quotes(value: &str) -> bool {
    let differs = value.contains('\'') || value.contains("\\\\") || value.ends_with('\\');
    !differs && !value.chars().any(|c| c.is_control() && c != '\n')
}

/// Whether every reader takes the value without quotes as it is.
fn fits_bare(value: &str) -> bool {
    let is_quoted = value.starts_with(['\'', '"', '`', ' ']) || value.ends_with(' ');
    !is_quoted && !value.contains('#') && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
