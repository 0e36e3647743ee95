//! Where an issuer is, and how to call it.

mod endpoints;
mod response_format;

use std::fmt;

use http::HeaderName;
use reqwest::Url;
use strongroom_core::{Problems, Result};
use strongroom_transport::{LoadedTls, TlsConfig, is_exposed};

use crate::timeouts::Timeouts;

pub use self::endpoints::HttpEndpoints;
pub use self::response_format::HttpResponseFormat;

pub(super) use self::endpoints::KEY;
pub(super) use self::response_format::Pointers;

/// How to call an issuer of keys over HTTP.
///
/// The defaults are the common shape: `POST /api/keys/rotate` and `DELETE /api/keys/{key}`, each
/// with the current key as bearer token (RFC 6750).
///
/// # Examples
/// ```
/// use strongroom_rotation::{ExpiryUnit, HttpIssuer, HttpIssuerConfig};
///
/// let mut config = HttpIssuerConfig::new("https://api.example.com");
/// config.endpoints.issue_path = "/v2/credentials/roll".into();
/// config.endpoints.verify_path = Some("/v2/whoami".into());
/// config.response.key_pointers = vec!["/data/credential/secret".into()];
/// config.response.expires_in_pointer = Some(("/data/credential/ttl".into(), ExpiryUnit::Seconds));
/// let issuer = HttpIssuer::new(&config)?;
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpIssuerConfig {
    /// Where the issuer is: `https://host`, with or without a port and a path.
    pub base_url: String,
    /// The methods and paths of its calls.
    pub endpoints: HttpEndpoints,
    /// Where its responses hold keys and their expiry.
    pub response: HttpResponseFormat,
    /// The header that names the attempt; default `Idempotency-Key`. An issuer may ignore it: see
    /// [`honours_idempotency`](Self::honours_idempotency).
    pub idempotency_header: Option<String>,
    /// Whether the issuer gives the same key again to a request that names the same attempt, for as long as
    /// an interrupted rotation may wait to be resumed. Default: no, and the engine looks for keys that an
    /// interrupted attempt may have left behind in the list, or reports them. Set it only if the issuer's
    /// documentation says so: the engine does not look for such keys then.
    pub honours_idempotency: bool,
    /// Which authorities to trust, and which certificate to present. With a `base_url` of plain `http`,
    /// certificates are rejected as a mistake.
    pub tls: TlsConfig,
    /// How long a connection and a request may take.
    pub timeouts: Timeouts,
}

/// A configuration that has been checked.
pub(super) struct CheckedConfig {
    /// The base URL without a slash at its end.
    pub(super) base_url: String,
    pub(super) pointers: Pointers,
    pub(super) idempotency_header: Option<HeaderName>,
}

impl HttpIssuerConfig {
    /// An issuer of the common shape.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            endpoints: HttpEndpoints::default(),
            response: HttpResponseFormat::default(),
            idempotency_header: Some("Idempotency-Key".into()),
            honours_idempotency: false,
            tls: TlsConfig::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// Checks everything, and loads the certificates.
    pub(super) fn check(&self) -> Result<(CheckedConfig, LoadedTls)> {
        let mut problems = Problems::new();
        let base_url = self.parse_base_url().map_err(|problem| problems.add(problem));
        let base_url = base_url.unwrap_or_default();
        let tls = if is_plaintext(&base_url) {
            self.reject_certificates(&mut problems);
            LoadedTls::unused()
        } else {
            LoadedTls::load(&self.tls, &mut problems)
        };
        self.endpoints.check(&mut problems);
        self.timeouts.check(&mut problems);
        if self.honours_idempotency && self.idempotency_header.is_none() {
            problems.add("`honours_idempotency` needs an `idempotency_header`");
        }
        let pointers = self.response.parse(&mut problems);
        let idempotency_header = self.idempotency_header.as_ref().and_then(|name| {
            let name = HeaderName::from_bytes(name.as_bytes());
            name.map_err(|_| problems.add("`idempotency_header` is not a valid header name")).ok()
        });
        problems.into_result()?;
        let tls = tls.ok_or_else(super::error::tls_setup_error)?;
        Ok((CheckedConfig { base_url, pointers, idempotency_header }, tls))
    }

    /// The base URL without a slash at its end.
    fn parse_base_url(&self) -> Result<String, String> {
        let malformed = || "`base_url` is not a URL such as `https://api.example.com`".to_owned();
        let url = Url::parse(self.base_url.trim()).map_err(|_| malformed())?;
        let has_more = url.query().is_some() || url.fragment().is_some();
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || has_more {
            return Err(malformed());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`base_url` holds a user name or password; remove it".into());
        }
        if !self.tls.allow_plaintext && is_exposed(&url) {
            return Err(
                "`base_url` is plain http to another host, which shows keys to anyone on the \
                        way: use https, or set `tls.allow_plaintext` if you accept that"
                    .into(),
            );
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    fn reject_certificates(&self, problems: &mut Problems) {
        for (name, is_set) in [
            ("ca_certificates", self.tls.ca_certificates.is_some()),
            ("client_certificate", self.tls.client_certificate.is_some()),
        ] {
            if is_set {
                problems.add(format!(
                    "`tls.{name}` is for https, and `base_url` is plain http: use https, or unset \
                     `tls.{name}`"
                ));
            }
        }
    }
}

/// Whether a checked base URL goes without TLS.
pub(super) fn is_plaintext(base_url: &str) -> bool {
    base_url.starts_with("http:")
}

/// Shows a URL only if it is valid: another text may hold a password.
impl fmt::Debug for HttpIssuerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base_url = self.parse_base_url().unwrap_or_else(|_| "[invalid]".into());
        f.debug_struct("HttpIssuerConfig")
            .field("base_url", &base_url)
            .field("endpoints", &self.endpoints)
            .field("response", &self.response)
            .field("idempotency_header", &self.idempotency_header)
            .field("honours_idempotency", &self.honours_idempotency)
            .field("tls", &self.tls)
            .field("timeouts", &self.timeouts)
            .finish()
    }
}
