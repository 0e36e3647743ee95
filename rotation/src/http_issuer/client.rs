//! The HTTP client of one issuer.
//!
//! Errors never keep the texts of the HTTP library, which may quote a key.

use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rustls::ClientConfig;
use strongroom_core::{Error, ErrorKind, Result, SecretValue};
use strongroom_transport::{
    ClientOptions, LoadedTls, ReloadingClient, RequestFailure, bearer, read_body, retry_after,
};
use zeroize::Zeroizing;

use super::config::{HttpIssuerConfig, KEY, is_plaintext};
use super::error::{Purpose, permanent, request_error, tls_setup_error};

/// The largest response that is read, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

pub(super) struct Client {
    client: ReloadingClient<reqwest::Client>,
    base_url: String,
}

/// A request below the base URL. It has no `Debug`: its path may hold a key.
pub(super) struct Request<'a> {
    method: Method,
    path: Zeroizing<String>,
    bearer: Bearer,
    header: Option<(&'a HeaderName, HeaderValue)>,
}

/// A response of the issuer, with any status.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    inner: reqwest::Response,
}

/// A key as a header value: masked, and wiped when the last request that carries it is done.
#[derive(Clone)]
pub(super) struct Bearer(HeaderValue);

impl Bearer {
    /// `None` if the key is not a bearer token: visible ASCII.
    pub(super) fn new(key: &SecretValue) -> Option<Self> {
        bearer(key.expose_bytes()).map(Self)
    }
}

impl<'a> Request<'a> {
    /// A request that `key` authorises.
    pub(super) fn new(method: &Method, path: &str, key: &SecretValue) -> Result<Self> {
        let bearer = Bearer::new(key).ok_or_else(|| {
            permanent(
                ErrorKind::InvalidInput,
                "the key is empty or holds other characters than visible ASCII",
                "store a key of this issuer",
            )
        })?;
        let path = Zeroizing::new(path.to_owned());
        Ok(Self { method: method.clone(), path, bearer, header: None })
    }

    /// Replaces `{key}` in the path with `key`.
    pub(super) fn with_key_in_path(mut self, key: &SecretValue) -> Result<Self> {
        // A URL parser treats dot segments as steps up, even encoded ones: they would lead to another path.
        let text = key.expose_text().ok().filter(|text| text.bytes().any(|byte| byte != b'.'));
        let text = text.ok_or_else(|| {
            permanent(
                ErrorKind::InvalidInput,
                "the key cannot be part of a path: it is empty, only dots, or not text",
                "revoke it at the issuer by hand",
            )
        })?;
        let (before, after) = self.path.split_once(KEY).unwrap_or((&self.path, ""));
        let length = before.len() + text.len() * "%00".len() + after.len();
        let mut path = Zeroizing::new(String::with_capacity(length));
        path.push_str(before);
        path.extend(percent_encoding::utf8_percent_encode(text, RESERVED));
        path.push_str(after);
        self.path = path;
        Ok(self)
    }

    pub(super) fn with_header(mut self, name: &'a HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }
}

fn build_client(options: ClientOptions, mut tls: ClientConfig) -> Result<reqwest::Client> {
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let builder = options.client_builder()?.tls_backend_preconfigured(tls);
    builder.build().map_err(|_| tls_setup_error())
}

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Client {
    pub(super) fn new(config: &HttpIssuerConfig, base_url: &str, tls: LoadedTls) -> Result<Self> {
        let options = ClientOptions {
            is_plaintext: is_plaintext(base_url),
            connect_timeout: config.timeouts.connect,
            timeout: config.timeouts.call,
        };
        let build = move |tls| build_client(options, tls);
        let client = ReloadingClient::new(&config.tls, tls, build)?;
        Ok(Self { client, base_url: base_url.to_owned() })
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Response> {
        let length = self.base_url.len() + request.path.len();
        let mut url = Zeroizing::new(String::with_capacity(length));
        url.push_str(&self.base_url);
        url.push_str(&request.path);
        // RFC 9110, section 8.6: a request with such a method says that it has no content.
        let expects_content = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
        let client = self.client.current().await;
        let mut builder = client
            .request(request.method, url.as_str())
            .header(AUTHORIZATION, request.bearer.0.clone());
        if expects_content {
            builder = builder.header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some((name, value)) = request.header {
            builder = builder.header(name, value);
        }
        let mut inner = builder
            .send()
            .await
            .map_err(|error| request_error(RequestFailure::of_request(&error)))?;
        let status = inner.status().as_u16();
        let headers = std::mem::take(inner.headers_mut());
        Ok(Response { status, headers, inner })
    }
}

impl Response {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error for a response that is no success; `path` is the configured path of the request.
    pub(super) fn to_error(&self, purpose: Purpose, path: &str) -> Error {
        purpose.status_error(self.status, retry_after(&self.headers), path)
    }

    /// The body, in a buffer that is wiped.
    pub(super) async fn body(self) -> Result<Zeroizing<Vec<u8>>> {
        read_body(self.inner, MAX_RESPONSE).await.map_err(request_error)
    }
}
