//! The way of a read against real stores: what a service notices of their outages, refusals and
//! changes, and how often they are asked.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod aws;
mod leases;
mod outages;
mod refusals;
mod requests;
mod support;
mod watches;
