//! The engine under a paused clock, with an issuer and a store in memory.

mod agreement;
mod attempts;
mod backoff;
mod compromised;
mod crash;
mod failures;
mod faulty_store;
pub(crate) mod fixed_key;
mod instances;
mod issuer;
mod killable;
#[cfg(all(feature = "reqwest", feature = "tower"))]
mod leaks;
mod order;
mod overlap;
mod permits;
mod rejections;
mod replicas;
mod review;
mod schedule;
mod shutdown;
mod slow_keys;
mod store_managed;
mod stores;
mod years;
