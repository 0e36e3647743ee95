//! Failures in the words of the crate whose database it is.

use std::borrow::Cow;

use strongroom_core::{Error, ErrorKind, Setting};

use crate::failure::Failure;

/// How errors speak of a database.
#[derive(Clone, Copy, Debug)]
pub struct Explain {
    /// What the database holds, such as `audit log`.
    pub what: &'static str,
    /// The schema of its tables.
    pub schema: &'static str,
    /// The setting of the URL.
    pub url: Setting,
    /// The setting of the authorities.
    pub ca_cert: Setting,
    /// The section of the guide that lists the rights of its role.
    pub rights: &'static str,
    /// What else frees space.
    pub free_space: &'static str,
    /// What else helps if there was no answer within the time allowed.
    pub wait: &'static str,
}

fn permanent(
    kind: ErrorKind,
    cause: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> Error {
    Error::new(kind, advice).because(cause).temporary(false)
}

impl Explain {
    /// The error for a failure.
    #[must_use]
    pub fn error(&self, failure: &Failure) -> Error {
        let Self { what, url, ca_cert, .. } = self;
        match failure {
            Failure::Server(_) => self.of_code(failure),
            Failure::ReadOnly => Error::new(
                ErrorKind::Unavailable,
                format!("name the primary in `{url}`; several hosts are tried in order"),
            )
            .because(format!("the {what}'s server is a standby, or its sessions are read-only")),
            Failure::Tls(tls) => permanent(
                ErrorKind::Unavailable,
                tls.describe(&format!("the {what}'s server")),
                format!(
                    "compare `{ca_cert}` or the platform's authorities, and the host in `{url}`, with what the \
                     server presents"
                ),
            ),
            Failure::TlsNotOffered => permanent(
                ErrorKind::Unavailable,
                format!("the {what}'s server offers no TLS"),
                "turn TLS on at the server",
            ),
            Failure::PasswordExposed => permanent(
                ErrorKind::Config,
                "over a connection without TLS, the server asks for the password in clear text or as an MD5 hash, \
                 and does not get it",
                "use the method scram-sha-256 for the role in `pg_hba.conf`, and set its password again if it is \
                 stored as MD5; or use TLS: `sslmode=verify-full` in the URL",
            ),
            Failure::AuthenticationUnsupported | Failure::PasswordMissing => permanent(
                ErrorKind::Config,
                "the server wants something else than a password, or does not know the password that it asks for",
                "use the method scram-sha-256 in `pg_hba.conf`; check what answers at the host",
            ),
            Failure::TimedOut => self.timed_out(),
            _ => Error::new(
                ErrorKind::Unavailable,
                format!("check host and port in `{url}`; is the server up?"),
            )
            .because(format!("the {what}'s server cannot be reached, or broke the connection")),
        }
    }

    /// There was no answer within the time allowed.
    #[must_use]
    pub fn timed_out(&self) -> Error {
        let Self { what, wait, .. } = self;
        Error::new(
            ErrorKind::Timeout,
            format!("check that the server answers and holds no locks for long{wait}"),
        )
        .because(format!("the {what}'s database gave no answer within the time allowed"))
    }

    /// Whether the failure says that the tables are damaged, or are not those that were created: the part that is.
    #[must_use]
    pub fn damage(&self, failure: &Failure) -> Option<String> {
        let Self { what, .. } = self;
        match failure.shown_code()? {
            "42P01" | "3F000" | "42703" | "42883" | "42P10" => {
                Some(format!("a part of the {what}'s schema is added, changed or missing"))
            }
            "XX001" | "XX002" => {
                Some(format!("the database reports that the {what}'s rows are damaged"))
            }
            // A row is where none should be, or a constraint was added.
            code if code.starts_with("23") => {
                Some(format!("a constraint of the {what}'s tables is violated: they were changed"))
            }
            _ => None,
        }
    }

    /// What the server answered, by its code: the appendix "PostgreSQL Error Codes" of its documentation.
    fn of_code(&self, failure: &Failure) -> Error {
        let Self { what, schema, url, rights, free_space, .. } = self;
        let code = failure.shown_code().unwrap_or("unknown");
        match code {
            "28P01" => permanent(
                ErrorKind::Unauthenticated,
                format!("the server does not accept the password of the {what}'s role"),
                format!("correct `{url}`"),
            ),
            "28000" => permanent(
                ErrorKind::Unauthenticated,
                format!("the server does not let the {what}'s role log in"),
                "check that the role has LOGIN, and that `pg_hba.conf` lets it in from here, with TLS",
            ),
            "42501" => permanent(
                ErrorKind::Denied,
                format!(
                    "the role may not use the database, or the {what}'s tables in its schema `{schema}`"
                ),
                format!(
                    "grant it the rights that the guide lists under \"{rights}\"; nothing was written"
                ),
            ),
            "3D000" => permanent(
                ErrorKind::Config,
                format!("the database that `{url}` names does not exist"),
                format!("create it, or correct the database in `{url}`"),
            ),
            "57014" => self.timed_out(),
            "55P03" => Error::new(
                ErrorKind::Unavailable,
                "try again; look for a session that stopped in the middle of a write",
            )
            .because(format!("another session holds the {what}'s lock")),
            "53100" => Error::new(
                ErrorKind::Unavailable,
                format!("free space{free_space}; nothing was written"),
            )
            .because(format!("the disk of the {what}'s database is full")),
            _ if failure.is_transient() => Error::new(
                ErrorKind::Unavailable,
                "try again; if it persists, read the server's log, and check that it has connections left",
            )
            .because(format!("the {what}'s server cannot serve now (SQLSTATE {code})")),
            _ => permanent(
                ErrorKind::Config,
                format!("the {what}'s server rejects the request (SQLSTATE {code})"),
                "look the code up in PostgreSQL's documentation; does a proxy or an extension forbid it?",
            ),
        }
    }
}
