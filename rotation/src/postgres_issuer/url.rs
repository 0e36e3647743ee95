//! Connection URLs, as PostgreSQL's own client library reads them: its documentation, section
//! "Connection URIs".

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use strongroom_core::{ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

use super::error::{Whose, lasting};
use super::host::{self, Host};

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A connection URL. It has no `Debug`: it holds a password.
pub(super) struct ConnectionUrl {
    whole: SecretValue,
    /// Where role and password begin in it, and where they end.
    credentials: (usize, usize),
    pub(super) role: String,
    pub(super) password: Zeroizing<Vec<u8>>,
    pub(super) hosts: Vec<Host>,
    pub(super) database: Option<String>,
    pub(super) options: Option<String>,
    pub(super) tls: Tls,
}

/// What a URL says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// `disable`.
    Off,
    /// Nothing, `allow` or `prefer`.
    Open,
    /// `require` and what is stricter. Certificates are always checked in full.
    On,
}

/// What is wrong with a URL, and what to do. Neither quotes it.
type Problem = (&'static str, &'static str);

impl ConnectionUrl {
    /// Reads a URL of the form `postgresql://role:password@host:port/database?name=value`.
    pub(super) fn parse(value: &SecretValue, whose: Whose) -> Result<Self> {
        let read = || {
            let text = value.expose_text().map_err(|_| NO_URL)?;
            let url = Self::read(value, text)?;
            if matches!(whose, Whose::Key) && url.database.is_none() {
                return Err((
                    "names no database, so it would change with the role",
                    "write the database into it",
                ));
            }
            Ok(url)
        };
        read().map_err(|(problem, advice): Problem| {
            lasting(ErrorKind::InvalidInput, format!("{} {problem}", whose.url()), advice)
        })
    }

    fn read(value: &SecretValue, text: &str) -> Result<Self, Problem> {
        let schemes = ["postgresql://", "postgres://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or(NO_URL)?;
        // Clients take a `#` for different things.
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
            return Err((
                "holds a blank, a control character or a `#`",
                "percent-encode them, and store it without a line break",
            ));
        }
        let begin = text.len() - rest.len();
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (credentials, hosts) = authority.split_once('@').ok_or(NO_ROLE)?;
        if hosts.contains('@') {
            return Err(("holds a second `@`", "write an `@` in the password as `%40`"));
        }
        let (role, password) = credentials.split_once(':').ok_or(NO_PASSWORD)?;
        let role = decoded_text(role)?;
        let password = decoded(password)?;
        if role.is_empty() {
            return Err(NO_ROLE);
        }
        if password.is_empty() {
            return Err(NO_PASSWORD);
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let database = decoded_text(path.strip_prefix('/').unwrap_or(path))?;
        let query = Query::read(query)?;
        Ok(Self {
            whole: value.clone(),
            credentials: (begin, begin + credentials.len()),
            role,
            password,
            hosts: query.hosts(hosts)?,
            database: once(Some(database).filter(|it| !it.is_empty()), query.database)?,
            options: query.options,
            tls: query.tls,
        })
    }

    /// The URL with another role and password; all else stays byte for byte.
    pub(super) fn with(&self, role: &str, password: &SecretValue) -> Result<SecretValue> {
        let (text, password) = (self.whole.expose_text()?, password.expose_text()?);
        let (begin, end) = self.credentials;
        let before = text.get(..begin).unwrap_or_default();
        let after = text.get(end..).unwrap_or_default();
        // It never grows, so no copy is left behind.
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

const NO_URL: Problem = (
    "is no connection URL",
    "store it in the form `postgresql://role:password@host:5432/database`, not as `name=value` pairs",
);
const NO_ROLE: Problem = (
    "names no role in front of an `@`",
    "write `role:password@` in front of the host; in a password, `/` is `%2F` and `?` is `%3F`",
);
const NO_PASSWORD: Problem =
    ("has no password", "write role and password in front of the host, as `role:password@`");
const TWICE: Problem =
    ("says the same in two places", "name host, port and database once, in front of the `?`");
pub(super) const NO_HOST: Problem =
    ("names no host, or no port from 1 to 65535", "write the host as `host:5432`");

/// The parameters that matter here. Others are for the driver of the service.
struct Query {
    hosts: Option<String>,
    ports: Option<String>,
    database: Option<String>,
    options: Option<String>,
    tls: Tls,
}

impl Query {
    fn read(text: &str) -> Result<Self, Problem> {
        let mut query =
            Self { hosts: None, ports: None, database: None, options: None, tls: Tls::Open };
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            match decoded_text(name)?.as_str() {
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
                "host" => query.hosts = once(query.hosts, Some(decoded_text(value)?))?,
                "port" => query.ports = once(query.ports, Some(decoded_text(value)?))?,
                "dbname" => query.database = once(query.database, Some(decoded_text(value)?))?,
                "options" => query.options = once(query.options, Some(decoded_text(value)?))?,
                "sslmode" => query.tls = mode(value)?,
                "ssl" if value == "true" => query.tls = Tls::On,
                _ => {}
            }
        }
        Ok(query)
    }

    /// The hosts, which stand in front of the parameters or among them.
    fn hosts(&self, authority: &str) -> Result<Vec<Host>, Problem> {
        match (&self.hosts, &self.ports) {
            (None, None) => host::of_authority(authority),
            (Some(hosts), ports) if authority.is_empty() => {
                host::of_parameters(hosts, ports.as_deref())
            }
            _ => Err(TWICE),
        }
    }
}

fn mode(value: &str) -> Result<Tls, Problem> {
    match value {
        "disable" => Ok(Tls::Off),
        "allow" | "prefer" => Ok(Tls::Open),
        "require" | "verify-ca" | "verify-full" => Ok(Tls::On),
        _ => Err(("has an unknown `sslmode`", "use `sslmode=verify-full`")),
    }
}

fn once(known: Option<String>, more: Option<String>) -> Result<Option<String>, Problem> {
    if known.is_some() && more.is_some() { Err(TWICE) } else { Ok(known.or(more)) }
}

/// A text without its escapes, of which every one is valid and none is a NUL.
fn decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let malformed = ("has a `%` that begins no escape", "write a `%` as `%25`");
    let mut escapes = text.split('%').skip(1).map(|rest| rest.as_bytes().first_chunk());
    let is_escape =
        |digits: Option<&[u8; 2]>| digits.is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit));
    if !escapes.all(is_escape) {
        return Err(malformed);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(percent_decode_str(text));
    if bytes.contains(&0) { Err(("holds `%00`", "remove it")) } else { Ok(bytes) }
}

pub(super) fn decoded_text(text: &str) -> Result<String, Problem> {
    let bytes = decoded(text)?;
    let text = std::str::from_utf8(&bytes);
    text.map(str::to_owned).map_err(|_| ("is not UTF-8 where a name stands", "encode it anew"))
}

#[cfg(test)]
mod tests;
