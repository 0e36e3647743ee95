//! The handlers, by what they are about.

pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod rules;
pub(crate) mod secrets;
pub(crate) mod store;
pub(crate) mod vault;
pub(crate) mod verify;
