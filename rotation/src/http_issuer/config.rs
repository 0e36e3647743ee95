//! Where an issuer is, and how it wants to be asked.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, Method};
use reqwest::Url;
use strongroom_core::{Problems, Result, SecretValue};

use super::pointer::Pointer;
use super::tls::Tls;
use crate::header::{ExpiryHeaders, ExpiryUnit};

/// Stands for the key in a path.
pub(super) const KEY: &str = "{key}";
/// Stands for a certificate where it would be shown.
const PEM: &str = "[PEM]";
/// The longest timeout that can be set.
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// How to ask one issuer of keys over HTTP.
///
/// The defaults are the common shape: `POST /api/keys/rotate` and `DELETE /api/keys/{key}`, each
/// with the current key as bearer (RFC 6750). Paths begin with a slash, are appended to the base
/// address, and may have a query. Pointers are JSON pointers (RFC 6901).
///
/// # Examples
/// ```
/// use strongroom_rotation::{ExpiryUnit, HttpIssuer, HttpIssuerConfig};
///
/// let mut config = HttpIssuerConfig::new("https://api.example.com");
/// config.issue_path = "/v2/credentials/roll".into();
/// config.key_pointers = vec!["/data/credential/secret".into()];
/// config.expires_in_pointer = Some(("/data/credential/ttl".into(), ExpiryUnit::Seconds));
/// config.verify_path = Some("/v2/whoami".into());
/// let issuer = HttpIssuer::new(&config)?;
/// # Ok::<(), strongroom::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpIssuerConfig {
    /// Where the issuer is: `https://host`, with or without a port and a path.
    pub base: String,
    /// The method that gets a new key; default `POST`.
    pub issue_method: Method,
    /// The path at which to get a new key; default `/api/keys/rotate`.
    pub issue_path: String,
    /// Where the answer to that may hold the new key, a text; the first that is there counts. Default
    /// `/new_key`, `/key`.
    pub key_pointers: Vec<String>,
    /// Where the answer holds the moment at which the new key ends, in one of the forms of
    /// [`ExpiryHeaders::moment`]. Default: nowhere.
    pub expires_at_pointer: Option<String>,
    /// Where the answer holds how long the new key works, and what it counts. Default: nowhere.
    pub expires_in_pointer: Option<(String, ExpiryUnit)>,
    /// The headers of the answer that tell when the new key ends. Default: none, as the headers
    /// usually speak of the key that the request carried.
    pub expiry_headers: Option<ExpiryHeaders>,
    /// The header that names the attempt; default `Idempotency-Key`. An issuer may take no notice of
    /// it: see [`honours_idempotency`](Self::honours_idempotency).
    pub idempotency_header: Option<String>,
    /// Whether the issuer is known to give the same key again to a request that names the same attempt,
    /// for as long as an interrupted rotation may wait for its end. Default: no, and keys that an
    /// interrupted attempt may have left behind are looked for in the list, or reported. Say yes only if
    /// the issuer's documentation does: such keys are not looked for then.
    pub honours_idempotency: bool,
    /// The method that revokes a key; default `DELETE`.
    pub revoke_method: Method,
    /// The path of a key, with `{key}` where the key stands, percent-encoded; default
    /// `/api/keys/{key}`. Whatever logs the paths of requests sees the key that it has just revoked.
    /// Check it with care: an issuer says of a path that it does not have what it says of a key that it
    /// does not have, 404.
    pub revoke_path: String,
    /// A path that is only readable with a key that works. Default: none, and a new key is believed
    /// to work.
    pub verify_path: Option<String>,
    /// A path that lists all keys of this client in full, on one page. Default: none, and keys that
    /// nobody knows of cannot be found.
    pub list_path: Option<String>,
    /// Where the list holds an array of keys, or of objects with a key each; default `/keys`.
    pub list_pointer: String,
    /// Where each of those objects holds its key; default `/key`.
    pub list_key_pointer: String,
    /// The only certificate authorities that are trusted, one or more in PEM: what the file holds, not
    /// its name. Default: those of the platform. With plain `http` it is a mistake, and refused.
    pub ca_cert: Option<Vec<u8>>,
    /// The client's certificate, with those between it and the authority behind it, and its private
    /// key (PKCS #8, PKCS #1 or SEC 1, without a passphrase), each in PEM. Default: none. They are
    /// read when the issuer is made: a renewed certificate takes a new issuer. With plain `http` they
    /// are a mistake, and refused.
    pub client_cert: Option<(Vec<u8>, SecretValue)>,
    /// How long a connection may take to come about; default 3 s.
    pub connect_timeout: Duration,
    /// How long a request may take in all; default 10 s.
    pub timeout: Duration,
    /// Whether `http` is accepted for other hosts than this one. Anyone on the way reads keys then.
    pub allow_http: bool,
}

/// A configuration that has been checked.
pub(super) struct Checked {
    pub(super) base: String,
    pub(super) is_plain: bool,
    pub(super) keys: Vec<Pointer>,
    pub(super) expires_at: Option<Pointer>,
    pub(super) expires_in: Option<(Pointer, ExpiryUnit)>,
    pub(super) idempotency: Option<HeaderName>,
    pub(super) list: Pointer,
    pub(super) list_key: Pointer,
}

impl HttpIssuerConfig {
    /// An issuer of the common shape.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            issue_method: Method::POST,
            issue_path: "/api/keys/rotate".into(),
            key_pointers: vec!["/new_key".into(), "/key".into()],
            expires_at_pointer: None,
            expires_in_pointer: None,
            expiry_headers: None,
            idempotency_header: Some("Idempotency-Key".into()),
            honours_idempotency: false,
            revoke_method: Method::DELETE,
            revoke_path: format!("/api/keys/{KEY}"),
            verify_path: None,
            list_path: None,
            list_pointer: "/keys".into(),
            list_key_pointer: "/key".into(),
            ca_cert: None,
            client_cert: None,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            allow_http: false,
        }
    }

    /// Checks everything.
    pub(super) fn checked(&self) -> Result<(Checked, Tls)> {
        let mut problems = Problems::new();
        let base = self.address().map_err(|problem| problems.add(problem)).unwrap_or_default();
        let is_plain = base.starts_with("http:");
        let tls = Tls::read(self, is_plain, &mut problems);
        self.check_paths(&mut problems);
        for (name, time) in [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)] {
            if time.is_zero() || time > ONE_DAY {
                problems.add(format!("`{name}` must be more than zero and at most a day"));
            }
        }
        if self.honours_idempotency && self.idempotency_header.is_none() {
            problems.add("`honours_idempotency` needs an `idempotency_header`");
        }
        if self.key_pointers.is_empty() {
            problems.add("`key_pointers` is empty: say where the answer holds the new key");
        }
        let mut pointer = |name: &str, text: &str| {
            let pointer = Pointer::parse(text);
            if pointer.is_none() {
                problems.add(format!("`{name}` holds no JSON pointer such as `/data/key`"));
            }
            pointer.unwrap_or_default()
        };
        let checked = Checked {
            is_plain,
            base,
            keys: self.key_pointers.iter().map(|text| pointer("key_pointers", text)).collect(),
            expires_at: self
                .expires_at_pointer
                .as_ref()
                .map(|text| pointer("expires_at_pointer", text)),
            expires_in: self
                .expires_in_pointer
                .as_ref()
                .map(|(text, unit)| (pointer("expires_in_pointer", text), *unit)),
            list: pointer("list_pointer", &self.list_pointer),
            list_key: pointer("list_key_pointer", &self.list_key_pointer),
            idempotency: self.idempotency_header.as_ref().and_then(|name| {
                let name = HeaderName::from_bytes(name.as_bytes());
                name.map_err(|_| problems.add("`idempotency_header` is no name of a header")).ok()
            }),
        };
        problems.into_result().map(|()| (checked, tls))
    }

    fn check_paths(&self, problems: &mut Problems) {
        let paths = [
            ("issue_path", Some(&self.issue_path)),
            ("revoke_path", Some(&self.revoke_path)),
            ("verify_path", self.verify_path.as_ref()),
            ("list_path", self.list_path.as_ref()),
        ];
        for (name, path) in paths {
            let Some(path) = path else { continue };
            let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
            if !path.starts_with('/') || !visible || path.contains('#') || path.contains("/../") {
                problems.add(format!("`{name}` is not a path such as `/api/keys`"));
            }
            if path.matches(KEY).count() != usize::from(name == "revoke_path") {
                problems.add(format!(
                    "`{name}`: `{KEY}` stands for a key, exactly once in `revoke_path` and nowhere else"
                ));
            }
        }
    }

    /// The address without a slash at its end.
    fn address(&self) -> Result<String, String> {
        let malformed = || "`base` is not an address such as `https://api.example.com`".to_owned();
        let url = Url::parse(self.base.trim()).map_err(|_| malformed())?;
        let has_more = url.query().is_some() || url.fragment().is_some();
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || has_more {
            return Err(malformed());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`base` holds a user name or password; remove it".into());
        }
        if url.scheme() == "http" && !self.allow_http && !is_loopback(&url) {
            return Err("`base` is plain http to another host, which shows keys to anyone on the \
                        way: use https, or set `allow_http` if you accept that"
                .into());
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Shows an address only if it is valid, and no queries: they may hold a password. It shows no
/// certificates either: what is given as one may be a private key.
impl fmt::Debug for HttpIssuerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.address().unwrap_or_else(|_| "[invalid]".into());
        let path = |path: &str| match path.split_once('?') {
            Some((path, _)) => format!("{path}?[REDACTED]"),
            None => path.to_owned(),
        };
        let issue = format!("{} {}", self.issue_method, path(&self.issue_path));
        let revoke = format!("{} {}", self.revoke_method, path(&self.revoke_path));
        f.debug_struct("HttpIssuerConfig")
            .field("base", &base)
            .field("issue", &issue)
            .field("key_pointers", &self.key_pointers)
            .field("expires_at_pointer", &self.expires_at_pointer)
            .field("expires_in_pointer", &self.expires_in_pointer)
            .field("expiry_headers", &self.expiry_headers)
            .field("idempotency_header", &self.idempotency_header)
            .field("honours_idempotency", &self.honours_idempotency)
            .field("revoke", &revoke)
            .field("verify_path", &self.verify_path.as_deref().map(path))
            .field("list_path", &self.list_path.as_deref().map(path))
            .field("list_pointer", &self.list_pointer)
            .field("list_key_pointer", &self.list_key_pointer)
            .field("ca_cert", &self.ca_cert.as_ref().map(|_| PEM))
            .field("client_cert", &self.client_cert.as_ref().map(|(_, key)| (PEM, key)))
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("allow_http", &self.allow_http)
            .finish()
    }
}
