//! Failures of an issuer, translated to the kinds that mean the same everywhere.

use std::borrow::Cow;
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Operation};
use strongroom_transport::{RequestFailure, TlsFailure};

/// How errors name this issuer.
const BACKEND: &str = "http-issuer";

/// The purpose of a request.
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
    ///
    /// `path` is the configured path of the request; `retry_after` is how long the issuer asks to wait.
    pub(super) fn status_error(
        self,
        status: u16,
        retry_after: Option<Duration>,
        path: &str,
    ) -> Error {
        // A query may hold a password.
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let error = self.error_for(status, path);
        match retry_after {
            Some(after) if error.is_temporary() => error.with_retry_after(after),
            _ => error,
        }
    }

    fn error_for(self, status: u16, path: &str) -> Error {
        let (kind, cause, advice): (_, Cow<'static, str>, _) = match status {
            401 => (
                ErrorKind::Unauthenticated,
                "the issuer does not accept the key".into(),
                "get a key from the issuer by hand and store it",
            ),
            403 => (
                ErrorKind::Denied,
                "the issuer accepts the key, and denies the request".into(),
                self.required_right(),
            ),
            404 | 410 => (
                ErrorKind::Config,
                format!("the issuer has no path `{path}`").into(),
                self.settings(),
            ),
            405 => (
                ErrorKind::Config,
                format!("the issuer does not allow this method at `{path}`").into(),
                self.settings(),
            ),
            408 => (ErrorKind::Timeout, "the issuer gave up waiting".into(), "try again"),
            // A request of the same attempt is still being processed; see the draft of the header
            // `Idempotency-Key`, section 2.7.
            409 => (
                ErrorKind::Conflict,
                "the issuer is busy with the same request, or it contradicts the key's state"
                    .into(),
                "try again; if it persists, check the client's keys at the issuer",
            ),
            429 => {
                (ErrorKind::RateLimited, "the issuer asks to slow down".into(), "rotate less often")
            }
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
                "the issuer cannot serve now".into(),
                "try again; if it persists, ask the operator of the issuer",
            ),
            400..500 => (
                ErrorKind::Config,
                format!("the issuer rejects the request to `{path}`").into(),
                self.settings(),
            ),
            _ => (
                ErrorKind::Corrupt,
                "the response has a status that HTTP does not define".into(),
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
