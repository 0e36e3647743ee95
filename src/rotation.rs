//! Keys that are replaced before they expire, while the service goes on sending requests.

mod adopt;
mod attach;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod carrier;
mod delegate;
mod engine;
mod event;
#[cfg(test)]
mod fixed;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod guarded;
mod header;
#[cfg(feature = "rotation-http")]
mod http_issuer;
mod issuer;
mod keeper;
mod key;
#[cfg(test)]
#[cfg(all(feature = "reqwest-middleware", feature = "tower"))]
mod leaks;
mod looks;
mod moment;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod origin;
mod password;
mod place;
mod policy;
#[cfg(feature = "rotation-postgres")]
mod postgres_issuer;
mod record;
mod registration;
mod replace;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;
mod retire;
#[cfg(test)]
mod tests;
#[cfg(feature = "tower")]
mod tower;
mod turn;

pub use attach::KeyHeader;
pub use engine::RotationEngine;
pub use event::{RotationEvent, RotationStep};
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub use guarded::GuardedBody;
pub use header::{ExpiryHeaders, ExpiryUnit, Observed};
#[cfg(feature = "rotation-http")]
pub use http_issuer::{HttpIssuer, HttpIssuerConfig};
pub use issuer::{IssueId, IssuedKey, KeyIssuer};
pub use key::{Fingerprint, KeyGuard, KeyState, RotatingKey};
pub use password::{PasswordIssuer, PasswordPolicy};
pub use policy::RotationPolicy;
#[cfg(feature = "rotation-postgres")]
pub use postgres_issuer::{PostgresIssuer, PostgresIssuerConfig};
pub use registration::Rotation;

#[cfg(feature = "reqwest-middleware")]
pub use self::reqwest::RotatingKeyMiddleware;
#[cfg(feature = "tower")]
pub use self::tower::{
    CloneBody, NeverRepeat, RepeatBody, ResponseFuture, RotatingKeyLayer, RotatingKeyService,
};
