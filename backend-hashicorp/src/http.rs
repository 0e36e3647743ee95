//! Requests to one server, over one pool of connections.
//!
//! Errors never keep the texts of the HTTP library, which may quote a body.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use strongroom_core::{Error, Result, SecretValue};
use strongroom_transport::{ClientOptions, RequestFailure, TlsFailure, read_body, retry_after};
use zeroize::Zeroizing;

use crate::config::HttpConfig;
use crate::token::TokenHeader;

pub(crate) use reqwest::Method;

/// The largest response that is read, in bytes: twice what a server accepts as a request.
const MAX_RESPONSE: usize = 64 * 1024 * 1024;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Servers can be configured to reject requests without it, as a guard against forged requests.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The HTTP client and where it sends to.
#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    /// The address with `/v1/` behind it.
    base: String,
    namespace: Option<HeaderValue>,
}

/// A request below `/v1/`. It has no `Debug`: its body may hold a value or a secret id.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path with its query.
    pub(crate) path: String,
    body: Option<Bytes>,
    content_type: &'static str,
    namespaced: bool,
}

/// A response of the server, with any status. The body is wiped on drop.
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

    /// Sends the request to the server itself, not to the namespace.
    pub(crate) fn without_namespace(mut self) -> Self {
        self.namespaced = false;
        self
    }
}

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Result<Self> {
        let options = ClientOptions {
            is_plaintext: config.is_plain,
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
        };
        let mut builder = options.client_builder();
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

    /// Sends a request and reads the whole response.
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
        let response = builder
            .send()
            .await
            .map_err(|error| request_error(RequestFailure::of_request(&error)))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = read_body(response, MAX_RESPONSE).await.map_err(request_error)?;
        Ok(Response { status, retry_after, body })
    }
}

/// The error for a request without a complete response.
fn request_error(failure: RequestFailure) -> Error {
    let advice = match failure {
        RequestFailure::ConnectTimeout | RequestFailure::ResponseTimeout => {
            "check that the server answers, or raise `SECRETS_VAULT_TIMEOUT`"
        }
        RequestFailure::InvalidUrl => "check `VAULT_ADDR`",
        RequestFailure::Tls(TlsFailure::NotTls) => {
            "begin `VAULT_ADDR` with `http` if the server is meant to do without TLS, or turn TLS on there"
        }
        RequestFailure::Tls(_) => {
            "compare `VAULT_CACERT`, `VAULT_CLIENT_CERT` and the name in `VAULT_ADDR` with the server's \
             certificate"
        }
        RequestFailure::Unreachable | RequestFailure::Disconnected => {
            "check `VAULT_ADDR` and, for https, the proxy in the environment; is the server up?"
        }
        RequestFailure::Truncated => "try again; check what lies between here and the server",
        RequestFailure::TooLarge => {
            let advice = "check what answers at `VAULT_ADDR`";
            return failure.to_error("the server", advice).because("the response is over 64 MiB");
        }
    };
    failure.to_error("the server", advice)
}
