//! One connection pool to one server.
//!
//! What a library says about a request or an answer is never kept: it may quote a body.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect;
use strongroom_core::{Error, ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

use crate::config::HttpConfig;
use crate::token::TokenHeader;

pub(crate) use reqwest::Method;

/// The largest answer that is taken, in bytes: twice what a server accepts as a request.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The most that is reserved because an answer announces it, in bytes.
const MOST_AT_ONCE: usize = 1024 * 1024;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Servers refuse requests without it if they are told to, as a guard against forged requests.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The HTTP client and where it sends to.
#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    /// The address with `/v1/` behind it.
    base: String,
    namespace: Option<HeaderValue>,
}

/// A request below `/v1/`. It has no `Debug`: a body may hold a value or a secret id.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path with its query.
    pub(crate) path: String,
    body: Option<Bytes>,
    content_type: &'static str,
    namespaced: bool,
}

/// An answer of the server, whatever its status. The body is wiped on drop.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// A body that is wiped when the last copy of it is dropped.
struct Body(SecretValue);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_bytes()
    }
}

impl Request {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { method, path, body: None, content_type: "application/json", namespaced: true }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Vault's own method for listing.
    pub(crate) fn list(path: impl Into<String>) -> Self {
        Self::new(Method::from_bytes(b"LIST").unwrap_or(Method::GET), path)
    }

    pub(crate) fn post<T: serde::Serialize>(path: impl Into<String>, body: &T) -> Result<Self> {
        let mut request = Self::new(Method::POST, path);
        request.body = Some(Bytes::from_owner(Body(SecretValue::json(body)?)));
        Ok(request)
    }

    /// A JSON merge patch (RFC 7396).
    pub(crate) fn patch<T: serde::Serialize>(path: impl Into<String>, body: &T) -> Result<Self> {
        let mut request = Self::post(path, body)?;
        request.method = Method::PATCH;
        request.content_type = "application/merge-patch+json";
        Ok(request)
    }

    /// Goes to the server itself, not to the namespace.
    pub(crate) fn without_namespace(mut self) -> Self {
        self.namespaced = false;
        self
    }
}

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")));
        builder = if config.is_plain {
            // A proxy would see the token.
            builder.no_proxy()
        } else {
            builder.https_only(true)
        };
        if let Some(authorities) = config.authorities {
            builder = builder.tls_certs_only(authorities);
        }
        if let Some(identity) = config.identity {
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|_| {
            Error::config(vec![
                "the TLS client cannot be set up: check `VAULT_CACERT`, `VAULT_CLIENT_CERT` and \
                 `VAULT_CLIENT_KEY`, or the platform's certificates"
                    .into(),
            ])
        })?;
        Ok(Self { client, base: config.base, namespace: config.namespace })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        request: &Request,
        token: Option<&TokenHeader>,
    ) -> Result<Response> {
        let url = [self.base.as_str(), request.path.as_str()].concat();
        let mut builder = self
            .client
            .request(request.method.clone(), url)
            .header(REQUEST, HeaderValue::from_static("true"));
        if let Some(token) = token {
            builder = builder.header(TOKEN, token.expose());
        }
        if let Some(namespace) = self.namespace.as_ref().filter(|_| request.namespaced) {
            builder = builder.header(NAMESPACE, namespace);
        }
        if let Some(body) = &request.body {
            let kind = HeaderValue::from_static(request.content_type);
            builder = builder.header(CONTENT_TYPE, kind).body(body.clone());
        }
        let response = builder.send().await.map_err(|error| not_sent(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = read(response).await?;
        Ok(Response { status, retry_after, body })
    }
}

/// Collects a body in a buffer that is wiped, also when it has to grow.
async fn read(mut response: reqwest::Response) -> Result<Zeroizing<Vec<u8>>> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    let capacity = announced.unwrap_or(4096).min(MOST_AT_ONCE);
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    while let Some(chunk) = response.chunk().await.map_err(|error| not_read(&error))? {
        let length = body.len() + chunk.len();
        if length > MAX_ANSWER {
            return Err(Error::new(ErrorKind::Unavailable, "check what answers at `VAULT_ADDR`")
                .because("the answer is over 64 MiB")
                .temporary(false));
        }
        if length > body.capacity() {
            let mut larger = Vec::with_capacity(length.max(body.capacity() * 2));
            larger.extend_from_slice(&body);
            body = Zeroizing::new(larger);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whole seconds, the only form that servers send; see RFC 9110, section 10.2.3.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn not_sent(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        let advice = "check that the server answers, or raise `SECRETS_VAULT_TIMEOUT`";
        let cause = if error.is_connect() {
            "no connection within the time allowed"
        } else {
            "no answer within the time allowed"
        };
        return Error::new(ErrorKind::Timeout, advice).because(cause);
    }
    if error.is_builder() {
        return Error::new(ErrorKind::InvalidInput, "check `VAULT_ADDR`")
            .because("the request has no valid URL");
    }
    if let Some(cause) = certificate_problem(error) {
        let advice = "compare `VAULT_CACERT`, `VAULT_CLIENT_CERT` and the name in `VAULT_ADDR` \
                      with the server's certificate";
        return Error::new(ErrorKind::Unavailable, advice).because(cause).temporary(false);
    }
    let cause = if error.is_connect() {
        "the server cannot be reached"
    } else {
        "the connection broke before the server answered"
    };
    let advice =
        "check `VAULT_ADDR` and, for https, the proxy in the environment; is the server up?";
    Error::new(ErrorKind::Unavailable, advice).because(cause)
}

fn not_read(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        return not_sent(error);
    }
    Error::new(ErrorKind::Unavailable, "try again; check what lies between here and the server")
        .because("the connection broke in the middle of the answer")
}

/// What TLS found wrong: trying again would not help.
fn certificate_problem(error: &reqwest::Error) -> Option<&'static str> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn std::error::Error + 'static));
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls.or_else(|| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(
                rustls::CertificateError::Expired
                | rustls::CertificateError::ExpiredContext { .. }
                | rustls::CertificateError::NotValidYet
                | rustls::CertificateError::NotValidYetContext { .. },
            )) => {
                return Some(
                    "the server's certificate has expired, or is not valid yet by the clock here",
                );
            }
            Some(rustls::Error::InvalidCertificate(
                rustls::CertificateError::NotValidForName
                | rustls::CertificateError::NotValidForNameContext { .. },
            )) => return Some("the server's certificate is for another name"),
            Some(rustls::Error::InvalidCertificate(_)) => {
                return Some("the server's certificate is not signed by an authority trusted here");
            }
            Some(rustls::Error::AlertReceived(alert)) if is_about_a_certificate(*alert) => {
                return Some("the server does not accept the client certificate");
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                return Some("the server does not speak TLS: its address begins with http");
            }
            _ => next = inner.or_else(|| error.source()),
        }
    }
    None
}

fn is_about_a_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}
