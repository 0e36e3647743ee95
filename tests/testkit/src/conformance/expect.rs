//! What cases expect of an answer. No value is shown when an expectation fails.

use std::fmt::Debug;

use strongroom_core::{Error, ErrorKind, Result, Secret, SecretValue, Version, VersionInfo};

/// The error of a call that must fail with this kind.
#[track_caller]
pub(super) fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    match result {
        Ok(answer) => panic!("expected `{kind}`, but it succeeded with {answer:?}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            error
        }
    }
}

/// A secret that must be readable and have exactly this value.
#[track_caller]
pub(super) fn holds(secret: Result<Secret>, value: &SecretValue) -> Secret {
    let secret = secret.unwrap_or_else(|error| panic!("expected a value, but: {error}"));
    assert!(
        secret.value().constant_time_eq(value),
        "another value than expected: {secret:?} of {} bytes, not {value:?} of {} bytes",
        secret.value().len(),
        value.len(),
    );
    secret
}

/// The active one of a list of versions, of which there must be exactly one.
#[track_caller]
pub(super) fn active(versions: &[VersionInfo]) -> &Version {
    let active: Vec<_> = versions.iter().filter(|info| info.active).collect();
    assert_eq!(active.len(), 1, "not exactly one version is active: {versions:?}");
    &active[0].version
}

/// The ids in a list of versions, in its order.
pub(super) fn ids(versions: &[VersionInfo]) -> Vec<&Version> {
    versions.iter().map(|info| &info.version).collect()
}
