//! The errors of this backend. None keeps the words of the SDK or the service: they quote requests,
//! and the SDK prints an answer that it cannot parse as a whole.

use std::error::Error as StdError;
use std::fmt;

use strongroom_core::{Error, ErrorKind, EscapedText};
use strongroom_transport::TlsFailure;

use crate::settings::{ATTEMPT_TIMEOUT, CA_BUNDLE, ENDPOINT_URL, REGION, TIMEOUT};

/// The reasons of failures that callers distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NotFound,
    /// The secret or version in the store is not the one that the request requires.
    Conflict,
    /// The secret is deleted.
    Deleted,
    /// The state of the secret does not allow the request.
    InvalidRequest,
    InvalidParameter,
    Denied,
    Other,
}

/// A failed request: its error, and the reason for callers to act on.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) error: Error,
}

impl Failure {
    /// Whether the secret or version is missing or in the wrong state.
    pub(crate) fn concerns_state(&self) -> bool {
        matches!(
            self.reason,
            Reason::NotFound | Reason::Deleted | Reason::InvalidRequest | Reason::InvalidParameter
        )
    }

    /// The condition of a write does not hold.
    pub(crate) fn conflict(conflict: Conflict) -> Self {
        Self { reason: Reason::Conflict, error: conflict.error() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::NotFound => Reason::NotFound,
            _ => Reason::Other,
        };
        Self { reason, error }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The beginning of a text from outside, without characters that would change how a terminal shows it.
pub(crate) fn excerpt(text: &str) -> String {
    EscapedText::name(text).to_string()
}

/// Marks a request that the client stopped because it would use plain HTTP to another host.
#[derive(Debug)]
pub(crate) struct PlainHttpRefused;

impl fmt::Display for PlainHttpRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain http to another host")
    }
}

impl StdError for PlainHttpRefused {}

/// Finds an error of type `T` in a chain of sources.
pub(crate) fn find_source<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The error for a code of the service that does not concern the secret.
pub(crate) fn service_error(code: &str, status: u16) -> Error {
    match code {
        "ExpiredToken" | "ExpiredTokenException" => unauthenticated(
            "the credentials have expired",
            "renew them, such as with `aws sso login`, or restart with new ones",
        ),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "AuthFailure"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => unauthenticated(
            "AWS does not know the credentials, or not in this region",
            "check them, and that the region is enabled for the account",
        ),
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
            unauthenticated(
                "the signature is not accepted",
                "check the secret access key, the region and this machine's clock",
            )
        }
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => {
            unauthenticated("the signature is out of date", "set this machine's clock")
        }
        "OptInRequired" | "SubscriptionRequiredException" => unauthenticated(
            "the account is not signed up for the service",
            "enable the region and the service for it",
        ),
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottledException"
        | "RequestThrottled"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete"
        | "ProvisionedThroughputExceededException"
        | "TransactionInProgressException"
        | "EC2ThrottledException" => Error::new(
            ErrorKind::RateLimited,
            "send fewer requests, or have AWS raise the account's request quota",
        )
        .because("AWS throttles requests"),
        "LimitExceededException" => Error::new(
            ErrorKind::RateLimited,
            "write less often than every 10 minutes, or look at the account's quotas",
        )
        .because("a quota of Secrets Manager is used up, such as that of versions in 24 hours")
        .temporary(false),
        "InternalServiceError"
        | "InternalServiceErrorException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "IDPCommunicationError" => status_error(status.max(500), || unknown_code(status)),
        "RequestTimeout" | "RequestTimeoutException" => timed_out(),
        _ => status_error(status, || unknown_code(status)),
    }
}

fn unknown_code(status: u16) -> Error {
    Error::new(ErrorKind::InvalidInput, "look for the reason in AWS CloudTrail")
        .because(format!("AWS refuses the request with an unknown error code (status {status})"))
}

/// The error for a status whose error code is missing or unknown; `otherwise` if the status alone
/// does not tell.
pub(crate) fn status_error(status: u16, otherwise: impl FnOnce() -> Error) -> Error {
    let (kind, cause, advice) = match status {
        429 => (ErrorKind::RateLimited, "AWS throttles requests", "send fewer requests"),
        408 | 500..600 => (
            ErrorKind::Unavailable,
            "AWS cannot serve the request now",
            "try again; if it lasts, look at the AWS Health Dashboard",
        ),
        300..=399 | 401 | 403 | 404 | 407 | 413 => return unexpected_answer(),
        _ => return otherwise(),
    };
    Error::new(kind, advice).because(format!("{cause} (status {status})"))
}

pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "check the path, or write the secret first")
}

pub(crate) fn no_such_version() -> Error {
    not_found().because("no such version")
}

/// The error for a deleted secret.
pub(crate) fn deleted_secret() -> Error {
    Error::new(ErrorKind::NotFound, "undelete it, or write a new value, which restores it")
        .because("the secret is deleted, and AWS keeps it until its recovery window ends")
}

/// Why the condition of a write does not hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conflict {
    Exists,
    /// AWS keeps the name of a deleted secret, which reads do not find.
    ExistsDeleted,
    Missing,
    OtherVersion,
}

impl Conflict {
    pub(crate) fn error(self) -> Error {
        let (cause, advice) = match self {
            Self::Exists => (
                "the secret exists",
                "read it, and write on condition of the version that is active",
            ),
            Self::ExistsDeleted => (
                "a deleted secret has this name until its recovery window ends",
                "undelete or destroy it, or write without a condition, which restores it",
            ),
            Self::Missing => {
                ("the secret does not exist", "write on condition that it does not exist")
            }
            Self::OtherVersion => ("another version is active", "read the secret again and retry"),
        };
        Error::new(ErrorKind::Conflict, advice).because(cause)
    }
}

pub(crate) fn invalid_state() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "look at the secret in AWS: it may be managed by another service or replicated",
    )
    .because("AWS does not allow that in the secret's present state")
}

pub(crate) fn kms_key_denied() -> Error {
    Error::new(
        ErrorKind::Denied,
        "check that the secret's KMS key is enabled, and grant `kms:Decrypt`, for writing also \
         `kms:GenerateDataKey`, on it to this identity",
    )
    .because("AWS cannot use the secret's KMS key for this identity")
}

pub(crate) fn unauthenticated(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, advice).because(cause)
}

pub(crate) fn timed_out() -> Error {
    let advice = format!("check the network to AWS, or raise `{ATTEMPT_TIMEOUT}` and `{TIMEOUT}`");
    Error::new(ErrorKind::Timeout, advice).because("no answer within the time allowed")
}

pub(crate) fn unreachable() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("check `{REGION}`, `{ENDPOINT_URL}`, the network, the proxy and certificates"),
    )
    .because("AWS cannot be reached, or the connection broke")
}

/// The error for a connection without TLS. Trying again does not help.
pub(crate) fn tls_error(failure: TlsFailure) -> Error {
    let advice = format!("check `{ENDPOINT_URL}`, `{CA_BUNDLE}` and any proxy on the way to AWS");
    Error::new(ErrorKind::Unavailable, advice)
        .because(failure.describe("the server"))
        .temporary(false)
}

/// The error for an answer of which no more than the limit was read.
pub(crate) fn answer_too_large() -> Error {
    unexpected_answer().because("the answer is larger than any of AWS").temporary(false)
}

pub(crate) fn unexpected_answer() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("check `{ENDPOINT_URL}`, and any proxy between this process and AWS"),
    )
    .because("the answer is not one of AWS")
}
