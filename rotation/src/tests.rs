//! The engine under a clock that tests set forward, with an issuer and a store in memory.

mod agreement;
mod attempts;
mod compromised;
mod crash;
mod crashing;
mod delegate;
mod failures;
mod faulty_store;
pub(crate) mod fixed_key;
mod instances;
mod issuer;
#[cfg(all(feature = "reqwest-middleware", feature = "tower"))]
mod leaks;
mod order;
mod permits;
mod rejections;
mod replicas;
mod review;
mod schedule;
mod shutdown;
mod stores;
mod years;
