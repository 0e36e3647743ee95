//! What went wrong with a connection or a statement.
//!
//! The texts of the server and the driver are dropped: they may quote a URL or a statement.

use std::io;

use strongroom_transport::TlsFailure;
use tokio_postgres::error::SqlState;

use crate::guarded_stream::Violation;

/// Why a login or a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// There was no connection within the time allowed.
    TimedOut,
    /// The server cannot be reached, or the connection broke.
    Unreachable,
    /// The server, or its session, is read-only: it is a standby.
    ReadOnly,
    /// TLS failed.
    Tls(TlsFailure),
    /// The connection must use TLS, and the server offers none.
    TlsNotOffered,
    /// Over a connection without TLS, the server asks for the password in a form that gives it away.
    PasswordExposed,
    /// The server asks for a password, and the login has none.
    PasswordMissing,
    /// The server wants something else than a password, or does not know the password that it asks for.
    AuthenticationUnsupported,
    /// The server sends more than the session may receive.
    TooLong,
    /// The server answered with an error.
    Server(SqlState),
}

impl Failure {
    /// The code of the server's error, if the server answered with one.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Server(code) => Some(code),
            Self::ReadOnly => Some(&SqlState::READ_ONLY_SQL_TRANSACTION),
            _ => None,
        }
    }

    /// The code of the server's error for a message, if it is well-formed.
    #[must_use]
    pub fn shown_code(&self) -> Option<&str> {
        let code = self.code()?.code();
        let is_code = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_code.then_some(code)
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut | Self::Unreachable | Self::ReadOnly => true,
            // Classes of the appendix "PostgreSQL Error Codes": connection, rollback, resources, locks, operator,
            // system, and internal, of which "tuple concurrently updated" is one.
            Self::Server(code) => {
                let classes = ["08", "40", "53", "55", "57", "58", "XX"];
                let of_transaction = ["25P02", "25P03", "25P04"];
                classes.iter().any(|class| code.code().starts_with(class))
                    || of_transaction.contains(&code.code())
            }
            _ => false,
        }
    }

    /// Whether the failure of a transaction says that nothing was written: the server answered, and not that its process or
    /// the connection ends, which it may do after a commit.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        match self {
            Self::ReadOnly => true,
            Self::Server(code) => match code.code() {
                "57014" => true,
                "40003" => false,
                code => !["08", "57"].iter().any(|class| code.starts_with(class)),
            },
            _ => false,
        }
    }

    /// Keeps the failure of one of several servers: a permanent failure says more than that a server is down.
    pub(crate) fn keep_permanent(kept: &mut Option<Self>, failure: Self) {
        if kept.as_ref().is_none_or(Self::is_transient) {
            *kept = Some(failure);
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Unreachable,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly,
            Some(code) => Self::Server(code.clone()),
            None => without_answer(&error),
        }
    }
}

/// The failure of a connection whose server has not answered with an error.
fn without_answer(error: &tokio_postgres::Error) -> Failure {
    if let Some(tls) = TlsFailure::find(error) {
        return Failure::Tls(tls);
    }
    match Violation::find(error) {
        Some(Violation::ExposesPassword) => return Failure::PasswordExposed,
        Some(Violation::TooLong) => return Failure::TooLong,
        None => {}
    }
    let cause = std::error::Error::source(error);
    let io = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    // The driver distinguishes its kinds of error by these texts alone.
    match error.to_string().as_str() {
        "error performing TLS handshake" if io.is_none() => Failure::TlsNotOffered,
        "authentication error" => Failure::AuthenticationUnsupported,
        "invalid configuration" => Failure::PasswordMissing,
        _ if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) => Failure::TimedOut,
        _ => Failure::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_codes_are_shown() {
        let shown =
            |code: &str| Failure::Server(SqlState::from_code(code)).shown_code().map(str::to_owned);
        assert_eq!(shown("28P01").as_deref(), Some("28P01"));
        assert_eq!(shown("hunter2"), None);
        assert_eq!(shown("a b'c"), None);
        assert_eq!(Failure::Unreachable.shown_code(), None);
    }

    #[test]
    fn a_permanent_failure_hides_a_transient_one() {
        let rejected = Failure::Server(SqlState::INVALID_PASSWORD);
        let full = Failure::Server(SqlState::TOO_MANY_CONNECTIONS);
        for (failures, kept) in [
            ([Failure::Unreachable, rejected.clone()], &rejected),
            ([rejected.clone(), Failure::ReadOnly], &rejected),
            ([Failure::TimedOut, full.clone()], &full),
        ] {
            let mut found = None;
            for failure in failures {
                Failure::keep_permanent(&mut found, failure);
            }
            assert_eq!(found.as_ref(), Some(kept));
        }
    }
}
