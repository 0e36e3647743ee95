//! How to reach a server, how to log in, and where its secrets are.

mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use strongroom_core::{Error, Problems, Result, SecretPath, Setting, SettingNames};
use strongroom_transport::is_exposed;

use crate::files;
use crate::settings::{
    ADDR, ALLOW_HTTP, APPROLE_MOUNT, CACERT, CLIENT_CERT, CLIENT_KEY, CONNECT_TIMEOUT, MOUNT,
    NAMESPACE, RENEW_MARGIN, ROLE_ID, SECRET_ID, SECRET_ID_FILE, SETTINGS, STATIC_ROLES, TIMEOUT,
    TOKEN,
};

/// The limit for timeouts and margins.
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// How to authenticate. `Debug` shows no token and no secret id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// A token that the operator has created and revokes. The backend renews it.
    Token(SecretString),
    /// A login with AppRole.
    AppRole(AppRole),
}

/// A login with AppRole. `Debug` shows no secret id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppRole {
    /// The role id.
    pub role_id: String,
    /// The secret id, or a response-wrapping token that holds it.
    pub secret_id: SecretId,
    /// Whether the secret id is a response-wrapping token that holds it; default `false`.
    pub wrapped: bool,
    /// The mount of AppRole below `auth/`; default `approle`.
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

/// How to open one HashiCorp Vault or OpenBao. `Debug` shows no token and no secret id.
///
/// An error about a configuration names its fields, or the settings that it was built from.
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
    /// The address of the server: `https://host:port`, with or without a path in front of `/v1`.
    /// Required.
    pub address: String,
    /// How to log in. Required.
    pub auth: Option<Auth>,
    /// The namespace, if the server has namespaces.
    pub namespace: Option<String>,
    /// The mount of the KV engine; default `secret`.
    pub mount: String,
    /// Secrets that are static roles of a database engine: by their path here, the mount and the
    /// name of the role, such as `database/orders`.
    pub static_roles: BTreeMap<SecretPath, String>,
    /// A PEM file with the only certificate authorities to trust. `None`: those of the platform.
    pub ca_cert: Option<PathBuf>,
    /// A PEM file with the client certificate; needs [`client_key`](Self::client_key).
    pub client_cert: Option<PathBuf>,
    /// A PEM file with the private key of the client certificate.
    pub client_key: Option<PathBuf>,
    /// The time limit for a connection; default 3 s.
    pub connect_timeout: Duration,
    /// The time limit for a whole request; default 10 s.
    pub timeout: Duration,
    /// How long before its expiry a token is renewed; default 60 s. A token that lives less than one
    /// and a half times that is renewed after two thirds of its life.
    pub renew_margin: Duration,
    /// Whether plain `http` to other hosts is allowed; default `false`. The network reads tokens and
    /// values then.
    pub allow_http: bool,
    pub(crate) names: SettingNames,
}

/// A checked [`HashicorpConfig`], with the content of its files.
pub(crate) struct Resolved {
    pub(crate) http: HttpConfig,
    pub(crate) auth: Auth,
}

/// How the HTTP client connects.
pub(crate) struct HttpConfig {
    /// The address with `/v1/` behind it.
    pub(crate) base: String,
    pub(crate) is_plain: bool,
    pub(crate) namespace: Option<HeaderValue>,
    pub(crate) authorities: Option<Vec<reqwest::Certificate>>,
    pub(crate) identity: Option<reqwest::Identity>,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
}

impl Default for HashicorpConfig {
    fn default() -> Self {
        Self {
            address: String::new(),
            auth: None,
            namespace: None,
            mount: "secret".into(),
            static_roles: BTreeMap::new(),
            ca_cert: None,
            client_cert: None,
            client_key: None,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            renew_margin: Duration::from_secs(60),
            allow_http: false,
            names: SettingNames::of_fields(SETTINGS),
        }
    }
}

impl HashicorpConfig {
    /// A server and a login, with the defaults.
    #[must_use]
    pub fn new(address: impl Into<String>, auth: impl Into<Auth>) -> Self {
        Self { address: address.into(), auth: Some(auth.into()), ..Self::default() }
    }

    /// Adds a problem for everything that is wrong, except with the login; reads no files.
    fn check_server(&self, problems: &mut Problems) {
        if self.address.is_empty() {
            problems.add(format!("`{ADDR}` is not set; set it to the server's https address"));
        } else if let Err(problem) = self.base() {
            problems.add(problem);
        }
        check_mount(&MOUNT, &self.mount, problems);
        if self.namespace.as_deref().is_some_and(|name| !is_mount(name.trim_matches('/'))) {
            problems.add(format!("`{NAMESPACE}` is not a namespace such as `team/app`"));
        }
        if self.client_cert.is_some() != self.client_key.is_some() {
            problems.add(format!("`{CLIENT_CERT}` and `{CLIENT_KEY}` belong together; set both"));
        }
        for (setting, time) in [
            (CONNECT_TIMEOUT, self.connect_timeout),
            (TIMEOUT, self.timeout),
            (RENEW_MARGIN, self.renew_margin),
        ] {
            if time.is_zero() || time > ONE_DAY {
                problems.add(format!("`{setting}` must be more than zero and at most a day"));
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

    /// Adds a problem for everything that is wrong with the login; reads no files.
    fn check_auth(&self, problems: &mut Problems) {
        match &self.auth {
            Some(auth) => auth.check(problems),
            None => problems.add(format!(
                "nothing to log in with: set `{ROLE_ID}` and `{SECRET_ID}` or `{SECRET_ID_FILE}` \
                 (AppRole), or `{TOKEN}`"
            )),
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
                "`{ADDR}` is plain http to another host, which shows tokens and values to the \
                 network: use https, or set `{ALLOW_HTTP}` to `true` if you accept that"
            ));
        }
        Ok(format!("{}/v1/", url.as_str().trim_end_matches('/')))
    }

    /// Checks everything and reads the files; an error names settings as the caller set them.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        self.read_files().map_err(|error| self.names.rename(error))
    }

    fn read_files(&self) -> Result<Resolved> {
        let mut problems = Problems::new();
        self.check_server(&mut problems);
        self.check_auth(&mut problems);
        let authorities = self.ca_cert.as_ref().and_then(|file| {
            let read = files::authorities(CACERT.variable(), file);
            read.map_err(|problem| problems.add(problem)).ok()
        });
        let identity = self.client_cert.as_ref().zip(self.client_key.as_ref());
        let identity = identity.and_then(|(cert, key)| {
            let names = (CLIENT_CERT.variable(), CLIENT_KEY.variable());
            files::identity(names, cert, key).map_err(|problem| problems.add(problem)).ok()
        });
        problems.into_result()?;
        let base = self.base().unwrap_or_default();
        let namespace = self.namespace.as_deref().map(|name| name.trim_matches('/'));
        let http = HttpConfig {
            is_plain: base.starts_with("http:"),
            base,
            namespace: namespace.and_then(|name| HeaderValue::from_str(name).ok()),
            authorities,
            identity,
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
        };
        // Without a problem there is a login.
        let auth = self.auth.clone().ok_or_else(|| Error::config(Vec::new()))?;
        Ok(Resolved { http, auth })
    }
}

/// Shows an address only if it is valid: another may hold a password.
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
            .field("client_key", &self.client_key)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("renew_margin", &self.renew_margin)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
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
                check_mount(&APPROLE_MOUNT, mount, problems);
            }
        }
    }
}

fn is_one_word(secret: &SecretString) -> bool {
    use secrecy::ExposeSecret as _;
    let text = secret.expose_secret();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn check_mount(setting: &Setting, mount: &str, problems: &mut Problems) {
    if !is_mount(mount) {
        problems.add(format!("`{setting}` is not a mount such as `secret` or `team/kv`"));
    }
}

/// Whether a text can stand in a URL as it is: the characters of a [`SecretPath`].
fn is_mount(text: &str) -> bool {
    SecretPath::parse(text).is_ok()
}
