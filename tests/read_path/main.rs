//! The read path against real servers: what a service sees of their outages, errors and changes, and
//! how many requests it sends.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod aws;
mod environment;
mod errors;
mod leases;
mod outages;
mod requests;
mod support;
mod watches;
