//! Why a command failed, for a person and for a script.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};

use serde::Serialize;
use strongroom::{Error, ErrorKind, SecretPath};
use strongroom_core::EscapedText;

use crate::args::Format;
use crate::exit::Exit;
use crate::output::{Document, Stderr};

/// What a command answers.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Why a command failed. No value is ever in it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    kind: &'static str,
    /// Empty if there is nothing to tell.
    message: String,
    error: Option<Error>,
}

impl Failure {
    fn new(exit: Exit, kind: &'static str, message: impl Into<String>) -> Self {
        Self { exit, kind, message: message.into(), error: None }
    }

    /// The arguments are wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::USAGE, "usage", message)
    }

    /// The command refuses what was asked.
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(Exit::DENIED, "denied", message)
    }

    /// What is to be created exists.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Exit::CONFLICT, "conflict", message)
    }

    /// A call of the system failed while the command was to do `what`.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        // The text of the system, without that of a library.
        let reason = match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code).to_string(),
            None => error.kind().to_string(),
        };
        Self::new(Exit::FAILURE, "io", format!("cannot {what}: {reason}"))
    }

    /// Writing to standard output failed. If its reader has gone, there is nothing to tell.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::BROKEN_PIPE, "broken_pipe", ""),
            _ => Self::io("write to standard output", error),
        }
    }

    /// The person at the terminal pressed Ctrl-C at a prompt.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::INTERRUPTED, "interrupted", "")
    }

    /// The command ends with this status and has nothing to tell.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "", "")
    }

    /// The same failure with another exit status.
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The same failure with the exit status `new` in place of `old`.
    pub(crate) fn replace_exit(self, old: Exit, new: Exit) -> Self {
        if self.exit == old { self.with_exit(new) } else { self }
    }

    /// The same failure with another message.
    pub(crate) fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The error of the store, if it is one.
    pub(crate) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Whether there is no secret of that name.
    pub(crate) fn is_not_found(&self) -> bool {
        self.error().is_some_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// What the failure says.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Adds what the caller probably meant.
    pub(crate) fn suggest(mut self, suggestion: impl Display) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.message, "; {suggestion}");
        self
    }

    /// Prints the failure to standard error, and returns the exit status.
    pub(crate) fn report(self, format: Option<Format>) -> Exit {
        if self.message.is_empty() {
            return self.exit;
        }
        // If standard error cannot be written to, there is no place left to say so.
        let _ = match format {
            Some(Format::Json) => Document::new(ErrorReport { error: self.details() })
                .to_line()
                .and_then(|line| Stderr.write_all(&line)),
            _ => writeln!(Stderr, "error: {}", self.message),
        };
        self.exit
    }

    fn details(&self) -> ErrorDetails<'_> {
        let error = self.error.as_ref();
        ErrorDetails {
            kind: self.kind,
            message: &self.message,
            exit_code: self.exit.code(),
            path: error.and_then(Error::path).map(SecretPath::as_str),
            backend: error.and_then(Error::backend),
            problems: error.map(Error::problems).unwrap_or_default(),
            is_temporary: error.is_some_and(Error::is_temporary),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, kind) = Exit::of(error.kind());
        let message = match error.problems() {
            [] | [_] => error.to_string(),
            problems => {
                let lines = problems
                    .iter()
                    .map(|problem| format!("\n  - {}", EscapedText::clause(problem)));
                format!(
                    "{}, {} problems:{}",
                    error.kind(),
                    problems.len(),
                    lines.collect::<String>()
                )
            }
        };
        Self { exit, kind, message, error: Some(error) }
    }
}

#[derive(Serialize)]
struct ErrorReport<'a> {
    error: ErrorDetails<'a>,
}

#[derive(Serialize)]
struct ErrorDetails<'a> {
    kind: &'static str,
    message: &'a str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [String],
    is_temporary: bool,
}
