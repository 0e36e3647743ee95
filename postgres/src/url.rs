//! Connection URLs, as PostgreSQL's own client library reads them: its documentation, section
//! "Connection URIs".

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use strongroom_core::{Result, SecretValue};
use zeroize::Zeroizing;

use crate::host::{self, Host};
use crate::percent::{UrlProblem, decode, decode_text};

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A connection URL. It has no `Debug`: it holds a password.
pub struct ConnectionUrl {
    whole: SecretValue,
    /// Where `role:password` begins in it, and where it ends.
    credentials: (usize, usize),
    /// The role.
    pub role: String,
    /// The password, which is not empty.
    pub password: Zeroizing<Vec<u8>>,
    /// The hosts, in the order in which they are tried; at least one.
    pub hosts: Vec<Host>,
    /// The database; `None` is the one with the name of the role.
    pub database: Option<String>,
    /// The server's settings for a session.
    pub options: Option<String>,
    /// Whether connections use TLS.
    pub tls: TlsMode,
}

/// The `sslmode` of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Not even if the server offers it.
    Disable,
    /// Also `allow`, and a URL that does not say.
    Prefer,
    /// Also the stricter ones: certificates are always checked in full.
    Require,
}

impl ConnectionUrl {
    /// Parses a URL of the form `postgresql://role:password@host:port/database?name=value`.
    ///
    /// # Errors
    /// What is wrong, and what to do about it. Neither text quotes the URL.
    pub fn parse(value: &SecretValue) -> Result<Self, UrlProblem> {
        Self::parse_text(value, value.expose_text().map_err(|_| NOT_A_URL)?)
    }

    fn parse_text(value: &SecretValue, text: &str) -> Result<Self, UrlProblem> {
        let schemes = ["postgresql://", "postgres://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or(NOT_A_URL)?;
        // Clients disagree on what a `#` means.
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
            return Err((
                "holds a blank, a control character or a `#`",
                "percent-encode them, and store it without a line break",
            ));
        }
        let begin = text.len() - rest.len();
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (credentials, hosts) = authority.split_once('@').ok_or(MISSING_ROLE)?;
        if hosts.contains('@') {
            return Err(("holds a second `@`", "write an `@` in the password as `%40`"));
        }
        let (role, password) = credentials.split_once(':').ok_or(MISSING_PASSWORD)?;
        let role = decode_text(role)?;
        let password = decode(password)?;
        if role.is_empty() {
            return Err(MISSING_ROLE);
        }
        if password.is_empty() {
            return Err(MISSING_PASSWORD);
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let database = decode_text(path.strip_prefix('/').unwrap_or(path))?;
        let query = Query::parse(query)?;
        Ok(Self {
            whole: value.clone(),
            credentials: (begin, begin + credentials.len()),
            role,
            password,
            hosts: query.hosts(hosts)?,
            database: at_most_one(Some(database).filter(|it| !it.is_empty()), query.database)?,
            options: query.options,
            tls: query.tls,
        })
    }

    /// Whether the URL turns TLS off towards another host.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.tls == TlsMode::Disable && self.hosts.iter().any(|host| !host.is_local())
    }

    /// The URL with another role and password; everything else stays byte for byte.
    ///
    /// # Errors
    /// [`WrongType`](strongroom_core::ErrorKind::WrongType) if the password is not text.
    pub fn with_credentials(&self, role: &str, password: &SecretValue) -> Result<SecretValue> {
        let (text, password) = (self.whole.expose_text()?, password.expose_text()?);
        let (begin, end) = self.credentials;
        let before = text.get(..begin).unwrap_or_default();
        let after = text.get(end..).unwrap_or_default();
        // The buffer never grows, so that no copy is left behind.
        let length = before.len() + 3 * (role.len() + password.len()) + 1 + after.len();
        let mut changed = Zeroizing::new(String::with_capacity(length));
        changed.push_str(before);
        changed.extend(utf8_percent_encode(role, RESERVED));
        changed.push(':');
        changed.extend(utf8_percent_encode(password, RESERVED));
        changed.push_str(after);
        Ok(SecretValue::from(changed.as_str()))
    }
}

const NOT_A_URL: UrlProblem = (
    "is no connection URL",
    "store it in the form `postgresql://role:password@host:5432/database`, not as `name=value` pairs",
);
const MISSING_ROLE: UrlProblem = (
    "names no role in front of an `@`",
    "write `role:password@` in front of the host; in a password, `/` is `%2F` and `?` is `%3F`",
);
const MISSING_PASSWORD: UrlProblem =
    ("has no password", "write role and password in front of the host, as `role:password@`");
const REPEATED: UrlProblem =
    ("says the same in two places", "name host, port and database once, in front of the `?`");

/// The parameters that matter here. The driver of the service reads the others.
struct Query {
    hosts: Option<String>,
    ports: Option<String>,
    database: Option<String>,
    options: Option<String>,
    tls: TlsMode,
}

impl Query {
    fn parse(text: &str) -> Result<Self, UrlProblem> {
        let mut query =
            Self { hosts: None, ports: None, database: None, options: None, tls: TlsMode::Prefer };
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            match decode_text(name)?.as_str() {
                "user" | "password" => {
                    return Err((
                        "has its role or password among the parameters",
                        "write them in front of the host, as `role:password@`",
                    ));
                }
                "hostaddr" | "service" => {
                    return Err((
                        "has the parameter `hostaddr` or `service`, which is not followed here",
                        "name the host in front of the `?`",
                    ));
                }
                "host" => query.hosts = at_most_one(query.hosts, Some(decode_text(value)?))?,
                "port" => query.ports = at_most_one(query.ports, Some(decode_text(value)?))?,
                "dbname" => {
                    query.database = at_most_one(query.database, Some(decode_text(value)?))?;
                }
                "options" => query.options = at_most_one(query.options, Some(decode_text(value)?))?,
                "sslmode" => query.tls = parse_mode(value)?,
                "ssl" if value == "true" => query.tls = TlsMode::Require,
                _ => {}
            }
        }
        Ok(query)
    }

    /// The hosts, which the URL names in front of the parameters or among them.
    fn hosts(&self, authority: &str) -> Result<Vec<Host>, UrlProblem> {
        match (&self.hosts, &self.ports) {
            (None, None) => host::parse_authority(authority),
            (Some(hosts), ports) if authority.is_empty() => {
                host::parse_parameters(hosts, ports.as_deref())
            }
            _ => Err(REPEATED),
        }
    }
}

fn parse_mode(value: &str) -> Result<TlsMode, UrlProblem> {
    match value {
        "disable" => Ok(TlsMode::Disable),
        "allow" | "prefer" => Ok(TlsMode::Prefer),
        "require" | "verify-ca" | "verify-full" => Ok(TlsMode::Require),
        _ => Err(("has an unknown `sslmode`", "use `sslmode=verify-full`")),
    }
}

fn at_most_one(one: Option<String>, other: Option<String>) -> Result<Option<String>, UrlProblem> {
    if one.is_some() && other.is_some() { Err(REPEATED) } else { Ok(one.or(other)) }
}

#[cfg(test)]
mod tests;
