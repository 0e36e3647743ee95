//! Maps failures of PostgreSQL. The texts of the server and the driver are dropped, since they may quote values.

use strongroom_core::{Error, ErrorKind};
use strongroom_postgres::{Explain, Failure};

use super::schema::SCHEMA;
use crate::error::store_corrupt;
use crate::settings::{CA_CERT, REPLICA_URL, URL};

/// How errors speak of the database.
pub(super) const EXPLAIN: Explain = Explain {
    what: "store",
    schema: SCHEMA,
    url: URL,
    ca_cert: CA_CERT,
    rights: "A store in PostgreSQL",
    free_space: "",
    wait: "",
};

/// How the log speaks of the replica.
pub(super) const EXPLAIN_REPLICA: Explain =
    Explain { what: "replica", url: REPLICA_URL, ..EXPLAIN };

pub(super) fn from_failure(failure: &Failure) -> Error {
    explained(&EXPLAIN, failure)
}

pub(super) fn explained(explain: &Explain, failure: &Failure) -> Error {
    match explain.damage(failure) {
        Some(damage) => store_corrupt(damage),
        None => explain.error(failure),
    }
}

/// Whether a server cannot be reached or does not answer, which says nothing about the store.
pub(super) fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// Whether the connection broke, or the server had closed it before it got the request: it says why to the next request
/// (class 57 of the appendix "PostgreSQL Error Codes").
pub(super) fn is_disconnected(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable => true,
        Failure::Server(code) => ["57P01", "57P02", "57P05"].contains(&code.code()),
        _ => false,
    }
}

/// The outcome of a transaction is not known.
pub(super) fn outcome_unknown() -> Error {
    Error::new(ErrorKind::Unavailable, "read the secret, and write it again if the value is not there")
        .because("the connection to the store's database broke during a commit, so that the write may be there or not")
}

/// A column has another type, or another value, than the schema declares.
pub(super) fn unreadable<E>(_error: E) -> Error {
    crate::error::record_corrupt("a row of the store cannot be read")
}
