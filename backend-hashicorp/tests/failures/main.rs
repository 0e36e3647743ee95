//! What goes wrong between a service and its store: the kind of the error, and the way back.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is test code")]

mod answers;
mod contents;
mod credentials;
mod mounts;
mod outage;
mod policies;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tokens;
mod writes;
