//! Keys of AWS KMS that wrap other keys.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod answers;
mod contract;
mod environment;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests of secrets use the rest")]
mod support;
