//! Tests of the issuer of passwords for PostgreSQL roles, against real servers. The process ends if a
//! password shows in anything that is logged.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod config;
mod failures;
mod fencing;
mod reload;
mod rotation;
mod setting;
mod stub;
mod tls;
mod traces;
mod turns;

use std::fmt::Debug;

use strongroom_core::{Error, ErrorKind, Operation, Result};
use strongroom_testkit::{canary, errors};

/// A failure of a certain kind, that says what to do and shows no password.
#[track_caller]
fn failed<T: Debug>(kind: ErrorKind, result: Result<T>) -> Error {
    let error = errors::failed(Operation::Rotate, kind, result);
    canary::witness_error(&error);
    error
}
