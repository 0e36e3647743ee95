//! Maps failures of PostgreSQL. The texts of the server and the driver are dropped, since they may quote values.

use strongroom_core::{Error, ErrorKind};
use strongroom_postgres::{Explain, Failure};

use super::schema::SCHEMA;
use crate::error::store_corrupt;
use crate::settings::{CA_CERT, URL};

/// How errors speak of the database.
const EXPLAIN: Explain = Explain {
    what: "store",
    schema: SCHEMA,
    url: URL,
    ca_cert: CA_CERT,
    rights: "A store in PostgreSQL",
    free_space: "",
    wait: "",
};

pub(super) fn from_failure(failure: &Failure) -> Error {
    match EXPLAIN.damage(failure) {
        Some(damage) => store_corrupt(damage),
        None => EXPLAIN.error(failure),
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
