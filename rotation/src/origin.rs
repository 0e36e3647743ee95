//! The origins that may get a key.

use http::Uri;
use strongroom_core::{Error, ErrorKind, Result};

/// The scheme, host and port of a URL (RFC 6454).
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> Origin<'a> {
    /// `None` if the URI is relative, is not HTTP, or has an invalid port.
    pub(super) fn of_uri(uri: &'a Uri) -> Option<Self> {
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let host = authority.host();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if !authority.as_str().ends_with(host) => return None,
            None if scheme == "https" => 443,
            None if scheme == "http" => 80,
            None => return None,
        };
        Some(Self { scheme, host, port })
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn of_url(url: &'a reqwest::Url) -> Option<Self> {
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        Some(Self { scheme: url.scheme(), host, port })
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.port == other.port
            && self.scheme == other.scheme
            && self.host.eq_ignore_ascii_case(other.host)
    }
}

/// The origins that may get a key: all, until one is added.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Vec<Uri>);

impl Origins {
    pub(super) fn add(&mut self, origin: &str) -> Result<()> {
        let is_origin = |uri: &Uri| {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            Origin::of_uri(uri).is_some()
                && !authority.contains('@')
                && uri.path() == "/"
                && uri.query().is_none()
        };
        let uri = origin.parse().ok().filter(is_origin).ok_or_else(|| {
            let advice = "give a scheme and a host, and the port if it is unusual, such as \
                          `https://api.example.com`";
            Error::new(ErrorKind::InvalidInput, advice).because("this is not an origin")
        })?;
        self.0.push(uri);
        Ok(())
    }

    /// Whether all origins may get the key.
    #[cfg(feature = "reqwest")]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request to this origin may carry the key. With an allow-list, a missing origin is
    /// rejected.
    pub(super) fn allow(&self, to: Option<Origin<'_>>) -> bool {
        self.0.is_empty() || to.is_some() && self.0.iter().any(|uri| Origin::of_uri(uri) == to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(only: &[&str], uri: &str) -> bool {
        let mut origins = Origins::default();
        for origin in only {
            origins.add(origin).unwrap();
        }
        origins.allow(Origin::of_uri(&uri.parse().unwrap()))
    }

    #[test]
    fn allows_all_origins_until_one_is_added() {
        for uri in ["https://any.example/x", "/relative", "any.example:80"] {
            assert!(is_allowed(&[], uri));
        }
    }

    #[test]
    fn compares_scheme_host_and_port() {
        let only = ["https://api.example.com", "http://[::1]:8080/"];
        for uri in [
            "https://api.example.com/v1?x=y",
            "https://API.example.com:443",
            "HTTPS://user@api.example.com/",
            "http://[::1]:8080/v1",
        ] {
            assert!(is_allowed(&only, uri), "{uri}");
        }
        for uri in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://example.com/",
            "https://x.api.example.com/",
            "https://api.example.com.evil.example/",
            "https://api.example.com@evil.example/",
            "https://api.example.com:99999/",
            "http://[::1]/",
            "ftp://api.example.com/",
            "/v1",
            "api.example.com:443",
            "*",
        ] {
            assert!(!is_allowed(&only, uri), "{uri}");
        }
    }

    #[test]
    fn refuses_urls_that_are_not_an_origin() {
        for origin in [
            "",
            "api.example.com",
            "/",
            "https://",
            "ftp://api.example.com",
            "https://api.example.com/v1",
            "https://api.example.com/?x",
            "https://user:word@api.example.com",
            "https://api.example.com:99999",
        ] {
            let error = Origins::default().add(origin).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{origin}");
            assert!(!error.to_string().contains("word"));
        }
    }
}
