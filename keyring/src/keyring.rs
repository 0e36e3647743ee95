//! The keyring of this platform, and the key in it.

use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error as KeyringError};
use strongroom_core::{Error, ErrorKind, Result};
use strongroom_transport::BlockingCalls;
use zeroize::Zeroizing;

use crate::error::{changed_meanwhile, classify, missing, not_a_key};

/// The service of every entry.
const SERVICE: &str = "strongroom";
/// How the value of an entry begins: a version of its form.
const MAGIC: [u8; 4] = *b"SRK\x01";
const KEY_LEN: usize = 32;
/// How long after a new entry was written it is read again. A process that has found none at the same time, and would
/// replace it, has written by then.
const SETTLING: Duration = Duration::from_millis(500);

pub(crate) type KeyBytes = Zeroizing<[u8; KEY_LEN]>;

/// The keyring. Each call connects anew, since the keyring of a session may be restarted.
static KEYRING: LazyLock<BlockingCalls<()>> =
    LazyLock::new(|| BlockingCalls::new("the keyring of the operating system", ()));

/// The key of an account. Without `create`, a missing one is an error; with it, a missing one is created, and one that exists
/// is never replaced.
pub(crate) async fn key(account: &Arc<str>, create: bool, limit: Duration) -> Result<KeyBytes> {
    let account = Arc::clone(account);
    KEYRING
        .call(limit, move |()| {
            let entry = entry(&account).map_err(|error| classify(&error))?;
            match read(&entry)? {
                Some(key) => Ok(key),
                None if create => create_key(&entry),
                None => Err(missing()),
            }
        })
        .await
}

fn read(entry: &Entry) -> Result<Option<KeyBytes>> {
    let value = match entry.get_secret() {
        Ok(value) => Zeroizing::new(value),
        Err(KeyringError::NoEntry) => return Ok(None),
        Err(error) => return Err(classify(&error)),
    };
    let key = value.strip_prefix(&MAGIC).and_then(|key| key.try_into().ok());
    key.map(|key| Some(Zeroizing::new(key))).ok_or_else(not_a_key)
}

fn create_key(entry: &Entry) -> Result<KeyBytes> {
    let key: KeyBytes = Zeroizing::new(random()?);
    let mut value = Zeroizing::new(Vec::with_capacity(MAGIC.len() + KEY_LEN));
    value.extend_from_slice(&MAGIC);
    value.extend_from_slice(&*key);
    entry.set_secret(&value).map_err(|error| classify(&error))?;
    thread::sleep(SETTLING);
    match read(entry)? {
        Some(kept) if *kept == *key => Ok(key),
        _ => Err(changed_meanwhile()),
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| {
        Error::new(ErrorKind::Unavailable, "check the operating system's source of randomness")
            .because("the operating system gives no random bytes")
    })?;
    Ok(bytes)
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
fn entry(account: &str) -> Result<Entry, KeyringError> {
    zbus_secret_service_keyring_store::Store::new()?.build(SERVICE, account, None)
}

#[cfg(target_os = "macos")]
fn entry(account: &str) -> Result<Entry, KeyringError> {
    apple_native_keyring_store::keychain::Store::new()?.build(SERVICE, account, None)
}

#[cfg(windows)]
fn entry(account: &str) -> Result<Entry, KeyringError> {
    windows_native_keyring_store::Store::new()?.build(SERVICE, account, None)
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "freebsd",
    target_os = "openbsd",
    target_os = "macos",
    windows
)))]
fn entry(_account: &str) -> Result<Entry, KeyringError> {
    Err(KeyringError::NotSupportedByStore("there is no keyring".into()))
}
