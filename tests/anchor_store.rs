//! The anchor of a native store as a secret in OpenBao and in AWS Secrets Manager, by settings.
#![expect(clippy::unwrap_used, reason = "a test reports a failure with a panic")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strongroom::aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom::native::{AnchorStore, NativeBackend, NativeConfig, SecretAnchor};
use strongroom::{Config, Error, ErrorKind, SecretPath, SecretsManager};
use strongroom_testkit::{localstack, openbao};

/// The permissions that the guide names.
const GUIDE: &str = include_str!("../docs/src/stores/native.md");

fn native(folder: &Path) -> Config {
    let file = |name| folder.join(name).to_str().unwrap().to_owned();
    Config::new()
        .set("backend", "native")
        .set("native_create", "true")
        .set("native_path", &file("secrets.db"))
        .set("native_key_file", &file("secrets.key"))
}

/// With an anchor in a KV engine, by a token whose policy is the guide's.
async fn in_openbao(folder: &Path, server: &openbao::Server) -> Config {
    let policy = GUIDE.split("<<'POLICY'\n").nth(1).unwrap().split("POLICY").next().unwrap();
    server.write_policy("app-anchor", policy).await;
    let request = json!({ "policies": ["app-anchor"], "ttl": "1h" });
    let answer = server.admin("POST", "auth/token/create", Some(request)).await;
    let token = answer.pointer("/auth/client_token").unwrap().as_str().unwrap();
    native(folder)
        .set("native_anchor_store", "openbao")
        .set("native_anchor_secret", "strongroom/anchor")
        .set("vault_addr", server.address())
        .set("vault_token", token)
}

async fn open(config: &Config) -> Result<SecretsManager, Error> {
    SecretsManager::from_config(config.clone()).await
}

/// Writes, puts the file of before the last write back, and accepts that.
async fn check(folder: &Path, config: NativeConfig) {
    let open = async || NativeBackend::open(config.clone()).await.map(SecretsManager::with_backend);
    let secrets = open().await.unwrap();
    secrets.put("openai/key", "first").await.unwrap();
    secrets.health().await.unwrap();
    secrets.close().await.unwrap();
    let file = folder.join("secrets.db");
    let yesterday = fs::read(&file).unwrap();
    let secrets = open().await.unwrap();
    secrets.put("openai/key", "second").await.unwrap();
    secrets.close().await.unwrap();
    fs::write(&file, yesterday).unwrap();
    let refused = open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains("strongroom/anchor in "), "{refused}");
    let accepted = NativeBackend::accept_state(config.clone()).await.unwrap();
    assert!(accepted.before < accepted.anchor, "{accepted:?}");
    let secrets = open().await.unwrap();
    assert_eq!(secrets.get("openai/key").await.unwrap().expose_text().unwrap(), "first");
    secrets.close().await.unwrap();
}

#[tokio::test]
async fn openbao_keeps_the_anchor_with_the_policy_of_the_guide() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = openbao::Server::dev().await;
    let config = in_openbao(folder.path(), &server).await;
    check(folder.path(), config.native_config().unwrap()).await;

    let secrets = open(&config).await.unwrap();
    server.kill();
    secrets.put("openai/key", "third").await.unwrap();
    assert_eq!(secrets.get("openai/key").await.unwrap().expose_text().unwrap(), "third");
    let error = secrets.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    secrets.close().await.unwrap();
    let refused = open(&config).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("the anchor strongroom/anchor in hashicorp"), "{refused}");
    assert!(refused.is_temporary());

    let empty = tempfile::tempdir().unwrap();
    let config = config
        .set("native_path", empty.path().join("secrets.db").to_str().unwrap())
        .set("native_key_file", empty.path().join("secrets.key").to_str().unwrap());
    assert_eq!(open(&config).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_token_without_the_policy_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = openbao::Server::dev().await;
    let config = in_openbao(folder.path(), &server).await;
    let config = config.set("native_anchor_secret", "elsewhere/anchor");
    let refused = open(&config).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The credentials are in code, since the settings leave them to the SDK.
#[tokio::test]
async fn aws_keeps_the_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let server = localstack::Server::start().await;
    let mut aws = AwsConfig::default();
    aws.region = Some(server.region().into());
    aws.endpoint_url = Some(server.endpoint().into());
    aws.credentials = Some(StaticCredentials::new(server.access_key(), server.secret_key().into()));
    let aws = Box::pin(AwsBackend::open(aws)).await.unwrap();
    let anchor = SecretAnchor::new(Arc::new(aws), SecretPath::parse("strongroom/anchor").unwrap());
    assert_eq!(anchor.interval(), Duration::from_secs(900));
    let mut config = native(folder.path()).native_config().unwrap();
    config.anchor_store = Some(Arc::new(anchor));
    check(folder.path(), config).await;
}

#[tokio::test]
async fn a_store_that_cannot_keep_the_anchor_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (store, words) in [
        ("native", "must be another backend"),
        ("env", "cannot be `env`"),
        ("valt", "is no backend"),
        ("hashicorp", "needs the settings of `hashicorp`"),
    ] {
        let config = native(folder.path())
            .set("native_anchor_store", store)
            .set("native_anchor_secret", "strongroom/anchor");
        let text = open(&config).await.unwrap_err().to_string();
        assert!(text.contains("`native_anchor_store`") && text.contains(words), "{text}");
    }
    let only_store = native(folder.path()).set("native_anchor_store", "aws");
    let only_secret = native(folder.path()).set("native_anchor_secret", "a");
    let only_interval = native(folder.path()).set("native_anchor_interval", "1m");
    for (config, missing) in [
        (only_store, "native_anchor_secret"),
        (only_secret, "native_anchor_store"),
        (only_interval, "native_anchor_store"),
    ] {
        let text = open(&config).await.unwrap_err().to_string();
        assert!(text.contains(&format!("needs `{missing}`")), "{text}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
