//! Maps failures of PostgreSQL. The texts of the server and the driver are dropped, since they may quote values.

use strongroom_core::{Error, ErrorKind};
use strongroom_postgres::{Explain, Failure};

use super::schema::SCHEMA;
use crate::log::error::corrupt;
use crate::settings::{CA_CERT, URL};

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The database failed, or was not reached.
    Database(Failure),
    /// The log is not as it must be. The connection is as before.
    Log(Error),
}

impl From<tokio_postgres::Error> for CallError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Database(failure)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Database(failure) => from_failure(&failure),
            CallError::Log(error) => error,
        }
    }
}

/// The error of a row whose columns cannot be read as the schema declares them.
pub(super) fn unreadable<E>(_error: E) -> Error {
    corrupt("a row of the audit log cannot be read: it was changed")
}

/// The error of a schema that is not there, or not as this release has created it.
pub(super) fn changed_schema(what: &str) -> Error {
    corrupt(format!("{what} of the audit log's schema is added, changed or missing"))
}

/// The outcome of an append is not known.
pub(super) fn outcome_unknown() -> Error {
    Error::new(ErrorKind::Unavailable, "try again; the rows may be written or not")
        .because("the connection to the audit log's database broke during a write")
}

pub(super) fn inside_runtime() -> Error {
    Error::new(ErrorKind::Internal, "report this")
        .because("the audit log's database was used on a thread of an async runtime")
}

/// How errors speak of the database.
pub(super) const EXPLAIN: Explain = Explain {
    what: "audit log",
    schema: SCHEMA,
    url: URL,
    ca_cert: CA_CERT,
    rights: "Rules in PostgreSQL",
    free_space: ", or prune the log",
    wait: ", or raise the time for which rules may be used",
};

pub(super) fn from_failure(failure: &Failure) -> Error {
    match EXPLAIN.damage(failure) {
        Some(damage) => corrupt(damage),
        None => EXPLAIN.error(failure),
    }
}
