//! The memory of this process contains no copy of a value after the secret is dropped.
//!
//! Each flow plants a unique value, drops all owners of it and searches for a fragment from its middle; see
//! `strongroom_testkit::memory`. One flow runs at a time.
#![expect(clippy::unwrap_used, reason = "a test reports a failure with a panic")]

mod cached;
#[cfg(feature = "redact")]
mod redact;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use strongroom::env::{EnvBackend, EnvConfig};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{
    Backend, ErrorKind, ExposeSecret as _, MemoryBackend, PutOptions, Result, Secret, SecretPath,
    SecretString, SecretValue, SecretsManager, VersionSelector,
};
use strongroom_testkit::memory::{Needle, Planted};
use strongroom_testkit::process::{Role, role};

/// Runs `flow` with a unique value and asserts that no copy is left.
fn leaves_nothing(flow: impl AsyncFnOnce(&Planted)) {
    run_exclusively(async |planted| {
        flow(planted).await;
        assert_eq!(planted.count_in_own_memory(), 0, "memory still contains copies of the value");
    });
}

/// Runs `flow` with a unique value while no other flow runs.
fn run_exclusively(flow: impl AsyncFnOnce(&Planted)) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // The cache and handles need timers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(flow(&Planted::new()));
}

fn path() -> SecretPath {
    SecretPath::parse("openai/api-key").unwrap()
}

async fn put(store: &impl Backend, value: &str) {
    store.put(&path(), SecretValue::from(value), PutOptions::new()).await.unwrap();
}

async fn get(store: &impl Backend) -> Secret {
    store.get(&path(), &VersionSelector::Active).await.unwrap()
}

#[derive(Deserialize)]
struct Credentials {
    password: SecretString,
}

#[derive(Debug, Deserialize)]
struct OtherType {
    #[expect(dead_code, reason = "the test only tries to deserialize it")]
    password: u64,
}

#[test]
fn finds_a_live_value() {
    run_exclusively(async |planted| {
        let store = MemoryBackend::new();
        put(&store, &planted.expose()).await;
        let kept = get(&store).await;
        store.close().await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 1);
        drop(kept);
        assert_eq!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn finds_values_freed_without_wiping() {
    run_exclusively(async |planted| {
        let text = planted.expose_in(r#"{"password":"\n"#, r#""}"#);
        let parse = || serde_json::from_str::<serde_json::Value>(&text).unwrap();
        // Other threads may reuse some blocks before the scan.
        drop((0..100).map(|_| parse()).collect::<Vec<_>>());
        drop(text);
        assert_ne!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn put_and_destroy() {
    leaves_nothing(async |planted| {
        let store = MemoryBackend::new();
        put(&store, &planted.expose()).await;
        assert_eq!(planted.count_in_own_memory(), 1);
        store.destroy(&path()).await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn put_get_and_close() {
    leaves_nothing(async |planted| {
        let store = MemoryBackend::new();
        put(&store, &planted.expose()).await;
        let secret = get(&store).await;
        assert!(secret.expose_text().unwrap() == planted.expose().as_str());
        drop(format!("{secret:?} {store:?}"));
        store.close().await.unwrap();
    });
}

#[test]
fn a_string_with_spare_capacity() {
    leaves_nothing(async |planted| {
        let value = planted.expose();
        let mut text = String::with_capacity(2 * value.len());
        text.push_str(&value);
        drop(SecretValue::from(text));
    });
}

#[test]
fn a_secrecy_string() {
    leaves_nothing(async |planted| {
        let value = SecretValue::from(planted.expose());
        let copy = value.to_secret_string().unwrap();
        assert_eq!(copy.expose_secret().len(), value.len());
        drop(SecretValue::from(copy));
    });
}

#[test]
fn fields_and_one_field() {
    leaves_nothing(async |planted| {
        let value = SecretValue::fields([("user", "app"), ("password", &planted.expose())]);
        let field = value.field("password").unwrap();
        assert!(field.expose_text().unwrap() == planted.expose().as_str());
    });
}

#[test]
fn one_field_with_escapes() {
    leaves_nothing(async |planted| {
        let text = planted.expose_in(r#"{"password":"\u00e9\n"#, r#"\"\\"}"#);
        let value = SecretValue::from(text);
        let field = value.field("password").unwrap();
        assert_eq!(field.len(), planted.expose().len() + 5);
        assert_eq!(value.field("other").unwrap_err().kind(), ErrorKind::FieldNotFound);
    });
}

#[test]
fn typed_json() {
    leaves_nothing(async |planted| {
        let value = SecretValue::from(planted.expose_in(r#"{"password":""#, r#""}"#));
        let credentials: Credentials = value.parse_json().unwrap();
        assert!(credentials.password.expose_secret() == planted.expose().as_str());
    });
}

#[test]
fn typed_json_with_escapes() {
    leaves_nothing(async |planted| {
        let value = SecretValue::from(planted.expose_in(r#"{"password":"\u00e9\n"#, r#"\"\\"}"#));
        let credentials: Credentials = value.parse_json().unwrap();
        assert_eq!(credentials.password.expose_secret().len(), planted.expose().len() + 5);
    });
}

#[test]
fn typed_json_of_another_type() {
    leaves_nothing(async |planted| {
        for (before, after) in [
            (r#"{"password":""#, r#""}"#),
            (r#"{"password":"\n"#, r#""}"#),
            (r#"{"password":["\n"#, r#""]}"#),
            (r#"{"password":"\n"#, ""),
        ] {
            let value = SecretValue::from(planted.expose_in(before, after));
            let refused: Result<OtherType> = value.parse_json();
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongType);
            drop(format!("{error} {error:?}"));
        }
    });
}

#[test]
fn data_serialized_as_json() {
    leaves_nothing(async |planted| {
        let value = planted.expose();
        let data = std::collections::BTreeMap::from([("password", value.as_str())]);
        let stored = SecretValue::json(&data).unwrap();
        assert!(stored.len() > value.len());
    });
}

async fn native(folder: &std::path::Path) -> NativeBackend {
    let mut config = NativeConfig::new(KeySource::KeyFile(folder.join("key")));
    config.path = Some(folder.join("secrets.db"));
    NativeBackend::open(config).await.unwrap()
}

#[test]
fn native_put() {
    leaves_nothing(async |planted| {
        let folder = tempfile::tempdir().unwrap();
        let store = native(folder.path()).await;
        put(&store, &planted.expose()).await;
    });
}

#[test]
fn native_read() {
    leaves_nothing(async |planted| {
        let folder = tempfile::tempdir().unwrap();
        let store = native(folder.path()).await;
        put(&store, &planted.expose()).await;
        assert_eq!(planted.count_in_own_memory(), 0, "an open store must not hold a value");
        let secret = get(&store).await;
        assert_eq!(planted.count_in_own_memory(), 1);
        assert!(secret.expose_text().unwrap() == planted.expose().as_str());
    });
}

#[test]
fn native_typed_json_through_the_facade() {
    leaves_nothing(async |planted| {
        let folder = tempfile::tempdir().unwrap();
        let secrets = SecretsManager::with_backend(native(folder.path()).await);
        let value = planted.expose();
        let data = std::collections::BTreeMap::from([("password", value.as_str())]);
        secrets.put_json("db", &data).await.unwrap();
        let credentials: Credentials = secrets.get_json("db").await.unwrap();
        assert!(credentials.password.expose_secret() == value.as_str());
        let field = secrets.get_field("db", "password").await.unwrap();
        assert!(field.expose_text().unwrap() == value.as_str());
    });
}

/// The mask of the fragment that the child receives.
const MASK: u8 = 0x5a;

/// The environment block of a process holds its variables until the process ends. A read must not add
/// another copy.
#[test]
fn environment_read() {
    if role().as_deref() == Some("service") {
        return run_exclusively(async |_| read_own_variable().await);
    }
    let planted = Planted::new();
    let value = planted.expose();
    let masked: Vec<_> =
        value.bytes().skip(20).take(24).map(|byte| (byte ^ MASK).to_string()).collect();
    let mut child = Role::in_test("service", "environment_read")
        .unwrap()
        .env("OPENAI_API_KEY", value.as_str())
        .env("MASKED_FRAGMENT", masked.join(" "))
        .inherit_stderr()
        .spawn()
        .unwrap();
    assert!(child.wait_within(Duration::from_secs(30)).unwrap().success());
}

async fn read_own_variable() {
    let masked = std::env::var("MASKED_FRAGMENT").unwrap();
    let masked: Vec<u8> = masked.split(' ').map(|byte| byte.parse().unwrap()).collect();
    let needle = Needle::new(masked.clone(), vec![MASK; masked.len()]);
    let before = needle.count_in_own_memory();
    assert_ne!(before, 0, "the environment block holds the value");

    let store = EnvBackend::open(EnvConfig::default()).await.unwrap();
    let secret = get(&store).await;
    assert_eq!(needle.count_in_own_memory(), before + 1);
    drop(secret);
    assert_eq!(needle.count_in_own_memory(), before, "memory contains another copy of the value");
}
