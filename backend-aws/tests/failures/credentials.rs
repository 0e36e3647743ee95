//! Sources that provide no credentials: no request is sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::client::result::ConnectorError;
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;

use crate::fake::{FIRST, run_operation, value};
use crate::network::{Network, sdk};
use crate::support::{permanent, transient};

/// Provides no credentials, and gives a reason.
#[derive(Debug)]
struct Source(fn() -> CredentialsError);

impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err((self.0)()))
    }
}

fn open(network: &Network, source: impl ProvideCredentials + 'static) -> AwsBackend {
    let sdk = sdk("eu-central-1", network.clone()).into_builder();
    let sdk = sdk.credentials_provider(SharedCredentialsProvider::new(source)).build();
    let mut config = AwsConfig::default();
    config.read_metadata = false;
    AwsBackend::with_sdk_config(&sdk, config).unwrap()
}

#[tokio::test]
async fn without_credentials_no_request_is_sent_and_the_error_names_the_source() {
    let reasons: [(fn() -> CredentialsError, _, _); 4] = [
        (|| CredentialsError::not_loaded(CANARY), "no credentials were found", "`AWS_PROFILE`"),
        (
            || CredentialsError::invalid_configuration(CANARY),
            "not configured correctly",
            "`~/.aws/config`",
        ),
        (|| CredentialsError::provider_error(CANARY), "provided none", "`SECRETS_AWS_ROLE_ARN`"),
        (|| CredentialsError::unhandled(CANARY), "provided none", "`aws sso login`"),
    ];
    for (reason, cause, advice) in reasons {
        let network = Network::default();
        let backend = open(&network, Source(reason));
        for operation in [Operation::Get, Operation::Put, Operation::List] {
            let result = run_operation(&backend, operation).await;
            let error = permanent(operation, ErrorKind::Unauthenticated, result);
            assert!(error.to_string().contains(cause), "{error}");
            assert!(error.advice().contains(advice), "{error}");
        }
        let health = backend.health().await;
        let error = permanent(Operation::Health, ErrorKind::Unauthenticated, health);
        assert!(error.to_string().contains(cause), "{error}");
        assert_eq!(network.request_count(), 0);
    }
}

#[tokio::test]
async fn an_unreachable_source_of_credentials_is_a_transient_failure() {
    let reasons: [fn() -> CredentialsError; 3] = [
        || CredentialsError::provider_timed_out(Duration::from_secs(5)),
        || CredentialsError::provider_error(ConnectorError::io(CANARY.into())),
        || CredentialsError::provider_error(ConnectorError::timeout(CANARY.into())),
    ];
    for reason in reasons {
        let network = Network::default();
        let backend = open(&network, Source(reason));
        for operation in [Operation::Get, Operation::Health] {
            let result = run_operation(&backend, operation).await;
            let error = transient(operation, ErrorKind::Unavailable, result);
            assert!(error.to_string().contains("credentials could not be fetched"), "{error}");
        }
        assert_eq!(network.request_count(), 0);
    }
}

#[tokio::test]
async fn asks_a_failed_source_of_credentials_again() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    #[derive(Debug)]
    struct Late;
    impl ProvideCredentials for Late {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let credentials = Credentials::new("id", CANARY, None, None, "late");
            future::ProvideCredentials::ready(match ASKED.fetch_add(1, Ordering::SeqCst) {
                0 => Err(CredentialsError::provider_error(CANARY)),
                _ => Ok(credentials),
            })
        }
    }
    let network = Network::default();
    let backend = open(&network, Late);
    permanent(Operation::Get, ErrorKind::Unauthenticated, value(&backend).await);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(network.request_count(), 1);
}
