//! How to reach a server, how to log in, and where its secrets are.

mod auth;
mod login;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use strongroom_core::{Error, FilePath, Problems, Result, SecretPath, Setting, SettingNames};
use strongroom_transport::is_exposed;

pub use self::auth::{AppRole, Auth, AwsIam, JwtLogin, Password, SecretId, Userpass};
use crate::certificates::CertificateFiles;
use crate::login::AuthConfig;
use crate::names::is_name;
use crate::redirect::RedirectFollower;
use crate::settings::{
    ADDR, ALLOW_HTTP, AUTH_NAMESPACE, CACERT, CLIENT_CERT, CLIENT_KEY, CONNECT_TIMEOUT,
    FOLLOW_REDIRECTS, MOUNT, NAMES, NAMESPACE, RENEW_MARGIN, SETTINGS, STATIC_ROLES, TIMEOUT,
};

/// The limit for timeouts and margins.
const ONE_DAY: Duration = Duration::from_secs(86_400);

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
    /// The address of the server: `https://host:port`, with or without a path in front of `/v1`; or
    /// `unix:///run/agent.sock`, the socket of an agent or proxy on this machine. Required.
    pub address: String,
    /// How to log in. Required, unless the address is a socket.
    pub auth: Option<Auth>,
    /// The mount of the auth method below `auth/`. `None`: its usual one, such as `approle`.
    pub auth_mount: Option<String>,
    /// The role to log in as, for methods that take one.
    pub auth_role: Option<String>,
    /// The namespace of the auth method: `root` for none, `None` for that of the secrets. A given
    /// token is looked up and renewed there, too.
    pub auth_namespace: Option<String>,
    /// The namespace of the secrets, if the server has namespaces.
    pub namespace: Option<String>,
    /// The mount of the KV engine; default `secret`. A mount with slashes is written as it is; one in
    /// a child namespace may have the child's path in front: `team/app/secret`.
    pub mount: String,
    /// Secrets that are static roles of a database engine: by their path here, the mount and the
    /// name of the role, such as `database/orders`.
    pub static_roles: BTreeMap<SecretPath, String>,
    /// Secrets whose names in the KV engine are not their paths: by their path here, the name there,
    /// which may have blanks and other characters that no path has.
    pub secret_names: BTreeMap<SecretPath, String>,
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
    /// Whether the redirect of a standby is followed to the active node; default `false`. The node has to
    /// present a certificate for the host name in [`address`](Self::address), and no proxy is used.
    pub follow_redirects: bool,
    pub(crate) names: SettingNames,
}

/// A checked [`HashicorpConfig`].
pub(crate) struct Resolved {
    pub(crate) http: HttpConfig,
    pub(crate) auth: AuthConfig,
}

/// How the HTTP client connects.
pub(crate) struct HttpConfig {
    /// The address with `/v1/` behind it.
    pub(crate) base: String,
    pub(crate) is_plain: bool,
    /// The socket to connect to instead of the address.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) namespace: Option<HeaderValue>,
    pub(crate) auth_namespace: Option<HeaderValue>,
    pub(crate) files: CertificateFiles,
    pub(crate) follow_redirects: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
}

impl Default for HashicorpConfig {
    fn default() -> Self {
        Self {
            address: String::new(),
            auth: None,
            auth_mount: None,
            auth_role: None,
            auth_namespace: None,
            namespace: None,
            mount: "secret".into(),
            static_roles: BTreeMap::new(),
            secret_names: BTreeMap::new(),
            ca_cert: None,
            client_cert: None,
            client_key: None,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            renew_margin: Duration::from_secs(60),
            allow_http: false,
            follow_redirects: false,
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
        for (setting, file) in [
            (CACERT, &self.ca_cert),
            (CLIENT_CERT, &self.client_cert),
            (CLIENT_KEY, &self.client_key),
        ] {
            if let Some(file) = file {
                problems.collect(FilePath::new(file).check(setting));
            }
        }
        check_mount(&MOUNT, &self.mount, problems);
        for (setting, namespace) in
            [(NAMESPACE, &self.namespace), (AUTH_NAMESPACE, &self.auth_namespace)]
        {
            if namespace.as_deref().is_some_and(|name| !is_mount(name.trim_matches('/'))) {
                problems.add(format!("`{setting}` is not a namespace such as `team/app`"));
            }
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
        if self.follow_redirects
            && self.base().is_ok_and(|base| RedirectFollower::new(&base).is_none())
        {
            problems.add(format!(
                "`{FOLLOW_REDIRECTS}` needs an https address with a host name in `{ADDR}`, because the active \
                 node has to prove that name"
            ));
        }
        for (path, role) in &self.static_roles {
            if !role.contains('/') || !is_mount(role) {
                problems.add(format!(
                    "`{STATIC_ROLES}`: what `{path}` stands for is not a mount and a role such as \
                     `database/orders`"
                ));
            }
        }
        self.check_names(problems);
    }

    fn check_names(&self, problems: &mut Problems) {
        let mut seen = BTreeSet::new();
        for (path, name) in &self.secret_names {
            if !is_name(name) {
                problems.add(format!(
                    "`{NAMES}`: what `{path}` stands for is not a name such as `Legacy DB`"
                ));
            } else if !seen.insert(name) {
                problems.add(format!("`{NAMES}`: two paths stand for the same name as `{path}`"));
            }
            if self.static_roles.contains_key(path) {
                problems.add(format!("`{path}` is in `{NAMES}` and in `{STATIC_ROLES}`; keep one"));
            }
        }
    }

    /// How to log in. A socket is that of an agent, unless something else is set.
    pub(crate) fn auth(&self) -> Option<Auth> {
        let agent = || self.socket().map(|_| Auth::Agent);
        self.auth.clone().or_else(agent)
    }

    /// The Unix socket that the address names.
    fn socket(&self) -> Option<PathBuf> {
        let socket = self.address.trim().strip_prefix("unix://")?;
        Some(PathBuf::from(socket))
    }

    /// The address with `/v1/` behind it.
    fn base(&self) -> Result<String, String> {
        let malformed =
            || format!("`{ADDR}` is not an address such as `https://vault.example.com:8200`");
        if let Some(socket) = self.socket() {
            return if cfg!(not(unix)) {
                Err(format!("`{ADDR}` is a Unix socket, which this platform does not have"))
            } else if socket.is_absolute() {
                // The host is for the agent alone, which ignores it.
                Ok("http://localhost/v1/".to_owned())
            } else {
                Err(format!("`{ADDR}` is not a socket such as `unix:///run/vault-agent.sock`"))
            };
        }
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
        self.validate().map_err(|error| self.names.rename(error))
    }

    fn validate(&self) -> Result<Resolved> {
        let mut problems = Problems::new();
        self.check_server(&mut problems);
        self.check_auth(&mut problems);
        let files = CertificateFiles {
            authorities: self.ca_cert.clone(),
            identity: self.client_cert.clone().zip(self.client_key.clone()),
        };
        // The client reads them again; here they are read to name all problems at once.
        if let Err(found) = files.parse(files.read()) {
            for problem in found {
                problems.add(problem);
            }
        }
        problems.into_result()?;
        let base = self.base().unwrap_or_default();
        let header = |name: &str| match name.trim_matches('/') {
            // The name of the root namespace, which requests without the header are for.
            "root" => None,
            name => HeaderValue::from_str(name).ok(),
        };
        let namespace = self.namespace.as_deref();
        let auth_namespace = self.auth_namespace.as_deref().or(namespace);
        let http = HttpConfig {
            is_plain: base.starts_with("http:"),
            base,
            socket: self.socket(),
            namespace: namespace.and_then(header),
            auth_namespace: auth_namespace.and_then(header),
            files,
            follow_redirects: self.follow_redirects,
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
        };
        // Without a problem there is a login.
        let auth = self.auth().ok_or_else(|| Error::config(Vec::new()))?;
        let (mount, role) = (self.auth_mount.clone(), self.auth_role.clone());
        Ok(Resolved { http, auth: AuthConfig { auth, mount, role } })
    }
}

/// Shows an address only if it is valid: another may hold a password.
impl fmt::Debug for HashicorpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.base().map_or("[invalid]", |_| self.address.as_str());
        f.debug_struct("HashicorpConfig")
            .field("address", &address)
            .field("auth", &self.auth)
            .field("auth_mount", &self.auth_mount)
            .field("auth_role", &self.auth_role)
            .field("auth_namespace", &self.auth_namespace)
            .field("namespace", &self.namespace)
            .field("mount", &self.mount)
            .field("static_roles", &self.static_roles)
            .field("secret_names", &self.secret_names)
            .field("ca_cert", &self.ca_cert.as_ref().map(FilePath::new))
            .field("client_cert", &self.client_cert.as_ref().map(FilePath::new))
            .field("client_key", &self.client_key.as_ref().map(FilePath::new))
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("renew_margin", &self.renew_margin)
            .field("allow_http", &self.allow_http)
            .field("follow_redirects", &self.follow_redirects)
            .finish_non_exhaustive()
    }
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
