//! A service in this process, for tests of the number and time of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::Value;
use strongroom_testkit::canary::CANARY;

use crate::fake::{FIRST, read};

/// Answers every request with a value, and counts requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<AtomicUsize>);

impl HttpConnector for Network {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        self.0.fetch_add(1, Ordering::SeqCst);
        HttpConnectorFuture::ready(Ok(value_response()))
    }
}

impl Network {
    pub(crate) fn request_count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// The number of owners, including the caller.
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

/// The configuration of an application that brings its own HTTP client.
pub(crate) fn sdk(region: &'static str, network: impl HttpConnector + 'static) -> SdkConfig {
    strongroom_testkit::canary::watch();
    let connector = SharedHttpConnector::new(network);
    let credentials = Credentials::new("test", CANARY, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build()
}

pub(crate) fn response(status: u16, body: &Value) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_string()))
}

/// The answer to a read.
pub(crate) fn value_response() -> HttpResponse {
    response(200, &read("key", FIRST))
}
