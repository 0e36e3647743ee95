//! Replaces API keys and database passwords before they expire, while the service goes on sending requests.
//!
//! A [`RotationEngine`] gets a new key from a [`KeyIssuer`] while the old one still works, stores both in one
//! conditional write, lets requests in flight end with the key that they began with, and only then revokes the
//! old key. Instances of a service that share a store replace a key once; if one dies midway, another one
//! resumes. The protocol is the pure function `decide` of the crate `strongroom-rotation-protocol`, whose tests
//! explore it exhaustively; this crate makes the calls that it decides on.
//!
//! The crate `strongroom` re-exports this one as `strongroom::rotation`.
//!
//! # Start
//! Add a [`ManagedKey`] to an engine over any [`Backend`](strongroom_core::Backend) with conditional writes,
//! such as a `SecretsManager`. Requests take the current key from the [`RotatingKey`]:
//! ```
//! # async fn run(store: strongroom_core::MemoryBackend) -> strongroom_core::Result<()> {
//! use std::time::Duration;
//!
//! use strongroom_rotation::{ManagedKey, PasswordIssuer, RotationEngine, RotationPolicy};
//!
//! let engine = RotationEngine::new(store); // keep it as long as the service runs
//! let policy = RotationPolicy::new().rotate_before(Duration::from_secs(3 * 86_400));
//! let issuer = PasswordIssuer::default();
//! let key = engine.add(ManagedKey::new("internal/token", issuer).policy(policy)).await?;
//!
//! let guard = key.acquire(); // keep it until the response has been read
//! send_a_request(guard.expose_text()?);
//! drop(guard);
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! # fn send_a_request(_key: &str) {}
//! ```
//!
//! # Cargo features
//! | feature here | in `strongroom` | brings |
//! |---|---|---|
//! | | `rotation` | the engine, [`RotatingKey`], [`PasswordIssuer`], and issuers of your own ([`KeyIssuer`]) |
//! | `http` | `rotation-http` | `HttpIssuer`, which calls an HTTP API |
//! | `postgres` | `rotation-postgres` | `PostgresIssuer`, which alternates between two roles |
//! | `sqlx`, `deadpool` | `rotation-sqlx`, `rotation-deadpool` | `pool`: connections to PostgreSQL that log in with the current key |
//! | `reqwest`, `tower` | `rotation-reqwest`, `rotation-tower` | `RotatingKeyMiddleware`, `RotatingKeyLayer`: the current key in each request |
//!
//! # Metrics
//! They go to the recorder of the crate `metrics`. Each has the label `secret`, the path of the managed key.
//!
//! | metric | meaning |
//! |---|---|
//! | `strongroom_rotations_total` | how often this instance has switched to another key |
//! | `strongroom_rotation_failures_total` | how often a step of a rotation failed; the label `kind` is the kind of the error |
//! | `strongroom_unrevoked_keys_total` | keys that an operator has to revoke or look for at the issuer |
//! | `strongroom_key_age_seconds` | the age of the current key |
//! | `strongroom_key_expires_in_seconds` | the time until it expires, if that is known; negative afterwards |
//!
//! # The record
//! With an issuer, the secret becomes a JSON object when its first rotation begins. This is the format,
//! version 1. Each instance writes the object whole, and only if the version that it has read is still the
//! active one. All members are text. Members that are not listed here belong to the user and stay as they are.
//!
//! | member | meaning | written when |
//! |---|---|---|
//! | `key`, or the member that [`RotationPolicy::member`] names | the current key | a new key is stored |
//! | `rotation_version` | the version of this format: `1` | with each write |
//! | `rotation_previous` | the key before the current one | a new key is stored; removed when that key is revoked |
//! | `rotation_generation` | how often the key was replaced; without it, 0 | a new key is stored |
//! | `rotation_rotated_at` | when the current key was stored (RFC 3339, milliseconds) | a new key is stored |
//! | `rotation_expires_at` | when the current key stops working (RFC 3339), if the issuer said so | a new key is stored |
//! | `rotation_salt` | keys the fingerprints of this secret's keys | with the first write |
//! | `rotation_attempt` | the attempt to get a new key: its id, a UUID | an instance starts an attempt; removed when a key is stored or the attempt has failed |
//! | `rotation_attempt_by` | the instance that makes the attempt, a UUID | an instance starts an attempt or takes it over |
//! | `rotation_attempt_at` | when that instance wrote it last (RFC 3339), for operators | as above, and when it extends its lease |
//! | `rotation_fencing_token` | the fencing token of the last attempt, a whole number that only grows: at least the time in milliseconds since 1970 | as above; stays when the attempt is removed |
//! | `rotation_not_before` | no instance asks the issuer for a key before that time (RFC 3339), unless a caller of `rotate` or `rotate_compromised` waits | an attempt has failed; removed when a key is stored |
//! | `rotation_failures` | how many attempts have failed since the last rotation | as above |
//! | `rotation_untracked_keys` | `true` if the issuer may have issued a key that is not stored | an attempt may have lost a key; removed once the issuer's keys were looked through or the operator was told |
//! | `rotation_compromised` | the generation whose key is compromised, if it is the one that is to be replaced | `rotate_compromised`; removed when that key is revoked |
//! | `rotation_fixed_expiry` | the expiry of the secret itself that the store did not let the engine change with the key (RFC 3339): it belongs to an earlier key | a new key is stored |
//!
//! A text that is not a JSON object is a key that was never replaced: the first write makes it an object.
//! Records without `rotation_version` were written before version 1: `rotation_intent`,
//! `rotation_intent_by`, `rotation_intent_at`, `rotation_unsure` and `rotation_leaked` stand in them for
//! the attempt, the untracked keys and the compromised generation. They are read, and the next write makes
//! them version 1. A record of a later version is refused, and never written.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod callers;
mod calls;
mod clock;
mod drain;
mod engine;
mod event;
mod failures;
mod fingerprint;
#[cfg(any(feature = "reqwest", feature = "tower"))]
mod guarded_body;
mod header;
#[cfg(feature = "http")]
mod http_issuer;
mod issuer;
mod key;
mod key_header;
#[cfg(any(feature = "reqwest", feature = "tower"))]
mod key_injector;
mod key_table;
mod managed_key;
mod metrics;
#[cfg(any(feature = "reqwest", feature = "tower"))]
mod origin;
mod password;
mod permit;
mod policy;
#[cfg(any(feature = "deadpool", feature = "sqlx"))]
pub mod pool;
#[cfg(feature = "postgres")]
mod postgres_issuer;
mod record;
#[cfg(any(feature = "reqwest", feature = "tower"))]
mod rejection;
mod report;
#[cfg(feature = "reqwest")]
mod reqwest;
mod schedule;
mod store;
mod store_checks;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "http", feature = "postgres"))]
mod timeouts;
mod timestamp;
#[cfg(feature = "tower")]
mod tower;
mod worker;

pub use engine::RotationEngine;
pub use event::{RotationEvent, RotationStep};
pub use fingerprint::Fingerprint;
#[cfg(any(feature = "reqwest", feature = "tower"))]
pub use guarded_body::GuardedBody;
pub use header::{ExpiryHeaders, ExpiryObservation};
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
pub use report::report_compromised;
#[cfg(any(feature = "http", feature = "postgres"))]
pub use strongroom_transport::{CaCertificates, ClientCertificate, TlsConfig};
#[cfg(any(feature = "http", feature = "postgres"))]
pub use timeouts::Timeouts;
pub use timestamp::ExpiryUnit;

#[cfg(any(feature = "reqwest", feature = "tower"))]
pub use self::rejection::Rejection;
#[cfg(feature = "reqwest")]
pub use self::reqwest::RotatingKeyMiddleware;
#[cfg(feature = "tower")]
pub use self::tower::{
    CloneBody, NoRetry, ResponseFuture, RetryBody, RotatingKeyLayer, RotatingKeyService,
};

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
