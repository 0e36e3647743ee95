//! Tests of the issuer of passwords for PostgreSQL roles, against real servers. The process aborts if a
//! log line shows a password.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod alternation;
mod config;
mod failures;
mod fencing;
mod fixture;
mod hostile;
mod reload;
mod rotation;
mod stub;
mod tls;
mod traces;

use std::fmt::Debug;

use strongroom_core::{Error, ErrorKind, Operation, Result};
use strongroom_testkit::{canary, errors};

/// Returns the error of a failed call, which must have this kind, an advice, and no password.
#[track_caller]
fn expect_error<T: Debug>(kind: ErrorKind, result: Result<T>) -> Error {
    let error = errors::expect_error(Operation::Rotate, kind, result);
    canary::witness_error(&error);
    error
}
