//! The SDK configuration of an application: what a backend accepts, shows and drops.

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use strongroom_backend_aws::{AssumedRole, AwsBackend, AwsConfig};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::{self, CANARY};

use crate::fake::{FIRST, run_operation, value};
use crate::network::{Network, sdk};
use crate::support::permanent;

fn without_metadata() -> AwsConfig {
    let mut config = AwsConfig::default();
    config.read_metadata = false;
    config
}

fn sdk_at(network: &Network, endpoint: &str) -> SdkConfig {
    sdk("eu-central-1", network.clone()).into_builder().endpoint_url(endpoint).build()
}

#[tokio::test]
async fn accepts_an_sdk_config_without_behavior_version() {
    strongroom_testkit::canary::watch();
    let network = Network::default();
    let connector = SharedHttpConnector::new(network.clone());
    let credentials = Credentials::new("test", CANARY, None, None, "test");
    let sdk = SdkConfig::builder()
        .region(Region::new("no-behaviour"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    assert!(sdk.behavior_version().is_none());
    let backend = AwsBackend::with_sdk_config(&sdk, without_metadata()).unwrap();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(network.request_count(), 1);
}

#[tokio::test]
async fn close_drops_the_sdk_client() {
    let network = Network::default();
    let backend =
        AwsBackend::with_sdk_config(&sdk("closed-later", network.clone()), without_metadata())
            .unwrap();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert!(network.owners() > 1);
    backend.close().await.unwrap();
    assert_eq!(network.owners(), 1, "the backend still owns the connections");
    for operation in [Operation::Get, Operation::Put, Operation::List, Operation::Health] {
        permanent(operation, ErrorKind::Closed, run_operation(&backend, operation).await);
    }
    assert_eq!(network.request_count(), 1);
}

#[test]
fn debug_of_the_config_hides_passwords_and_the_external_id() {
    let mut config = AwsConfig::default();
    config.endpoint_url = Some(format!("https://user:{CANARY}@host:4566/{CANARY}?{CANARY}"));
    config.secrets_manager_endpoint_url = Some(format!("https://user:{CANARY}@other"));
    let mut role = AssumedRole::new("arn:aws:iam::123456789012:role/reader");
    role.external_id = Some(CANARY.into());
    config.role = Some(role);
    for shown in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(canary::find(shown.as_bytes()).is_none());
        assert!(shown.contains("https://host:4566\""), "the endpoint is not shown");
        assert!(shown.contains("https://other\""), "the other endpoint is not shown");
        assert!(shown.contains("role/reader"), "the role is not shown");
    }
    config.endpoint_url = Some(CANARY.to_owned());
    assert!(canary::find(format!("{config:?}").as_bytes()).is_none());
}

#[tokio::test]
async fn the_instance_name_shows_only_scheme_host_and_port() {
    let network = Network::default();
    for (endpoint, shown) in [
        ("https://vault.example.com:8443", "https://vault.example.com:8443"),
        ("https://vault.example.com:443", "https://vault.example.com"),
        ("http://127.0.0.1:4566", "http://127.0.0.1:4566"),
    ] {
        let endpoint = format!("{endpoint}/{CANARY}?key={CANARY}#{CANARY}");
        let by_sdk =
            AwsBackend::with_sdk_config(&sdk_at(&network, &endpoint), without_metadata()).unwrap();
        let mut config = without_metadata();
        config.secrets_manager_endpoint_url = Some(endpoint);
        let plain = sdk("eu-central-1", network.clone());
        let by_setting = AwsBackend::with_sdk_config(&plain, config).unwrap();
        for backend in [by_sdk, by_setting] {
            let label = &backend.info().instance;
            assert_eq!(*label, format!("AWS Secrets Manager in eu-central-1 at {shown}"));
            assert!(canary::find(format!("{backend:?}").as_bytes()).is_none());
        }
    }
}

#[tokio::test]
async fn rejects_a_password_in_an_endpoint_without_showing_it() {
    let network = Network::default();
    let endpoint = format!("https://user:{CANARY}@vault.example.com");
    let result = AwsBackend::with_sdk_config(&sdk_at(&network, &endpoint), without_metadata());
    let error = permanent(Operation::Open, ErrorKind::Config, result);
    assert!(error.to_string().contains("a user name or password"), "{error}");
}

/// The parser of the check rejects these; the SDK's own parser may not.
#[tokio::test]
async fn rejects_malformed_endpoints() {
    for endpoint in ["http://xn--a:9", "http://", "xn--a:9", "http://[::1", "ftp://127.0.0.1"] {
        let network = Network::default();
        let result = AwsBackend::with_sdk_config(&sdk_at(&network, endpoint), without_metadata());
        permanent(Operation::Open, ErrorKind::Config, result);
        for is_of_service in [false, true] {
            let mut config = without_metadata();
            config.region = Some("eu-central-1".into());
            let endpoint_field = if is_of_service {
                &mut config.secrets_manager_endpoint_url
            } else {
                &mut config.endpoint_url
            };
            *endpoint_field = Some(endpoint.to_owned());
            let result = Box::pin(AwsBackend::open(config)).await;
            let error = permanent(Operation::Open, ErrorKind::Config, result);
            assert!(error.to_string().contains("is not an address"), "{error}");
        }
        assert_eq!(network.request_count(), 0);
    }
}
