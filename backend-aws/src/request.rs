//! Sends requests through the SDK, and turns its errors into ours.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use strongroom_core::{Error, ErrorKind};
use strongroom_transport::{BodyFailure, TlsFailure, suppress_events};

use crate::credentials::credentials_error;
use crate::error::{
    Conflict, Failure, PlainHttpRefused, Reason, answer_too_large, deleted_secret, find_source,
    invalid_state, kms_key_denied, not_found, service_error, status_error, timed_out, tls_error,
    unexpected_answer, unreachable,
};
use crate::name::is_arn;
use crate::settings::{ALLOW_HTTP, ENDPOINT_URL, REGION};

/// The permission that a request needs: an action on a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequiredPermission<'a> {
    pub(crate) action: &'static str,
    /// The secret's name or ARN; `None` for actions that policies grant on all secrets.
    pub(crate) secret: Option<&'a str>,
}

/// Sends a request of the SDK. The SDK's futures are large, so the future is boxed.
pub(crate) fn send<T, E>(
    sending: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    permission: RequiredPermission<'_>,
) -> impl Future<Output = Result<T, Failure>> + Send
where
    T: Send,
    E: ProvideErrorMetadata + StdError + Send + 'static,
{
    send_with(sending, move |code: &str, message: &str, status| {
        permission.failure(code, message, status)
    })
}

/// The same for any service: `classify` gives the failure for an error code, a message and a status.
pub(crate) fn send_with<T, E>(
    sending: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    classify: impl FnOnce(&str, &str, u16) -> Failure + Send,
) -> impl Future<Output = Result<T, Failure>> + Send
where
    T: Send,
    E: ProvideErrorMetadata + StdError + Send + 'static,
{
    let sending = suppress_events(Box::pin(sending));
    async move { sending.await.map_err(|error| sdk_failure(&error, classify)) }
}

impl RequiredPermission<'_> {
    /// The failure for an error code of the service. The message decides where the code does not.
    pub(crate) fn failure(self, code: &str, message: &str, status: u16) -> Failure {
        let (reason, error) = self.classify(code, message, status);
        Failure { reason, error }
    }

    fn classify(self, code: &str, message: &str, status: u16) -> (Reason, Error) {
        match code {
            "ResourceNotFoundException" => (Reason::NotFound, not_found()),
            "ResourceExistsException" => (Reason::Conflict, Conflict::Exists.error()),
            "InvalidRequestException" if mentions_deletion(message) => {
                (Reason::Deleted, deleted_secret())
            }
            "InvalidRequestException" => (Reason::InvalidRequest, invalid_state()),
            "InvalidParameterException" | "ValidationException" => (
                Reason::InvalidParameter,
                Error::new(ErrorKind::InvalidInput, "use another path, value or tag")
                    .because("AWS rejects a parameter of the request"),
            ),
            "InvalidNextTokenException" => (
                Reason::Other,
                Error::new(ErrorKind::InvalidInput, "start the list from its first page")
                    .because("AWS does not know the page token"),
            ),
            "AccessDeniedException" | "AccessDenied" if mentions_kms(message) => {
                (Reason::Other, kms_key_denied())
            }
            "AccessDeniedException" if message.contains("perform: lambda:") => (
                Reason::Denied,
                Error::new(
                    ErrorKind::Denied,
                    "grant `lambda:InvokeFunction` on the secret's rotation function to this identity",
                ),
            ),
            "AccessDeniedException" if message.contains("Lambda function") => (
                Reason::Other,
                Error::new(
                    ErrorKind::Config,
                    "let `secretsmanager.amazonaws.com` invoke the secret's rotation function",
                )
                .because("AWS may not call the secret's rotation function"),
            ),
            "AccessDeniedException"
            | "AccessDenied"
            | "UnauthorizedOperation"
            | "NotAuthorized" => (Reason::Denied, Error::new(ErrorKind::Denied, self.advice())),
            "DecryptionFailure"
            | "DecryptionFailureException"
            | "EncryptionFailure"
            | "EncryptionFailureException" => (Reason::Other, kms_key_denied()),
            _ => (Reason::Other, service_error(code, status)),
        }
    }

    fn advice(self) -> String {
        let Self { action, secret } = self;
        let resource = match secret {
            None => "`*`".to_owned(),
            // Another account has to grant it, too.
            Some(arn) if is_arn(arn) => {
                return format!(
                    "grant `secretsmanager:{action}` on `{arn}` to this identity, and, if the secret \
                     belongs to another account, in the policies of the secret and of its KMS key"
                );
            }
            // AWS adds a `-` and six characters to a name.
            Some(name) => format!("`…:secret:{name}-??????`"),
        };
        let more = match action {
            "CreateSecret" => " and `secretsmanager:TagResource`",
            _ => "",
        };
        format!("grant `secretsmanager:{action}`{more} on {resource} to this identity")
    }
}

fn sdk_failure<E>(
    error: &SdkError<E, HttpResponse>,
    classify: impl FnOnce(&str, &str, u16) -> Failure,
) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let mut failure = match error {
        SdkError::ServiceError(answer) => {
            let refusal = answer.err();
            let status = answer.raw().status().as_u16();
            match refusal.code() {
                Some(code) => classify(code, refusal.message().unwrap_or_default(), status),
                None => Failure {
                    reason: Reason::Other,
                    error: status_error(status, unexpected_answer),
                },
            }
        }
        other => Failure { reason: Reason::Other, error: no_answer(other) },
    };
    if failure.error.is_temporary()
        && let Some(after) = error.raw_response().and_then(retry_after)
    {
        failure.error = failure.error.with_retry_after(after);
    }
    failure
}

/// The error for a request that got no answer, or none that the SDK could parse.
fn no_answer<E: StdError + 'static>(error: &SdkError<E, HttpResponse>) -> Error {
    if find_source::<PlainHttpRefused>(error).is_some() {
        return Error::new(
            ErrorKind::Config,
            format!("use an https endpoint, or set `{ALLOW_HTTP}` to `true`"),
        )
        .because(
            "the endpoint is plain http to another host, which exposes values on the network",
        );
    }
    if let Some(error) = find_source::<CredentialsError>(error) {
        return credentials_error(error);
    }
    if let Some(error) = permanent_failure(error) {
        return error;
    }
    match error {
        SdkError::TimeoutError(_) => timed_out(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timed_out(),
        SdkError::DispatchFailure(_) if find_source::<BodyFailure>(error).is_some() => {
            unexpected_answer()
        }
        SdkError::DispatchFailure(_) => unreachable(),
        SdkError::ResponseError(_) => unexpected_answer(),
        _ => Error::new(ErrorKind::Config, format!("check `{REGION}` and `{ENDPOINT_URL}`"))
            .because("the SDK could not build a request from the configuration"),
    }
}

/// The error for a failure that recurs when the request is sent again.
pub(crate) fn permanent_failure(error: &(dyn StdError + 'static)) -> Option<Error> {
    if find_source(error) == Some(&BodyFailure::TooLarge) {
        return Some(answer_too_large());
    }
    TlsFailure::find(error).map(tls_error)
}

/// The delay that the service asks for: in AWS's own header, in milliseconds, or in the standard
/// one, in seconds.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let headers = response.headers();
    let number = |name| headers.get(name)?.trim().parse::<u32>().ok();
    let after = number("x-amz-retry-after")
        .map(|milliseconds| Duration::from_millis(milliseconds.into()))
        .or_else(|| number("retry-after").map(|seconds| Duration::from_secs(seconds.into())))?;
    (!after.is_zero()).then_some(after)
}

/// Whether the secret is deleted, which the service states in the message alone. Where the service
/// uses other words, callers look at the secret's description.
fn mentions_deletion(message: &str) -> bool {
    ["for deletion", "marked deleted"].iter().any(|words| message.contains(words))
}

/// Whether the KMS key is the reason, which the service states in the message alone.
fn mentions_kms(message: &str) -> bool {
    ["perform: kms:", "Access to KMS is not allowed"].iter().any(|words| message.contains(words))
}
