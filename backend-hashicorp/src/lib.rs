//! Strongroom's backend for HashiCorp Vault and OpenBao: secrets in a KV engine, reached over
//! AppRole, with a token that is renewed, replaced and given back without a read noticing.
//!
//! ```no_run
//! # async fn run() -> strongroom_core::Result<()> {
//! use strongroom_backend_hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
//! use strongroom_core::{Backend, SecretPath, VersionSelector};
//!
//! let secret_id = SecretId::File("/run/secrets/secret-id".into());
//! let login = AppRole::new("6f6b2c1e-…", secret_id);
//! let config = HashicorpConfig::new("https://vault.example.com:8200", login);
//! let store = HashicorpBackend::open(config)?; // sends nothing; the first call logs in
//!
//! let path = SecretPath::parse("openai/api-key")?;
//! let secret = store.get(&path, &VersionSelector::Active).await?; // one request
//! # drop(secret);
//! # Ok(())
//! # }
//! ```
//!
//! It has to run inside a Tokio runtime with time and I/O enabled.
//!
//! # The token
//! - The first call logs in, and however many calls come at once cause one login. A login that
//!   failed is not tried again for 0.25 s, then twice that, up to 10 s, less up to half at random;
//!   calls in between get its error.
//! - A token is renewed [`renew_margin`](HashicorpConfig::renew_margin) before it ends (default
//!   60 s, brought forward by up to a tenth at random), and after two thirds of a life shorter than
//!   one and a half margins.
//! - A token that cannot be renewed, or whose renewed life is shorter than its first one because it
//!   nears its maximum, is replaced: log in beside it, swap, wait until no request carries the old
//!   one (10 s at most), revoke it.
//! - A server that cannot be asked is asked again after growing pauses. The token serves until its
//!   own end; after that, the next call logs in.
//! - A refusal that does not name a policy as its reason makes the backend look the token up. One
//!   that is dead is replaced by one login for all who found that out, and the call is repeated, with
//!   at most four tokens. Where new tokens are dead at once, logins become rare: one in 1 s, then in
//!   2 s, up to 60 s.
//! - A token given as [`Auth::Token`] is renewed and used up, never replaced or revoked.
//! - `close` revokes the token. `health` tells how many logins and renewals there were, until when the
//!   token is valid, and what went wrong last.
//!
//! # Secrets
//! A path is a path in the KV engine: `openai/api-key` lies at `secret/data/openai/api-key`. A value
//! is a JSON object there:
//!
//! | value | KV data |
//! |---|---|
//! | text | `{"value": "…"}` |
//! | fields | the fields themselves |
//! | binary | `{"value": "<base64>", "strongroom_format": "base64"}` |
//! | fields that a server would change or refuse | `{"value": "<JSON>", "strongroom_format": "json"}` |
//!
//! The last row is for numbers that a double does not hold exactly, halves of surrogate pairs, a
//! name that is there twice, more than 100 levels or 800 strings (OpenBao refuses about 1,000), and
//! fields that look like another row. What other tools wrote reads by the same table.
//!
//! Metadata is kept in `custom_metadata`: tags under their own names, the rest as
//! `strongroom.kind`, `strongroom.tier`, `strongroom.description`, `strongroom.expires_at` (RFC 3339)
//! and `strongroom.rotation_interval`. The server takes printable characters only. `get` needs one
//! request, and therefore leaves `created_at` and `updated_at` to `describe`.
//!
//! # What differs from a store with transactions
//! - `put` reads the secret's metadata first, so that a deleted secret comes back with the versions
//!   that were deleted with it; one that changes metadata writes the value, under its condition, and
//!   then the metadata. In between, readers see the new value with the old metadata. Before it
//!   writes, it asks whether a policy forbids a later part, and answers
//!   [`Denied`](strongroom_core::ErrorKind::Denied) then; from there on it goes on if its future is
//!   dropped, and `close` waits for it. If only a later part fails, the error says which version was
//!   written.
//! - `undelete` brings back the versions that were deleted within 10 ms of the active one: others
//!   were deleted on purpose before. Where the store gives versions an age
//!   (`delete_version_after`), a `put` brings none back.
//! - A `put` that meets a `delete` of another client may leave earlier versions deleted; they can be
//!   brought back with the store's own tools.
//! - `delete` marks every version deleted, `destroy` removes the secret with its metadata; numbers
//!   start at 1 again. `rollback` writes the old value as a new version.
//! - `list` takes one request for a folder, and one for each secret on the page, unless deleted
//!   secrets are asked for, too, and nothing is filtered.
//! - Reads from a standby may be some milliseconds behind.
//! - The engine's version is looked up before the first read, and again for a write after a minute.
//!   Version 1 is read, and listed; anything else on it is
//!   [`Unsupported`](strongroom_core::ErrorKind::Unsupported).
//!
//! # Static roles of a database engine
//! A path in [`static_roles`](HashicorpConfig::static_roles) reads `username` and `password` of that
//! role, and `rotate` has the store replace the password at once.
//!
//! # Connection
//! Certificates are checked against [`ca_cert`](HashicorpConfig::ca_cert) alone if it is given, else
//! against the platform's authorities; nothing turns that off. Redirects are not followed: they would
//! carry the token to another host. `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are respected for https;
//! plain http uses no proxy.
//! Bodies of ours are wiped after use; the buffers of the HTTP and TLS libraries are not.

mod answer;
mod backend;
mod client;
mod config;
mod database;
mod files;
mod health;
mod http;
mod kv;
mod lease;
mod list;
mod login;
mod metadata;
mod refusal;
mod secret_id;
mod session;
mod settings;
mod token;
mod value;
mod write;

pub use backend::HashicorpBackend;
pub use config::{AppRole, Auth, HashicorpConfig, SecretId};
pub use settings::SETTINGS;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
