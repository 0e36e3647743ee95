//! Failures between a service and AWS: the kind of the error, its advice, and the number and time of
//! requests. AWS is a stub that follows the documentation of the API.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code"
)]

mod answers;
mod application_config;
mod batch;
mod bounds;
mod conditions;
mod credentials;
mod denied;
mod endpoint;
mod error_codes;
mod external_tags;
mod fake;
mod health;
mod metadata_cache;
mod names;
mod network;
mod pages;
mod put_to_deleted;
mod put_without_describe;
mod roles;
mod rotation;
mod secret_states;
#[path = "../support/mod.rs"]
mod support;
mod throttling;
mod timeouts;
mod writes;
