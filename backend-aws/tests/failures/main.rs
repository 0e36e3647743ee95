//! What goes wrong between a service and AWS: the kind of the error, what it advises, how often AWS
//! is asked, and for how long. AWS is a stub that follows the API's documentation.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code"
)]

mod answers;
mod batch;
mod clock;
mod conditions;
mod credentials;
mod denied;
mod endpoint;
mod fake;
mod foreign;
mod health;
mod known;
mod network;
mod pages;
mod refusals;
mod restored;
mod roles;
mod rotation;
mod shown;
mod states;
#[path = "../support/mod.rs"]
mod support;
mod throttling;
mod unseen;
mod writes;
