//! What an application brings along, what is shown of it, and what is let go.

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use strongroom_backend_aws::{AssumedRole, AwsBackend, AwsConfig};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::{self, CANARY};

use crate::fake::{FIRST, ask, value};
use crate::network::{Network, sdk};
use crate::support::lasting;

fn bare() -> AwsConfig {
    let mut config = AwsConfig::default();
    config.read_metadata = false;
    config
}

fn at(network: &Network, endpoint: &str) -> SdkConfig {
    sdk("eu-central-1", network.clone()).into_builder().endpoint_url(endpoint).build()
}

#[tokio::test]
async fn an_application_need_not_name_a_version_of_the_sdk_s_behaviour() {
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
    let backend = AwsBackend::with_sdk_config(&sdk, bare()).unwrap();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(network.sent(), 1);
}

#[tokio::test]
async fn a_closed_backend_lets_go_of_the_client() {
    let network = Network::default();
    let backend =
        AwsBackend::with_sdk_config(&sdk("closed-later", network.clone()), bare()).unwrap();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert!(network.holders() > 1);
    backend.close().await.unwrap();
    assert_eq!(network.holders(), 1, "somebody still has the connections");
    for operation in [Operation::Get, Operation::Put, Operation::List, Operation::Health] {
        lasting(operation, ErrorKind::Closed, ask(&backend, operation).await);
    }
    assert_eq!(network.sent(), 1);
}

#[test]
fn the_configuration_shows_no_password_and_no_external_id() {
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
async fn a_label_shows_scheme_host_and_port_alone() {
    let network = Network::default();
    for (endpoint, shown) in [
        ("https://vault.example.com:8443", "https://vault.example.com:8443"),
        ("https://vault.example.com:443", "https://vault.example.com"),
        ("http://127.0.0.1:4566", "http://127.0.0.1:4566"),
    ] {
        let endpoint = format!("{endpoint}/{CANARY}?key={CANARY}#{CANARY}");
        let by_sdk = AwsBackend::with_sdk_config(&at(&network, &endpoint), bare()).unwrap();
        let mut config = bare();
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
async fn a_password_in_an_endpoint_is_refused_and_not_shown() {
    let network = Network::default();
    let endpoint = format!("https://user:{CANARY}@vault.example.com");
    let result = AwsBackend::with_sdk_config(&at(&network, &endpoint), bare());
    let error = lasting(Operation::Open, ErrorKind::Config, result);
    assert!(error.to_string().contains("a user name or password"), "{error}");
}

/// What the guard's parser refuses, and the SDK's may not.
#[tokio::test]
async fn an_endpoint_that_cannot_be_understood_is_refused() {
    for endpoint in ["http://xn--a:9", "http://", "xn--a:9", "http://[::1", "ftp://127.0.0.1"] {
        let network = Network::default();
        let result = AwsBackend::with_sdk_config(&at(&network, endpoint), bare());
        lasting(Operation::Open, ErrorKind::Config, result);
        for is_of_service in [false, true] {
            let mut config = bare();
            config.region = Some("eu-central-1".into());
            let place = if is_of_service {
                &mut config.secrets_manager_endpoint_url
            } else {
                &mut config.endpoint_url
            };
            *place = Some(endpoint.to_owned());
            let result = Box::pin(AwsBackend::open(config)).await;
            let error = lasting(Operation::Open, ErrorKind::Config, result);
            assert!(error.to_string().contains("is not an address"), "{error}");
        }
        assert_eq!(network.sent(), 0);
    }
}
