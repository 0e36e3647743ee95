//! The test harness that all backends share.
//!
//! - [`browser`]: a headless Chromium.
//! - [`conformance`]: the cases of the backend contract, run for each [`conformance::Target`].
//! - [`canary`]: the value that those cases plant, and the search for it in captured output.
//! - [`errors`]: assertions about the errors of a backend.
//! - [`gnome_keyring`]: a GNOME Keyring on a bus of its own.
//! - [`log`]: captures log output for a test.
//! - [`memory`]: scans the process's own memory for values that should have been wiped.
//! - [`process`]: starts the test's own binary as a child, for tests that kill a process.
//! - [`openbao`]: real OpenBao servers, and their faults.
//! - [`localstack`]: real LocalStack servers instead of AWS.
//! - [`postgres`]: real PostgreSQL servers.
//! - [`softhsm`]: tokens of SoftHSM2.
//! - [`stub`]: an HTTP server with responses that no real server gives on demand.
//! - [`issuer`]: an issuer of API keys and the API that accepts them, with their faults.
//! - [`certificates`]: certificate authorities and the certificates that they sign.
//! - [`proxy`]: a TCP proxy that fails on demand.
//! - [`wrapping_key`]: the contract of a key that wraps other keys.
//!
//! A backend plugs in with a target and one call; see [`conformance::main`].

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test code reports a failure with a panic"
)]

use std::fmt;
use std::io::Write as _;

pub mod browser;
pub mod canary;
pub mod certificates;
pub mod conformance;
pub mod endless;
pub mod errors;
pub mod gnome_keyring;
pub mod issuer;
pub mod localstack;
pub mod log;
mod loopback;
pub mod memory;
pub mod moto;
pub mod openbao;
pub mod postgres;
pub mod process;
pub mod proxy;
mod server;
pub mod softhsm;
pub mod stub;
pub mod tls_front;
pub mod wrapping_key;

/// Reports a figure of a passing test. The standard harness shows the output of `println!` only for tests
/// that fail.
pub fn report(line: impl fmt::Display) {
    // A closed standard error must not fail the test.
    let _ = writeln!(std::io::stderr(), "{line}");
}
