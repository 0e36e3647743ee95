//! What went wrong at a server, in terms that mean the same everywhere.
//!
//! What the driver or the server says is never kept: it may quote a URL or a statement.

use std::borrow::Cow;
use std::io;

use strongroom_core::{Error, ErrorKind, Operation};
use tokio_postgres::error::SqlState;

/// Whose URL or login something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Administrator,
    Key,
}

impl Whose {
    /// What to call the URL.
    pub(super) fn url(self) -> &'static str {
        match self {
            Self::Administrator => "the administrator's secret",
            Self::Key => "the key",
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::Administrator => "the administrator",
            Self::Key => "the key's role",
        }
    }
}

pub(super) fn failed(
    kind: ErrorKind,
    cause: impl Into<Cow<'static, str>>,
    advice: &'static str,
) -> Error {
    Error::new(kind, advice)
        .because(cause)
        .during(Operation::Rotate)
        .from_backend("postgres-issuer")
}

pub(super) fn lasting(
    kind: ErrorKind,
    cause: impl Into<Cow<'static, str>>,
    advice: &'static str,
) -> Error {
    failed(kind, cause, advice).temporary(false)
}

pub(super) fn too_slow() -> Error {
    failed(
        ErrorKind::Timeout,
        "no answer within the time allowed",
        "check that the server answers and holds no locks for long, or raise `timeout`",
    )
}

/// Whether a login without a password failed because the server asked for one.
pub(super) fn has_asked(error: &tokio_postgres::Error) -> bool {
    error.to_string() == "invalid configuration"
}

pub(super) fn standby() -> Error {
    failed(
        ErrorKind::Unavailable,
        "the administrator's URL leads to a standby, or to sessions that are read-only",
        "name the primary in it",
    )
}

/// The error for a login that failed.
pub(super) fn not_let_in(error: &tokio_postgres::Error, whose: Whose) -> Error {
    let Some(code) = error.code() else { return not_understood(error) };
    let (role, url) = (whose.role(), whose.url());
    if *code == SqlState::INVALID_PASSWORD {
        return lasting(
            ErrorKind::Unauthenticated,
            format!("the server does not accept the password of {role}"),
            match whose {
                Whose::Administrator => "store the administrator's current URL",
                Whose::Key => "set the role's password by hand, and store a URL with it",
            },
        );
    }
    if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return lasting(
            ErrorKind::Unauthenticated,
            format!("the server does not let {role} log in"),
            "see that the role has LOGIN, and that `pg_hba.conf` lets it in from here, with TLS",
        );
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return lasting(
            ErrorKind::Denied,
            format!("{role} may not use the database that {url} names"),
            "grant CONNECT on the database to the role",
        );
    }
    if *code == SqlState::INVALID_CATALOG_NAME {
        return lasting(
            ErrorKind::Config,
            format!("there is no such database as {url} names"),
            "correct the database in the URL",
        );
    }
    refused(error)
}

/// The error for a statement of the administrator's that failed.
pub(super) fn not_done(error: &tokio_postgres::Error) -> Error {
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => lasting(
            ErrorKind::Denied,
            "the administrator may not change the passwords of both roles",
            "give the administrator CREATEROLE, and both roles WITH ADMIN OPTION",
        ),
        Some(code) if *code == SqlState::UNDEFINED_OBJECT => lasting(
            ErrorKind::Config,
            "a role that the issuer is configured with does not exist",
            "create both of the `roles`, with LOGIN and the same rights",
        ),
        _ => refused(error),
    }
}

/// The error for what the server answers in any state.
fn refused(error: &tokio_postgres::Error) -> Error {
    let Some(code) = error.code() else { return not_understood(error) };
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return standby();
    }
    // Classes of the appendix "PostgreSQL Error Codes": connection, rollback, resources, operator,
    // system, internal, of which "tuple concurrently updated" is one; and locks.
    let is_passing = ["08", "40", "53", "55", "57", "58", "XX"]
        .iter()
        .any(|class| code.code().starts_with(class));
    if is_passing {
        return failed(
            ErrorKind::Unavailable,
            shown("the server cannot serve now", code),
            "try again; if it lasts, see the server's log, and whether it has connections left",
        );
    }
    lasting(
        ErrorKind::Config,
        shown("the server refuses what it was asked", code),
        "look the code up in PostgreSQL's documentation; does a proxy or an extension forbid it?",
    )
}

/// A cause with its SQLSTATE, unless that is no such code.
fn shown(cause: &'static str, code: &SqlState) -> Cow<'static, str> {
    let code = code.code();
    if code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        format!("{cause} (SQLSTATE {code})").into()
    } else {
        cause.into()
    }
}

/// The error where the server has answered nothing.
fn not_understood(error: &tokio_postgres::Error) -> Error {
    let cause = std::error::Error::source(error);
    let io = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    // The driver tells its kinds of error apart by these texts alone.
    match error.to_string().as_str() {
        "error performing TLS handshake" if io.is_none() => {
            return lasting(
                ErrorKind::Unavailable,
                "the server offers no TLS",
                "turn TLS on at the server; or accept that anyone on the way reads what is sent: \
                 `sslmode=disable` in the URL and `allow_plain`",
            );
        }
        "error performing TLS handshake" if !is_broken(io) => {
            return lasting(
                ErrorKind::Unavailable,
                "the server and this client do not agree on TLS, or its certificate is not trusted",
                "compare the certificate with the host in the URL, and set `ca` to its authority",
            );
        }
        "authentication error" => {
            return lasting(
                ErrorKind::Config,
                "the server wants something else than a password, or does not know the password \
                 that it asks for",
                "use the methods scram-sha-256, md5 or password in `pg_hba.conf`; see what answers \
                 at the host",
            );
        }
        _ => {}
    }
    if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
        return failed(
            ErrorKind::Timeout,
            "no connection within the time allowed",
            "check the host and what lies on the way, or raise `connect_timeout`",
        );
    }
    failed(
        ErrorKind::Unavailable,
        "the server cannot be reached, or broke the connection",
        "check host and port in the URL; is the server up?",
    )
}

/// Whether a connection broke, and nobody disagreed on anything.
fn is_broken(io: Option<&io::Error>) -> bool {
    let tls = io.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref());
    tls.is_none_or(|_: &rustls::Error| false)
}
