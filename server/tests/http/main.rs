//! The server, over HTTP.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test reports a failure")]

mod approvals;
mod changes;
mod faults;
mod rules;
mod secrets;
mod support;
