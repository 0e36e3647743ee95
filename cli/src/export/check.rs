//! Reads the output of every writer back, by the documented rules of the readers that a machine may not have.
//!
//! A reader here accepts exactly the form in which one assignment stands for one name and one value. Anything else
//! that its real counterpart would take for syntax makes it answer `None`, so that a value which breaks out is found.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use saphyr_parser::{Event, Parser};
use strongroom::{SecretPath, SecretValue};
use strongroom_backend_env::dotenv;

use super::{Entry, Manifest, TextFormat, gha, systemd};

/// Names and values, as a reader finds them.
pub(crate) type Found = Option<BTreeMap<String, Vec<u8>>>;

type Reader = fn(&str) -> Found;

/// Every format that is one text, with a reader.
pub(crate) fn formats() -> Vec<(TextFormat, Reader)> {
    let manifest = Manifest { name: "app".to_owned(), namespace: Some("default".to_owned()) };
    vec![
        (TextFormat::Dotenv, read_dotenv),
        (TextFormat::Json, read_json),
        (TextFormat::Yaml, read_yaml),
        (TextFormat::Docker, read_docker),
        (TextFormat::Shell, read_shell),
        (TextFormat::Fish, read_fish),
        (TextFormat::Powershell, read_powershell),
        (TextFormat::K8s(manifest), read_k8s),
        (TextFormat::Systemd, read_systemd),
    ]
}

/// Writes entries in every format, and asserts that what was written is read back exactly. Returns how many formats
/// could hold them.
pub(crate) fn round_trip(entries: &[Entry]) -> usize {
    let expected: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| (entry.name.clone(), entry.value.expose_bytes().to_vec()))
        .collect();
    let mut held = 0;
    for (format, read) in formats() {
        let Ok(output) = super::write(&format, entries) else { continue };
        held += 1;
        let text = std::str::from_utf8(&output).ok();
        let found = text.and_then(read);
        assert!(found.as_ref() == Some(&expected), "{format:?} gives other names or values");
    }
    if let Ok(step) = gha::write(entries, "delimiter_of_the_test") {
        held += 1;
        let text = std::str::from_utf8(&step.file).ok();
        assert!(text.and_then(read_gha).as_ref() == Some(&expected), "gha gives other values");
        let masks = std::str::from_utf8(&step.masks).unwrap_or("not text");
        let is_command = |line: &str| line.starts_with("::add-mask::") && line.len() > 13;
        assert!(!masks.contains('\r') && masks.lines().all(is_command), "a mask breaks out");
    }
    held
}

/// Makes entries of any bytes: names and values in turn, with a 0xff between them.
#[cfg_attr(test, expect(dead_code, reason = "the fuzzer calls it"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let pieces: Vec<_> = bytes.split(|byte| *byte == 0xff).take(16).collect();
    let pairs = pieces.chunks(2).enumerate();
    let entries: Vec<_> = pairs
        .filter_map(|(index, pair)| {
            let (name, value) = (pair.first()?, pair.get(1).copied().unwrap_or_default());
            let value = match std::str::from_utf8(value) {
                Ok(text) => SecretValue::from(text),
                Err(_) => SecretValue::from(value),
            };
            Some(Entry {
                path: SecretPath::parse(&format!("secret/{index}")).ok()?,
                name: String::from_utf8_lossy(name).into_owned(),
                value,
            })
        })
        .collect();
    round_trip(&entries);
}

fn read_dotenv(text: &str) -> Found {
    let assignments = dotenv::parse(text).ok()?.into_iter();
    Some(assignments.map(|found| (found.name, found.value.expose_bytes().to_vec())).collect())
}

fn read_json(text: &str) -> Found {
    let found: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let value = |value: serde_json::Value| Some(value.as_str()?.as_bytes().to_vec());
    found.into_iter().map(|(name, found)| Some((name, value(found)?))).collect()
}

/// A part of YAML.
enum Yaml {
    Text(String),
    Mapping(Vec<(String, Yaml)>),
}

fn parse_yaml(text: &str) -> Option<Yaml> {
    let mut parser = Parser::new_from_str(text);
    let mut next = || parser.next_event()?.ok().map(|(event, _)| event);
    let is_start =
        matches!(next()?, Event::StreamStart) && matches!(next()?, Event::DocumentStart(_));
    let first = next()?;
    let node = node(first, &mut next)?;
    let is_end = matches!(next()?, Event::DocumentEnd) && matches!(next()?, Event::StreamEnd);
    (is_start && is_end).then_some(node)
}

fn node<'a>(first: Event<'a>, next: &mut impl FnMut() -> Option<Event<'a>>) -> Option<Yaml> {
    match first {
        Event::Scalar(text, _, 0, None) => Some(Yaml::Text(text.into_owned())),
        Event::MappingStart(0, None) => {
            let mut members = Vec::new();
            loop {
                match next()? {
                    Event::MappingEnd => return Some(Yaml::Mapping(members)),
                    Event::Scalar(name, _, 0, None) => {
                        let first = next()?;
                        members.push((name.into_owned(), node(first, next)?));
                    }
                    _ => return None,
                }
            }
        }
        _ => None,
    }
}

fn texts(yaml: Yaml) -> Found {
    let Yaml::Mapping(members) = yaml else { return None };
    let count = members.len();
    let member = |(name, value)| match value {
        Yaml::Text(text) => Some((name, text.into_bytes())),
        Yaml::Mapping(_) => None,
    };
    let found: BTreeMap<_, _> = members.into_iter().map(member).collect::<Option<_>>()?;
    (found.len() == count).then_some(found)
}

fn read_yaml(text: &str) -> Found {
    texts(parse_yaml(text)?)
}

fn read_k8s(text: &str) -> Found {
    let Yaml::Mapping(members) = parse_yaml(text)? else { return None };
    let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
    if names != ["apiVersion", "kind", "metadata", "type", "data"] {
        return None;
    }
    let (_, data) = members.into_iter().next_back()?;
    let data = texts(data)?.into_iter();
    data.map(|(name, text)| Some((name, STANDARD.decode(text).ok()?))).collect()
}

/// Docker's `--env-file`, after `pkg/kvfile` of docker/cli 28.2: no quotes, no comments behind values, and lines of
/// at most 64 KiB.
pub(super) fn read_docker(text: &str) -> Found {
    let mut found = BTreeMap::new();
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).split('\n') {
        if line.len() >= 64 * 1024 {
            return None;
        }
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=')?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return None;
        }
        found.insert(name.to_owned(), value.as_bytes().to_vec());
    }
    Some(found)
}

/// Takes a name up to `end`.
fn take_name<'a>(text: &mut &'a str, end: &str) -> Option<&'a str> {
    let (name, rest) = text.split_once(end)?;
    *text = rest;
    let is_name = crate::variable::is_name(name);
    is_name.then_some(name)
}

/// POSIX: `export NAME=` and a word of single-quoted parts and `\'`.
fn read_shell(mut text: &str) -> Found {
    let mut found = BTreeMap::new();
    while !text.is_empty() {
        text = text.strip_prefix("export ")?;
        let name = take_name(&mut text, "=")?.to_owned();
        let mut value = String::new();
        loop {
            if let Some(rest) = text.strip_prefix('\n') {
                text = rest;
                break;
            } else if let Some(rest) = text.strip_prefix("\\'") {
                value.push('\'');
                text = rest;
            } else {
                let (part, rest) = text.strip_prefix('\'')?.split_once('\'')?;
                value.push_str(part);
                text = rest;
            }
        }
        found.insert(name, value.into_bytes());
    }
    Some(found)
}

/// fish: `set -gx NAME` and a word of single-quoted parts, in which `\\` and `\'` are the only escapes, and of
/// `\Xhh` outside of them, which is a byte.
fn read_fish(text: &str) -> Found {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut rest = line.strip_prefix("set -gx ")?.strip_suffix(';')?;
        let name = take_name(&mut rest, " ")?.to_owned();
        let mut value = Vec::new();
        while !rest.is_empty() {
            if let Some(hex) = rest.strip_prefix("\\X") {
                let (digits, after) = hex.split_at_checked(2)?;
                value.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
                continue;
            }
            let mut quoted = rest.strip_prefix('\'')?.chars();
            loop {
                match quoted.next()? {
                    '\'' => break,
                    '\\' if quoted.as_str().starts_with(['\\', '\'']) => {
                        value.extend(quoted.next()?.to_string().bytes());
                    }
                    other => value.extend(other.to_string().bytes()),
                }
            }
            rest = quoted.as_str();
        }
        found.insert(name, value);
    }
    Some(found)
}

/// PowerShell: `$env:NAME = ` and a literal in single quotes, of which it knows several kinds, or one that is decoded.
fn read_powershell(text: &str) -> Found {
    let is_quote = |c| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}');
    let literal = |text: &str| {
        let mut rest = text.strip_prefix(is_quote)?.chars();
        let mut value = String::new();
        loop {
            match rest.next()? {
                c if is_quote(c) && rest.as_str().starts_with(is_quote) => value.push(rest.next()?),
                c if is_quote(c) => return rest.as_str().is_empty().then_some(value),
                c => value.push(c),
            }
        }
    };
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut rest = line.strip_prefix("$env:")?;
        let name = take_name(&mut rest, " = ")?.to_owned();
        let decoded = rest
            .strip_prefix("[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String(")
            .and_then(|rest| rest.strip_suffix("))"));
        let value = match decoded {
            Some(text) => STANDARD.decode(literal(text)?).ok()?,
            None => literal(rest)?.into_bytes(),
        };
        found.insert(name, value);
    }
    Some(found)
}

/// `EnvironmentFile=`, after `systemd.exec(5)`: comments begin with `#` or `;`; a value may be in quotes, in double
/// ones `\` escapes `"`, `\`, `` ` ``, `$` and a line break; without quotes, blanks at its end are removed. A value that
/// systemd does not take for UTF-8 is ignored.
fn read_systemd(text: &str) -> Found {
    let mut found = BTreeMap::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next_if(|_| true) {
        if matches!(first, '\n' | '\r' | ' ' | '\t') {
            continue;
        }
        if matches!(first, '#' | ';') {
            while rest.next_if(|c| *c != '\n').is_some() {}
            continue;
        }
        let mut name = first.to_string();
        while let Some(c) = rest.next_if(|c| *c != '=' && *c != '\n') {
            name.push(c);
        }
        rest.next_if_eq(&'=')?;
        let mut value = String::new();
        // The writer always quotes, so anything but one quoted part up to the end of the line is an escape from it.
        rest.next_if_eq(&'"')?;
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => match rest.next()? {
                    c @ ('"' | '\\' | '`' | '$') => value.push(c),
                    '\n' => {}
                    other => value.extend(['\\', other]),
                },
                other => value.push(other),
            }
        }
        rest.next_if_eq(&'\n')?;
        if value.contains(systemd::is_noncharacter) {
            return None;
        }
        found.insert(name.trim_end().to_owned(), value.into_bytes());
    }
    Some(found)
}

/// The file of `GITHUB_ENV`: a name, `<<` and a delimiter, and lines up to the one that is the delimiter.
fn read_gha(text: &str) -> Found {
    let mut found = BTreeMap::new();
    let mut lines = text.split('\n');
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, delimiter) = line.split_once("<<")?;
        if name.contains('=') {
            return None;
        }
        let mut value = Vec::new();
        loop {
            let line = lines.next()?;
            if line == delimiter {
                break;
            }
            value.push(line);
        }
        found.insert(name.to_owned(), value.join("\n").into_bytes());
    }
    Some(found)
}
