//! The caching client of AWS over its SDK, with answers from this process.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::config::Builder;
use aws_sdk_secretsmanager::config::http::{HttpRequest, HttpResponse};
use aws_secretsmanager_caching::SecretsManagerCachingClient;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

use super::TTL;

/// The text of a secret.
type Answer = Pin<Box<dyn Future<Output = String> + Send>>;

/// A client that reads every secret from `answer`.
pub(super) async fn caching_client(
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> Result<SecretsManagerCachingClient> {
    let connector = SharedHttpConnector::new(Stub(Arc::new(answer)));
    let sdk = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("id", "key", None, None, "bench"))
        .http_client(http_client_fn(move |_, _| connector.clone()));
    let capacity = NonZeroUsize::new(100_000).context("room for secrets")?;
    Ok(SecretsManagerCachingClient::from_builder(sdk, capacity, TTL, false).await?)
}

/// Reads through the client, as its documentation shows. Its errors are not `Send`.
pub(super) async fn read(client: &SecretsManagerCachingClient, path: &str) -> Result<String> {
    let read = client.get_secret_value(path, None, None, false).await;
    let read = read.map_err(|error| anyhow!("{error}"))?;
    read.secret_string.context("a secret without text")
}

/// Replaces the connection.
#[derive(Clone)]
struct Stub(Arc<dyn Fn() -> Answer + Send + Sync>);

impl std::fmt::Debug for Stub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stub")
    }
}

impl HttpConnector for Stub {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = (self.0)();
        HttpConnectorFuture::new(async move {
            let reply = reply(&request, &answer.await);
            reply.map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// An answer of AWS, with fields of realistic lengths.
fn reply(request: &HttpRequest, text: &str) -> Result<HttpResponse> {
    let body = request.body().bytes().context("a body in one piece")?;
    let body: Value = serde_json::from_slice(body)?;
    let name = body.get("SecretId").and_then(Value::as_str).context("a secret's name")?;
    let body = json!({
        "ARN": format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-a1b2c3"),
        "CreatedDate": 1_761_000_000.123,
        "Name": name,
        "SecretString": text,
        "VersionId": "01234567-89ab-cdef-0123-456789abcdef",
        "VersionStages": ["AWSCURRENT"],
    });
    Ok(HttpResponse::new(200.try_into()?, SdkBody::from(body.to_string())))
}
