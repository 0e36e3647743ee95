//! What went wrong with a request.

use std::borrow::Cow;

use strongroom_core::{Error, ErrorKind};

use crate::tls::TlsFailure;

/// Why a request got no complete response. It keeps nothing of the HTTP library's error, whose text may
/// quote a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// No connection was established in time.
    ConnectTimeout,
    /// The response did not arrive in time.
    ResponseTimeout,
    /// The request has no valid URL.
    InvalidUrl,
    /// TLS failed.
    Tls(TlsFailure),
    /// No connection was established.
    Unreachable,
    /// The connection broke before the response began.
    Disconnected,
    /// The connection broke in the middle of the response.
    Truncated,
    /// The body of the response is over the limit.
    TooLarge,
}

impl RequestFailure {
    /// Why a request could not be sent, or no response began.
    #[must_use]
    pub fn of_request(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return if error.is_connect() { Self::ConnectTimeout } else { Self::ResponseTimeout };
        }
        if error.is_builder() {
            return Self::InvalidUrl;
        }
        match TlsFailure::find(error) {
            Some(failure) => Self::Tls(failure),
            None if error.is_connect() => Self::Unreachable,
            None => Self::Disconnected,
        }
    }

    pub(super) fn of_body(error: &reqwest::Error) -> Self {
        if error.is_timeout() { Self::ResponseTimeout } else { Self::Truncated }
    }

    /// The error for a caller; `peer` is what to call the server, such as "the issuer".
    #[must_use]
    pub fn to_error(self, peer: &str, advice: impl Into<Cow<'static, str>>) -> Error {
        let error = Error::new(self.kind(), advice).because(self.describe(peer));
        // Trying again does not help against these.
        if matches!(self, Self::Tls(_) | Self::TooLarge) { error.temporary(false) } else { error }
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::ConnectTimeout | Self::ResponseTimeout => ErrorKind::Timeout,
            Self::InvalidUrl => ErrorKind::InvalidInput,
            Self::Tls(_)
            | Self::Unreachable
            | Self::Disconnected
            | Self::Truncated
            | Self::TooLarge => ErrorKind::Unavailable,
        }
    }

    fn describe(self, peer: &str) -> Cow<'static, str> {
        match self {
            Self::ConnectTimeout => "no connection within the time allowed".into(),
            Self::ResponseTimeout => "no response within the time allowed".into(),
            Self::InvalidUrl => "the request has no valid URL".into(),
            Self::Tls(failure) => failure.describe(peer).into(),
            Self::Unreachable => format!("{peer} cannot be reached").into(),
            Self::Disconnected => format!("the connection broke before {peer} responded").into(),
            Self::Truncated => "the connection broke in the middle of the response".into(),
            Self::TooLarge => "the response is too large".into(),
        }
    }
}
