//! Failures of the SDK and refusals of the service, as errors of our own. Nothing that either of
//! them said is kept: they quote requests, and an unreadable answer is printed whole.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use strongroom_core::{Error, ErrorKind, Result};

use crate::credentials::without_credentials;
use crate::quiet::muted;
use crate::settings::{ALLOW_HTTP, ATTEMPT_TIMEOUT, ENDPOINT_URL, REGION, TIMEOUT};

/// What callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NotFound,
    /// Something else is there than was demanded.
    Exists,
    /// Not while the secret is deleted.
    Deleted,
    /// Not in the state in which the secret is.
    InvalidRequest,
    InvalidParameter,
    Denied,
    Other,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    error: Error,
}

impl Failure {
    /// Whether the service says that a secret or version is not there, or not in the right state.
    pub(crate) fn is_about_state(&self) -> bool {
        matches!(
            self.code,
            Code::NotFound | Code::Deleted | Code::InvalidRequest | Code::InvalidParameter
        )
    }

    /// Another version is active than was demanded.
    pub(crate) fn overtaken() -> Self {
        Self { code: Code::Exists, error: overtaken() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NotFound,
            _ => Code::Other,
        };
        Self { code, error }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The request would go over plain HTTP to another host.
#[derive(Debug)]
pub(crate) struct Exposed;

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain http to another host")
    }
}

impl StdError for Exposed {}

/// What a request needs: the action that a policy grants, and on which secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'a> {
    pub(crate) action: &'static str,
    /// The name; `None` for actions that policies grant on all.
    pub(crate) secret: Option<&'a str>,
}

impl Needs<'_> {
    fn advice(self) -> String {
        let Self { action, secret } = self;
        // AWS adds a `-` and six characters to a name.
        let place =
            secret.map_or_else(|| "`*`".to_owned(), |name| format!("`…:secret:{name}-??????`"));
        let more = match action {
            "CreateSecret" => " and `secretsmanager:TagResource`",
            _ => "",
        };
        format!("grant `secretsmanager:{action}`{more} on {place} to this identity")
    }

    /// The error for what the service says by a code, of which the message is searched.
    pub(crate) fn refused(self, code: &str, message: &str, status: u16) -> Failure {
        let (code, error) = self.classified(code, message, status);
        Failure { code, error }
    }

    fn classified(self, code: &str, message: &str, status: u16) -> (Code, Error) {
        match code {
            "ResourceNotFoundException" => (Code::NotFound, not_found()),
            "ResourceExistsException" => (Code::Exists, overtaken()),
            "InvalidRequestException" if mentions_deletion(message) => (Code::Deleted, not_found()),
            "InvalidRequestException" => (Code::InvalidRequest, wrong_state()),
            "InvalidParameterException" | "ValidationException" => (
                Code::InvalidParameter,
                Error::new(ErrorKind::InvalidInput, "use another path, value or tag")
                    .because("AWS does not accept what it was given"),
            ),
            "InvalidNextTokenException" => (
                Code::Other,
                Error::new(ErrorKind::InvalidInput, "begin the list anew")
                    .because("AWS does not know where the list was to go on"),
            ),
            "AccessDeniedException" | "AccessDenied" if mentions_kms(message) => {
                (Code::Other, key_denied())
            }
            "AccessDeniedException" if message.contains("perform: lambda:") => (
                Code::Denied,
                Error::new(
                    ErrorKind::Denied,
                    "grant `lambda:InvokeFunction` on the secret's rotation function to this identity",
                ),
            ),
            "AccessDeniedException" if message.contains("Lambda function") => (
                Code::Other,
                Error::new(
                    ErrorKind::Config,
                    "let `secretsmanager.amazonaws.com` invoke the secret's rotation function",
                )
                .because("AWS may not call the secret's rotation function"),
            ),
            "AccessDeniedException"
            | "AccessDenied"
            | "UnauthorizedOperation"
            | "NotAuthorized" => (Code::Denied, Error::new(ErrorKind::Denied, self.advice())),
            "DecryptionFailure"
            | "DecryptionFailureException"
            | "EncryptionFailure"
            | "EncryptionFailureException" => (Code::Other, key_denied()),
            _ => (Code::Other, elsewhere(code, status)),
        }
    }
}

/// What has nothing to do with the secret.
pub(crate) fn elsewhere(code: &str, status: u16) -> Error {
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
            "ask less often, or have AWS raise the account's request quota",
        )
        .because("AWS asks to slow down"),
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
        | "IDPCommunicationError" => by_status(status.max(500), || unknown(status)),
        "RequestTimeout" | "RequestTimeoutException" => timed_out(),
        _ => by_status(status, || unknown(status)),
    }
}

fn unknown(status: u16) -> Error {
    Error::new(ErrorKind::InvalidInput, "look for the reason in AWS CloudTrail").because(format!(
        "AWS refuses the request for a reason that is not known here (status {status})"
    ))
}

/// What a status says without a code that is known; `otherwise` if it says nothing by itself.
fn by_status(status: u16, otherwise: impl FnOnce() -> Error) -> Error {
    let (kind, cause, advice) = match status {
        429 => (ErrorKind::RateLimited, "AWS asks to slow down", "ask less often"),
        408 | 500..600 => (
            ErrorKind::Unavailable,
            "AWS cannot serve now",
            "try again; if it lasts, look at the AWS Health Dashboard",
        ),
        300..=399 | 401 | 403 | 404 | 407 | 413 => return unreadable(),
        _ => return otherwise(),
    };
    Error::new(kind, advice).because(format!("{cause} (status {status})"))
}

/// Turns an error of the SDK into one of ours.
fn failed<E>(error: &SdkError<E, HttpResponse>, needs: Needs<'_>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let mut failure = match error {
        SdkError::ServiceError(refusal) => {
            let said = refusal.err();
            let status = refusal.raw().status().as_u16();
            match said.code() {
                Some(code) => needs.refused(code, said.message().unwrap_or_default(), status),
                None => Failure { code: Code::Other, error: by_status(status, unreadable) },
            }
        }
        other => Failure { code: Code::Other, error: not_answered(other) },
    };
    if failure.error.is_temporary()
        && let Some(after) = error.raw_response().and_then(retry_after)
    {
        failure.error = failure.error.with_retry_after(after);
    }
    failure
}

/// A request that got no answer that could be read.
fn not_answered<E: StdError + 'static>(error: &SdkError<E, HttpResponse>) -> Error {
    if find::<Exposed>(error).is_some() {
        return Error::new(
            ErrorKind::Config,
            format!("use an https endpoint, or set `{ALLOW_HTTP}` to `true`"),
        )
        .because("the endpoint is plain http to another host, which shows values on the way");
    }
    if let Some(error) = find::<CredentialsError>(error) {
        return without_credentials(error);
    }
    match error {
        SdkError::TimeoutError(_) => timed_out(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timed_out(),
        SdkError::DispatchFailure(_) => unreachable_service(),
        SdkError::ResponseError(_) => unreadable(),
        _ => Error::new(ErrorKind::Config, format!("check `{REGION}` and `{ENDPOINT_URL}`"))
            .because("no request could be made of the configuration"),
    }
}

pub(crate) fn find<'a, T: StdError + 'static>(
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

/// The service's wish, in the header of the standard or in that of AWS, which is in milliseconds.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let headers = response.headers();
    let number = |name| headers.get(name)?.trim().parse::<u32>().ok();
    let after = number("x-amz-retry-after")
        .map(|milliseconds| Duration::from_millis(milliseconds.into()))
        .or_else(|| number("retry-after").map(|seconds| Duration::from_secs(seconds.into())))?;
    (!after.is_zero()).then_some(after)
}

/// The service says so in the message alone: marked for or scheduled for deletion, marked deleted.
/// Where it uses other words, the secret's description tells.
fn mentions_deletion(message: &str) -> bool {
    ["for deletion", "marked deleted"].iter().any(|words| message.contains(words))
}

/// The service says so in the message alone.
fn mentions_kms(message: &str) -> bool {
    ["perform: kms:", "Access to KMS is not allowed"].iter().any(|words| message.contains(words))
}

pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "check the path, or write the secret first")
}

pub(crate) fn no_such_version() -> Error {
    not_found().because("no such version")
}

pub(crate) fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "read the secret again and decide anew")
        .because("another version is active")
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "open a new backend")
}

fn wrong_state() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "look at the secret in AWS: it may be managed by another service or replicated",
    )
    .because("AWS does not allow that in the secret's present state")
}

fn key_denied() -> Error {
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

pub(crate) fn unreachable_service() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("check `{REGION}`, `{ENDPOINT_URL}`, the network, the proxy and certificates"),
    )
    .because("AWS cannot be reached, or the connection broke")
}

pub(crate) fn unreadable() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("check `{ENDPOINT_URL}` and what lies between here and AWS"),
    )
    .because("the answer is not one of AWS Secrets Manager")
}

/// Sends a request of the SDK, whose futures are large, and turns its error into one of ours.
pub(crate) fn answered<T, E>(
    sending: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send,
    needs: Needs<'_>,
) -> impl Future<Output = Result<T, Failure>> + Send
where
    T: Send,
    E: ProvideErrorMetadata + StdError + Send + 'static,
{
    let sending = muted(Box::pin(sending));
    async move { sending.await.map_err(|error| failed(&error, needs)) }
}
