//! Shared by the tests of this backend: opening one, and checks of every error.

use std::time::Duration;

use strongroom_backend_aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom_core::SecretPath;
use strongroom_testkit::canary::{self, CANARY};
pub(crate) use strongroom_testkit::errors::{
    expect_error as expect_failure, expect_permanent as permanent, expect_transient as transient,
};

/// A configuration for a server on this machine, with timeouts that hold on a busy machine.
pub(crate) fn config(endpoint: &str, region: &str) -> AwsConfig {
    let mut config = AwsConfig::default();
    config.region = Some(region.to_owned());
    config.endpoint_url = Some(endpoint.to_owned());
    config.credentials = Some(StaticCredentials::new("test", CANARY.into()));
    config.connect_timeout = Duration::from_secs(5);
    config.attempt_timeout = Duration::from_secs(10);
    config.timeout = Duration::from_secs(20);
    config
}

pub(crate) async fn open(config: AwsConfig) -> AwsBackend {
    canary::watch();
    Box::pin(AwsBackend::open(config)).await.unwrap()
}

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}
