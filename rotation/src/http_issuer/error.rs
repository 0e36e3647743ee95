//! Failures of an issuer, translated to the kinds that mean the same everywhere.

use std::borrow::Cow;

use strongroom_core::{Error, ErrorKind, Operation};
use strongroom_transport::{RequestFailure, TlsFailure};

use super::client::Response;

/// How errors name this issuer.
const BACKEND: &str = "http-issuer";

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Issue,
    Revoke,
    Verify,
    List,
}

/// An error that is temporary or permanent by its kind.
pub(super) fn error(
    kind: ErrorKind,
    cause: impl Into<Cow<'static, str>>,
    advice: &'static str,
) -> Error {
    Error::new(kind, advice).because(cause).during(Operation::Rotate).from_backend(BACKEND)
}

pub(super) fn permanent(
    kind: ErrorKind,
    cause: impl Into<Cow<'static, str>>,
    advice: &'static str,
) -> Error {
    error(kind, cause, advice).temporary(false)
}

impl Purpose {
    /// The error for a response that is no success.
    pub(super) fn status_error(self, response: &Response) -> Error {
        let error = self.error_for(response.status);
        match response.retry_after() {
            Some(after) if error.is_temporary() => error.with_retry_after(after),
            _ => error,
        }
    }

    fn error_for(self, status: u16) -> Error {
        let (kind, cause, advice) = match status {
            401 => (
                ErrorKind::Unauthenticated,
                "the issuer does not accept the key",
                "get a key from the issuer by hand and store it",
            ),
            403 => (
                ErrorKind::Denied,
                "the issuer knows the key, and denies the request",
                self.required_right(),
            ),
            404 | 405 | 410 => (ErrorKind::Config, "the issuer has no such path", self.settings()),
            408 => (ErrorKind::Timeout, "the issuer gave up waiting", "try again"),
            // A request of the same attempt is still being processed; see the draft of the header
            // `Idempotency-Key`, section 2.7.
            409 => (
                ErrorKind::Conflict,
                "the issuer is busy with the same request, or it contradicts the key's state",
                "try again; if it persists, look at the client's keys at the issuer",
            ),
            429 => (ErrorKind::RateLimited, "the issuer asks to slow down", "ask less often"),
            300..400 => {
                return permanent(
                    ErrorKind::Unavailable,
                    "the issuer redirects, and redirects are not followed: they would carry the \
                     key to another host",
                    "set `base_url` to where it redirects to",
                );
            }
            425 | 500..600 => (
                ErrorKind::Unavailable,
                "the issuer cannot serve now",
                "try again; if it persists, ask the operator of the issuer",
            ),
            400..500 => (ErrorKind::Config, "the issuer rejects the request", self.settings()),
            _ => (
                ErrorKind::Corrupt,
                "the response has a status that HTTP does not define",
                "check what answers at `base_url`",
            ),
        };
        let error = error(kind, format!("{cause} (status {status})"), advice);
        if status == 409 { error.temporary(true) } else { error }
    }

    /// What the operator of the issuer has to permit.
    fn required_right(self) -> &'static str {
        match self {
            Self::Issue => "let this client's keys get new keys",
            Self::Revoke => "let this client's keys revoke its other keys",
            Self::Verify => "let this client's keys read `endpoints.verify_path`",
            Self::List => "let this client's keys list its keys",
        }
    }

    /// The settings to check.
    fn settings(self) -> &'static str {
        match self {
            Self::Issue => "check `base_url`, `endpoints.issue_method` and `endpoints.issue_path`",
            Self::Revoke => {
                "check `base_url`, `endpoints.revoke_method` and `endpoints.revoke_path`"
            }
            Self::Verify => "check `base_url` and `endpoints.verify_path`",
            Self::List => "check `base_url` and `endpoints.list_path`",
        }
    }
}

/// The error for a request that got no complete response.
pub(super) fn request_error(failure: RequestFailure) -> Error {
    let advice = match failure {
        RequestFailure::ConnectTimeout => {
            "check that the issuer answers, or raise `timeouts.connect`"
        }
        RequestFailure::ResponseTimeout => {
            "check that the issuer answers, or raise `timeouts.call`"
        }
        RequestFailure::InvalidUrl => "check `base_url` and the paths in `endpoints`",
        RequestFailure::Tls(TlsFailure::NotTls) => {
            "begin `base_url` with `http` if the issuer is meant to do without TLS, or turn TLS on there"
        }
        RequestFailure::Tls(_) => {
            "compare `tls.ca_certificates` or the platform's authorities, `tls.client_certificate`, and \
             `base_url` with what the issuer presents and demands"
        }
        RequestFailure::Unreachable | RequestFailure::Disconnected => {
            "check `base_url` and, for https, the proxy in the environment; is the issuer up?"
        }
        RequestFailure::Truncated => "try again; check what lies between here and the issuer",
        RequestFailure::TooLarge => {
            let cause = "the response is over 64 KiB";
            return error(ErrorKind::Corrupt, cause, "check what answers at `base_url`");
        }
    };
    let error = failure.to_error("the issuer", advice);
    error.during(Operation::Rotate).from_backend(BACKEND)
}

/// The error for a client that cannot be set up although its configuration has no problem.
pub(super) fn tls_setup_error() -> Error {
    permanent(
        ErrorKind::Config,
        "the TLS client cannot be set up",
        "check the platform's certificates, or set `tls.ca_certificates`",
    )
}
