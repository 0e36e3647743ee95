//! Tests of the HTTP issuer of keys. The process ends if a key shows in anything that is logged.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod calls;
mod config;
mod proxy;
mod reload;
mod responses;
mod tls;

use std::fmt::Debug;

use strongroom_core::{Error, ErrorKind, Operation, Result};
use strongroom_rotation::{HttpIssuer, HttpIssuerConfig};
use strongroom_testkit::{canary, errors};

/// An issuer with a configuration that `change` has changed.
fn issuer(base: String, change: impl FnOnce(&mut HttpIssuerConfig)) -> HttpIssuer {
    canary::watch();
    let mut config = HttpIssuerConfig::new(base);
    change(&mut config);
    let issuer = HttpIssuer::new(&config).unwrap();
    canary::witness(&(&config, &issuer));
    issuer
}

/// A failure of a certain kind, that says what to do and shows no key.
#[track_caller]
fn expect_error<T: Debug>(kind: ErrorKind, result: Result<T>) -> Error {
    let error = errors::expect_error(Operation::Rotate, kind, result);
    canary::witness_error(&error);
    error
}
