//! What every error of a backend must be like.

use std::error::Error as _;
use std::fmt::Debug;

use strongroom_core::{Error, ErrorKind, Operation, Result};

use crate::canary;

/// A failure that somebody has to do something about, and that says so.
///
/// # Panics
/// If it is none, of another kind or operation, or temporary; so do the others.
#[track_caller]
pub fn lasting<T: Debug>(operation: Operation, kind: ErrorKind, result: Result<T>) -> Error {
    let error = failed(operation, kind, result);
    assert!(!error.is_temporary(), "{error}");
    assert_eq!(error.retry_after(), None, "{error}");
    error
}

/// A failure that may be gone a moment later, without a time that the store names.
#[track_caller]
pub fn passing<T: Debug>(operation: Operation, kind: ErrorKind, result: Result<T>) -> Error {
    let error = failed(operation, kind, result);
    assert!(error.is_temporary(), "{error}");
    assert_eq!(error.retry_after(), None, "{error}");
    error
}

/// A failure of a certain kind.
#[track_caller]
pub fn failed<T: Debug>(operation: Operation, kind: ErrorKind, result: Result<T>) -> Error {
    let error = result.expect_err("it must fail");
    check(&error);
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.operation(), Some(operation), "{error}");
    error
}

/// What holds for every error: it says what was being done, where, and what to do next, and shows
/// no canary.
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
