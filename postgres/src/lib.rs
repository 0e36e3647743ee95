//! How the crates of Strongroom connect to PostgreSQL.
//!
//! This is an implementation detail: it is published because published crates depend on it, and it changes
//! without notice. Use the crate `strongroom`.
//!
//! A [`ConnectionUrl`] names a role and the hosts, a [`Connector`] opens a [`Session`] with one of them, and a
//! [`Failure`] says what went wrong, without the texts of the server or the driver. Passwords are masked and wiped as
//! far as this library holds them; the driver copies those that it logs in with into buffers of its own, which it frees
//! without wiping.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod catalog;
mod connector;
mod explain;
mod failure;
mod guarded_stream;
mod host;
mod location;
mod percent;
mod session;
mod url;

pub use self::connector::{Connector, Login};
pub use self::explain::Explain;
pub use self::failure::Failure;
pub use self::host::Host;
pub use self::percent::UrlProblem;
pub use self::session::{ServerProcess, Session, SessionLimits};
pub use self::url::{ConnectionUrl, TlsMode};
