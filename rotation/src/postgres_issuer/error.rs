//! Errors of the driver and the server, translated to the kinds that mean the same everywhere.
//!
//! They never keep the texts of the driver or the server, which may quote a URL or a statement.

use std::borrow::Cow;

use strongroom_core::{Error, ErrorKind, Operation};
use strongroom_postgres::Failure;
use tokio_postgres::error::SqlState;

/// How errors name this issuer.
pub(super) const BACKEND: &str = "postgres-issuer";

/// The owner of a URL or login that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    Administrator,
    Key,
}

impl Principal {
    /// How errors name the URL.
    pub(super) fn url(self) -> &'static str {
        match self {
            Self::Administrator => "the administrator's secret",
            Self::Key => "the key",
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::Administrator => "the administrator's role",
            Self::Key => "the key's role",
        }
    }
}

/// An error that is temporary or permanent by its kind.
fn error(
    kind: ErrorKind,
    cause: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> Error {
    Error::new(kind, advice).because(cause).during(Operation::Rotate).from_backend(BACKEND)
}

pub(super) fn permanent(
    kind: ErrorKind,
    cause: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> Error {
    error(kind, cause, advice).temporary(false)
}

/// Keeps the error of one of several servers: a permanent error says more than that a server is down.
pub(super) fn keep_permanent(kept: &mut Option<Error>, error: Error) {
    if kept.as_ref().is_none_or(Error::is_temporary) {
        *kept = Some(error);
    }
}

pub(super) fn timeout_error() -> Error {
    error(
        ErrorKind::Timeout,
        "no answer within the time allowed",
        "check that the server answers and holds no locks for long, or raise `timeouts.call`",
    )
}

/// The error for a login that failed. `role` is a role of the configuration: one that is only in a
/// secret is a part of that, and is not shown.
pub(super) fn login_error(failure: &Failure, principal: Principal, role: Option<&str>) -> Error {
    let Failure::Server(code) = failure else { return failure_error(failure) };
    let url = principal.url();
    let role = match role {
        Some(role) => format!("{} `{role}`", principal.role()),
        None => principal.role().to_owned(),
    };
    if *code == SqlState::INVALID_PASSWORD {
        return permanent(
            ErrorKind::Unauthenticated,
            format!("the server does not accept the password of {role}"),
            match principal {
                Principal::Administrator => "store the administrator's current URL",
                Principal::Key => {
                    "check that the role exists, set its password by hand, and store a URL with it"
                }
            },
        );
    }
    if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return permanent(
            ErrorKind::Unauthenticated,
            format!("the server does not let {role} log in"),
            "check that the role has LOGIN, and that `pg_hba.conf` lets it in from here, with TLS and with \
             `tls.client_certificate` if it demands one",
        );
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return permanent(
            ErrorKind::Denied,
            format!("{role} may not use the database that {url} names"),
            "grant CONNECT on the database to the role",
        );
    }
    if *code == SqlState::INVALID_CATALOG_NAME {
        return permanent(
            ErrorKind::Config,
            format!("the database that {url} names does not exist"),
            "correct the database in the URL",
        );
    }
    failure_error(failure)
}

/// The error for a statement that failed to change the password of `role`.
pub(super) fn password_error(error: tokio_postgres::Error, role: &str) -> Error {
    match error.code() {
        Some(code) if *code == SqlState::UNDEFINED_OBJECT => permanent(
            ErrorKind::Config,
            format!("the role `{role}` does not exist"),
            "create the role, with LOGIN and the same rights as the other of the `roles`",
        ),
        _ => statement_error(error),
    }
}

/// The error for a statement of the administrator that failed.
pub(super) fn statement_error(error: tokio_postgres::Error) -> Error {
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => permanent(
            ErrorKind::Denied,
            "the administrator may not change the passwords of both roles",
            "give the administrator CREATEROLE, and both roles WITH ADMIN OPTION",
        ),
        Some(code) if *code == SqlState::UNDEFINED_OBJECT => permanent(
            ErrorKind::Config,
            "one of the `roles` does not exist",
            "create both of the `roles`, with LOGIN and the same rights",
        ),
        _ => failure_error(&error.into()),
    }
}

/// The error for a failure of any login or statement.
fn failure_error(failure: &Failure) -> Error {
    match failure {
        Failure::ReadOnly => error(
            ErrorKind::Unavailable,
            "the administrator's URL leads to a standby, or to sessions that are read-only",
            "name the primary in it",
        ),
        Failure::Server(_) if failure.is_transient() => error(
            ErrorKind::Unavailable,
            with_code("the server cannot serve now", failure),
            "try again; if it persists, read the server's log, and check that it has connections left",
        ),
        Failure::Server(_) => permanent(
            ErrorKind::Config,
            with_code("the server rejects the request", failure),
            "look the code up in PostgreSQL's documentation; does a proxy or an extension forbid it?",
        ),
        Failure::Tls(tls) => permanent(
            ErrorKind::Unavailable,
            tls.describe("the server"),
            "compare `tls.ca_certificates` or the platform's authorities, `tls.client_certificate`, and the \
             host in the URL with what the server presents and demands",
        ),
        Failure::TlsNotOffered => permanent(
            ErrorKind::Unavailable,
            "the server offers no TLS",
            "turn TLS on at the server; or accept that anyone on the way reads what is sent: \
             `sslmode=disable` in the URL and `tls.allow_plaintext`",
        ),
        Failure::PasswordExposed => permanent(
            ErrorKind::Config,
            "over a connection without TLS, the server asks for the password in clear text or as \
             an MD5 hash, and does not get it",
            "use the method scram-sha-256 for the role in `pg_hba.conf`, and set its password again \
             if it is stored as MD5; or use TLS: `sslmode=verify-full` in the URL",
        ),
        Failure::TooLong => permanent(
            ErrorKind::Unavailable,
            "the server sends more than any answer has",
            "check what answers at the host",
        ),
        Failure::AuthenticationUnsupported => permanent(
            ErrorKind::Config,
            "the server wants something else than a password, or does not know the password \
             that it asks for",
            "use the method scram-sha-256 in `pg_hba.conf`; check what answers at the host",
        ),
        Failure::TimedOut => error(
            ErrorKind::Timeout,
            "no connection within the time allowed",
            "check the host and what lies on the way, or raise `timeouts.connect`",
        ),
        _ => error(
            ErrorKind::Unavailable,
            "the server cannot be reached, or broke the connection",
            "check host and port in the URL; is the server up?",
        ),
    }
}

/// A cause with its SQLSTATE, if the server sent a well-formed one.
fn with_code(cause: &'static str, failure: &Failure) -> Cow<'static, str> {
    match failure.shown_code() {
        Some(code) => format!("{cause} (SQLSTATE {code})").into(),
        None => cause.into(),
    }
}
