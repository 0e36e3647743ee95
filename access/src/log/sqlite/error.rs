//! Maps errors of SQLite. Their texts are dropped, since they may quote values.

use rusqlite::ErrorCode;
use strongroom_core::{Error, ErrorKind};

use crate::log::error::corrupt;

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` takes")]
pub(super) fn from_sqlite(error: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(failure, _) = &error else {
        // All other errors mean that a column has another type than the schema declares.
        return corrupt("a row of the audit log cannot be read");
    };
    let (kind, cause, advice) = match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => (
            ErrorKind::Unavailable,
            "another process holds the audit log's write lock",
            "try again; look for a process that stopped in the middle of a write",
        ),
        ErrorCode::DiskFull => (
            ErrorKind::Unavailable,
            "the disk of the audit log is full",
            "free space, or prune the log; nothing was written",
        ),
        ErrorCode::SystemIoFailure => (
            ErrorKind::Unavailable,
            "the file system failed to read or write the audit log",
            "check the disk; nothing was half-written",
        ),
        ErrorCode::CannotOpen => (
            ErrorKind::Unavailable,
            "the audit log's file cannot be opened",
            "check that its folder exists and is writable",
        ),
        ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::AuthorizationForStatementDenied => (
            ErrorKind::Denied,
            "the audit log or its folder is read-only",
            "mount the folder writable, and grant this process write access to both",
        ),
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation => {
            return corrupt("the audit log's file is damaged");
        }
        ErrorCode::FileLockingProtocolFailed | ErrorCode::OutOfMemory => (
            ErrorKind::Unavailable,
            "SQLite could not get a lock or memory for the audit log",
            "try again; check the load and memory of the machine",
        ),
        ErrorCode::TooBig => (
            ErrorKind::InvalidInput,
            "a record of the audit log is too large",
            "shorten the texts of the request",
        ),
        _ => (ErrorKind::Internal, "the database of the audit log failed", "report this"),
    };
    Error::new(kind, advice).because(cause)
}
