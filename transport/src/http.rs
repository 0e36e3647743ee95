//! HTTP clients that send secrets to one server, and nothing to anyone else.

mod bearer;
mod body;
mod failure;

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Proxy, redirect};
use strongroom_core::{Error, Result};

pub use self::bearer::bearer;
pub use self::body::read_body;
pub use self::failure::RequestFailure;
use crate::HttpsProxy;

/// The longest `Retry-After` that is passed on.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// What an HTTP client needs besides its certificates.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// Whether the server's URL is plain HTTP.
    pub is_plaintext: bool,
    /// How long a connection may take to establish.
    pub connect_timeout: Duration,
    /// How long a request may take, with its response.
    pub timeout: Duration,
}

impl ClientOptions {
    /// A client that follows no redirects, because they would carry secrets to another host.
    ///
    /// It honours `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` for HTTPS alone, as curl does, and sends nothing
    /// without TLS unless the server's URL is plain HTTP. The caller adds certificates.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) if the proxy in the environment has no valid address.
    pub fn client_builder(&self) -> Result<ClientBuilder> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")));
        // Without TLS, a proxy would see the secrets. A proxy that is set here replaces the library's own
        // reading of the environment.
        let builder = builder.no_proxy();
        if self.is_plaintext {
            return Ok(builder);
        }
        let builder = builder.https_only(true);
        let proxy = HttpsProxy::from_env().map_err(|problem| Error::config(vec![problem]))?;
        Ok(match proxy.address() {
            Some(_) => builder.proxy(Proxy::custom(move |url| proxy.for_url(url).cloned())),
            None => builder,
        })
    }
}

/// How long a server asks to wait: seconds or an HTTP-date; see RFC 9110, section 10.2.3. At most a day.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().map(Duration::from_secs).ok();
    let delay = seconds.or_else(|| {
        let time = httpdate::parse_http_date(text).ok()?;
        Some(time.duration_since(SystemTime::now()).unwrap_or_default())
    });
    delay.map(|delay| delay.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        let parse = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers).map(|delay| delay.as_secs())
        };
        assert_eq!(parse("7"), Some(7));
        assert_eq!(parse(" 0 "), Some(0));
        assert_eq!(parse("999999999"), Some(86_400));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(parse(&soon).is_some_and(|delay| (50..=60).contains(&delay)), "{soon}");
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for value in ["", "-1", "1.5", "soon"] {
            assert_eq!(parse(value), None, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
