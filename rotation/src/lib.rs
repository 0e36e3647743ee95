//! Keys that are replaced before they expire, while the service goes on sending requests.

mod adopt;
mod calls;
mod clock;
mod delegate;
mod engine;
mod event;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod guarded_body;
mod header;
#[cfg(feature = "http")]
mod http_issuer;
mod issuer;
mod keeper;
mod key;
mod key_header;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod key_injector;
mod managed_key;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod origin;
mod password;
mod permit;
mod policy;
#[cfg(any(feature = "pool-deadpool", feature = "pool-sqlx"))]
pub mod pool;
#[cfg(feature = "postgres")]
mod postgres_issuer;
mod record;
mod replace;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;
mod retire;
mod store;
mod store_checks;
#[cfg(test)]
mod tests;
mod timestamp;
#[cfg(feature = "tower")]
mod tower;
mod turn;

pub use engine::RotationEngine;
pub use event::{RotationEvent, RotationStep};
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub use guarded_body::GuardedBody;
pub use header::{ExpiryHeaders, ExpiryObservation, ExpiryUnit};
#[cfg(feature = "http")]
pub use http_issuer::{HttpIssuer, HttpIssuerConfig};
pub use issuer::{IssueAttempt, IssueId, IssuedKey, KeyIssuer};
pub use key::{Fingerprint, KeyGuard, KeyState, RotatingKey};
pub use key_header::KeyHeader;
pub use managed_key::ManagedKey;
pub use password::{PasswordIssuer, PasswordPolicy};
pub use policy::RotationPolicy;
#[cfg(feature = "postgres")]
pub use postgres_issuer::{PostgresIssuer, PostgresIssuerConfig};

#[cfg(feature = "reqwest-middleware")]
pub use self::reqwest::RotatingKeyMiddleware;
#[cfg(feature = "tower")]
pub use self::tower::{
    CloneBody, NoRetry, ResponseFuture, RetryBody, RotatingKeyLayer, RotatingKeyService,
};
