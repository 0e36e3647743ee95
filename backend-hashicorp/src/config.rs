//! Where the server is, how to log in, and what to call things there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use strongroom_core::{Problems, Result, SecretPath};
use strongroom_transport::is_exposed;

use crate::files;
use crate::settings::{
    ADDR, ALLOW_HTTP, APPROLE_MOUNT, CACERT, CLIENT_CERT, CLIENT_KEY, CONNECT_TIMEOUT, MOUNT,
    NAMESPACE, RENEW_MARGIN, ROLE_ID, SECRET_ID, STATIC_ROLES, TIMEOUT, TOKEN,
};

/// The longest timeout and margin that can be set.
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// How to prove who is asking. `Debug` shows no token and no secret id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// A token that somebody else has made and gives back. It is renewed, never revoked.
    Token(SecretString),
    /// Logging in with AppRole.
    AppRole(AppRole),
}

/// A machine's login. `Debug` shows no secret id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppRole {
    /// The role id.
    pub role_id: String,
    /// The secret id, or what it is wrapped in.
    pub secret_id: SecretId,
    /// Whether the secret id is in fact a response-wrapping token that holds it, to be unwrapped
    /// once.
    pub wrapped: bool,
    /// Where AppRole is mounted below `auth/`; default `approle`.
    pub mount: String,
}

impl AppRole {
    /// A login at the default mount, with a secret id that is not wrapped.
    #[must_use]
    pub fn new(role_id: impl Into<String>, secret_id: SecretId) -> Self {
        Self { role_id: role_id.into(), secret_id, wrapped: false, mount: "approle".into() }
    }
}

/// Where a secret id comes from. `Debug` does not show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SecretId {
    /// This text.
    Text(SecretString),
    /// The content of a file, without white space around it. It is read at each login, so that an
    /// orchestrator can replace it.
    File(PathBuf),
}

impl From<AppRole> for Auth {
    fn from(login: AppRole) -> Self {
        Self::AppRole(login)
    }
}

/// Opens one HashiCorp Vault or OpenBao.
///
/// # Examples
/// ```
/// use strongroom_backend_hashicorp::{AppRole, HashicorpConfig, SecretId};
///
/// let secret_id = SecretId::File("/run/secrets/secret-id".into());
/// let login = AppRole::new("6f6b2c1e-…", secret_id);
/// let mut config = HashicorpConfig::new("https://vault.example.com:8200", login);
/// config.mount = "kv/payments".into();
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HashicorpConfig {
    /// Where the server is: `https://host:port`, with or without a path in front of `/v1`.
    pub address: String,
    /// How to log in.
    pub auth: Auth,
    /// The namespace, if the server has them.
    pub namespace: Option<String>,
    /// Where the KV engine is mounted; default `secret`.
    pub mount: String,
    /// Secrets that are static roles of a database engine: by their path here, the mount and the
    /// name of the role, such as `database/orders`.
    pub static_roles: BTreeMap<SecretPath, String>,
    /// A file with the only certificate authorities (PEM) that are trusted. `None`: those of the
    /// platform.
    pub ca_cert: Option<PathBuf>,
    /// Files with the client certificate and its private key (PEM).
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// How long a connection may take to come about; default 3 s.
    pub connect_timeout: Duration,
    /// How long a request may take in all; default 10 s.
    pub timeout: Duration,
    /// How long before its end a token is renewed; default 60 s. A token that lives less than one
    /// and a half times that is renewed after two thirds of its life.
    pub renew_margin: Duration,
    /// Whether `http` is accepted for other hosts than this one. Anyone on the way reads tokens and
    /// values then.
    pub allow_http: bool,
}

/// What [`HashicorpConfig`] says about the connection, checked and read.
pub(crate) struct Checked {
    /// The address with `/v1/` behind it.
    pub(crate) base: String,
    pub(crate) is_plain: bool,
    pub(crate) namespace: Option<HeaderValue>,
    pub(crate) authorities: Option<Vec<reqwest::Certificate>>,
    pub(crate) identity: Option<reqwest::Identity>,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
}

impl HashicorpConfig {
    /// A server with the defaults.
    #[must_use]
    pub fn new(address: impl Into<String>, auth: impl Into<Auth>) -> Self {
        Self {
            address: address.into(),
            auth: auth.into(),
            namespace: None,
            mount: "secret".into(),
            static_roles: BTreeMap::new(),
            ca_cert: None,
            client_cert: None,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            renew_margin: Duration::from_secs(60),
            allow_http: false,
        }
    }

    /// Notes what is wrong, without looking at any file.
    pub(crate) fn check(&self, with_address: bool, with_auth: bool, problems: &mut Problems) {
        if with_address && let Err(problem) = self.base() {
            problems.add(problem);
        }
        check_mount(MOUNT, &self.mount, problems);
        if with_auth {
            self.auth.check(problems);
        }
        if self.namespace.as_deref().is_some_and(|name| !is_mount(name.trim_matches('/'))) {
            problems.add(format!("`{NAMESPACE}` is not a namespace such as `team/app`"));
        }
        for (name, time) in [
            (CONNECT_TIMEOUT, self.connect_timeout),
            (TIMEOUT, self.timeout),
            (RENEW_MARGIN, self.renew_margin),
        ] {
            if time.is_zero() || time > ONE_DAY {
                problems.add(format!("`{name}` must be more than zero and at most a day"));
            }
        }
        for (path, role) in &self.static_roles {
            if !role.contains('/') || !is_mount(role) {
                problems.add(format!(
                    "`{STATIC_ROLES}`: what `{path}` stands for is not a mount and a role such as \
                     `database/orders`"
                ));
            }
        }
    }

    /// The address with `/v1/` behind it.
    fn base(&self) -> Result<String, String> {
        let malformed =
            || format!("`{ADDR}` is not an address such as `https://vault.example.com:8200`");
        let url = Url::parse(self.address.trim()).map_err(|_| malformed())?;
        let has_more = url.query().is_some() || url.fragment().is_some();
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || has_more {
            return Err(malformed());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("`{ADDR}` holds a user name or password; remove it"));
        }
        if url.path().trim_end_matches('/').ends_with("/v1") {
            return Err(format!("`{ADDR}` is the address without `/v1`, which is added to it"));
        }
        if !self.allow_http && is_exposed(&url) {
            return Err(format!(
                "`{ADDR}` is plain http to another host, which shows tokens and values to anyone \
                 on the way: use https, or set `{ALLOW_HTTP}` to `true` if you accept that"
            ));
        }
        Ok(format!("{}/v1/", url.as_str().trim_end_matches('/')))
    }

    /// Checks everything and reads the files.
    pub(crate) fn checked(&self) -> Result<Checked> {
        let mut problems = Problems::new();
        self.check(true, true, &mut problems);
        let authorities = self.ca_cert.as_ref().and_then(|file| {
            files::authorities(CACERT, file).map_err(|problem| problems.add(problem)).ok()
        });
        let identity = self.client_cert.as_ref().and_then(|(cert, key)| {
            let names = (CLIENT_CERT, CLIENT_KEY);
            files::identity(names, cert, key).map_err(|problem| problems.add(problem)).ok()
        });
        problems.into_result()?;
        let base = self.base().unwrap_or_default();
        let namespace = self.namespace.as_deref().map(|name| name.trim_matches('/'));
        Ok(Checked {
            is_plain: base.starts_with("http:"),
            base,
            namespace: namespace.and_then(|name| HeaderValue::from_str(name).ok()),
            authorities,
            identity,
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
        })
    }
}

/// Shows an address only if it is valid: others may hold a password.
impl fmt::Debug for HashicorpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.base().map_or("[invalid]", |_| self.address.as_str());
        f.debug_struct("HashicorpConfig")
            .field("address", &address)
            .field("auth", &self.auth)
            .field("namespace", &self.namespace)
            .field("mount", &self.mount)
            .field("static_roles", &self.static_roles)
            .field("ca_cert", &self.ca_cert)
            .field("client_cert", &self.client_cert)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("renew_margin", &self.renew_margin)
            .field("allow_http", &self.allow_http)
            .finish()
    }
}

impl Auth {
    fn check(&self, problems: &mut Problems) {
        match self {
            Self::Token(token) if !is_one_word(token) => {
                problems.add(format!("`{TOKEN}` is empty or holds spaces or line breaks"));
            }
            Self::Token(_) => {}
            Self::AppRole(AppRole { role_id, secret_id, mount, .. }) => {
                if role_id.trim().is_empty() {
                    problems.add(format!("`{ROLE_ID}` is empty"));
                }
                if matches!(secret_id, SecretId::Text(text) if !is_one_word(text)) {
                    problems.add(format!("`{SECRET_ID}` is empty or holds spaces or line breaks"));
                }
                check_mount(APPROLE_MOUNT, mount, problems);
            }
        }
    }
}

fn is_one_word(secret: &SecretString) -> bool {
    use secrecy::ExposeSecret as _;
    let text = secret.expose_secret();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn check_mount(name: &str, mount: &str, problems: &mut Problems) {
    if !is_mount(mount) {
        problems.add(format!("`{name}` is not a mount such as `secret` or `team/kv`"));
    }
}

/// Whether a text can stand in a URL as it is: the characters of a [`SecretPath`].
fn is_mount(text: &str) -> bool {
    SecretPath::parse(text).is_ok()
}
