//! Failures between a service and its server: the kind of the error, and the recovery.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is test code")]

mod bounds;
mod contents;
mod credentials;
mod mounts;
mod outage;
mod policies;
mod responses;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tokens;
mod writes;
