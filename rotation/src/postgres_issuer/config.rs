//! Which roles an issuer takes turns with, and how it connects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use strongroom_core::{Error, Problems, Result};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::session::Connector;
use crate::password::{PasswordIssuer, PasswordPolicy};

/// The longest timeout that can be set.
const ONE_DAY: Duration = Duration::from_secs(86_400);
/// The longest name of a role, in bytes: `NAMEDATALEN` is 64 and counts a NUL.
const LONGEST_NAME: usize = 63;
/// The least that a password has, in bits: it cannot be guessed from what checks it, which a server's
/// log may show.
const LEAST_ENTROPY: f64 = 128.0;

/// Which roles a [`PostgresIssuer`](super::PostgresIssuer) takes turns with, and how it connects.
///
/// # Examples
/// ```
/// use strongroom_rotation::PostgresIssuerConfig;
///
/// let mut config = PostgresIssuerConfig::new("orders_a", "orders_b");
/// config.end_sessions = true;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresIssuerConfig {
    /// The two roles. Both have LOGIN and the same rights, such as through a role that both are
    /// members of, and nothing else uses them: each pair belongs to one secret.
    pub roles: [String; 2],
    /// Of a secret of the administrator's with fields, the one with the URL; default `key`, as in a
    /// secret that rotates. A plain text is the URL itself.
    pub admin_field: String,
    /// What the passwords are like; at least 128 bits.
    pub password: PasswordPolicy,
    /// Whether revoking a key ends the sessions of its role. Default: no, and connections that are open
    /// go on until they are closed. The administrator needs the role `pg_signal_backend`, or both roles
    /// WITH INHERIT.
    pub end_sessions: bool,
    /// The certificates (PEM) of the only authorities that are trusted. Default: the platform's.
    pub ca: Option<String>,
    /// How long a connection to one address may take to come about; default 3 s.
    pub connect_timeout: Duration,
    /// How long a call may take in all; default 10 s.
    pub timeout: Duration,
    /// Whether `sslmode=disable` in a URL is followed for other hosts than this one. Anyone on the way
    /// can read what is sent then.
    pub allow_plain: bool,
}

/// A configuration that has been checked.
pub(super) struct CheckedConfig {
    pub(super) passwords: PasswordIssuer,
    pub(super) connector: Connector,
}

impl PostgresIssuerConfig {
    /// An issuer for these two roles.
    #[must_use]
    pub fn new(one: impl Into<String>, other: impl Into<String>) -> Self {
        Self {
            roles: [one.into(), other.into()],
            admin_field: "key".into(),
            password: PasswordPolicy::default(),
            end_sessions: false,
            ca: None,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            allow_plain: false,
        }
    }

    /// Checks everything.
    pub(super) fn check(&self) -> Result<CheckedConfig> {
        let mut problems = Problems::new();
        let [one, other] = &self.roles;
        for role in &self.roles {
            if role.is_empty() || role.len() > LONGEST_NAME || role.contains('\0') {
                problems.add("`roles` must have names of 1 to 63 bytes without NUL");
            }
        }
        if one == other {
            problems.add("`roles` must be two: one works while the other gets a new password");
        }
        for (name, time) in [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)] {
            if time.is_zero() || time > ONE_DAY {
                problems.add(format!("`{name}` must be more than zero and at most a day"));
            }
        }
        let mut note =
            |error: Error| error.problems().iter().for_each(|it| problems.add(it.as_str()));
        let passwords = self.passwords().map_err(&mut note).ok();
        let tls = self.tls().map_err(note).ok();
        problems.into_result()?;
        match (passwords, tls) {
            (Some(passwords), Some(tls)) => Ok(CheckedConfig {
                passwords,
                connector: Connector {
                    tls: MakeRustlsConnect::new(tls),
                    connect_timeout: self.connect_timeout,
                    allow_plain: self.allow_plain,
                },
            }),
            _ => Err(one_problem("the issuer cannot be set up")),
        }
    }

    fn passwords(&self) -> Result<PasswordIssuer> {
        let passwords = PasswordIssuer::new(&self.password)?;
        if passwords.entropy() < LEAST_ENTROPY {
            return Err(one_problem("`password` must make passwords of at least 128 bits"));
        }
        Ok(passwords)
    }

    /// Certificates are always checked, with the name of the host.
    fn tls(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|_| one_problem("the TLS client cannot be set up"))?;
        let Some(ca) = &self.ca else {
            let builder = builder.with_platform_verifier();
            let builder = builder.map_err(|_| {
                one_problem("the platform's certificates cannot be read: check them, or set `ca`")
            })?;
            return Ok(builder.with_no_client_auth());
        };
        let mut roots = RootCertStore::empty();
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(ca.as_bytes()).collect();
        for certificate in certificates.unwrap_or_default() {
            // One that cannot be used is noticed below if it is the only one.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err(one_problem("`ca` holds no certificate of an authority in the form PEM"));
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn one_problem(problem: &str) -> Error {
    Error::config(vec![problem.to_owned()])
}

/// Certificates are long, and what lies beside them in the same file may be their key.
impl fmt::Debug for PostgresIssuerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresIssuerConfig")
            .field("roles", &self.roles)
            .field("admin_field", &self.admin_field)
            .field("password", &self.password)
            .field("end_sessions", &self.end_sessions)
            .field("has_own_ca", &self.ca.is_some())
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("allow_plain", &self.allow_plain)
            .finish()
    }
}
