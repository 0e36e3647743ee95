//! Credentials that the SDK can use, and why there are none.

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

use crate::refusal::{
    elsewhere, find, timed_out, unauthenticated, unreachable_service, unreadable,
};
use crate::settings::ROLE_ARN;

/// Refuses what another provider gives if it cannot be sent: the SDK panics over what does not fit
/// into a header.
#[derive(Debug)]
pub(crate) struct Sendable(SharedCredentialsProvider);

impl Sendable {
    pub(crate) fn only(provider: SharedCredentialsProvider) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Self(provider))
    }

    async fn provide(&self) -> Result {
        let credentials = self.0.provide_credentials().await?;
        if is_sendable(&credentials) {
            return Ok(credentials);
        }
        Err(CredentialsError::invalid_configuration("a character that cannot be sent"))
    }
}

impl ProvideCredentials for Sendable {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.0.fallback_on_interrupt().filter(is_sendable)
    }
}

fn is_sendable(credentials: &Credentials) -> bool {
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    is_visible(credentials.access_key_id()) && credentials.session_token().is_none_or(is_visible)
}

/// The error for credentials that could not be had.
pub(crate) fn without_credentials(error: &CredentialsError) -> Error {
    let from_sts =
        find::<SdkError<AssumeRoleError, HttpResponse>>(error).map(sts_failed).or_else(|| {
            find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error).map(sts_failed)
        });
    if let Some(error) = from_sts.filter(Error::is_temporary) {
        return error;
    }
    // A provider that could not be reached may be so later.
    let is_passing = find::<ConnectorError>(error).is_some()
        || matches!(error, CredentialsError::ProviderTimedOut(_));
    if is_passing {
        return Error::new(
            ErrorKind::Unavailable,
            "check the network to the service that gives them, such as AWS STS or the instance's",
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
        .because("the source of credentials gave none"),
    }
}

/// What AWS STS said instead of giving credentials.
fn sts_failed<E>(error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(refusal) => {
            match (refusal.err().code(), refusal.raw().status().as_u16()) {
                // STS refuses with 403, which says nothing about what lies in between.
                (Some(code), 400..=407 | 409..=428) => elsewhere(code, 400),
                (code, status) => elsewhere(code.unwrap_or_default(), status),
            }
        }
        SdkError::TimeoutError(_) => timed_out(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timed_out(),
        SdkError::DispatchFailure(_) => unreachable_service(),
        _ => unreadable(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(id: &str, token: Option<&str>) -> SharedCredentialsProvider {
        let token = token.map(str::to_owned);
        let credentials = Credentials::new(id, "secret", token, None, "test");
        Sendable::only(SharedCredentialsProvider::new(credentials))
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused() {
        assert!(provider("AKIA", None).provide_credentials().await.is_ok());
        assert!(provider("AKIA", Some("a+/b==")).provide_credentials().await.is_ok());
        for (id, token) in [("AK IA", None), ("AKIA", Some("token\n")), ("AKIA", Some("ž"))] {
            let refused = provider(id, token).provide_credentials().await.unwrap_err();
            assert!(matches!(refused, CredentialsError::InvalidConfiguration(_)));
        }
    }
}
