//! The backend against servers whose answers, faults and certificates a test defines.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod certificates;
mod failover;
mod feed;
mod leaks;
mod responses;
mod support;
mod token;
