//! How Strongroom's server and its client verify each other by SPIFFE X.509-SVIDs.
//!
//! This is an implementation detail: it is published because published crates depend on it, and it changes without
//! notice. Use the crate `strongroom`.
//!
//! - [`TrustBundles`]: the authorities of each trust domain, and [`TrustBundles::verify`], the pure check of a chain.
//! - [`VerifiedSvid`]: the id of a verified leaf, and when it ends.
//! - [`ClientVerifier`] and [`ServerVerifier`]: the same check in a TLS handshake.

mod bundle;
mod leaf;
mod verifier;

pub use bundle::TrustBundles;
pub use leaf::{Refused, Role, VerifiedSvid};
pub use verifier::{ClientVerifier, ServerVerifier};

#[cfg(test)]
mod tests;
