//! How to reach the servers, and who asks.

mod address;
mod parse;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use strongroom_core::{Error, FilePath, Problems, Result, SecretPath, SettingNames, SpiffeId};
use strongroom_transport::{CaCertificates, ClientCertificate, LoadedTls, TlsConfig, bearer};

use self::address::Address;
use crate::http::HttpConfig;
use crate::settings::{
    ADDR, CACERT, CLIENT_CERT, CLIENT_KEY, SERVER_ID, SETTINGS, TENANT, TIMEOUT, TOKEN, TOKEN_FILE,
};
use crate::token::TokenSource;

/// The limits for the timeout of a call.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// How to open the store of a Strongroom server. `Debug` shows no token.
///
/// It needs a [`token`](Self::token), a [client certificate](Self::client_cert), or both. An error about a
/// configuration names its fields, or the settings that it was built from.
///
/// # Examples
/// ```
/// use strongroom_backend_remote::{BearerToken, RemoteConfig};
///
/// let token = BearerToken::File("/run/secrets/strongroom-token".into());
/// let mut config = RemoteConfig::new("https://a.secrets.example.com", token);
/// config.addresses.push("https://b.secrets.example.com".into());
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RemoteConfig {
    /// The addresses of servers with the same store: `https://host`, with port 8210 unless they name another. Plain
    /// `http` is for this machine alone. At least one is required.
    pub addresses: Vec<String>,
    /// The token that the server's access rules have issued.
    pub token: Option<BearerToken>,
    /// A PEM file with the only certificate authorities to trust. `None`: those of the platform.
    pub ca_cert: Option<PathBuf>,
    /// A PEM file with the client certificate; needs [`client_key`](Self::client_key).
    pub client_cert: Option<PathBuf>,
    /// A PEM file with the private key of the client certificate.
    pub client_key: Option<PathBuf>,
    /// The SPIFFE id that each server has to prove with its certificate, in place of the name in its address. It needs
    /// [`ca_cert`](Self::ca_cert) with the authorities of the id's trust domain.
    pub server_id: Option<SpiffeId>,
    /// The time limit for a call, over all servers that it tries: 1 s to 10 min, default 30 s.
    pub timeout: Duration,
    /// The tenant of the token or the certificate. The server refuses a request of another one, so a mistake is
    /// noticed.
    pub tenant: Option<String>,
    pub(crate) names: SettingNames,
}

/// The token of a [`RemoteConfig`].
#[derive(Clone)]
#[non_exhaustive]
pub enum BearerToken {
    /// The token itself.
    Text(SecretString),
    /// A file with the token. The backend reads it before a call, at most once per second, and when the server does
    /// not accept the token. If the file cannot be used, the last good token stays in use.
    File(PathBuf),
}

/// A checked [`RemoteConfig`].
pub(crate) struct Resolved {
    pub(crate) http: HttpConfig,
    pub(crate) timeout: Duration,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            token: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            server_id: None,
            timeout: Duration::from_secs(30),
            tenant: None,
            names: SettingNames::of_fields(SETTINGS),
        }
    }
}

impl RemoteConfig {
    /// A server and a token, with the defaults.
    #[must_use]
    pub fn new(address: impl Into<String>, token: BearerToken) -> Self {
        Self { addresses: vec![address.into()], token: Some(token), ..Self::default() }
    }

    /// Adds a problem for everything that is wrong; reads no files.
    fn check(&self, problems: &mut Problems) {
        let addresses = self.parse_addresses();
        if self.addresses.is_empty() {
            problems.add(format!("`{ADDR}` is not set; set it to the server's https address"));
        }
        match &addresses {
            Ok(addresses) if is_mixed(addresses) => {
                problems.add(format!("`{ADDR}` mixes http and https; use https for all of them"));
            }
            Ok(_) => {}
            Err(found) => found.iter().for_each(|problem| problems.add(problem.clone())),
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
        if self.client_cert.is_some() != self.client_key.is_some() {
            problems.add(format!("`{CLIENT_CERT}` and `{CLIENT_KEY}` belong together; set both"));
        }
        if self.client_cert.is_some() && addresses.as_ref().is_ok_and(|all| is_plaintext(all)) {
            problems.add(format!(
                "`{CLIENT_CERT}` is for https, and `{ADDR}` is plain http: use https, or leave the \
                 certificate out"
            ));
        }
        if self.server_id.is_some() {
            if self.ca_cert.is_none() {
                problems.add(format!(
                    "`{SERVER_ID}` is set without `{CACERT}`; set both, the second to the authorities of the id's trust \
                     domain"
                ));
            }
            if addresses.as_ref().is_ok_and(|all| is_plaintext(all)) {
                problems.add(format!(
                    "`{SERVER_ID}` is for https, and `{ADDR}` is plain http: use https"
                ));
            }
        }
        self.check_token(problems);
        if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&self.timeout) {
            problems.add(format!("`{TIMEOUT}` must be between `1s` and `10m`"));
        }
        let is_tenant = |name: &str| SecretPath::parse(name).is_ok() && !name.contains('/');
        if self.tenant.as_deref().is_some_and(|name| !is_tenant(name)) {
            problems.add(format!("`{TENANT}` is not the name of a tenant such as `acme`"));
        }
    }

    fn check_token(&self, problems: &mut Problems) {
        match &self.token {
            Some(BearerToken::Text(token))
                if bearer(token.expose_secret().as_bytes()).is_none() =>
            {
                problems.add(format!(
                    "`{TOKEN}` is empty or holds blanks, line breaks or letters outside of ASCII: set it to the \
                     token alone"
                ));
            }
            Some(BearerToken::File(file)) if file.as_os_str().is_empty() => {
                problems.add(format!("`{TOKEN_FILE}` is empty; set it to the file with the token"));
            }
            Some(BearerToken::File(file)) => {
                problems.collect(FilePath::new(file).check(TOKEN_FILE));
            }
            None if self.client_cert.is_none() && self.client_key.is_none() => {
                problems.add(format!(
                    "nothing says who asks: set `{TOKEN}` or `{TOKEN_FILE}`, or `{CLIENT_CERT}` with \
                     `{CLIENT_KEY}`"
                ));
            }
            Some(BearerToken::Text(_)) | None => {}
        }
    }

    /// Each address once, or what is wrong with them.
    fn parse_addresses(&self) -> Result<Vec<Address>, Vec<String>> {
        let (mut parsed, mut problems) = (Vec::new(), Vec::new());
        for address in &self.addresses {
            match Address::parse(address) {
                Ok(address) if parsed.contains(&address) => {}
                Ok(address) => parsed.push(address),
                Err(problem) => problems.push(problem),
            }
        }
        problems.dedup();
        if problems.is_empty() { Ok(parsed) } else { Err(problems) }
    }

    /// Checks everything and reads the certificates; an error names settings as the caller set them. It blocks.
    pub(crate) fn resolve(self) -> Result<Resolved> {
        let names = self.names.clone();
        self.validate().map_err(|error| names.rename(error))
    }

    fn validate(self) -> Result<Resolved> {
        let mut problems = Problems::new();
        self.check(&mut problems);
        let addresses = self.parse_addresses().unwrap_or_default();
        let is_plaintext = is_plaintext(&addresses);
        let tls = self.tls();
        let loaded = if is_plaintext {
            LoadedTls::unused()
        } else if self.names_files() {
            self.load_tls(&tls, &mut problems)
        } else {
            None
        };
        problems.into_result()?;
        let loaded = loaded.ok_or_else(tls_setup_error)?;
        let http = HttpConfig {
            addresses: addresses.into_iter().map(Address::into_base).collect(),
            is_plaintext,
            tls,
            loaded,
            token: TokenSource::new(self.token, self.names),
            tenant: self.tenant.and_then(|name| HeaderValue::try_from(name).ok()),
            timeout: self.timeout,
        };
        Ok(Resolved { http, timeout: self.timeout })
    }

    /// Whether each setting for a certificate or key is a path.
    fn names_files(&self) -> bool {
        let files = [&self.ca_cert, &self.client_cert, &self.client_key];
        files.into_iter().flatten().all(|file| FilePath::new(file).check(CACERT).is_ok())
    }

    fn tls(&self) -> TlsConfig {
        let mut tls = TlsConfig::default();
        tls.ca_certificates = self.ca_cert.as_ref().map(CaCertificates::from_file);
        let client = self.client_cert.as_ref().zip(self.client_key.as_ref());
        tls.server_id.clone_from(&self.server_id);
        tls.client_certificate = client.map(|(cert, key)| ClientCertificate::from_files(cert, key));
        tls
    }

    /// Loads the certificates; problems name the settings of this backend.
    fn load_tls(&self, tls: &TlsConfig, problems: &mut Problems) -> Option<LoadedTls> {
        let mut of_tls = Problems::new();
        let loaded = LoadedTls::load(tls, &mut of_tls);
        let key = self.client_key.as_ref().map(|key| format!("(file `{}`)", FilePath::new(key)));
        if let Err(error) = of_tls.into_result() {
            for problem in error.problems() {
                let is_key = key.as_ref().is_some_and(|key| problem.contains(key.as_str()));
                let client = if is_key { CLIENT_KEY } else { CLIENT_CERT };
                problems.add(
                    problem
                        .replace("`tls.ca_certificates`", &format!("`{CACERT}`"))
                        .replace("`tls.client_certificate`", &format!("`{client}`")),
                );
            }
        }
        loaded
    }
}

fn is_plaintext(addresses: &[Address]) -> bool {
    addresses.iter().any(Address::is_plaintext)
}

fn is_mixed(addresses: &[Address]) -> bool {
    is_plaintext(addresses) && !addresses.iter().all(Address::is_plaintext)
}

pub(crate) fn tls_setup_error() -> Error {
    Error::config(vec![format!(
        "the TLS client cannot be set up: check `{CACERT}`, `{CLIENT_CERT}` and `{CLIENT_KEY}`, or the \
         platform's certificates"
    )])
}

/// Shows addresses only if they are valid: another text may hold a password.
impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |text: &String| {
            Address::parse(text).map_or_else(|_| "[invalid]".to_owned(), Address::into_base)
        };
        f.debug_struct("RemoteConfig")
            .field("addresses", &self.addresses.iter().map(address).collect::<Vec<_>>())
            .field("token", &self.token)
            .field("ca_cert", &self.ca_cert.as_ref().map(FilePath::new))
            .field("client_cert", &self.client_cert.as_ref().map(FilePath::new))
            .field("client_key", &self.client_key.as_ref().map(FilePath::new))
            .field("server_id", &self.server_id)
            .field("timeout", &self.timeout)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(token) => f.debug_tuple("Text").field(token).finish(),
            Self::File(file) => f.debug_tuple("File").field(&FilePath::new(file)).finish(),
        }
    }
}
