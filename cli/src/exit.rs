//! Exit statuses: one per class of errors, the same on every store.

use std::process::ExitCode;

use strongroom::ErrorKind;

/// The exit status of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// The command did what it was asked.
    pub(crate) const SUCCESS: Self = Self(0);
    /// The command failed, or found what it was to search for.
    pub(crate) const FAILURE: Self = Self(1);
    /// The arguments or the configuration are wrong.
    pub(crate) const USAGE: Self = Self(2);
    /// `scan` found nothing, and could not search everything: the status that `grep` has then.
    pub(crate) const INCOMPLETE: Self = Self(2);
    /// There is no such secret, version or field.
    pub(crate) const NOT_FOUND: Self = Self(3);
    /// The caller may not do that, or an approval is needed.
    pub(crate) const DENIED: Self = Self(4);
    /// The store cannot be reached or cannot serve now; a retry may help.
    pub(crate) const UNAVAILABLE: Self = Self(5);
    /// A condition did not hold; nothing was written.
    pub(crate) const CONFLICT: Self = Self(6);
    /// The secret's expiry has passed.
    pub(crate) const EXPIRED: Self = Self(7);
    /// `run` failed before the command began. This status and the next two are those of `env` and `docker`.
    pub(crate) const NOT_STARTED: Self = Self(125);
    /// The command of `run` cannot be executed.
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    /// There is no such command to `run`.
    pub(crate) const NO_COMMAND: Self = Self(127);
    /// Ctrl-C at a prompt: 128 and the number of the signal SIGINT.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// The reader of the output has gone: 128 and the number of the signal SIGPIPE.
    pub(crate) const BROKEN_PIPE: Self = Self(141);

    /// The status for an error of this kind, and the name of the kind in JSON.
    pub(crate) const fn of(kind: ErrorKind) -> (Self, &'static str) {
        let exit = match kind {
            ErrorKind::NotFound | ErrorKind::FieldNotFound => Self::NOT_FOUND,
            ErrorKind::Expired => Self::EXPIRED,
            ErrorKind::Denied | ErrorKind::ApprovalRequired | ErrorKind::Unauthenticated => {
                Self::DENIED
            }
            ErrorKind::Conflict => Self::CONFLICT,
            ErrorKind::InvalidInput | ErrorKind::Config => Self::USAGE,
            ErrorKind::Unavailable | ErrorKind::RateLimited | ErrorKind::Timeout => {
                Self::UNAVAILABLE
            }
            // The others, and kinds of a later release.
            _ => Self::FAILURE,
        };
        (exit, kind.as_str())
    }

    /// The status of a command that has ended.
    pub(crate) const fn of_command(code: u8) -> Self {
        Self(code)
    }

    /// The status after a signal that ends programs: 128 and its number.
    pub(crate) fn of_signal(signal: rustix::process::Signal) -> Self {
        Self(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX))
    }

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the guide.
    const GUIDE: &str = include_str!("../../docs/src/command-line.md");

    #[test]
    fn every_kind_of_error_has_the_exit_status_that_the_guide_documents() {
        for kind in ErrorKind::ALL {
            let (exit, name) = Exit::of(*kind);
            let row = format!("| `{kind:?}` | `{name}` | {} |", exit.code());
            assert!(GUIDE.contains(&row), "the guide lacks the row {row}");
        }
    }
}
