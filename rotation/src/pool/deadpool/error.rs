//! Why no connection could be opened.

use std::fmt;

use crate::pool::is_refusal;

/// Why no connection could be opened. It shows no password.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The key is not a connection URL.
    Key(strongroom_core::Error),
    /// The connection, the login or the check of a used connection failed.
    Postgres(tokio_postgres::Error),
}

impl ConnectError {
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Postgres(error) => error.code().is_some_and(|code| is_refusal(code.code())),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "the key opens no connection",
            Self::Postgres(_) => "the connection to PostgreSQL failed",
        })
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Key(error) => Some(error),
            Self::Postgres(error) => Some(error),
        }
    }
}
