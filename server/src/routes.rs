//! The handlers, by what they are about.

pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod health;
pub(crate) mod rules;
pub(crate) mod secrets;
pub(crate) mod store;
