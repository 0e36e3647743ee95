//! No value is sent over plain HTTP to another host, wherever the endpoint was configured.

use aws_config::SdkConfig;
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{ErrorKind, Operation};

use crate::fake::{FIRST, value};
use crate::network::{Network, sdk};
use crate::support::permanent;

fn sdk_at(network: &Network, endpoint: &str) -> SdkConfig {
    sdk("eu-central-1", network.clone()).into_builder().endpoint_url(endpoint).build()
}

fn without_metadata() -> AwsConfig {
    let mut config = AwsConfig::default();
    config.read_metadata = false;
    config
}

#[tokio::test]
async fn rejects_plain_http_to_another_host_in_an_sdk_config() {
    for endpoint in ["http://192.0.2.1", "http://192.0.2.1:4566/", "http://vault.example.com"] {
        let network = Network::default();
        let result = AwsBackend::with_sdk_config(&sdk_at(&network, endpoint), without_metadata());
        let error = permanent(Operation::Open, ErrorKind::Config, result);
        assert!(error.to_string().contains("plain http to another host"), "{error}");
        assert!(error.to_string().contains("`AwsConfig::allow_http`"), "{error}");
        assert_eq!(network.request_count(), 0, "{endpoint}");
    }
}

#[tokio::test]
async fn accepts_loopback_https_and_allowed_plain_http() {
    for (endpoint, allow_http) in [
        ("http://127.0.0.1:4566", false),
        ("http://[::1]:4566", false),
        ("http://localhost:4566", false),
        ("https://192.0.2.1", false),
        ("http://192.0.2.1", true),
    ] {
        let network = Network::default();
        let mut config = without_metadata();
        config.allow_http = allow_http;
        let backend = AwsBackend::with_sdk_config(&sdk_at(&network, endpoint), config).unwrap();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        assert_eq!(network.request_count(), 1, "{endpoint}");
    }
}

#[tokio::test]
async fn rejects_an_sdk_config_without_a_region() {
    let network = Network::default();
    let sdk = sdk_at(&network, "https://192.0.2.1").into_builder().region(None).build();
    let result = AwsBackend::with_sdk_config(&sdk, without_metadata());
    let error = permanent(Operation::Open, ErrorKind::Config, result);
    assert!(error.to_string().contains("`AWS_REGION`"), "{error}");
}
