//! A real store, and its failures.

use std::sync::Arc;

use strongroom_backend_aws::{AssumedRole, AwsBackend, AwsConfig, SETTINGS, StaticCredentials};
use strongroom_core::{Backend as _, PutOptions, SecretPath, Settings, VersionSelector};
use strongroom_testkit::canary;
use strongroom_testkit::localstack::Server;
use strongroom_testkit::planted;

use super::{open_and_use, use_all, witness_error};

pub(super) async fn everything() {
    settings();
    let server = Server::start().await;
    open_and_use(config(&server)).await;
    let mut without_metadata = config(&server);
    without_metadata.read_metadata = false;
    without_metadata.kms_key_id = Some("alias/none".into());
    without_metadata.prefix = Some("/".into());
    open_and_use(without_metadata).await;
    assume(&server).await;
    rotate(&server).await;
    panics(&server).await;
    let server = stop(server).await;
    open_and_use(server).await;
    exposed().await;
}

fn config(server: &Server) -> AwsConfig {
    let mut config = AwsConfig::default();
    config.region = Some(server.region().into());
    config.endpoint_url = Some(server.endpoint().into());
    config.credentials = Some(credentials());
    config
}

pub(super) fn credentials() -> StaticCredentials {
    let mut credentials = StaticCredentials::new("test", planted!("secretkey").into());
    credentials.session_token = Some(planted!("sessiontoken").into());
    credentials
}

/// Settings whose malformed values hold the canary.
fn settings() {
    for setting in SETTINGS {
        let mut settings = Settings::new();
        settings.set(setting.variable(), planted!(" two words?"));
        canary::witness(&settings);
        if let Err(error) = AwsConfig::from_settings(&settings) {
            witness_error(&error);
        }
    }
}

/// A role for which STS issues credentials.
async fn assume(server: &Server) {
    let mut config = config(server);
    let mut role = AssumedRole::new("arn:aws:iam::000000000000:role/reader");
    role.external_id = Some("customer".into());
    config.role = Some(role);
    let backend = AwsBackend::open(config.clone()).await.unwrap();
    let path = SecretPath::parse("leaks/assumed").unwrap();
    backend.put(&path, canary::text("role"), PutOptions::new()).await.unwrap();
    canary::witness(&backend.get(&path, &VersionSelector::Active).await.unwrap());
    open_and_use(config).await;
}

/// A secret that the server rotates.
async fn rotate(server: &Server) {
    let backend = AwsBackend::open(config(server)).await.unwrap();
    let path = SecretPath::parse("leaks/rotated").unwrap();
    backend.put(&path, canary::text("rotated"), PutOptions::new()).await.unwrap();
    server.boto3(&format!(
        "client.rotate_secret(SecretId='{path}', RotationLambdaARN='{}',\
         RotationRules={{'AutomaticallyAfterDays': 30}})",
        server.rotation_function()
    ));
    use_all(&backend, &path).await;
}

/// Tasks that panic with secrets in their messages and variables.
async fn panics(server: &Server) {
    let config = config(server);
    let backend = Arc::new(AwsBackend::open(config.clone()).await.unwrap());
    let path = SecretPath::parse("leaks/panic").unwrap();
    backend.put(&path, canary::text("panic"), PutOptions::new()).await.unwrap();
    let (own, at) = (Arc::clone(&backend), path.clone());
    let task = tokio::spawn(async move {
        let secret = own.get(&at, &VersionSelector::Active).await.unwrap();
        panic!("a task panics with {secret:?}, {own:?} and {config:?}");
    });
    assert!(task.await.unwrap_err().is_panic());
    let own = Arc::clone(&backend);
    let task = tokio::spawn(async move {
        own.get(&path, &VersionSelector::Exact("none".into())).await.unwrap();
    });
    assert!(task.await.unwrap_err().is_panic());
}

/// Stops a server; gives the configuration for it.
async fn stop(server: Server) -> AwsConfig {
    let config = config(&server);
    let backend = AwsBackend::open(config.clone()).await.unwrap();
    let path = SecretPath::parse("leaks/gone").unwrap();
    backend.put(&path, canary::text("gone"), PutOptions::new()).await.unwrap();
    drop(server);
    use_all(&backend, &path).await;
    config
}

/// Plain HTTP to another host.
async fn exposed() {
    let mut config = AwsConfig::default();
    config.region = Some("us-east-1".into());
    config.credentials = Some(credentials());
    config.endpoint_url = Some("http://192.0.2.1".into());
    open_and_use(config).await;
}
