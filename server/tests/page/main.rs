//! The page for people, in a real browser.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test reports a failure")]

mod accessible;
mod approvals;
mod confined;
mod decided;
#[path = "../http/described.rs"]
mod described;
mod headers;
mod hostile;
mod person;
mod shown;
#[path = "../http/support.rs"]
#[expect(dead_code, reason = "the tests of the API use the rest")]
mod support;
mod verified;
