//! How the crates of Strongroom send secrets over a network.
//!
//! This is an implementation detail: it is published because published crates depend on it, and it changes
//! without notice. Use the crate `strongroom`.
//!
//! # Cargo features
//! - `aws`: [`aws_client`], [`bound_answers`], [`BodyFailure`] and [`read_authorities`], over the crates of AWS's SDK.
//! - `blocking`: [`BlockingCalls`], over the crate `tokio`.
//! - `credential-file`: [`CredentialReader`], over the crate `tokio`.
//! - `http`: [`ClientOptions`], [`bearer`], [`read_body`], [`retry_after`] and [`RequestFailure`], over the crate `reqwest`.
//! - `runtime`: [`ensure_runtime`] and [`run_blocking`], over the crate `tokio`.
//! - `spiffe`: [`TlsConfig::server_id`], over the crate `strongroom-spiffe`.
//! - `suppress-events`: [`suppress_events`], over the crate `tracing`.
//! - `tls`: [`TlsFailure`], over the crate `rustls`.
//! - `tls-client`: [`TlsConfig`] with its certificates, [`LoadedTls`] and [`ReloadingClient`], over the crate `rustls`.
//! - `url`: [`is_exposed`], [`names_port`] and [`HttpsProxy`], over the crate `url`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "blocking")]
mod blocking;
#[cfg(feature = "credential-file")]
mod credential_file;
#[cfg(feature = "http")]
mod http;
mod loopback;
#[cfg(feature = "url")]
mod proxy;
#[cfg(feature = "runtime")]
mod runtime;
#[cfg(feature = "suppress-events")]
mod suppress_events;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls-client")]
mod tls_client;

#[cfg(feature = "aws")]
pub use self::aws::{BodyFailure, aws_client, bound_answers, read_authorities};
#[cfg(feature = "blocking")]
pub use self::blocking::BlockingCalls;
#[cfg(feature = "credential-file")]
pub use self::credential_file::CredentialReader;
#[cfg(feature = "http")]
pub use self::http::{ClientOptions, RequestFailure, bearer, read_body, retry_after};
#[cfg(feature = "url")]
pub use self::loopback::is_exposed;
pub use self::loopback::is_loopback;
#[cfg(feature = "url")]
pub use self::proxy::{HttpsProxy, names_port};
#[cfg(feature = "runtime")]
pub use self::runtime::{LARGE, ensure_runtime, run_blocking};
#[cfg(feature = "suppress-events")]
pub use self::suppress_events::{suppress_events, suppress_events_in};
#[cfg(feature = "tls")]
pub use self::tls::TlsFailure;
#[cfg(feature = "tls-client")]
pub use self::tls_client::{
    CaCertificates, ClientCertificate, LoadedTls, ReloadingClient, TlsConfig,
};
