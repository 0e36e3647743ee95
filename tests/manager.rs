//! The manager over a backend: namespaces, order, defaults, unsupported operations, expiry, closing.
#![expect(clippy::unwrap_used, reason = "a test reports a failure with a panic")]

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use serde_json::json;
use strongroom::{
    Backend, BackendInfo, Capabilities, Capability, ErrorKind, Health, HealthStatus, ListOptions,
    MemoryBackend, Metadata, MetadataPatch, Operation, PutOptions, Result, Secret, SecretPath,
    SecretValue, SecretsManager, Version, VersionSelector, async_trait,
};
use strongroom_testkit::log::Log;

fn manager() -> SecretsManager {
    SecretsManager::with_backend(MemoryBackend::new())
}

fn expiring(after: Duration) -> PutOptions {
    PutOptions::new().metadata(MetadataPatch::new().expires_at(SystemTime::now() + after))
}

#[tokio::test]
async fn a_namespace_is_the_same_api_below_a_prefix() -> Result<()> {
    let secrets = manager();
    let production = secrets.namespace("production")?;
    let openai = production.namespace("openai")?;
    openai.put("api-key", "sk-1").await?;
    production.put("db", "x").await?;
    secrets.put("staging/db", "y").await?;

    assert_eq!(secrets.get("production/openai/api-key").await?.expose_text()?, "sk-1");
    assert_eq!(openai.get("api-key").await?.path().as_str(), "production/openai/api-key");
    let listed = |paths: Vec<SecretPath>| {
        let mut paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
        paths.sort();
        paths
    };
    assert_eq!(listed(production.list("").all().await?), ["db", "openai/api-key"]);
    assert_eq!(listed(production.list("openai/").all().await?), ["openai/api-key"]);
    assert_eq!(
        listed(secrets.list("production/openai").all().await?),
        ["production/openai/api-key"]
    );
    let error = openai.get("missing").await.unwrap_err();
    assert_eq!(error.path().map(SecretPath::as_str), Some("production/openai/missing"));
    assert_eq!(secrets.namespace("production/")?.get("db").await?.expose_text()?, "x");
    for no_path in ["", "/", "production//"] {
        assert_eq!(secrets.namespace(no_path).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for outside in ["../staging/db", "", "/staging"] {
        assert_eq!(production.get(outside).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    Ok(())
}

#[tokio::test]
async fn get_many_answers_each_path_in_order() -> Result<()> {
    let secrets = manager();
    secrets.put("a", "1").await?;
    secrets.put("b", "2").await?;
    let results = secrets.get_many(["b", "not a path", "a", "missing", "b"]).await;
    let shown: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(secret) => secret.expose_text().unwrap().to_owned(),
            Err(error) => error.kind().to_string(),
        })
        .collect();
    assert_eq!(shown, ["2", "invalid input", "1", "not found", "2"]);
    Ok(())
}

#[tokio::test]
async fn a_default_replaces_only_not_found() -> Result<()> {
    let secrets = manager();
    assert_eq!(secrets.get_or("missing", "fallback").await?.expose_text()?, "fallback");
    secrets.put_with("old", "x", expiring(Duration::ZERO)).await?;
    assert_eq!(secrets.get_or("old", "fallback").await.unwrap_err().kind(), ErrorKind::Expired);
    assert!(secrets.exists("old").await?, "an expired secret exists");
    assert!(!secrets.exists("missing").await?);
    Ok(())
}

#[tokio::test]
async fn typed_json_round_trips() -> Result<()> {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Database {
        user: String,
        port: u16,
    }
    let secrets = manager();
    let database = Database { user: "a\"b".into(), port: 5432 };
    secrets.put_json("db", &database).await?;
    assert_eq!(secrets.get_json::<Database>("db").await?, database);
    assert_eq!(secrets.get_field("db", "port").await?.expose_text()?, "5432");
    let error = secrets.get_field("db", "host").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FieldNotFound);
    assert_eq!(error.path().map(SecretPath::as_str), Some("db"));
    secrets.put("text", "not json").await?;
    assert_eq!(
        secrets.get_json::<Database>("text").await.unwrap_err().kind(),
        ErrorKind::WrongType
    );
    assert_eq!(secrets.put_json("x", &json!({"b": 1, "a": "2"})).await?, Version::from(1));
    Ok(())
}

#[tokio::test]
async fn warns_of_expiry_once_a_week_and_once_a_day_ahead() -> Result<()> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let secrets = manager();
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    let warnings = || log.text().matches("about to expire").count();

    secrets.put_with("expiry/far", "x", expiring(hours(24 * 8))).await?;
    secrets.get("expiry/far").await?;
    assert_eq!(warnings(), 0);
    secrets.put_with("expiry/week", "x", expiring(hours(24 * 6))).await?;
    secrets.get("expiry/week").await?;
    secrets.clone().get("expiry/week").await?;
    assert_eq!(warnings(), 1);
    secrets.put_with("expiry/day", "x", expiring(hours(23))).await?;
    secrets.get_many(["expiry/day", "expiry/day"]).await;
    assert_eq!(warnings(), 2);
    let soon = MetadataPatch::new().expires_at(SystemTime::now() + hours(20));
    secrets.annotate("expiry/week", soon).await?;
    secrets.get("expiry/week").await?;
    secrets.get("expiry/week").await?;
    assert_eq!(warnings(), 3, "{}", log.text());

    let store = Arc::new(MemoryBackend::new());
    let (one, other) =
        (SecretsManager::with_backend(Arc::clone(&store)), SecretsManager::with_backend(store));
    one.put_with("expiry/shared", "x", expiring(hours(23))).await?;
    one.get("expiry/shared").await?;
    other.get("expiry/shared").await?;
    assert_eq!(warnings(), 4, "{}", log.text());
    Ok(())
}

#[tokio::test]
async fn a_handle_logs_each_new_version() -> Result<()> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let secrets = manager();
    secrets.put("watched/key", "one").await?;
    let mut handle = secrets.watch("watched/key").await?;
    assert!(!log.text().contains("new version"), "{}", log.text());
    secrets.put("watched/key", "two").await?;
    handle.changed().await?;
    let text = log.text();
    let line = text.lines().find(|line| line.contains("a watched secret has a new version"));
    let line = line.expect("the handle has logged the version");
    assert!(line.contains("INFO") && line.contains("path=watched/key"), "{line}");
    assert!(line.contains("version=2") && !line.contains("two"), "{line}");
    Ok(())
}

#[tokio::test]
async fn after_close_every_call_of_every_clone_answers_closed() -> Result<()> {
    let secrets = manager();
    let clone = secrets.namespace("a")?;
    secrets.put("a/b", "kept").await?;
    let kept = clone.get("b").await?;
    secrets.close().await?;
    secrets.close().await?;
    let errors = [
        clone.get("b").await.unwrap_err(),
        clone.get_many(["b"]).await.remove(0).unwrap_err(),
        clone.put("b", "x").await.unwrap_err(),
        clone.list("").all().await.unwrap_err(),
        clone.versions("b").await.unwrap_err(),
        clone.describe("b").await.unwrap_err(),
        clone.destroy("b").await.unwrap_err(),
        clone.health().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    assert_eq!(kept.expose_text()?, "kept");
    Ok(())
}

#[test]
fn a_long_listing_yields_to_other_tasks() {
    const PAGES: usize = 5;
    let secrets = manager();
    let mut context = Context::from_waker(Waker::noop());
    for i in 0..100 * PAGES {
        let put = pin!(secrets.put(i.to_string(), "x"));
        assert!(put.poll(&mut context).is_ready());
    }
    let mut listing = pin!(secrets.list("").all());
    let mut turns = 1;
    let paths = loop {
        match listing.as_mut().poll(&mut context) {
            Poll::Ready(paths) => break paths.unwrap(),
            Poll::Pending => turns += 1,
        }
    };
    assert_eq!(paths.len(), 100 * PAGES);
    assert!(turns > PAGES, "{turns} turns");
}

#[tokio::test]
async fn a_close_completes_one_that_was_cancelled() -> Result<()> {
    let (secrets, calls) = recording(Capabilities::none());
    let mut context = Context::from_waker(Waker::noop());
    let mut given_up = Box::pin(secrets.close());
    assert!(given_up.as_mut().poll(&mut context).is_pending());
    assert_eq!(secrets.get("a").await.unwrap_err().kind(), ErrorKind::Closed);
    let mut second = Box::pin(secrets.close());
    assert!(second.as_mut().poll(&mut context).is_pending(), "the store is not closed yet");
    drop(given_up);
    assert!(calls.lock().unwrap().is_empty());
    second.await?;
    assert_eq!(*calls.lock().unwrap(), [Operation::Close]);
    secrets.clone().close().await?;
    assert_eq!(calls.lock().unwrap().len(), 1, "there was nothing left to close");
    Ok(())
}

/// A read-only store that records its calls, and returns secrets without a check of their expiry.
#[derive(Debug)]
struct RecordingStore {
    info: BackendInfo,
    calls: Arc<Mutex<Vec<Operation>>>,
}

#[async_trait]
impl Backend for RecordingStore {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, _version: &VersionSelector) -> Result<Secret> {
        self.calls.lock().unwrap().push(Operation::Get);
        let mut metadata = Metadata::default();
        if path.name() == "expired" {
            metadata.expires_at = Some(SystemTime::UNIX_EPOCH);
        }
        Ok(Secret::new(path.clone(), 1.into(), metadata, "value".into()))
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::new(HealthStatus::Ready))
    }

    async fn put(&self, _: &SecretPath, _: SecretValue, _: PutOptions) -> Result<Version> {
        self.calls.lock().unwrap().push(Operation::Put);
        Ok(1.into())
    }

    async fn close(&self) -> Result<()> {
        tokio::task::yield_now().await;
        self.calls.lock().unwrap().push(Operation::Close);
        Ok(())
    }
}

fn recording(capabilities: Capabilities) -> (SecretsManager, Arc<Mutex<Vec<Operation>>>) {
    let calls = Arc::default();
    let info = BackendInfo::new("careless", "test", capabilities);
    (SecretsManager::with_backend(RecordingStore { info, calls: Arc::clone(&calls) }), calls)
}

#[tokio::test]
async fn unsupported_operations_never_reach_the_store() {
    let (secrets, calls) = recording(Capabilities::none());
    let errors = [
        secrets.put("a", "x").await.unwrap_err(),
        secrets.get_version("a", 1).await.unwrap_err(),
        secrets.delete("a").await.unwrap_err(),
        secrets.undelete("a").await.unwrap_err(),
        secrets.destroy("a").await.unwrap_err(),
        secrets.versions("a").await.unwrap_err(),
        secrets.rollback("a", 1).await.unwrap_err(),
        secrets.describe("a").await.unwrap_err(),
        secrets.annotate("a", MetadataPatch::new()).await.unwrap_err(),
        secrets.rotate("a").await.unwrap_err(),
        secrets.list_with("", ListOptions::new()).all().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(error.backend(), Some("careless"));
    }
    assert!(calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn rejects_a_write_with_parts_that_the_store_does_not_support() {
    let (secrets, calls) = recording(Capabilities::none().with(Capability::Put));
    let tag = PutOptions::new().metadata(MetadataPatch::new().tag("a", "b"));
    let refused = [
        secrets.put_with("a", "x", PutOptions::new().must_not_exist()).await,
        secrets.put_with("a", "x", tag).await,
        secrets.put("a", vec![0xff]).await,
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert!(calls.lock().unwrap().is_empty());
    secrets.put("a", "text").await.unwrap();
    assert_eq!(*calls.lock().unwrap(), [Operation::Put]);
}

#[tokio::test]
async fn enforces_expiry_even_if_the_store_does_not() {
    let (secrets, _) = recording(Capabilities::none());
    assert!(secrets.get("fresh").await.is_ok());
    let error = secrets.get("expired").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert_eq!(error.path().map(SecretPath::as_str), Some("expired"));
}
