//! The `.env` file: read once, kept in wiped memory, never exported, never quoted in an error.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use strongroom_core::{Problems, SecretValue};
use zeroize::{Zeroize, Zeroizing};

use crate::settings::FILE;

/// The largest file, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// How many lines of a kind one problem names.
const NAMED_LINES: usize = 10;

/// The variables of a file. `Debug` does not show names either: in a malformed file, a piece of a value
/// can look like one.
#[derive(Default)]
pub(crate) struct DotenvVariables(BTreeMap<String, Entry>);

struct Entry {
    line: usize,
    value: SecretValue,
}

impl DotenvVariables {
    /// Reads a file. Problems with it never quote its content.
    pub(crate) fn read(path: &Path, problems: &mut Problems) -> Self {
        let file = format!("the file `{}` (`{FILE}`)", path.display());
        let problem = match contents(path) {
            Ok(bytes) if bytes.len() > MAX_BYTES + 1 => "has more than 1 MiB; is it the right one?",
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => return Self::parse(text, &file, problems),
                Err(_) => "is not UTF-8; is it the right one?",
            },
            Err(error) => phrase(error.kind()),
        };
        problems.add(format!("{file} {problem}"));
        Self::default()
    }

    /// Parses the text of a file that ends in a line break: without one, the parser would refuse a
    /// last line that ends in a blank.
    fn parse(text: &str, file: &str, problems: &mut Problems) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut variables = BTreeMap::new();
        let (mut malformed, mut repeated) = (Vec::new(), Vec::new());
        let reader = LineReader(Cell::new(text.as_bytes()));
        let mut position = Position { rest: text, lines: 0 };
        for item in dotenvy::Iter::new(&reader) {
            let line = position.advance_to(reader.0.get().len());
            match item {
                Ok((name, value)) => {
                    let entry = Entry { line, value: SecretValue::from(value) };
                    if let Some(Entry { line: earlier, .. }) = variables.insert(name, entry) {
                        repeated.push(format!("{line} (as line {earlier})"));
                    }
                }
                Err(error) => {
                    wipe(error);
                    malformed.push(line.to_string());
                }
            }
        }
        if !malformed.is_empty() {
            problems.add(format!(
                "{file} is malformed in {}; write `NAME=value`, and a value with spaces, quotes, \
                 `#`, `$` or line breaks in single quotes",
                enumerate(&malformed)
            ));
        }
        if !repeated.is_empty() {
            problems.add(format!(
                "{file} sets a variable again in {}; keep one of each",
                enumerate(&repeated)
            ));
        }
        Self(variables)
    }

    pub(crate) fn get(&self, name: &str) -> Option<SecretValue> {
        self.0.get(name).map(|entry| entry.value.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for DotenvVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DotenvVariables({}, [REDACTED])", self.len())
    }
}

/// Gives the parser at most one line per call. So it never reads ahead, and the number of bytes that it
/// has taken is its position.
struct LineReader<'a>(Cell<&'a [u8]>);

impl Read for &LineReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get();
        if rest.is_empty() {
            // The parser's buffer still holds earlier lines, and is about to be freed.
            buffer.zeroize();
            return Ok(0);
        }
        let mut line = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let len = line.read(buffer)?;
        self.0.set(rest.get(len..).unwrap_or_default());
        Ok(len)
    }
}

/// The position of the parser.
struct Position<'a> {
    rest: &'a str,
    lines: usize,
}

impl Position<'_> {
    /// Moves to where `remaining` bytes are left, and returns the number of the line where the entry in
    /// between begins, after empty lines and comments.
    fn advance_to(&mut self, remaining: usize) -> usize {
        let taken = self.rest.len().saturating_sub(remaining);
        let (entry, rest) = self.rest.split_at_checked(taken).unwrap_or((self.rest, ""));
        let is_filler = |line: &&str| matches!(line.trim_start().chars().next(), None | Some('#'));
        let filler = entry.split_inclusive('\n').take_while(is_filler).count();
        let first = self.lines + filler + 1;
        self.lines += entry.matches('\n').count();
        self.rest = rest;
        first
    }
}

/// Wipes the error of the parser, which repeats the line.
fn wipe(error: dotenvy::Error) {
    if let dotenvy::Error::LineParse(mut content, _) = error {
        content.zeroize();
    }
}

/// Reads a file into one buffer that never moves, up to one byte more than allowed, and adds a line
/// break.
fn contents(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_BYTES).min(MAX_BYTES);
    // Reading does not grow a buffer that is not filled to the end.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 64));
    file.take(size as u64 + 1).read_to_end(&mut bytes)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn phrase(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "does not exist; create it or leave the setting out",
        io::ErrorKind::PermissionDenied => "may not be read by this process; change its mode",
        io::ErrorKind::IsADirectory => "is a directory; name a file in it",
        _ => "cannot be read; check the file system",
    }
}

fn enumerate(lines: &[String]) -> String {
    let more = lines.len().saturating_sub(NAMED_LINES);
    let named = lines.iter().take(NAMED_LINES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (lines.len(), more) {
        (1, _) => format!("line {named}"),
        (_, 0) => format!("lines {named}"),
        _ => format!("lines {named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use strongroom_core::ErrorKind;

    use super::*;

    const CANARY: &str = "canary-f00d";

    fn read(content: &[u8]) -> (DotenvVariables, Vec<String>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        read_path(file.path())
    }

    fn read_path(path: &Path) -> (DotenvVariables, Vec<String>) {
        let mut problems = Problems::new();
        let variables = DotenvVariables::read(path, &mut problems);
        let Err(error) = problems.into_result() else {
            return (variables, Vec::new());
        };
        assert_eq!(error.kind(), ErrorKind::Config);
        let shown = format!("{error} {error:?} {variables:?}");
        assert!(!shown.contains("canary") && !shown.contains("f00d"), "{shown}");
        assert!(shown.contains(&path.display().to_string()), "{shown}");
        (variables, error.problems().to_vec())
    }

    fn text<'a>(variables: &'a DotenvVariables, name: &str) -> &'a str {
        variables.0[name].value.expose_text().unwrap()
    }

    #[test]
    fn reads_every_form_of_the_syntax() {
        let (variables, problems) = read(
            b"\xef\xbb\xbfFIRST=plain\r\n# comment\n\nexport SECOND = \"two words\\n\"  # why\n\
              THIRD='a #\n$b'\nEMPTY=\nLAST=no-break ",
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(text(&variables, "FIRST"), "plain");
        assert_eq!(text(&variables, "SECOND"), "two words\n");
        assert_eq!(text(&variables, "THIRD"), "a #\n$b");
        assert_eq!(text(&variables, "EMPTY"), "");
        assert_eq!(text(&variables, "LAST"), "no-break");
        assert_eq!(variables.len(), 5);
    }

    #[test]
    fn a_dollar_substitutes_outside_single_quotes_as_documented() {
        let (variables, problems) = read(
            b"ZQ=left\nZQ_Y=right\nBRACES=${ZQ_Y}\nBARE=$ZQ_Y\nLOST=pa$zqword\n\
              KEPT='pa$zqword'\nESCAPED=pa\\$zqword\n",
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(text(&variables, "BRACES"), "right");
        assert_eq!(text(&variables, "BARE"), "left_Y");
        assert_eq!(text(&variables, "LOST"), "pa");
        assert_eq!(text(&variables, "KEPT"), "pa$zqword");
        assert_eq!(text(&variables, "ESCAPED"), "pa$zqword");
    }

    #[test]
    fn malformed_lines_are_numbered_and_not_repeated() {
        let content = format!(
            "A=1\n\n# note\n{CANARY}\nB='two\nlines'\nC={CANARY} {CANARY}\n  # note\n\
             D=\"\\q{CANARY}\"\nE=1\nF='{CANARY}\n\n"
        );
        let (_, problems) = read(content.as_bytes());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("malformed in lines 4, 7, 9, 11;"), "{problems:?}");
    }

    #[test]
    fn many_malformed_lines_are_counted() {
        let (_, problems) = read(format!("{CANARY}\n").repeat(25).as_bytes());
        assert!(problems[0].contains("lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 15 more;"));
    }

    #[test]
    fn a_name_set_twice_is_numbered_and_not_repeated() {
        let (_, problems) = read(b"canary=f00d\n# note\nB=1\ncanary=f00d2\n");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("again in line 4 (as line 1);"), "{problems:?}");
    }

    #[test]
    fn lines_longer_than_the_parsers_buffer_are_whole_and_counted_once() {
        let long = "x".repeat(100_000);
        let (variables, problems) = read(format!("A={long}\nB='{long}\n{long}'\n").as_bytes());
        assert_eq!(problems, [""; 0]);
        assert_eq!(text(&variables, "A"), long);
        assert_eq!(text(&variables, "B"), format!("{long}\n{long}"));
        let (_, problems) = read(format!("A={long}\nB\n").as_bytes());
        assert!(problems[0].contains("in line 2;"), "{problems:?}");
    }

    #[test]
    fn a_file_that_is_not_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (_, problems) = read_path(&directory.path().join("absent"));
        assert!(problems[0].contains("does not exist"), "{problems:?}");
        let (_, problems) = read_path(directory.path());
        assert!(problems[0].contains("is a directory"), "{problems:?}");
        let (_, problems) = read(b"A=canary\xff\n");
        assert!(problems[0].contains("not UTF-8"), "{problems:?}");
    }

    #[test]
    fn the_largest_file_is_one_mebibyte() {
        let content = |len: usize| format!("A={}", "x".repeat(len - 2));
        let (variables, problems) = read(content(MAX_BYTES).as_bytes());
        assert_eq!(problems, [""; 0]);
        assert_eq!(text(&variables, "A").len(), MAX_BYTES - 2);
        let (variables, problems) = read(content(MAX_BYTES + 1).as_bytes());
        assert!(problems[0].contains("more than 1 MiB"), "{problems:?}");
        assert_eq!(variables.len(), 0);
    }

    #[test]
    fn the_parsers_buffer_is_wiped_at_the_end() {
        let reader = LineReader(Cell::new(b"A=canary\n"));
        let mut buffer = [0; 16];
        assert_eq!((&reader).read(&mut buffer).unwrap(), 9);
        assert_eq!(&buffer[..9], b"A=canary\n");
        assert_eq!((&reader).read(&mut buffer).unwrap(), 0);
        assert_eq!(buffer, [0; 16]);
    }
}
