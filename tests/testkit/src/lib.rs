//! The test harness that every backend shares.
//!
//! - [`conformance`]: the cases of the backend contract, run for each [`conformance::Target`].
//! - [`canary`]: the value that those cases plant, and the search for it in captured output.
//! - [`errors`]: what every error of a backend must be like.
//! - [`log`]: what is logged, kept for a test to read.
//! - [`memory`]: a scan of the process's own memory for what should have been wiped.
//! - [`process`]: children of the test's own binary, for tests that kill one.
//! - [`openbao`]: real OpenBao servers, and what makes them fail.
//! - [`localstack`]: real LocalStack servers, in place of AWS.
//! - [`postgres`]: real PostgreSQL servers.
//! - [`stub`]: HTTP answers that no real server gives on demand.
//! - [`issuer`]: an issuer of API keys and the API that takes them, with their faults.
//! - [`certificates`]: certificate authorities, and what they sign.
//! - [`proxy`]: a TCP connection that fails on demand.
//!
//! A backend plugs in with a target and one call; see [`conformance::main`].

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this is test code: a panic is how it reports a failure"
)]

use std::fmt;
use std::io::Write as _;

pub mod canary;
pub mod certificates;
pub mod conformance;
pub mod errors;
pub mod issuer;
pub mod localstack;
pub mod log;
mod loopback;
pub mod memory;
pub mod openbao;
pub mod postgres;
pub mod process;
pub mod proxy;
mod server;
pub mod stub;

/// Reports a figure of a test that passes: the standard harness shows what `println!` writes only
/// of tests that fail.
pub fn report(line: impl fmt::Display) {
    // A report that nobody can read is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}
