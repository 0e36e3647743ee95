//! What went wrong at an issuer, in terms that mean the same everywhere.

use strongroom_core::{Error, ErrorKind, Operation};

use super::client::Answer;
use super::tls;

/// What a request was for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Issue,
    Revoke,
    Verify,
    List,
}

pub(super) fn failed(kind: ErrorKind, cause: &'static str, advice: &'static str) -> Error {
    Error::new(kind, advice).because(cause).during(Operation::Rotate).from_backend("http-issuer")
}

pub(super) fn lasting(kind: ErrorKind, cause: &'static str, advice: &'static str) -> Error {
    failed(kind, cause, advice).temporary(false)
}

impl Purpose {
    /// The error for an answer that is no success.
    pub(super) fn refused(self, answer: &Answer) -> Error {
        let error = self.of_status(answer.status);
        match answer.retry_after() {
            Some(after) if error.is_temporary() => error.retry_after(after),
            _ => error,
        }
    }

    fn of_status(self, status: u16) -> Error {
        let (kind, cause, advice) = match status {
            401 => (
                ErrorKind::Unauthenticated,
                "the issuer does not accept the key",
                "get a key from the issuer by hand and store it",
            ),
            403 => (ErrorKind::Denied, "the issuer knows the key, and refuses", self.grant()),
            404 | 405 | 410 => (ErrorKind::Config, "the issuer has no such path", self.path()),
            408 => (ErrorKind::Timeout, "the issuer gave up waiting", "try again"),
            // An attempt of the same name is still under way; see the draft of the header
            // `Idempotency-Key`, section 2.7.
            409 => (
                ErrorKind::Conflict,
                "the issuer is busy with the same request, or it contradicts the key's state",
                "try again; if it lasts, look at the client's keys at the issuer",
            ),
            429 => (ErrorKind::RateLimited, "the issuer asks to slow down", "ask less often"),
            300..400 => {
                return lasting(
                    ErrorKind::Unavailable,
                    "the issuer redirects, and redirects are not followed: they would carry the \
                     key to another host",
                    "set `base` to where it redirects to",
                );
            }
            425 | 500..600 => (
                ErrorKind::Unavailable,
                "the issuer cannot serve now",
                "try again; if it lasts, ask who runs the issuer",
            ),
            400..500 => (ErrorKind::Config, "the issuer does not take the request", self.path()),
            _ => (
                ErrorKind::Corrupt,
                "the answer has a status that means nothing here",
                "check what answers at `base`",
            ),
        };
        let error = failed(kind, "", advice).because(format!("{cause} (status {status})"));
        if status == 409 { error.temporary(true) } else { error }
    }

    fn grant(self) -> &'static str {
        match self {
            Self::Issue => "let this client's keys get new keys",
            Self::Revoke => "let this client's keys revoke its other keys",
            Self::Verify => "let this client's keys read `verify_path`",
            Self::List => "let this client's keys list its keys",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Issue => "check `base`, `issue_method` and `issue_path`",
            Self::Revoke => "check `base`, `revoke_method` and `revoke_path`",
            Self::Verify => "check `base` and `verify_path`",
            Self::List => "check `base` and `list_path`",
        }
    }
}

pub(super) fn not_sent(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        let cause = if error.is_connect() {
            "no connection within the time allowed"
        } else {
            "no answer within the time allowed"
        };
        let advice = "check that the issuer answers, or raise `timeout`";
        return failed(ErrorKind::Timeout, cause, advice);
    }
    if error.is_builder() {
        let cause = "the request has no valid URL";
        return failed(ErrorKind::InvalidInput, cause, "check `base` and the paths");
    }
    if let Some(cause) = tls::problem(error) {
        return lasting(
            ErrorKind::Unavailable,
            cause,
            "compare `ca_cert` or the platform's authorities, `client_cert`, and the host in `base` \
             with the issuer's certificate",
        );
    }
    let cause = if error.is_connect() {
        "the issuer cannot be reached"
    } else {
        "the connection broke before the issuer answered"
    };
    let advice = "check `base` and, for https, the proxy in the environment; is the issuer up?";
    failed(ErrorKind::Unavailable, cause, advice)
}

pub(super) fn not_read(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        return not_sent(error);
    }
    failed(
        ErrorKind::Unavailable,
        "the connection broke in the middle of the answer",
        "try again; check what lies between here and the issuer",
    )
}
