//! A native store that a key on a token of SoftHSM2 opens.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{
    Backend as _, Error, ErrorKind, Operation, PutOptions, Result, SecretPath, SecretValue,
    VersionSelector, WrapContext, WrappingKey, async_trait,
};
use strongroom_pkcs11::{Pin, Pkcs11Config, Pkcs11Key};
use strongroom_testkit::canary;
use strongroom_testkit::softhsm::{self, PIN, Token};
use strongroom_testkit::wrapping_key::check_error;

fn key(token: &Token, pin: &str) -> KeySource {
    canary::watch();
    let config = Pkcs11Config::new(softhsm::module(), Pin::Text(pin.into()));
    KeySource::Wrapping(Arc::new(Pkcs11Key::new(config, token.uri("key")).unwrap()))
}

fn passphrase() -> KeySource {
    KeySource::Passphrase("correct horse battery".into())
}

fn config(folder: &Path, keys: Vec<KeySource>) -> NativeConfig {
    let mut config = NativeConfig::default();
    config.path = Some(folder.join("secrets.db"));
    config.create = true;
    config.keys = keys;
    canary::witness(&config);
    config
}

/// Opens the store and reads what it holds.
async fn opens(folder: &Path, keys: Vec<KeySource>) -> u32 {
    let store = NativeBackend::open(config(folder, keys)).await.unwrap();
    let path = SecretPath::parse("a").unwrap();
    let secret = store.get(&path, &VersionSelector::Active).await.unwrap();
    assert!(secret.value().constant_time_eq(&canary::text("value")));
    let slots = store.slots().await.unwrap();
    store.close().await.unwrap();
    slots.into_iter().find(|slot| slot.is_current).unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_by_its_slot_and_from_a_second_one_when_the_token_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let token = Token::create();
    token.add_key("key", 1);
    let store = NativeBackend::open(config(folder, vec![key(&token, PIN)])).await.unwrap();
    let path = SecretPath::parse("a").unwrap();
    store.put(&path, canary::text("value"), PutOptions::default()).await.unwrap();
    store.add_slot(passphrase(), None).await.unwrap();
    let slots = store.slots().await.unwrap();
    let first = slots.first().unwrap();
    let uri = token.uri("key");
    assert_eq!((first.kind.as_str(), first.key_id.as_deref()), ("pkcs11", Some(uri.as_str())));

    let removed = token.remove();
    // The token is asked when the store is opened alone.
    store.get(&path, &VersionSelector::Active).await.unwrap();
    store.rotate_root_key().await.unwrap();
    store.close().await.unwrap();
    let opened = NativeBackend::open(config(folder, vec![key(&token, PIN)])).await;
    let error = opened.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!(opens(folder, vec![key(&token, PIN), passphrase()]).await, 2);
    drop(removed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_sent_once_for_all_slots_and_openings() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let token = Token::create();
    token.add_key("key", 1);
    let store = NativeBackend::open(config(folder, vec![key(&token, PIN)])).await.unwrap();
    let path = SecretPath::parse("a").unwrap();
    store.put(&path, canary::text("value"), PutOptions::default()).await.unwrap();
    store.add_slot(key(&token, PIN), None).await.unwrap();
    store.add_slot(passphrase(), None).await.unwrap();
    store.close().await.unwrap();

    let wrong = format!("{}-wrong", canary::CANARY);
    let open = async || NativeBackend::open(config(folder, vec![key(&token, &wrong)])).await;
    let error = open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(token.has_refused_a_pin());
    token.reset_count();
    for _ in 0..2 {
        let error = open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        canary::witness_error(&error);
    }
    assert!(!token.has_refused_a_pin(), "the PIN was sent again");
    assert_eq!(opens(folder, vec![key(&token, &wrong), passphrase()]).await, 3);
    assert_eq!(opens(folder, vec![key(&token, PIN)]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_slot_takes_the_key_of_another_store() {
    let token = Token::create();
    token.add_key("key", 1);
    let KeySource::Wrapping(outside) = key(&token, PIN) else { return };
    let context = |store: &str| strongroom_core::WrapContext::new().with("store", store);
    let wrapped = outside.wrap(&canary::text("key"), &context("1")).await.unwrap();
    let unwrapped = outside.unwrap(&wrapped, &context("2")).await;
    check_error(outside.as_ref(), ErrorKind::Corrupt, Operation::Unwrap, unwrapped);
}

/// A key that fails, and counts how often it is asked.
#[derive(Debug)]
struct Failing {
    kind: ErrorKind,
    calls: AtomicUsize,
}

#[async_trait]
impl WrappingKey for Failing {
    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn key_id(&self) -> &'static str {
        "pkcs11:token=failing;object=key"
    }

    async fn wrap(&self, _key: &SecretValue, _context: &WrapContext) -> Result<Vec<u8>> {
        Err(Error::new(self.kind, "ask the operator").because("planned"))
    }

    async fn unwrap(&self, _wrapped: &[u8], _context: &WrapContext) -> Result<SecretValue> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(self.kind, "ask the operator").because("planned"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fails_is_asked_once_for_all_slots() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let token = Token::create();
    token.add_key("key", 1);
    let store = NativeBackend::open(config(folder, vec![key(&token, PIN)])).await.unwrap();
    for _ in 0..2 {
        store.add_slot(key(&token, PIN), None).await.unwrap();
    }
    store.close().await.unwrap();
    for (kind, calls) in [
        (ErrorKind::Unauthenticated, 1),
        (ErrorKind::Unavailable, 1),
        (ErrorKind::Timeout, 1),
        // It says nothing of the other slots.
        (ErrorKind::Corrupt, 3),
    ] {
        let failing = Arc::new(Failing { kind, calls: AtomicUsize::new(0) });
        let source = KeySource::Wrapping(Arc::clone(&failing) as Arc<dyn WrappingKey>);
        let error = NativeBackend::open(config(folder, vec![source])).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(failing.calls.load(Ordering::Relaxed), calls, "{kind:?}");
    }
}
