//! One connection pool to one issuer.
//!
//! What a library says about a request or an answer is never kept: it may quote a key.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::redirect;
use strongroom_core::{ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

use super::config::{Checked, HttpIssuerConfig, KEY};
use super::error::{failed, lasting, not_read, not_sent};
use super::tls::Tls;

/// The largest answer that is taken, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// The longest wish to wait that is passed on.
const MAX_WAIT: Duration = Duration::from_secs(86_400);

pub(super) struct Client {
    client: reqwest::Client,
    base: String,
}

/// A request below the base address. It has no `Debug`: its path may hold a key.
pub(super) struct Request<'a> {
    method: Method,
    path: Zeroizing<String>,
    bearer: Bearer,
    header: Option<(&'a HeaderName, HeaderValue)>,
}

/// An answer of the issuer, whatever its status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    response: reqwest::Response,
}

/// A key as a header: masked, and wiped when the last request that carries it is done.
#[derive(Clone)]
pub(super) struct Bearer(HeaderValue);

impl Bearer {
    /// `None` if the key is nothing that a bearer may be: visible ASCII.
    pub(super) fn new(key: &SecretValue) -> Option<Self> {
        let key = key.expose_bytes();
        if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let own = Bytes::from_owner(Zeroizing::new([b"Bearer ".as_slice(), key].concat()));
        let mut header = HeaderValue::from_maybe_shared(own).ok()?;
        header.set_sensitive(true);
        Some(Self(header))
    }
}

impl<'a> Request<'a> {
    /// A request that `key` authorises.
    pub(super) fn new(method: &Method, path: &str, key: &SecretValue) -> Result<Self> {
        let bearer = Bearer::new(key).ok_or_else(|| {
            lasting(
                ErrorKind::InvalidInput,
                "the key is empty or holds other characters than visible ASCII",
                "store a key of this issuer",
            )
        })?;
        let path = Zeroizing::new(path.to_owned());
        Ok(Self { method: method.clone(), path, bearer, header: None })
    }

    /// Puts `key` where the path has its place.
    pub(super) fn about(mut self, key: &SecretValue) -> Result<Self> {
        // These would lead to another path: a URL takes them for steps up, also when encoded.
        let text = key.expose_text().ok().filter(|text| text.bytes().any(|byte| byte != b'.'));
        let text = text.ok_or_else(|| {
            lasting(
                ErrorKind::InvalidInput,
                "the key cannot stand in a path: it is empty, only dots, or not text",
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

    pub(super) fn with(mut self, name: &'a HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }
}

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Client {
    pub(super) fn new(config: &HttpIssuerConfig, checked: &Checked, tls: Tls) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")));
        builder = if checked.is_plain {
            // A proxy would see the keys.
            builder.no_proxy()
        } else {
            builder.https_only(true)
        };
        let client = tls.apply(builder).build().map_err(|_| {
            lasting(
                ErrorKind::Config,
                "the TLS client cannot be set up",
                "check the platform's certificates, or set `ca_cert`",
            )
        })?;
        Ok(Self { client, base: checked.base.clone() })
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer> {
        let length = self.base.len() + request.path.len();
        let mut url = Zeroizing::new(String::with_capacity(length));
        url.push_str(&self.base);
        url.push_str(&request.path);
        // RFC 9110, section 8.6: such methods say so if they come without content.
        let expects_content = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
        let mut builder = self
            .client
            .request(request.method, url.as_str())
            .header(AUTHORIZATION, request.bearer.0.clone());
        if expects_content {
            builder = builder.header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some((name, value)) = request.header {
            builder = builder.header(name, value);
        }
        let mut response = builder.send().await.map_err(|error| not_sent(&error))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status, headers, response })
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// How long the issuer asks to wait: seconds or an HTTP-date; see RFC 9110, section 10.2.3.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let seconds = text.parse().map(Duration::from_secs).ok();
        let wait = seconds.or_else(|| {
            let moment = httpdate::parse_http_date(text).ok()?;
            Some(moment.duration_since(SystemTime::now()).unwrap_or_default())
        });
        wait.map(|wait| wait.min(MAX_WAIT))
    }

    /// The body, in a buffer that is wiped, also when it has to grow.
    pub(super) async fn body(mut self) -> Result<Zeroizing<Vec<u8>>> {
        let announced = self.response.content_length().unwrap_or(4096);
        let capacity = usize::try_from(announced).unwrap_or(MAX_ANSWER).min(MAX_ANSWER);
        let mut body = Zeroizing::new(Vec::with_capacity(capacity));
        while let Some(chunk) = self.response.chunk().await.map_err(|error| not_read(&error))? {
            let length = body.len() + chunk.len();
            if length > MAX_ANSWER {
                return Err(failed(
                    ErrorKind::Corrupt,
                    "the answer is over 64 KiB",
                    "check what answers at `base`",
                ));
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
}
