//! Maps errors of SQLite and the file system. Their texts are dropped, since they may quote values.

use std::borrow::Cow;
use std::io;

use rusqlite::ErrorCode;
use strongroom_core::{Error, ErrorKind};

use crate::crypto::NotAuthentic;
use crate::settings::{CREATE, PATH};
use crate::store_name::StoreName;

pub(crate) const KIND: &str = "native";

/// How an operator accepts the state that a store has.
pub(crate) const ACCEPT: &str =
    "accept its state with `strongroom store accept` (`NativeBackend::accept_state`)";

/// Maps an error of SQLite.
#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` takes")]
pub(crate) fn from_sqlite(error: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(failure, _) = &error else {
        // All other errors mean that a column has another type than the schema declares.
        return record_corrupt("a row of the store cannot be read");
    };
    let (kind, cause, advice) = match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => (
            ErrorKind::Unavailable,
            "another process holds the store's write lock",
            "try again; look for a process that stopped in the middle of a write",
        ),
        ErrorCode::DiskFull => {
            (ErrorKind::Unavailable, "the disk is full", "free space; nothing was written")
        }
        ErrorCode::SystemIoFailure => (
            ErrorKind::Unavailable,
            "the file system failed to read or write the store",
            "check the disk; nothing was half-written",
        ),
        ErrorCode::CannotOpen => (
            ErrorKind::Unavailable,
            "the store's file cannot be opened",
            "check that its folder exists and is writable",
        ),
        ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::AuthorizationForStatementDenied => (
            ErrorKind::Denied,
            "the store or its folder is read-only",
            "mount the folder writable, and grant this process write access to both",
        ),
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation => {
            return store_corrupt("the store's file is damaged");
        }
        ErrorCode::FileLockingProtocolFailed | ErrorCode::OutOfMemory => (
            ErrorKind::Unavailable,
            "SQLite could not get a lock or memory",
            "try again; check the load and memory of the machine",
        ),
        ErrorCode::TooBig => {
            (ErrorKind::InvalidInput, "the value is too large", "split it or store a reference")
        }
        _ => (ErrorKind::Internal, "the embedded database failed", "report this"),
    };
    Error::new(kind, advice).because(cause)
}

/// The store as a whole is corrupt.
pub(crate) fn store_corrupt(cause: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Corrupt, "restore the store from a backup").because(cause)
}

/// One record is corrupt.
pub(crate) fn record_corrupt(cause: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "restore it from a backup, or destroy it and write it again")
        .because(cause)
}

impl From<NotAuthentic> for Error {
    fn from(_: NotAuthentic) -> Self {
        record_corrupt("the record fails authentication: it was damaged, edited or moved")
    }
}

/// The store at `store` has no such secret.
pub(crate) fn not_found(store: &StoreName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "check the secret's path and that this is the right store, or write the secret first",
    )
    .because(format!("the store {store} does not hold it"))
}

/// The store at `store` holds the secret, but deleted.
pub(crate) fn deleted_secret(store: &StoreName) -> Error {
    Error::new(ErrorKind::NotFound, "undelete it, or write it again")
        .because(format!("it was deleted in the store {store}"))
}

/// There is no store yet.
pub(crate) fn no_store(store: &StoreName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "check `{PATH}`; a write creates the store, and so does opening it with `{CREATE}`"
        ),
    )
    .because(format!("there is no store at {store}"))
}

/// Names the store in an error about its files.
pub(crate) fn name_store(error: Error, store: &StoreName) -> Error {
    match error.kind() {
        ErrorKind::Denied | ErrorKind::Unavailable | ErrorKind::Corrupt => {
            let advice = format!("{} (the store is {})", error.advice(), store);
            error.advise(advice)
        }
        _ => error,
    }
}

pub(crate) fn no_such_version() -> Error {
    Error::new(ErrorKind::NotFound, "list the versions that exist with `versions`")
        .because("no such version")
}

/// Describes a file-system error by its class alone.
pub(crate) fn describe_io_error(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist",
        io::ErrorKind::PermissionDenied => "this process may not access it",
        io::ErrorKind::AlreadyExists => "it already exists",
        io::ErrorKind::IsADirectory => "it is a directory",
        io::ErrorKind::NotADirectory => "a part of its path is not a directory",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        _ => "the file system failed",
    }
}
