//! Strongroom's backend for a Strongroom server: the secrets of its store that the caller may use, over HTTPS.
//!
//! ```no_run
//! # async fn run() -> strongroom_core::Result<()> {
//! use strongroom_backend_remote::{BearerToken, RemoteBackend, RemoteConfig};
//! use strongroom_core::{Backend, SecretPath, VersionSelector};
//!
//! let token = BearerToken::File("/run/secrets/strongroom-token".into());
//! let config = RemoteConfig::new("https://secrets.example.com", token);
//! let store = RemoteBackend::open(config).await?; // asks the server what its store can do
//!
//! let path = SecretPath::parse("openai/api-key")?;
//! let secret = store.get(&path, &VersionSelector::Active).await?; // one request
//! # drop(secret);
//! # Ok(())
//! # }
//! ```
//!
//! The backend runs inside a Tokio runtime with time and I/O enabled.
//!
//! # Who asks
//! A request carries a token of the server's access rules, or the connection presents a client certificate, or both. The
//! files of the token and of certificates are read again when they change: before a call, at most once per second, and
//! the token also when the server does not accept it; the request is sent once more with the new one then. If new
//! contents cannot be used, the last good ones stay in use and a warning is logged.
//!
//! # Several servers
//! [`addresses`](RemoteConfig::addresses) may name several servers with the same store. A call begins with the server that
//! answered last. If it fails, the call goes on to the next one within the same time limit, and the server is avoided for
//! a pause that grows from 0.1 s to 5 s:
//!
//! | failure | a read goes on | a write goes on |
//! |---|---|---|
//! | no connection: refused, unreachable, timed out, TLS | yes | yes |
//! | the server says that it is shutting down | yes | yes |
//! | status 502, 503 or 504 | yes | no |
//! | no answer, or half of one, after the request was sent | yes, after 5 s or its share of the time | no |
//! | any other answer | no | no |
//!
//! A write that may have arrived is never sent again. Its error says so, and the caller has to look.
//!
//! # What an answer may be
//! The errors of the server are those of this backend, with the server's advice. A response that a Strongroom server has
//! not written, such as the page of a proxy, is an error of its own, which shows nothing of the response. Redirects are
//! not followed: they would carry the token to another host. Answers are bounded: 24 MiB for a success, 64 KiB for an
//! error. A batch whose answer is larger is read in halves. Bodies from 256 KiB on are parsed off the async threads.
//!
//! The backend wipes its own buffers after use; those of the HTTP and TLS libraries are not wiped.
//!
//! # Connection
//! The server's certificate is checked against [`ca_cert`](RemoteConfig::ca_cert) alone if it is set, else against the
//! platform's authorities; no setting turns that off. Plain HTTP is for servers on this machine. `HTTPS_PROXY`,
//! `ALL_PROXY` and `NO_PROXY` apply to https, as in curl; plain http uses no proxy.
//!
//! `close` ends reads that are under way, and waits for writes, for 10 s at most.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod addresses;
mod approvals;
mod backend;
mod client;
mod config;
mod error;
mod feed;
mod http;
mod request;
mod response;
mod settings;
mod token;

pub use approvals::Approvals;
pub use backend::RemoteBackend;
pub use config::{BearerToken, RemoteConfig};
pub use settings::SETTINGS;
pub use strongroom_wire::{ApprovalBody, NewApprovalBody};

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
