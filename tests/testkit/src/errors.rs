//! Assertions about the errors of a backend.

use std::error::Error as _;
use std::fmt::Debug;

use strongroom_core::{Error, ErrorKind, Operation, Result};

use crate::canary;

/// Asserts a permanent failure: a retry cannot help.
///
/// # Panics
/// If the result is not an error of this operation and kind, or is temporary. The other functions panic
/// likewise.
#[track_caller]
pub fn expect_permanent<T: Debug>(
    operation: Operation,
    kind: ErrorKind,
    result: Result<T>,
) -> Error {
    let error = expect_error(operation, kind, result);
    assert!(!error.is_temporary(), "{error}");
    assert_eq!(error.retry_after(), None, "{error}");
    error
}

/// Asserts a transient failure without a `retry_after` from the store.
#[track_caller]
pub fn expect_transient<T: Debug>(
    operation: Operation,
    kind: ErrorKind,
    result: Result<T>,
) -> Error {
    let error = expect_error(operation, kind, result);
    assert!(error.is_temporary(), "{error}");
    assert_eq!(error.retry_after(), None, "{error}");
    error
}

/// Asserts a failure of this kind.
#[track_caller]
pub fn expect_error<T: Debug>(operation: Operation, kind: ErrorKind, result: Result<T>) -> Error {
    let error = result.expect_err("the call must fail");
    check(&error);
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.operation(), Some(operation), "{error}");
    error
}

/// Asserts what holds for every error: it names the operation, the backend and the next step, and does not
/// contain the canary.
#[track_caller]
pub fn check(error: &Error) {
    let shown = format!("{error} {error:#} {error:?} {error:#?}");
    if let Some(finding) = canary::find(shown.as_bytes()) {
        panic!("{finding}");
    }
    assert!(error.operation().is_some(), "{error}");
    assert!(error.backend().is_some(), "{error}");
    let problems = error.problems();
    assert!(!error.advice().is_empty() || !problems.is_empty(), "{error}");
    assert!(problems.iter().all(|problem| !problem.is_empty()), "{error}");
    assert!(error.source().is_none(), "{error}");
}
