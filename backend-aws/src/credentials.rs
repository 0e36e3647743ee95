//! The credentials that the SDK signs requests with, and the errors of their sources.

use std::error::Error as StdError;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result, SharedCredentialsProvider, future,
};
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use strongroom_core::{Error, ErrorKind};

use crate::error::{
    find_source, service_error, timed_out, unauthenticated, unexpected_answer, unreachable,
};
use crate::request::permanent_failure;
use crate::settings::ROLE_ARN;

/// Rejects credentials of another provider that do not fit into a header: the SDK would panic.
#[derive(Debug)]
pub(crate) struct HeaderSafeProvider(SharedCredentialsProvider);

impl HeaderSafeProvider {
    pub(crate) fn wrap(provider: SharedCredentialsProvider) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Self(provider))
    }

    async fn provide(&self) -> Result {
        let credentials = self.0.provide_credentials().await?;
        if is_header_safe(&credentials) {
            return Ok(credentials);
        }
        Err(CredentialsError::invalid_configuration("a character that does not fit into a header"))
    }
}

impl ProvideCredentials for HeaderSafeProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.0.fallback_on_interrupt().filter(is_header_safe)
    }
}

fn is_header_safe(credentials: &Credentials) -> bool {
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    is_visible(credentials.access_key_id()) && credentials.session_token().is_none_or(is_visible)
}

/// The error for a source that provided no credentials.
pub(crate) fn credentials_error(error: &CredentialsError) -> Error {
    if let Some(error) = permanent_failure(error) {
        let advice = format!("{}, and the address of the source of credentials", error.advice());
        return error.advise(advice);
    }
    let from_sts = find_source::<SdkError<AssumeRoleError, HttpResponse>>(error)
        .map(sts_error)
        .or_else(|| {
            find_source::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error)
                .map(sts_error)
        });
    if let Some(error) = from_sts.filter(Error::is_temporary) {
        return error;
    }
    // A source that cannot be reached now may be reachable later.
    let is_transient = find_source::<ConnectorError>(error).is_some()
        || matches!(error, CredentialsError::ProviderTimedOut(_));
    if is_transient {
        return Error::new(
            ErrorKind::Unavailable,
            "check the network to the source of credentials, such as AWS STS or the instance \
             metadata service",
        )
        .because("credentials could not be fetched");
    }
    match error {
        CredentialsError::CredentialsNotLoaded(_) => unauthenticated(
            "no credentials were found",
            "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` or `AWS_PROFILE`, or give the \
             instance, task or pod a role",
        ),
        CredentialsError::InvalidConfiguration(_) => unauthenticated(
            "the credentials are not configured correctly",
            "check the profile in `~/.aws/config` and `~/.aws/credentials`, and that no key or token \
             holds a space or a line break",
        ),
        _ => Error::new(
            ErrorKind::Unauthenticated,
            format!(
                "give the instance, task or pod a role, or check the profile, that the session has \
                 not ended (`aws sso login`), and that the role of `{ROLE_ARN}` may be assumed"
            ),
        )
        .because("the source of credentials provided none"),
    }
}

/// The error for an answer of AWS STS without credentials.
fn sts_error<E>(error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            match (answer.err().code(), answer.raw().status().as_u16()) {
                // STS itself answers 403: with a code, the status does not point to a proxy.
                (Some(code), 400..=407 | 409..=428) => service_error(code, 400),
                (code, status) => service_error(code.unwrap_or_default(), status),
            }
        }
        SdkError::TimeoutError(_) => timed_out(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timed_out(),
        SdkError::DispatchFailure(_) => unreachable(),
        _ => unexpected_answer(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(id: &str, token: Option<&str>) -> SharedCredentialsProvider {
        let token = token.map(str::to_owned);
        let credentials = Credentials::new(id, "secret", token, None, "test");
        HeaderSafeProvider::wrap(SharedCredentialsProvider::new(credentials))
    }

    #[tokio::test]
    async fn rejects_credentials_that_do_not_fit_into_a_header() {
        assert!(provider("AKIA", None).provide_credentials().await.is_ok());
        assert!(provider("AKIA", Some("a+/b==")).provide_credentials().await.is_ok());
        for (id, token) in [("AK IA", None), ("AKIA", Some("token\n")), ("AKIA", Some("ž"))] {
            let error = provider(id, token).provide_credentials().await.unwrap_err();
            assert!(matches!(error, CredentialsError::InvalidConfiguration(_)));
        }
    }
}
