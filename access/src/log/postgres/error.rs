//! Maps failures of PostgreSQL. The texts of the server and the driver are dropped, since they may quote values.

use strongroom_core::{Error, ErrorKind};
use strongroom_postgres::Failure;

use crate::log::error::corrupt;
use crate::settings::{CA_CERT, URL};

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The database failed, or was not reached.
    Database(Failure),
    /// The log is not as it must be. The connection is as before.
    Log(Error),
}

impl From<tokio_postgres::Error> for CallError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Database(failure)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Database(failure) => from_failure(&failure),
            CallError::Log(error) => error,
        }
    }
}

/// The error of a row whose columns cannot be read as the schema declares them.
pub(super) fn unreadable<E>(_error: E) -> Error {
    corrupt("a row of the audit log cannot be read: it was changed")
}

/// The error of a schema that is not there, or not as this release has created it.
pub(super) fn changed_schema(what: &str) -> Error {
    corrupt(format!("{what} of the audit log's schema is added, changed or missing"))
}

/// The outcome of an append is not known.
pub(super) fn outcome_unknown() -> Error {
    Error::new(ErrorKind::Unavailable, "try again; the rows may be written or not")
        .because("the connection to the audit log's database broke during a write")
}

pub(super) fn timed_out() -> Error {
    Error::new(
        ErrorKind::Timeout,
        "check that the server answers and holds no locks for long, or raise the time for which rules may be used",
    )
    .because("the audit log's database gave no answer within the time allowed")
}

pub(super) fn inside_runtime() -> Error {
    Error::new(ErrorKind::Internal, "report this")
        .because("the audit log's database was used on a thread of an async runtime")
}

fn permanent(
    kind: ErrorKind,
    cause: impl Into<std::borrow::Cow<'static, str>>,
    advice: impl Into<std::borrow::Cow<'static, str>>,
) -> Error {
    Error::new(kind, advice).because(cause).temporary(false)
}

/// What the server answered, by its code: the appendix "PostgreSQL Error Codes" of its documentation.
fn from_code(failure: &Failure) -> Error {
    let code = failure.shown_code().unwrap_or("unknown");
    match code {
        "28P01" => permanent(
            ErrorKind::Unauthenticated,
            "the server does not accept the password of the audit log's role",
            format!("correct `{URL}`"),
        ),
        "28000" => permanent(
            ErrorKind::Unauthenticated,
            "the server does not let the audit log's role log in",
            "check that the role has LOGIN, and that `pg_hba.conf` lets it in from here, with TLS",
        ),
        "42501" => permanent(
            ErrorKind::Denied,
            "the role may not use the database, or the audit log's tables in its schema `strongroom_access`",
            "grant it the rights that the guide lists under \"Rules in PostgreSQL\"; nothing was written",
        ),
        "3D000" => permanent(
            ErrorKind::Config,
            format!("the database that `{URL}` names does not exist"),
            format!("create it, or correct the database in `{URL}`"),
        ),
        "42P01" | "3F000" | "42703" | "42883" | "42P10" => changed_schema("a part"),
        "XX001" | "XX002" => corrupt("the database reports that the audit log's rows are damaged"),
        // A row is where the head says that the log has none, or a constraint was added.
        _ if code.starts_with("23") => {
            corrupt("a constraint of the audit log's tables is violated: they were changed")
        }
        "57014" => timed_out(),
        "55P03" => Error::new(
            ErrorKind::Unavailable,
            "try again; look for a session that stopped in the middle of a write",
        )
        .because("another session holds the audit log's lock"),
        "53100" => Error::new(
            ErrorKind::Unavailable,
            "free space, or prune the log; nothing was written",
        )
        .because("the disk of the audit log's database is full"),
        _ if failure.is_transient() => Error::new(
            ErrorKind::Unavailable,
            "try again; if it persists, read the server's log, and check that it has connections left",
        )
        .because(format!("the audit log's server cannot serve now (SQLSTATE {code})")),
        _ => permanent(
            ErrorKind::Config,
            format!("the audit log's server rejects the request (SQLSTATE {code})"),
            "look the code up in PostgreSQL's documentation; does a proxy or an extension forbid it?",
        ),
    }
}

pub(super) fn from_failure(failure: &Failure) -> Error {
    match failure {
        Failure::Server(_) => from_code(failure),
        Failure::ReadOnly => Error::new(
            ErrorKind::Unavailable,
            format!("name the primary in `{URL}`; several hosts are tried in order"),
        )
        .because("the audit log's server is a standby, or its sessions are read-only"),
        Failure::Tls(tls) => permanent(
            ErrorKind::Unavailable,
            tls.describe("the audit log's server"),
            format!(
                "compare `{CA_CERT}` or the platform's authorities, and the host in `{URL}`, with what the server \
                 presents"
            ),
        ),
        Failure::TlsNotOffered => permanent(
            ErrorKind::Unavailable,
            "the audit log's server offers no TLS",
            "turn TLS on at the server",
        ),
        Failure::PasswordExposed => permanent(
            ErrorKind::Config,
            "over a connection without TLS, the server asks for the password in clear text or as an MD5 hash, and \
             does not get it",
            "use the method scram-sha-256 for the role in `pg_hba.conf`, and set its password again if it is stored \
             as MD5; or use TLS: `sslmode=verify-full` in the URL",
        ),
        Failure::AuthenticationUnsupported | Failure::PasswordMissing => permanent(
            ErrorKind::Config,
            "the server wants something else than a password, or does not know the password that it asks for",
            "use the method scram-sha-256 in `pg_hba.conf`; check what answers at the host",
        ),
        Failure::TimedOut => timed_out(),
        _ => Error::new(
            ErrorKind::Unavailable,
            format!("check host and port in `{URL}`; is the server up?"),
        )
        .because("the audit log's server cannot be reached, or broke the connection"),
    }
}
