//! Strongroom's backend for HashiCorp Vault and OpenBao: secrets in a KV engine. It logs in with
//! [one of many methods](Auth), and renews, replaces and revokes the token without interrupting a read.
//!
//! ```no_run
//! # async fn run() -> strongroom_core::Result<()> {
//! use strongroom_backend_hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
//! use strongroom_core::{Backend, SecretPath, VersionSelector};
//!
//! let secret_id = SecretId::File("/run/secrets/secret-id".into());
//! let login = AppRole::new("6f6b2c1e-…", secret_id);
//! let config = HashicorpConfig::new("https://vault.example.com:8200", login);
//! let store = HashicorpBackend::open(config).await?; // sends nothing: the first call logs in
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
//! # The token
//! - The first call logs in, and concurrent calls share one login. After a failed login, the backend
//!   waits 0.25 s, then twice as long each time, up to 10 s, less up to half at random; calls in
//!   between get the error of the failed login.
//! - A task renews the token [`renew_margin`](HashicorpConfig::renew_margin) before it expires (default
//!   60 s, brought forward by up to a tenth at random), or after two thirds of a TTL shorter than one
//!   and a half margins.
//! - The backend replaces a token that cannot be renewed, and one whose renewed TTL is shorter than
//!   its first one because it nears its maximum: it logs in, uses the new token, waits until no
//!   request carries the old one (10 s at most), and revokes the old one.
//! - While the server cannot be reached, the task retries after growing delays. The token serves until
//!   it expires; after that, the next call logs in.
//! - If the server denies a request without naming a policy as the reason, the backend looks the token
//!   up. All callers with a dead token share one login, and each repeats its request, with at most four
//!   tokens. If the server rejects new tokens on their first use, logins become rare: one after 30 s,
//!   then after 60 s, up to 10 min; requests go on with the last token. The server may reject a revocation
//!   as well, so those tokens are revoked once it accepts one.
//! - A token given as [`Auth::Token`] is renewed, but never replaced or revoked.
//! - `close` revokes the token. `health` reports the numbers of logins and renewals, until when the
//!   token is valid, and the last error.
//!
//! # Secrets
//! A path is a path in the KV engine: the secret `openai/api-key` is at `secret/data/openai/api-key`.
//! Its value is a JSON object there:
//!
//! | value | KV data |
//! |---|---|
//! | text | `{"value": "…"}` |
//! | fields | the fields themselves |
//! | binary | `{"value": "<base64>", "strongroom_format": "base64"}` |
//! | fields that a server would change or reject | `{"value": "<JSON>", "strongroom_format": "json"}` |
//!
//! The last row is for numbers that a double does not represent exactly, halves of surrogate pairs,
//! duplicate names, more than 100 levels or 800 strings (OpenBao rejects about 1,000), and fields that
//! look like another row. Values of other tools are read by the same table.
//!
//! Metadata is stored in `custom_metadata`: tags under their own names, the rest as
//! `strongroom.kind`, `strongroom.tier`, `strongroom.description`, `strongroom.expires_at` (RFC 3339),
//! `strongroom.rotation_interval`, `strongroom.created_by` and `strongroom.updated_by`. The server accepts printable characters only. `get` sends one
//! request, and therefore leaves `created_at` and `updated_at` to `describe`.
//!
//! # Differences from a store with transactions
//! - `put` reads the secret's metadata first, so that it can undelete the versions that were deleted
//!   together with the active one. A `put` that changes metadata writes the value, under its condition,
//!   and then the metadata; in between, readers see the new value with the old metadata. Before it
//!   writes, it checks whether a policy denies a later part, and returns
//!   [`Denied`](strongroom_core::ErrorKind::Denied) then. From there on it completes even if its future
//!   is dropped, and `close` waits for it. If only a later part fails, the error names the version that
//!   was written.
//! - `undelete` restores the versions that were deleted within 10 ms of the active one: others were
//!   deleted separately before. With `delete_version_after`, a `put` restores none.
//! - A `put` that races with a `delete` of another client may leave earlier versions deleted; the
//!   server's own tools can undelete them.
//! - `delete` marks every version as deleted, `destroy` removes the secret with its metadata; version
//!   numbers start at 1 again. `rollback` writes the old value as a new version.
//! - `list` sends one request for each folder, and one for each secret on the page, unless the options
//!   include deleted secrets and filter nothing. It leaves out names that are no paths, and warns once;
//!   [`secret_names`](HashicorpConfig::secret_names) maps paths to them.
//! - Reads from a standby may be some milliseconds behind.
//! - The backend looks up the engine's version before the first read, and again for a write after a
//!   minute. Secrets of version 1 can be read and listed; other operations on them are
//!   [`Unsupported`](strongroom_core::ErrorKind::Unsupported).
//!
//! # Static roles of a database engine
//! A path in [`static_roles`](HashicorpConfig::static_roles) reads `username` and `password` of that
//! role, and `rotate` makes the server replace the password immediately.
//!
//! # Keys of a transit engine
//! [`TransitKey`] wraps other keys with a key of the server: a [`WrappingKey`](strongroom_core::WrappingKey).
//!
//! # Connection
//! The server's certificate is checked against [`ca_cert`](HashicorpConfig::ca_cert) alone if it is
//! set, else against the platform's authorities; no setting turns that off. Files with certificates are read
//! again when they change. Redirects are followed only if
//! [`follow_redirects`](HashicorpConfig::follow_redirects) allows it: they would carry the token to another
//! host. `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` apply to https, as in curl; plain http uses no proxy.
//!
//! Answers are bounded: 64 MiB for a value, 16 MiB for the names in a folder, 1 MiB for the rest, and 64 KiB
//! for an error. Bodies from 256 KiB on are parsed off the async threads.
//!
//! The backend wipes its own buffers after use; those of the HTTP and TLS libraries are not wiped.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod certificates;
mod client;
mod clock;
mod config;
mod database;
mod error;
mod health;
mod http;
mod kv;
mod lease;
mod list;
mod login;
mod metadata;
mod mount;
mod names;
mod redirect;
mod reload;
mod response;
mod session;
mod settings;
mod token;
mod transit;
mod value;
#[cfg(feature = "vaultrs")]
mod vaultrs_client;
mod write;

pub use backend::HashicorpBackend;
pub use config::{AppRole, Auth, AwsIam, HashicorpConfig, JwtLogin, Password, SecretId, Userpass};
pub use settings::SETTINGS;
pub use transit::TransitKey;
#[cfg(feature = "vaultrs")]
pub use vaultrs_client::VaultrsClient;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
