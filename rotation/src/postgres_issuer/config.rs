//! The roles that an issuer alternates between, and how it connects.

use strongroom_core::{Error, ErrorKind, Problems, Result};
use strongroom_postgres::Connector;
use strongroom_transport::{LoadedTls, TlsConfig};

use super::error::permanent;
use crate::password::{PasswordIssuer, PasswordPolicy};
use crate::timeouts::Timeouts;

/// The longest name of a role, in bytes: `NAMEDATALEN` is 64 and counts a NUL.
const LONGEST_NAME: usize = 63;
/// The least entropy of a password, in bits. It cannot be guessed from its verifier, which a server's log
/// may show.
const MIN_ENTROPY: f64 = 128.0;
/// How much a server may send in one session, in bytes. The issuer reads a few short rows.
const MAX_RECEIVED: usize = 1 << 20;

/// The roles that a [`PostgresIssuer`](super::PostgresIssuer) alternates between, and how it connects.
///
/// # Examples
/// ```
/// use strongroom_rotation::PostgresIssuerConfig;
///
/// let mut config = PostgresIssuerConfig::new("orders_a", "orders_b");
/// config.end_sessions = true;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresIssuerConfig {
    /// The two roles. Both have LOGIN and the same rights, such as through a role that both are
    /// members of, and nothing else uses them: each pair belongs to one secret.
    pub roles: [String; 2],
    /// The field of the administrator's secret that holds the URL; default `key`, as in a secret that
    /// rotates. If the secret has no fields, it is the URL itself.
    pub admin_field: String,
    /// The characters and the length of passwords; at least 128 bits of entropy.
    pub password: PasswordPolicy,
    /// Whether revoking a key terminates the sessions of its role. Default: no, and open connections go
    /// on until the service closes them. The administrator needs the role `pg_signal_backend`, or both
    /// roles WITH INHERIT.
    pub end_sessions: bool,
    /// Which authorities to trust, and which certificate to present, where a connection uses TLS.
    pub tls: TlsConfig,
    /// How long a connection to one address and a whole call may take.
    pub timeouts: Timeouts,
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
            tls: TlsConfig::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// Checks everything, and loads the certificates.
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
        self.timeouts.check(&mut problems);
        let passwords = self.password_issuer();
        if let Err(error) = &passwords {
            error.problems().iter().for_each(|problem| problems.add(problem.as_str()));
        }
        let tls = LoadedTls::load(&self.tls, &mut problems);
        problems.into_result()?;
        let tls = tls.ok_or_else(|| {
            permanent(
                ErrorKind::Config,
                "the TLS client cannot be set up",
                "check the platform's certificates, or set `tls.ca_certificates`",
            )
        })?;
        let connector = Connector::new(&self.tls, tls, self.timeouts.connect)?;
        let connector = connector.max_received(MAX_RECEIVED);
        Ok(CheckedConfig { passwords: passwords?, connector })
    }

    fn password_issuer(&self) -> Result<PasswordIssuer> {
        let passwords = PasswordIssuer::new(&self.password)?;
        if passwords.entropy() < MIN_ENTROPY {
            let problem = "`password` must make passwords of at least 128 bits of entropy";
            return Err(Error::config(vec![problem.to_owned()]));
        }
        Ok(passwords)
    }
}
