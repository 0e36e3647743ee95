//! Attacks on the engine: each test states the rule that has to withstand them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod approvals;
mod audit;
mod blocks;
mod checkpoints;
mod denial_of_service;
mod events;
mod files;
mod persons;
mod policy;
mod races;
mod restarts;
mod scopes;
#[path = "../support/mod.rs"]
mod support;
mod tenants;
mod tiers;
mod tokens;
