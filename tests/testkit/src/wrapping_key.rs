//! The contract of [`WrappingKey`], checked against a real service.

use std::fmt::Debug;

use strongroom_core::{
    Error, ErrorKind, Operation, Result, SecretValue, ValueFormat, WrapContext, WrappingKey,
};

use crate::canary::{self, CANARY};
use crate::errors;

/// The keys of one service.
#[derive(Debug)]
pub struct Keys {
    /// The key under test.
    pub key: Box<dyn WrappingKey>,
    /// Another key of the same service.
    pub other: Box<dyn WrappingKey>,
    /// A key that does not exist, unless the service creates it.
    pub missing: Option<Box<dyn WrappingKey>>,
}

/// Checks the whole contract. `disable` disables [`Keys::key`], and the service stops when `server` is dropped.
///
/// # Panics
/// If the contract does not hold, or if an error or `Debug` shows a key.
pub async fn check_contract<S>(keys: &Keys, server: S, disable: impl AsyncFnOnce(&S)) {
    let wrapped = check_wrapping(keys).await;
    let key = keys.key.as_ref();
    disable(&server).await;
    let error = expect_both(key, ErrorKind::Unavailable, &wrapped, false).await;
    assert!(error.cause().contains("the key is "), "{error}");
    drop(server);
    check_outage(key, &wrapped).await;
}

/// Checks the contract of a service that is up, and gives a wrapped key.
///
/// # Panics
/// As [`check_contract`].
pub async fn check_wrapping(keys: &Keys) -> Vec<u8> {
    canary::watch();
    let key = keys.key.as_ref();
    let wrapped = wraps_and_unwraps(key).await;
    binds_the_context(key, &wrapped).await;
    detects_every_change(key, &wrapped).await;
    refuses_the_lengths_that_no_service_wraps(key).await;
    let other = keys.other.as_ref();
    let unwrapped = other.unwrap(&wrapped, &context()).await;
    expect_permanent(other, ErrorKind::Corrupt, Operation::Unwrap, unwrapped);
    if let Some(missing) = &keys.missing {
        expect_both(missing.as_ref(), ErrorKind::NotFound, &wrapped, false).await;
    }
    let shown = format!("{keys:?} {keys:#?}");
    assert_eq!(canary::find(shown.as_bytes()), None);
    wrapped
}

/// Checks that the calls of a key fail as they should while its service is down.
///
/// # Panics
/// As [`check_contract`].
pub async fn check_outage(key: &dyn WrappingKey, wrapped: &[u8]) {
    expect_both(key, ErrorKind::Unavailable, wrapped, true).await;
}

/// Keys of every form and of the shortest and the longest length; gives one of them, wrapped.
async fn wraps_and_unwraps(key: &dyn WrappingKey) -> Vec<u8> {
    let planted = [CANARY.as_bytes(), &[0, 0xff, b'"', b'\n', 0x80]].concat();
    let longest = CANARY.bytes().cycle().take(4096).collect();
    for bytes in [planted, vec![7], vec![0; 32], longest] {
        let given = SecretValue::binary(bytes);
        let wrapped = key.wrap(&given, &context()).await.unwrap();
        assert_eq!(canary::find(&wrapped), None);
        let again = key.wrap(&given, &context()).await.unwrap();
        assert_ne!(wrapped, again, "two wrapped keys have the same bytes");
        for wrapped in [wrapped, again] {
            let unwrapped = key.unwrap(&wrapped, &context()).await.unwrap();
            assert_eq!(unwrapped.format(), ValueFormat::Binary);
            assert!(unwrapped.constant_time_eq(&given));
        }
    }
    let text = key.wrap(&canary::text("key"), &WrapContext::new()).await.unwrap();
    let unwrapped = key.unwrap(&text, &WrapContext::new()).await.unwrap();
    assert!(unwrapped.constant_time_eq(&given()));
    key.wrap(&given(), &context()).await.unwrap()
}

async fn binds_the_context(key: &dyn WrappingKey, wrapped: &[u8]) {
    for context in [
        WrapContext::new(),
        context().with("slot", "2"),
        context().with("more", "1"),
        WrapContext::new().with("store", STORE),
        WrapContext::new().with("store", "1").with("slot", STORE),
    ] {
        let unwrapped = key.unwrap(wrapped, &context).await;
        expect_permanent(key, ErrorKind::Corrupt, Operation::Unwrap, unwrapped);
    }
    // The order of the entries does not matter.
    let same = WrapContext::new().with("slot", "1").with("store", STORE);
    assert!(key.unwrap(wrapped, &same).await.unwrap().constant_time_eq(&given()));
}

/// Two bits of each byte, one by one, and other lengths.
async fn detects_every_change(key: &dyn WrappingKey, wrapped: &[u8]) {
    let bits = (0..wrapped.len()).flat_map(|at| [(at, 1), (at, 2 << (at % 7))]);
    let flipped = bits.map(|(at, bit)| {
        let mut changed = wrapped.to_vec();
        changed[at] ^= bit;
        changed
    });
    let shorter = wrapped[..wrapped.len() - 1].to_vec();
    let longer = [wrapped, b"A"].concat();
    let others = [shorter, longer, Vec::new(), b"A".to_vec(), vec![0xff; 64]];
    for changed in flipped.chain(others) {
        let unwrapped = key.unwrap(&changed, &context()).await;
        expect_permanent(key, ErrorKind::Corrupt, Operation::Unwrap, unwrapped);
    }
}

async fn refuses_the_lengths_that_no_service_wraps(key: &dyn WrappingKey) {
    for bytes in [Vec::new(), CANARY.bytes().cycle().take(4097).collect()] {
        let given = SecretValue::binary(bytes);
        let wrapped = key.wrap(&given, &context()).await;
        expect_permanent(key, ErrorKind::InvalidInput, Operation::Wrap, wrapped);
    }
}

/// Fails to wrap and to unwrap; gives one of the errors.
async fn expect_both(
    key: &dyn WrappingKey,
    kind: ErrorKind,
    wrapped: &[u8],
    is_temporary: bool,
) -> Error {
    let unwrapped = key.unwrap(wrapped, &context()).await;
    let unwrapped = check_error(key, kind, Operation::Unwrap, unwrapped);
    let given = given();
    let wrapped = key.wrap(&given, &context()).await;
    let wrapped = check_error(key, kind, Operation::Wrap, wrapped);
    for error in [&unwrapped, &wrapped] {
        assert_eq!(error.is_temporary(), is_temporary, "{error}");
    }
    unwrapped
}

#[track_caller]
fn expect_permanent<T: Debug>(
    key: &dyn WrappingKey,
    kind: ErrorKind,
    operation: Operation,
    result: Result<T>,
) {
    let error = check_error(key, kind, operation, result);
    assert!(!error.is_temporary(), "{error}");
}

/// Asserts what holds for every error of a key: it names the service and the key.
///
/// # Panics
/// If the result is another error, or none.
#[track_caller]
pub fn check_error<T: Debug>(
    key: &dyn WrappingKey,
    kind: ErrorKind,
    operation: Operation,
    result: Result<T>,
) -> Error {
    let error = errors::expect_error(operation, kind, result);
    assert_eq!(error.backend(), Some(key.kind()), "{error}");
    assert!(error.to_string().contains(&format!("`{}`", key.key_id())), "{error}");
    canary::witness_error(&error);
    error
}

const STORE: &str = "5f0c81d2a6b94e3f8c7d1e2f3a4b5c6d";

/// A context such as a store has.
#[must_use]
pub fn context() -> WrapContext {
    WrapContext::new().with("store", STORE).with("slot", "1")
}

fn given() -> SecretValue {
    SecretValue::binary([CANARY.as_bytes(), b"key"].concat())
}
