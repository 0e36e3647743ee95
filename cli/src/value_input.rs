//! Where the value of a `put` comes from: a file, standard input, or a prompt. Never an argument.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use strongroom::SecretValue;
use strongroom_core::FilePath;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::open_stream;
use crate::prompt;
use strongroom_core::WipedBuffer;

/// The largest value, in bytes: more than any store takes.
const MAX: usize = 64 * 1024 * 1024;

/// The options that say where a value comes from.
#[derive(clap::Args)]
pub(crate) struct ValueInput {
    /// Read the value from a file; `-` is standard input
    #[arg(long, short = 'f', value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    from_file: Option<PathBuf>,
    /// Keep a line break at the end of the value
    #[arg(long)]
    raw: bool,
    /// Store an empty value
    #[arg(long)]
    allow_empty: bool,
    /// The value is a JSON object; its members are the fields of the secret
    #[arg(long)]
    fields: bool,
}

impl ValueInput {
    /// Whether one of the options is given.
    pub(crate) fn is_given(&self) -> bool {
        self.from_file.is_some() || self.raw || self.allow_empty || self.fields
    }

    /// Reads the value for the secret at `location`.
    pub(crate) fn read(
        &self,
        context: &Context,
        location: impl Display,
    ) -> Result<SecretValue, Failure> {
        let bytes = match &self.from_file {
            Some(file) if file != Path::new("-") => read_file(file)?,
            from_file if from_file.is_some() || !io::stdin().is_terminal() => {
                let stdin = open_stream(rustix::stdio::stdin());
                stdin
                    .and_then(read_all)
                    .map_err(|error| Failure::io("read standard input", &error))?
            }
            _ if context.is_interactive() => {
                let typed = prompt::read_secret(
                    format_args!("value of {location} (not shown)"),
                    self.allow_empty,
                )?;
                return self.parse(&typed);
            }
            _ => {
                return Err(Failure::usage("there is no value: pipe it, or use `--from-file`"));
            }
        };
        let value = if self.raw { &bytes } else { strip_line_break(&bytes) };
        if value.is_empty() && !self.allow_empty {
            return Err(Failure::usage(
                "the value is empty: if that is what you mean, add `--allow-empty`",
            ));
        }
        self.parse(value)
    }

    /// Text, unless the bytes are not UTF-8.
    fn parse(&self, bytes: &[u8]) -> Result<SecretValue, Failure> {
        let value = match std::str::from_utf8(bytes) {
            Ok(text) => SecretValue::from(text),
            Err(_) => SecretValue::from(bytes),
        };
        if !self.fields {
            return Ok(value);
        }
        // A change of nothing gives a value of fields, or says that it is no object.
        value.with_fields(&[]).map_err(|error| {
            Failure::usage(format!(
                "`--fields`: {}; write an object such as {{\"user\": \"…\"}}",
                error.cause()
            ))
        })
    }
}

fn read_file(file: &Path) -> Result<WipedBuffer, Failure> {
    let name = FilePath::new(file);
    File::open(file)
        .and_then(read_all)
        .map_err(|error| Failure::io(format_args!("read `--from-file` ({name})"), &error))
}

pub(crate) fn read_all(mut source: impl Read) -> io::Result<WipedBuffer> {
    let mut content = WipedBuffer::default();
    let mut chunk = Zeroizing::new([0; 8192]);
    loop {
        match source.read(&mut *chunk) {
            Ok(0) => return Ok(content),
            Ok(count) => content.extend(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if content.len() > MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// The value without the line break that an editor or `echo` adds. A value of several lines, such as a key in
/// PEM, keeps it.
fn strip_line_break(bytes: &[u8]) -> &[u8] {
    let Some(line) = bytes.strip_suffix(b"\n") else { return bytes };
    if line.contains(&b'\n') {
        return bytes;
    }
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_line_break_of_a_single_line_is_stripped() {
        for (given, kept) in [
            ("sk-1\n", "sk-1"),
            ("sk-1\r\n", "sk-1"),
            ("sk-1", "sk-1"),
            ("sk-1\n\n", "sk-1\n\n"),
            ("-----BEGIN\nabc\n-----END\n", "-----BEGIN\nabc\n-----END\n"),
            ("a\nb", "a\nb"),
            ("\n", ""),
            ("", ""),
            ("a\r", "a\r"),
        ] {
            assert_eq!(strip_line_break(given.as_bytes()), kept.as_bytes(), "{given:?}");
        }
    }

    #[test]
    fn a_value_is_read_whole_and_within_bounds() {
        let large = vec![7; 100_000];
        assert_eq!(&*read_all(large.as_slice()).unwrap(), large.as_slice());
        let error = read_all(io::repeat(0)).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
