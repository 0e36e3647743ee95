//! Values do not go over plain HTTP to another host, wherever the endpoint was configured.

use aws_config::SdkConfig;
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{ErrorKind, Operation};

use crate::fake::{FIRST, value};
use crate::network::{Network, sdk};
use crate::support::lasting;

fn at(network: &Network, endpoint: &str) -> SdkConfig {
    sdk("eu-central-1", network.clone()).into_builder().endpoint_url(endpoint).build()
}

fn bare() -> AwsConfig {
    let mut config = AwsConfig::default();
    config.read_metadata = false;
    config
}

#[tokio::test]
async fn an_endpoint_of_the_application_that_is_exposed_is_refused() {
    for endpoint in ["http://192.0.2.1", "http://192.0.2.1:4566/", "http://vault.example.com"] {
        let network = Network::default();
        let result = AwsBackend::with_sdk_config(&at(&network, endpoint), bare());
        let error = lasting(Operation::Open, ErrorKind::Config, result);
        assert!(error.to_string().contains("plain http to another host"), "{error}");
        assert!(error.to_string().contains("`AwsConfig::allow_http`"), "{error}");
        assert_eq!(network.sent(), 0, "{endpoint}");
    }
}

#[tokio::test]
async fn one_on_this_machine_or_over_https_or_by_choice_is_used() {
    for (endpoint, allow_http) in [
        ("http://127.0.0.1:4566", false),
        ("http://[::1]:4566", false),
        ("http://localhost:4566", false),
        ("https://192.0.2.1", false),
        ("http://192.0.2.1", true),
    ] {
        let network = Network::default();
        let mut config = bare();
        config.allow_http = allow_http;
        let backend = AwsBackend::with_sdk_config(&at(&network, endpoint), config).unwrap();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        assert_eq!(network.sent(), 1, "{endpoint}");
    }
}

#[tokio::test]
async fn a_configuration_without_a_region_is_refused() {
    let network = Network::default();
    let sdk = at(&network, "https://192.0.2.1").into_builder().region(None).build();
    let result = AwsBackend::with_sdk_config(&sdk, bare());
    let error = lasting(Operation::Open, ErrorKind::Config, result);
    assert!(error.to_string().contains("`AWS_REGION`"), "{error}");
}
