//! Credentials that the SDK can use. It panics over those that do not fit into a header.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result, SharedCredentialsProvider, future,
};

/// Refuses what another provider gives if it cannot be sent.
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
