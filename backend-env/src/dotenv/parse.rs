//! The parser. It works on slices of the text, and copies values alone, each into one buffer of its size.

use std::fmt;

use strongroom_core::SecretValue;
use zeroize::Zeroizing;

use super::{BLANK, is_name};

/// One assignment of a file. `Debug` shows neither name nor value: in a file that was badly pasted, a
/// piece of a value can look like a name.
#[derive(Clone)]
#[non_exhaustive]
pub struct Assignment {
    /// The number of the line where it begins; the first line is 1.
    pub line: usize,
    /// The name of the variable.
    pub name: String,
    /// The value, always [text](strongroom_core::ValueFormat::Text).
    pub value: SecretValue,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assignment").field("line", &self.line).finish_non_exhaustive()
    }
}

/// A line that is neither assignment, comment nor blank. `Display` says what is wrong with it and never
/// repeats its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Malformed {
    /// The number of the line where the mistake begins; the first line is 1.
    pub line: usize,
    reason: Reason,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason.text())
    }
}

impl std::error::Error for Malformed {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NoEquals,
    Name,
    OpenQuote,
    TextAfterQuote,
    Backtick,
    Escape,
    CarriageReturn,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::NoEquals => "it has no `=`; write `NAME=value`",
            Self::Name => {
                "what is before `=` is not a name; use letters, digits, `_`, `.` and `-`, and no digit first"
            }
            Self::OpenQuote => {
                "a quote is not closed; close it, or put the value in the other quotes"
            }
            Self::TextAfterQuote => {
                "text follows the closing quote; put the whole value in the other quotes, and `#` before \
                 a comment"
            }
            Self::Backtick => "the value begins with a backtick; put it in single quotes",
            Self::Escape => {
                "in double quotes, `\\a`, `\\b`, `\\f`, `\\v`, `\\'` and `\\$` have no common meaning; \
                 write `\\\\` for a backslash, and `$` and `'` without one"
            }
            Self::CarriageReturn => {
                "it has a carriage return that ends no line; write `\\r` in double quotes"
            }
        }
    }
}

/// Parses the text of a file. The [grammar](super) is in the documentation of the module.
///
/// All assignments are returned in the order of the file, also those to one name.
///
/// # Errors
/// Everything that is malformed, in the order of the file.
pub fn parse(text: &str) -> Result<Vec<Assignment>, Vec<Malformed>> {
    let (mut assignments, mut malformed) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (statement, len) = statement(rest);
        match statement {
            Ok(Some((name, value))) => assignments.push(Assignment { line, name, value }),
            Ok(None) => {}
            Err(reason) => malformed.push(Malformed { line, reason }),
        }
        let (taken, remaining) = rest.split_at_checked(len).unwrap_or((rest, ""));
        line += taken.matches('\n').count();
        rest = remaining;
    }
    if malformed.is_empty() { Ok(assignments) } else { Err(malformed) }
}

type Statement = Result<Option<(String, SecretValue)>, Reason>;

/// Parses what begins at a line, and returns it with its length in bytes, up to and with the line break.
fn statement(text: &str) -> (Statement, usize) {
    let (line, len) = first_line(text);
    let content = line.trim_start_matches(BLANK);
    if content.is_empty() || content.starts_with('#') {
        return (without_carriage_return(content).map(|_| None), len);
    }
    let Some((name, value)) = content.split_once('=') else {
        return (Err(Reason::NoEquals), len);
    };
    let name = name.trim_end_matches(BLANK);
    let name = match name.strip_prefix("export") {
        Some(exported) if exported.starts_with(BLANK) => exported.trim_start_matches(BLANK),
        _ => name,
    };
    let trimmed = value.trim_start_matches(BLANK);
    let (value, len) = match trimmed.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let before = line.len() - trimmed.len();
            let (value, quoted) = quoted(text.get(before..).unwrap_or_default(), quote);
            (value, before + quoted)
        }
        Some('`') => (Err(Reason::Backtick), len),
        _ => (bare(value), len),
    };
    if !is_name(name) {
        return (Err(Reason::Name), len);
    }
    (value.map(|value| Some((name.to_owned(), value))), len)
}

/// The first line without its line break, and its length with it.
fn first_line(text: &str) -> (&str, usize) {
    let len = text.find('\n').map_or(text.len(), |end| end + 1);
    let line = text.get(..len).unwrap_or(text);
    let line = line.strip_suffix('\n').unwrap_or(line);
    (line.strip_suffix('\r').unwrap_or(line), len)
}

/// A value without quotes: what is behind `=`, to the end of the line.
fn bare(text: &str) -> Result<SecretValue, Reason> {
    // A `#` begins a comment only after a blank.
    let comment = text
        .match_indices('#')
        .map(|(position, _)| position)
        .find(|position| text.get(..*position).is_some_and(|before| before.ends_with(BLANK)));
    let value = comment.and_then(|comment| text.get(..comment)).unwrap_or(text);
    without_carriage_return(text)?;
    Ok(SecretValue::from(value.trim_matches(BLANK)))
}

/// A value that begins with `quote`, and the length of the text to the end of its last line.
fn quoted(text: &str, quote: char) -> (Result<SecretValue, Reason>, usize) {
    let body = text.strip_prefix(quote).unwrap_or(text);
    let Some(end) = closing_quote(body, quote) else {
        // Only the first line is known to belong to the value.
        return (Err(Reason::OpenQuote), first_line(text).1);
    };
    let (raw, after) = body.split_at_checked(end).unwrap_or((body, ""));
    let after = after.strip_prefix(quote).unwrap_or(after);
    let (trailing, trailing_len) = first_line(after);
    let len = text.len() - after.len() + trailing_len;
    let trailing = trailing.trim_start_matches(BLANK);
    if !trailing.is_empty() && !trailing.starts_with('#') {
        return (Err(Reason::TextAfterQuote), len);
    }
    (without_carriage_return(trailing).and_then(|_| unquote(raw, quote == '"')), len)
}

/// The position of the quote that ends a value.
fn closing_quote(body: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (position, c) in body.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if c == quote {
            return Some(position);
        } else {
            is_escaped = c == '\\' && quote == '"';
        }
    }
    None
}

/// The value of a text between quotes.
fn unquote(raw: &str, has_escapes: bool) -> Result<SecretValue, Reason> {
    if !raw.contains(|c| c == '\r' || (has_escapes && c == '\\')) {
        return Ok(SecretValue::from(raw));
    }
    // The value is never longer than its text, so the buffer does not move.
    let mut value = Zeroizing::new(String::with_capacity(raw.len()));
    let mut characters = raw.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' if has_escapes => match characters.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(escaped @ ('\\' | '"')) => value.push(escaped),
                Some('a' | 'b' | 'f' | 'v' | '\'' | '$') => return Err(Reason::Escape),
                Some('\r') => {
                    value.push('\\');
                    line_feed(&mut characters, &mut value)?;
                }
                Some(other) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            '\r' => line_feed(&mut characters, &mut value)?,
            other => value.push(other),
        }
    }
    Ok(SecretValue::from(value))
}

/// Turns the rest of a line break that began with CR into LF.
fn line_feed(characters: &mut std::str::Chars<'_>, value: &mut String) -> Result<(), Reason> {
    match characters.next() {
        Some('\n') => {
            value.push('\n');
            Ok(())
        }
        _ => Err(Reason::CarriageReturn),
    }
}

fn without_carriage_return(text: &str) -> Result<&str, Reason> {
    if text.contains('\r') { Err(Reason::CarriageReturn) } else { Ok(text) }
}
