//! Errors of the log.

use strongroom_core::{Error, ErrorKind};

/// The log is damaged, or an attacker has changed it.
pub(crate) fn corrupt(cause: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "keep a copy for the investigation, verify the log against your checkpoints, and restore it from a backup",
    )
    .because(cause)
}

/// The appender has built rows that do not continue the log.
pub(crate) fn bad_append() -> Error {
    Error::new(ErrorKind::Internal, "report this; nothing was written")
        .because("the rows do not continue the audit log")
}
