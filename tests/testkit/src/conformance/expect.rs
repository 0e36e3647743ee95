//! Assertions about results. Their messages show no values.

use std::fmt::Debug;

use strongroom_core::{Error, ErrorKind, Result, Secret, SecretValue, Version, VersionInfo};

/// Asserts that a call fails with this kind of error.
#[track_caller]
pub(super) fn expect_error<T: Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    match result {
        Ok(answer) => panic!("expected `{kind}`, but it succeeded with {answer:?}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            error
        }
    }
}

/// Asserts that a secret is readable and has this value.
#[track_caller]
pub(super) fn expect_value(secret: Result<Secret>, value: &SecretValue) -> Secret {
    let secret = secret.unwrap_or_else(|error| panic!("expected a value, but: {error}"));
    assert!(
        secret.value().constant_time_eq(value),
        "another value than expected: {secret:?} of {} bytes, not {value:?} of {} bytes",
        secret.value().len(),
        value.len(),
    );
    secret
}

/// Asserts that exactly one version is active, and returns it.
#[track_caller]
pub(super) fn active_version(versions: &[VersionInfo]) -> &Version {
    let active: Vec<_> = versions.iter().filter(|info| info.active).collect();
    assert_eq!(active.len(), 1, "not exactly one version is active: {versions:?}");
    &active[0].version
}

/// The ids in a list of versions, in the same order.
pub(super) fn ids(versions: &[VersionInfo]) -> Vec<&Version> {
    versions.iter().map(|info| &info.version).collect()
}
