//! Files with many values: `.env`, JSON and YAML.
//!
//! The text is in a buffer that is wiped, and each value is copied once, into a buffer of its own. `.env` and JSON
//! leave nothing else behind; for YAML see `import_file/yaml.rs`. No error quotes the text.

mod yaml;

use std::collections::BTreeSet;
use std::path::Path;

use clap::ValueEnum;
use strongroom::{Result, SecretValue};
use strongroom_backend_env::dotenv;
use strongroom_core::{Error, ErrorKind, EscapedText};

/// What to do about a file that cannot be read.
const ADVICE: &str = "correct the file, or choose another `--input-format`";

/// The formats of files with many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    Dotenv,
    Json,
    Yaml,
}

impl FileFormat {
    /// The format that the name of a file says; `.env` unless it says another.
    pub(crate) fn of(file: &Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Json,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Dotenv,
        }
    }
}

/// A file's values, in its order.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) values: Vec<(String, SecretValue)>,
    /// Names that the file assigns several times; the last assignment counts.
    pub(crate) repeated: BTreeSet<String>,
}

/// Reads the values of a text. A byte order mark before it is no part of it.
pub(crate) fn parse(format: FileFormat, text: &str) -> Result<Parsed> {
    let without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        FileFormat::Dotenv => parse_dotenv(text),
        FileFormat::Json => parse_json(without_mark),
        FileFormat::Yaml => yaml::parse(without_mark),
    }
}

fn parse_dotenv(text: &str) -> Result<Parsed> {
    let found = dotenv::parse_values(text).map_err(|error| error.advise(ADVICE))?;
    Ok(Parsed { values: found.values, repeated: found.repeated })
}

/// A member that is text gives its text, one that is an object a value with fields, and a number its digits.
fn parse_json(text: &str) -> Result<Parsed> {
    let document = SecretValue::from(text);
    let not_an_object = |_| invalid("this is not a JSON object with a member for each secret");
    let names = document.field_names().map_err(not_an_object)?;
    let values = document.members().map_err(not_an_object)?;
    ensure_unique(names.iter().map(String::as_str))?;
    let found: BTreeSet<_> = values.iter().map(|(name, _)| name).collect();
    match names.iter().position(|name| !found.contains(name)) {
        Some(index) => Err(null(index)),
        None => Ok(Parsed { values, repeated: BTreeSet::new() }),
    }
}

fn ensure_unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let name = EscapedText::name(name);
            return Err(invalid(format!("the name `{name}` comes twice")));
        }
    }
    Ok(())
}

/// The name is not repeated: it may be a value that was pasted in the wrong place.
fn null(index: usize) -> Error {
    invalid(format!("value {} is null; write \"\" for an empty value", index + 1))
}

fn invalid(cause: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, ADVICE).because(cause.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(parsed: &Parsed) -> Vec<(&str, &str)> {
        parsed
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_text().unwrap()))
            .collect()
    }

    #[test]
    fn the_name_of_a_file_says_its_format() {
        for (file, format) in [
            (".env", FileFormat::Dotenv),
            (".env.production", FileFormat::Dotenv),
            ("a.json", FileFormat::Json),
            ("a.yml", FileFormat::Yaml),
            ("a.yaml", FileFormat::Yaml),
        ] {
            assert_eq!(FileFormat::of(Path::new(file)), format, "{file}");
        }
    }

    #[test]
    fn json_gives_text_numbers_and_fields() {
        let json = r#"{"A": "x\ny", "B": 1.50, "C": true, "D": {"user": "app"}, "E": ""}"#;
        let parsed = parse(FileFormat::Json, json).unwrap();
        let expected =
            [("A", "x\ny"), ("B", "1.50"), ("C", "true"), ("D", r#"{"user": "app"}"#), ("E", "")];
        assert_eq!(texts(&parsed), expected);
        assert_eq!(parsed.values[3].1.format(), strongroom::ValueFormat::Fields);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_file() {
        for (format, text) in [
            (FileFormat::Dotenv, "A=x\n"),
            (FileFormat::Json, "{\"A\": \"x\"}"),
            (FileFormat::Yaml, "A: x\n"),
        ] {
            let parsed = parse(format, &format!("\u{feff}{text}")).unwrap();
            assert_eq!(texts(&parsed), [("A", "x")], "{text}");
        }
    }

    #[test]
    fn of_two_lines_the_last_counts_and_the_name_is_reported() {
        let parsed = parse(FileFormat::Dotenv, "A=1\nB=2\nA=3\n").unwrap();
        assert_eq!(texts(&parsed), [("A", "3"), ("B", "2")]);
        assert!(parsed.repeated.iter().eq(["A"]));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_a_quote() {
        for (format, text, expected) in [
            (FileFormat::Dotenv, "A=1\nhunter2\n", "line 2"),
            (FileFormat::Dotenv, "A='hunter2\n", "line 1"),
            (FileFormat::Json, "[\"hunter2\"]", "not a JSON object"),
            (FileFormat::Json, "{\"A\": \"hunter2\"", "not a JSON object"),
            (FileFormat::Json, "{\"A\": \"hunter2\", \"hunter2\": null}", "value 2 is null"),
            (FileFormat::Json, "{\"A\": \"hunter2\", \"A\": \"\"}", "`A` comes twice"),
            (FileFormat::Yaml, "- hunter2\n", "not a mapping"),
            (FileFormat::Yaml, "A: &hunter2 x\n", "line 1"),
            (FileFormat::Yaml, "A: x\nB: *hunter2\n", "line 2"),
            (FileFormat::Yaml, "A: x\nB: !hunter2 x\n", "line 2"),
            (FileFormat::Yaml, "A: x\nB: [hunter2]\n", "line 2"),
            (FileFormat::Yaml, "A: {b: {c: hunter2}}\n", "line 1"),
            (FileFormat::Yaml, "A: hunter2\nA: x\n", "`A` comes twice"),
            (FileFormat::Yaml, "A: hunter2\nB: ~\n", "value 2 is null"),
            (FileFormat::Yaml, "A: hunter2\n---\nB: x\n", "several documents"),
            (FileFormat::Yaml, "A: \"hunter2\n", "line"),
            (FileFormat::Yaml, "\"hunter2: [\n: {", "line"),
        ] {
            let error = parse(format, text).err().unwrap_or_else(|| panic!("{text:?} is read"));
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
