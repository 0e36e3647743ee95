//! The server, over HTTP.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test reports a failure")]

mod approvals;
mod changes;
mod described;
mod events;
mod faults;
mod import;
mod limits;
mod mtls;
mod openapi;
mod rules;
mod secrets;
mod slow_store;
mod support;
mod svid_rotation;
mod vault;
mod verify;
mod xfcc;
