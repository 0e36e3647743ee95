//! Errors of opening a connection.

use crate::pool::is_refusal;

/// A connection could not be opened. The error shows no password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The key is not a connection URL.
    #[error("the key opens no connection")]
    Key(#[source] strongroom_core::Error),
    /// The connection, the login or the check of a used connection failed.
    #[error("the connection to PostgreSQL failed")]
    Postgres(#[source] tokio_postgres::Error),
}

impl ConnectError {
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Postgres(error) => error.code().is_some_and(|code| is_refusal(code.code())),
        }
    }
}
