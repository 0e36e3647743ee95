//! Pools of PostgreSQL connections whose key rotates.
//!
//! A new connection logs in with the current key. If the server rejects it, the pool checks the store for
//! a newer key, and tries the login once more. Connections that logged in with an earlier key leave the
//! pool: idle ones as soon as the key is replaced, the others when they are returned. Each connection counts
//! as a request in flight with its key, so a rotation revokes the old key when the last of them is closed, or
//! after [`drain_timeout`](crate::RotationPolicy::drain_timeout). PostgreSQL itself keeps open sessions
//! when a password changes, unless
#![cfg_attr(
    feature = "postgres",
    doc = "[`end_sessions`](crate::PostgresIssuerConfig::end_sessions)"
)]
#![cfg_attr(not(feature = "postgres"), doc = "`end_sessions` of the issuer")]
//! is set.
//!
//! Queries and transactions have to end within `drain_timeout`. When the engine is shut down, a pool keeps
//! logging in with the last good key.

#[cfg(feature = "deadpool")]
pub mod deadpool;
#[cfg(feature = "sqlx")]
pub mod sqlx;
#[cfg(test)]
mod tests;

use strongroom_core::{Error, ErrorKind, Result};
use tokio::task::JoinHandle;

use crate::{KeyGuard, RotatingKey};

const FORM: &str = "store a URL of the form `postgresql://role:password@host:5432/database`";

/// The key as a connection URL. A driver may quote or log parts of a text of another form.
fn connection_url(guard: &KeyGuard) -> Result<&str> {
    let text = guard.expose_text()?;
    if is_connection_url(text) {
        Ok(text)
    } else {
        Err(not_a_url("the key is not a connection URL"))
    }
}

fn is_connection_url(text: &str) -> bool {
    let schemes = ["postgresql://", "postgres://"];
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let credentials = authority.and_then(|authority| authority.split_once('@'));
    credentials.is_some_and(|(credentials, host)| credentials.contains(':') && !host.contains('@'))
}

fn not_a_url(problem: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, FORM).because(problem)
}

/// Whether the server refuses the role or its password: `invalid_password` and
/// `invalid_authorization_specification` in PostgreSQL's documentation, appendix "Error Codes".
fn is_refusal(sqlstate: &str) -> bool {
    ["28P01", "28000"].contains(&sqlstate)
}

/// Calls `retire` after each change of the key's state, until it returns `false` or the key is dropped.
fn on_change(
    key: &RotatingKey,
    mut retire: impl FnMut() -> bool + Send + 'static,
) -> JoinHandle<()> {
    let mut state = key.watch();
    tokio::spawn(async move { while retire() && state.changed().await.is_ok() {} })
}
