//! Variables for the next steps of a job of GitHub Actions: commands that mask the values in the log, and lines for
//! the file that `GITHUB_ENV` names.

use strongroom::{Error, ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

use super::{Entry, check_names};
use strongroom_core::WipedBuffer;

/// The output for one step.
pub(crate) struct Step {
    /// Commands for standard output, which the runner reads.
    pub(crate) masks: WipedBuffer,
    /// What is to be added to the file.
    pub(crate) file: WipedBuffer,
}

/// Writes both. `delimiter` ends each value in the file, so it must be one that cannot be guessed.
pub(crate) fn write(entries: &[Entry], delimiter: &str) -> Result<Step> {
    check_names(entries)?;
    let mut step = Step { masks: WipedBuffer::default(), file: WipedBuffer::default() };
    let mut masks = Vec::new();
    for entry in entries {
        let (name, text) = (entry.variable()?, entry.variable_text()?);
        if name.starts_with("GITHUB_") || name.starts_with("RUNNER_") {
            return Err(entry.bad_name("is a name that the runner keeps for itself"));
        }
        if text.contains(delimiter) {
            return Err(Error::new(ErrorKind::Conflict, "run the command again")
                .because("the random delimiter occurs in a value")
                .at(&entry.path));
        }
        for part in [name, "<<", delimiter, "\n", text, "\n", delimiter, "\n"] {
            step.file.extend(part.as_bytes());
        }
        add_masks(&entry.value, text, &mut masks);
    }
    for mask in &masks {
        step.masks.extend(b"::add-mask::");
        for c in mask.chars() {
            match c {
                '%' => step.masks.extend(b"%25"),
                '\r' => step.masks.extend(b"%0D"),
                '\n' => step.masks.extend(b"%0A"),
                other => step.masks.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        step.masks.extend(b"\n");
    }
    Ok(step)
}

/// Whether a mask hides something, rather than each blank or each such letter in the log.
fn is_maskable(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().nth(1).is_some()
}

/// Whether a value has a line of one character, which cannot be masked.
pub(crate) fn has_short_line(text: &str) -> bool {
    text.split(['\n', '\r']).map(str::trim).any(|line| !line.is_empty() && !is_maskable(line))
}

/// Adds the value, each of its lines, and each leaf if it is JSON.
fn add_masks(value: &SecretValue, text: &str, masks: &mut Vec<Zeroizing<String>>) {
    let mut add_text = |text: &str| {
        let lines = text.split(['\n', '\r']);
        // The runner itself masks each line of a mask, blanks and single characters too.
        let is_safe = lines.clone().all(|line| line.is_empty() || is_maskable(line));
        let whole = is_safe.then_some(text);
        for mask in whole.into_iter().chain(lines.map(str::trim)) {
            if is_maskable(mask) && !masks.iter().any(|known| known.as_str() == mask) {
                masks.push(Zeroizing::new(mask.to_owned()));
            }
        }
    };
    add_text(text);
    if text.trim_start().starts_with(['{', '['])
        && value.parse_json::<serde::de::IgnoredAny>().is_ok()
    {
        each_leaf(text, &mut add_text);
    }
}

/// The texts and numbers of a JSON document, without names of members and without `true`, `false` and `null`. Texts
/// with escapes are given as they stand, too.
fn each_leaf(json: &str, add: &mut impl FnMut(&str)) {
    let mut rest = json;
    while let Some(start) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let Some(token) = rest.get(start..) else { return };
        if let Some(content) = token.strip_prefix('"') {
            let end = end_of_text(content);
            let (content, after) = content.split_at_checked(end).unwrap_or((content, ""));
            rest = after.get(1..).unwrap_or_default();
            if rest.trim_start().starts_with(':') {
                continue;
            }
            add(content);
            if content.contains('\\') {
                let document = Zeroizing::new(["{\"v\":\"", content, "\"}"].concat());
                let text = SecretValue::from(document.as_str()).field("v");
                if let Some(text) = text.as_ref().ok().and_then(|text| text.expose_text().ok()) {
                    add(text);
                }
            }
        } else {
            let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
            let end = token.find(|c| !is_part(c)).unwrap_or(token.len());
            let (number, after) = token.split_at_checked(end).unwrap_or((token, ""));
            add(number);
            rest = after;
        }
    }
}

/// Where the content of a JSON text ends.
fn end_of_text(content: &str) -> usize {
    let mut is_escaped = false;
    let end = content.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.unwrap_or(content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(value: &str) -> Vec<String> {
        let mut masks = Vec::new();
        add_masks(&value.into(), value, &mut masks);
        masks.iter().map(|mask| mask.as_str().to_owned()).collect()
    }

    #[test]
    fn the_value_each_line_and_each_leaf_are_masked() {
        assert_eq!(masks("hunter2"), ["hunter2"]);
        assert_eq!(masks("one\r\n  two\n"), ["one\r\n  two\n", "one", "two"]);
        let json = r#"{"user": "app", "n": [12345, -1.5e3, 7, true, null], "deep": {"k": "a\"b"}}"#;
        let leaves = ["app", "12345", "-1.5e3", r#"a\"b"#, r#"a"b"#];
        assert_eq!(masks(json)[1..], leaves);
    }

    #[test]
    fn nothing_of_one_character_is_masked() {
        for value in ["", "x", " ", "   ", "\u{e4}", "\n\n", "a\nb"] {
            assert!(masks(value).is_empty(), "{value:?}");
        }
        // The runner would mask the lines of the whole, too.
        assert_eq!(masks("one\r\n  two\n3\n"), ["one", "two"]);
        assert_eq!(masks("one\n \ntwo"), ["one", "two"]);
        assert_eq!(masks(r#"{"a":"b"}"#), [r#"{"a":"b"}"#]);
        assert!(has_short_line("one\n3\n") && has_short_line("x") && !has_short_line("one\n\n"));
    }
}
