//! Keys that are replaced before they expire, while the service goes on sending requests.

mod callers;
mod calls;
mod clock;
mod drain;
mod engine;
mod event;
mod failures;
mod fingerprint;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod guarded_body;
mod header;
#[cfg(feature = "http")]
mod http_issuer;
mod issuer;
mod key;
mod key_header;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod key_injector;
mod key_table;
mod managed_key;
mod metrics;
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
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod rejection;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;
mod schedule;
mod store;
mod store_checks;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "http", feature = "postgres"))]
mod timeouts;
mod timestamp;
#[cfg(any(feature = "http", feature = "postgres"))]
mod tls;
#[cfg(feature = "tower")]
mod tower;
mod worker;

pub use engine::RotationEngine;
pub use event::{RotationEvent, RotationStep};
pub use fingerprint::Fingerprint;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub use guarded_body::GuardedBody;
pub use header::{ExpiryHeaders, ExpiryObservation, ExpiryUnit};
#[cfg(feature = "http")]
pub use http_issuer::{HttpEndpoints, HttpIssuer, HttpIssuerConfig, HttpResponseFormat};
pub use issuer::{IssueAttempt, IssueId, IssuedKey, KeyIssuer};
pub use key::{KeyGuard, KeyState, RotatingKey};
pub use key_header::KeyHeader;
pub use managed_key::ManagedKey;
pub use password::{PasswordIssuer, PasswordPolicy};
pub use policy::RotationPolicy;
#[cfg(feature = "postgres")]
pub use postgres_issuer::{PostgresIssuer, PostgresIssuerConfig};
#[cfg(any(feature = "http", feature = "postgres"))]
pub use timeouts::Timeouts;
#[cfg(any(feature = "http", feature = "postgres"))]
pub use tls::{CaCertificates, ClientCertificate, TlsConfig};

#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub use self::rejection::Rejection;
#[cfg(feature = "reqwest-middleware")]
pub use self::reqwest::RotatingKeyMiddleware;
#[cfg(feature = "tower")]
pub use self::tower::{
    CloneBody, NoRetry, ResponseFuture, RetryBody, RotatingKeyLayer, RotatingKeyService,
};
