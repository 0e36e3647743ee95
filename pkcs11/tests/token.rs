//! Keys on real tokens of SoftHSM2.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::path::Path;
use std::time::{Duration, Instant};

use strongroom_core::{ErrorKind, Operation, WrapContext, WrappingKey as _};
use strongroom_pkcs11::{Pin, Pkcs11Config, Pkcs11Key};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::softhsm::{self, Attribute, KeyType, PIN, Token};
use strongroom_testkit::wrapping_key::{Keys, check_error, check_outage, check_wrapping, context};

fn config() -> Pkcs11Config {
    Pkcs11Config::new(softhsm::module(), Pin::Text(PIN.into()))
}

fn key(uri: impl Into<String>) -> Pkcs11Key {
    canary::watch();
    Pkcs11Key::new(config(), uri).unwrap()
}

/// The errors of both calls, which must have this kind.
async fn expect(key: &Pkcs11Key, kind: ErrorKind, is_temporary: bool, words: &str) {
    let wrapped = key.wrap(&canary::text("key"), &context()).await;
    let wrapped = check_error(key, kind, Operation::Wrap, wrapped);
    let unwrapped = key.unwrap(&[1; 77], &context()).await;
    let unwrapped = check_error(key, kind, Operation::Unwrap, unwrapped);
    for error in [wrapped, unwrapped] {
        assert_eq!(error.is_temporary(), is_temporary, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let token = Token::create();
    token.add_key("one", 1);
    token.add_key("two", 2);
    let [one, two, missing] = ["one", "two", "missing"].map(|name| key(token.uri(name)));
    // Other names of the same key.
    let serial = format!("pkcs11:serial={};id=%01", token.serial());
    let long = format!("{};id=%01;manufacturer=SoftHSM%20project", token.uri("one"));
    let given = canary::text("key");
    let wrapped = one.wrap(&given, &context()).await.unwrap();
    assert_eq!(wrapped.len(), given.len() + 29);
    for same in [serial, long, format!("{};model=SoftHSM%20v2", token.uri("one"))] {
        let unwrapped = key(same).unwrap(&wrapped, &context()).await.unwrap();
        assert_eq!(unwrapped.expose_bytes(), given.expose_bytes());
    }

    let keys =
        Keys { key: Box::new(one.clone()), other: Box::new(two), missing: Some(Box::new(missing)) };
    let wrapped = check_wrapping(&keys).await;
    let removed = token.remove();
    check_outage(&one, &wrapped).await;
    drop(removed);
}

#[tokio::test]
async fn a_wrong_pin_is_sent_once() {
    let token = Token::create();
    token.add_key("key", 1);
    let right = key(token.uri("key"));
    let wrapped = right.wrap(&canary::text("key"), &context()).await.unwrap();
    assert!(!token.has_refused_a_pin());

    let wrong = format!("{CANARY}wrong");
    let with = |pin: &str| {
        let config = Pkcs11Config::new(softhsm::module(), Pin::Text(pin.into()));
        Pkcs11Key::new(config, token.uri("key")).unwrap()
    };
    let unwrapped = with(&wrong).unwrap(&wrapped, &context()).await;
    let kind = ErrorKind::Unauthenticated;
    let error = check_error(&right, kind, Operation::Unwrap, unwrapped);
    assert!(!error.is_temporary() && error.to_string().contains("refuses the user PIN"), "{error}");
    assert!(token.has_refused_a_pin());

    // From here on the token would count again, whichever key of this process asks.
    token.reset_count();
    for _ in 0..5 {
        expect(&with(&wrong), kind, false, "it was not sent again").await;
    }
    assert!(!token.has_refused_a_pin());
    // A PIN that no token takes, because it is too short.
    expect(&with("1"), kind, false, "refuse").await;
    assert!(right.unwrap(&wrapped, &context()).await.is_ok());
}

#[tokio::test]
async fn reads_the_pin_from_its_file_for_each_call() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pin");
    let token = Token::create();
    token.add_key("key", 1);
    let config = Pkcs11Config::new(softhsm::module(), Pin::File(file.clone()));
    let key = Pkcs11Key::new(config, token.uri("key")).unwrap();
    expect(&key, ErrorKind::Unauthenticated, true, "cannot be read").await;
    std::fs::write(&file, "").unwrap();
    expect(&key, ErrorKind::Unauthenticated, false, "contains no text").await;
    std::fs::write(&file, "987654").unwrap();
    expect(&key, ErrorKind::Unauthenticated, false, "refuse").await;
    std::fs::write(&file, format!("{PIN}\n")).unwrap();
    key.wrap(&canary::text("key"), &context()).await.unwrap();
}

#[tokio::test]
async fn a_name_of_no_key_or_several_is_an_error() {
    let token = Token::create();
    token.add_key("twin", 1);
    token.add_key("twin", 2);
    expect(&key(token.uri("missing")), ErrorKind::NotFound, false, "no such key").await;
    expect(&key(token.uri("twin;id=%03")), ErrorKind::NotFound, false, "no such key").await;
    expect(&key(token.uri("twin")), ErrorKind::InvalidInput, false, "names 2 keys").await;
    key(token.uri("twin;id=%02")).wrap(&canary::text("key"), &context()).await.unwrap();
}

#[tokio::test]
async fn a_name_of_no_token_or_several_is_an_error() {
    let absent = key("pkcs11:token=absent;object=key");
    expect(&absent, ErrorKind::Unavailable, true, "no such token").await;
    let label = format!("twin {}", std::process::id());
    let tokens = [Token::labelled(&label), Token::labelled(&label)];
    for token in &tokens {
        token.add_key("key", 1);
    }
    let [one, two] = &tokens;
    let both = key(one.uri("key"));
    expect(&both, ErrorKind::InvalidInput, false, "names 2 tokens").await;
    assert!(!one.has_refused_a_pin() && !two.has_refused_a_pin());
    let one = key(format!("{};serial={}", one.uri("key"), one.serial()));
    let two = key(format!("pkcs11:serial={};object=key", two.serial()));
    let wrapped = one.wrap(&canary::text("key"), &context()).await.unwrap();
    let unwrapped = two.unwrap(&wrapped, &context()).await;
    check_error(&two, ErrorKind::Corrupt, Operation::Unwrap, unwrapped);
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_unsupported() {
    let token = Token::create();
    token.add_key_with("short", 1, &[Attribute::ValueLen(16.into())]);
    token.add_key_with("generic", 2, &[Attribute::KeyType(KeyType::GENERIC_SECRET)]);
    token.add_key_with("encrypts", 3, &[Attribute::Decrypt(false)]);
    token.add_key_with("decrypts", 4, &[Attribute::Encrypt(false)]);
    token.add_data("data");
    for (name, words) in [
        ("short", "AES-256"),
        ("generic", "AES-256"),
        ("data", "AES-256"),
        ("encrypts", "CKA_DECRYPT"),
        ("decrypts", "CKA_ENCRYPT"),
    ] {
        expect(&key(token.uri(name)), ErrorKind::Unsupported, false, words).await;
    }
}

#[tokio::test]
async fn a_missing_module_or_another_library_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    for (module, words) in
        [(Path::new("/nonexistent/libpkcs11.so"), "does not exist"), (&text, "cannot be loaded")]
    {
        let config = Pkcs11Config::new(module, Pin::Text(PIN.into()));
        let key = Pkcs11Key::new(config, "pkcs11:token=a;object=b").unwrap();
        expect(&key, ErrorKind::Unavailable, false, words).await;
    }
    let other = Path::new("/proc/self/exe").canonicalize().unwrap();
    let config = Pkcs11Config::new(other, Pin::Text(PIN.into()));
    let key = Pkcs11Key::new(config, "pkcs11:token=a;object=b").unwrap();
    expect(&key, ErrorKind::Unavailable, false, "cannot be loaded").await;
}

#[tokio::test]
async fn calls_of_many_tasks_wait_for_one_another() {
    let token = Token::create();
    token.add_key("key", 1);
    let key = key(token.uri("key"));
    let calls = (0..16).map(|at: u8| {
        let key = key.clone();
        tokio::spawn(async move {
            let given = canary::text(&at.to_string());
            let context = WrapContext::new().with("slot", at.to_string());
            let wrapped = key.wrap(&given, &context).await.unwrap();
            let unwrapped = key.unwrap(&wrapped, &context).await.unwrap();
            assert_eq!(unwrapped.expose_bytes(), given.expose_bytes());
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn warns_of_a_key_that_the_token_may_give_away() {
    let token = Token::create();
    token.add_key("safe", 1);
    token.add_key_with("extractable", 2, &[Attribute::Extractable(true)]);
    token.add_key_with("shown", 3, &[Attribute::Sensitive(false)]);
    for (name, warns) in [("safe", false), ("extractable", true), ("shown", true)] {
        let key = Pkcs11Key::new(config(), token.uri(name)).unwrap();
        let log = strongroom_testkit::log::Log::default();
        let captured = log.capture();
        key.wrap(&canary::text("key"), &context()).await.unwrap();
        drop(captured);
        assert_eq!(log.text().contains("CKA_EXTRACTABLE"), warns, "{name}: {}", log.text());
    }
}

#[tokio::test]
async fn reports_how_long_a_call_takes() {
    let token = Token::create();
    token.add_key("key", 1);
    let key = key(token.uri("key"));
    let given = strongroom_core::SecretValue::binary(vec![7; 32]);
    let wrapped = key.wrap(&given, &context()).await.unwrap();
    let count = 50;
    let begin = Instant::now();
    for _ in 0..count {
        key.wrap(&given, &context()).await.unwrap();
    }
    let wrap = begin.elapsed() / count;
    let begin = Instant::now();
    for _ in 0..count {
        key.unwrap(&wrapped, &context()).await.unwrap();
    }
    let unwrap = begin.elapsed() / count;
    strongroom_testkit::report(format_args!("SoftHSM2: wrap {wrap:?}, unwrap {unwrap:?}"));
    assert!(wrap.max(unwrap) < Duration::from_secs(1));
}
