//! A store that does not exist is created by a write or by an explicit setting, and by nothing else.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::path::Path;

use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{
    Backend, ErrorKind, HealthStatus, ListOptions, MetadataPatch, PutOptions, Result, Version,
    VersionSelector,
};
use strongroom_testkit::log::Log;
use support::opening::{PASSPHRASE, key, private};
use support::{
    all_paths, config, directory_in_memory, exact, is_intact, key_file, open, path, put_next,
    snapshot, store_file,
};

/// The configuration of a service that says nothing about creating a store.
fn default_config(directory: &Path) -> NativeConfig {
    let mut config = config(directory);
    config.create = NativeConfig::default().create;
    config
}

async fn open_missing(directory: &Path) -> NativeBackend {
    NativeBackend::open(default_config(directory)).await.unwrap()
}

fn assert_names_store<T>(result: Result<T>, directory: &Path) {
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let file = store_file(&directory.canonicalize().unwrap());
    let cause = format!("there is no store at {}; check `NativeConfig::path`", file.display());
    assert!(error.to_string().contains(&cause), "{error}");
    assert!(error.to_string().contains("`NativeConfig::create`"), "{error}");
}

#[tokio::test]
async fn nothing_but_a_write_creates_a_store() {
    let directory = directory_in_memory();
    let backend = open_missing(directory.path()).await;
    let name = path("a");
    assert_names_store(backend.get(&name, &VersionSelector::Active).await, directory.path());
    assert_names_store(backend.get(&name, &exact(1)).await, directory.path());
    assert_names_store(backend.versions(&name).await, directory.path());
    assert_names_store(backend.describe(&name).await, directory.path());
    assert_names_store(backend.undelete(&name).await, directory.path());
    assert_names_store(backend.rollback(&name, &Version::from(1)).await, directory.path());
    let patch = MetadataPatch::default();
    assert_names_store(backend.annotate(&name, &patch).await, directory.path());
    assert_names_store(backend.rotate_kek().await, directory.path());
    backend.delete(&name).await.unwrap();
    backend.destroy(&name).await.unwrap();
    assert!(backend.list(None, &ListOptions::new()).await.unwrap().paths.is_empty());
    let error = backend.put(&name, "x".into(), PutOptions::new().must_be_version(1)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Conflict);
    let health = backend.health().await.unwrap();
    assert_eq!(health.status, HealthStatus::Degraded);
    assert!(health.details["store"].starts_with("missing"));
    backend.close().await.unwrap();
    assert!(snapshot(directory.path()).is_empty());
    assert_eq!(
        backend.list(None, &ListOptions::new()).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn the_first_write_creates_store_and_key() {
    let directory = directory_in_memory();
    let backend = open_missing(directory.path()).await;
    assert!(backend.info().instance.ends_with("secrets.db"));
    put_next(&backend, "a", 1).await;
    assert!(is_intact(&backend, "a", 1).await);
    assert_eq!(backend.health().await.unwrap().status, HealthStatus::Ready);
    assert!(key_file(directory.path()).exists());
    backend.close().await.unwrap();
    assert!(is_intact(&open_missing(directory.path()).await, "a", 1).await);
}

#[tokio::test]
async fn a_store_that_another_process_creates_is_read_then() {
    let directory = directory_in_memory();
    let waiting = open_missing(directory.path()).await;
    let error = waiting.get(&path("a"), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    put_next(&open_missing(directory.path()).await, "a", 1).await;
    assert!(is_intact(&waiting, "a", 1).await);
    assert_eq!(all_paths(&waiting).await, [path("a")]);
    put_next(&waiting, "a", 2).await;
}

#[tokio::test]
async fn instances_that_write_first_at_once_share_one_store() {
    let directory = directory_in_memory();
    let mut backends = Vec::new();
    for _ in 0..4 {
        backends.push(open_missing(directory.path()).await);
    }
    let names = ["a", "b", "c", "d"];
    let writes = backends.iter().zip(names).map(|(backend, name)| {
        let backend = std::panic::AssertUnwindSafe(backend);
        async move { put_next(&backend, name, 1).await }
    });
    let [a, b, c, d] = writes.collect::<Vec<_>>().try_into().ok().unwrap();
    tokio::join!(a, b, c, d);
    for backend in &backends {
        assert_eq!(all_paths(backend).await.len(), 4);
    }
}

#[tokio::test]
async fn the_setting_creates_the_store_when_it_is_opened() {
    let directory = directory_in_memory();
    open(directory.path()).await.close().await.unwrap();
    assert!(store_file(directory.path()).metadata().unwrap().len() > 0);
}

#[tokio::test]
async fn a_missing_store_is_reported_when_it_is_opened() {
    let directory = directory_in_memory();
    let file = store_file(directory.path());
    // The thread that opens the store logs by the global subscriber.
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone());
    subscriber.init();
    open_missing(directory.path()).await;
    let text = log.text();
    let warning = text.lines().find(|line| line.contains(file.to_str().unwrap())).unwrap();
    assert!(warning.contains("WARN") && warning.contains("the first write creates it"), "{text}");
}

#[tokio::test]
async fn a_configuration_that_no_write_could_use_is_refused_at_once() {
    let directory = directory_in_memory();
    let with = |key: KeySource| {
        let mut config = default_config(directory.path());
        config.keys = vec![key];
        config
    };
    let absent = directory.path().join("absent");
    let short = private(&directory.path().join("short"), &PASSPHRASE[..4]);
    for (config, words) in [
        (with(KeySource::Key("hunter2".into())), "is not a key"),
        (with(KeySource::Passphrase("hunter2".into())), "shorter than 8 bytes"),
        (with(KeySource::PassphraseFile(short)), "shorter than 8 bytes"),
        (with(KeySource::PassphraseFile(absent.clone())), "does not exist"),
        (with(KeySource::KeyFile(absent.join("key"))), "create its directory"),
    ] {
        let error = NativeBackend::open(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut misspelt = with(key());
    misspelt.path = Some(absent.join("secrets.db"));
    let error = NativeBackend::open(misspelt).await.unwrap_err();
    assert!(error.to_string().contains("this directory does not exist"), "{error}");
}

#[tokio::test]
async fn errors_say_where_they_looked_and_which_case_it_is() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let store = store_file(&directory.path().canonicalize().unwrap()).display().to_string();
    let put = async |name: &str, options: PutOptions| {
        backend.put(&path(name), "x".into(), options).await.unwrap_err().to_string()
    };
    let get = async |name: &str| {
        backend.get(&path(name), &VersionSelector::Active).await.unwrap_err().to_string()
    };
    let missing = get("b").await;
    assert!(missing.contains(&format!("the store {store} does not hold it")), "{missing}");
    let exists = put("a", PutOptions::new().must_not_exist()).await;
    assert!(exists.contains("already holds a secret; read the secret again"), "{exists}");
    let changed = put("a", PutOptions::new().must_be_version(7)).await;
    assert!(changed.contains("another version is active"), "{changed}");
    let absent = put("b", PutOptions::new().must_be_version(1)).await;
    assert!(absent.contains("the path holds no secret; check the path"), "{absent}");

    backend.delete(&path("a")).await.unwrap();
    let deleted = get("a").await;
    assert!(
        deleted.contains(&format!("it was deleted in the store {store}; undelete")),
        "{deleted}"
    );
    let deleted = put("a", PutOptions::new().must_not_exist()).await;
    assert!(deleted.contains("holds a deleted secret; undelete it to read it"), "{deleted}");
    let deleted = put("a", PutOptions::new().must_be_version(7)).await;
    assert!(deleted.contains("holds a deleted secret, of which"), "{deleted}");
}
