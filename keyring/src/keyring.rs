//! The keyring of this platform, and the key in it.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error as KeyringError};
use strongroom_core::{Error, ErrorKind, Result};
use strongroom_transport::BlockingCalls;
use zeroize::Zeroizing;

use crate::error::{answered_too_late, classify, missing, not_a_key};

/// The service of every entry.
const SERVICE: &str = "strongroom";
/// How the value of an entry begins: a version of its form.
const MAGIC: [u8; 4] = *b"SRK\x01";
const KEY_LEN: usize = 32;
/// A key on the heap, so that moving it leaves no copy.
pub(crate) type KeyBytes = Box<Zeroizing<[u8; KEY_LEN]>>;

/// The keyring. Each call connects anew, since the keyring of a session may be restarted.
static KEYRING: LazyLock<BlockingCalls<()>> =
    LazyLock::new(|| BlockingCalls::new("the keyring of the operating system", ()));

/// The key of an account. Without `create`, a missing one is an error; with it, a missing one is created.
pub(crate) async fn key(account: &Arc<str>, create: bool, limit: Duration) -> Result<KeyBytes> {
    let account = Arc::clone(account);
    let deadline = Instant::now() + limit;
    KEYRING
        .call(limit, move |()| {
            let entry = entry(&account).map_err(|error| classify(&error))?;
            match read(&entry)? {
                Some(key) => Ok(key),
                None if create => creation::create_key(&account, &entry, deadline),
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
    let found = value.strip_prefix(&MAGIC).filter(|key| key.len() == KEY_LEN);
    let mut key = KeyBytes::default();
    key.copy_from_slice(found.ok_or_else(not_a_key)?);
    Ok(Some(key))
}

/// A random key, and the value of its entry.
fn new_key() -> Result<(KeyBytes, Zeroizing<Vec<u8>>)> {
    let mut key = KeyBytes::default();
    fill(&mut **key)?;
    let mut value = Zeroizing::new(Vec::with_capacity(MAGIC.len() + KEY_LEN));
    value.extend_from_slice(&MAGIC);
    value.extend_from_slice(&**key);
    Ok((key, value))
}

/// Fails if the caller no longer waits: what a prompt that is answered late permits is not done.
fn check_deadline(deadline: Instant) -> Result<()> {
    if Instant::now() < deadline { Ok(()) } else { Err(answered_too_late()) }
}

/// The creation of an entry in a Secret Service, which replaces nothing.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
mod creation {
    use std::collections::HashMap;
    use std::time::Instant;

    use keyring_core::{Entry, Error as KeyringError};
    use secret_service::blocking::{Item, SecretService};
    use secret_service::{EncryptionType, Error as ServiceError};
    use strongroom_core::{Error, Result};

    use super::{KeyBytes, SERVICE, check_deadline, new_key, read};
    use crate::error::{changed_meanwhile, classify};

    /// Creates the key, unless another process has done so while a prompt waited. The library of the keyring would replace
    /// an entry that it has not found before the prompt, so the entry is created here.
    pub(super) fn create_key(account: &str, entry: &Entry, deadline: Instant) -> Result<KeyBytes> {
        let service = SecretService::connect(EncryptionType::Dh).map_err(failed)?;
        let collection = service.get_default_collection().map_err(failed)?;
        if collection.is_locked().map_err(failed)? {
            collection.unlock().map_err(failed)?;
        }
        // A prompt may have waited for a minute.
        if let Some(key) = read(entry)? {
            return Ok(key);
        }
        check_deadline(deadline)?;
        let (key, value) = new_key()?;
        // As the library of the keyring names an entry.
        let attributes = || HashMap::from([("service", SERVICE), ("username", account)]);
        let label = format!("keyring:{account}@{SERVICE}");
        let ours = collection
            .create_item(&label, attributes(), &value, false, "application/octet-stream")
            .map_err(failed)?;
        // Of two processes that have found no entry, the later sees the entry of the earlier one here.
        let found = service.search_items(attributes()).map_err(failed)?;
        let mut others = found.unlocked.iter().chain(&found.locked).filter(|item| **item != ours);
        let order = order(&ours);
        if others.any(|other| self::order(other) < order) {
            ours.delete().map_err(failed)?;
            return Err(changed_meanwhile());
        }
        Ok(key)
    }

    /// Orders entries by their creation, as all processes see it. The time is in seconds; the number in the path, which
    /// grows, tells the rest.
    fn order(item: &Item<'_>) -> (u64, usize, String) {
        let path = item.item_path.to_string();
        (item.get_created().unwrap_or(u64::MAX), path.len(), path)
    }

    fn failed(error: ServiceError) -> Error {
        let is_access =
            matches!(error, ServiceError::Locked | ServiceError::NoResult | ServiceError::Prompt);
        let cause = Box::new(error);
        classify(&if is_access {
            KeyringError::NoStorageAccess(cause)
        } else {
            KeyringError::PlatformFailure(cause)
        })
    }
}

/// The creation of an entry in a keyring that replaces an entry which another process creates at the same moment.
#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
mod creation {
    use std::thread;
    use std::time::{Duration, Instant};

    use keyring_core::Entry;
    use strongroom_core::Result;

    use super::{KeyBytes, check_deadline, new_key, read};
    use crate::error::{changed_meanwhile, classify};

    /// How long after a new entry was written it is read again. A process that has found none at the same time, and would
    /// replace it, has written by then.
    const SETTLING: Duration = Duration::from_millis(500);

    pub(super) fn create_key(_account: &str, entry: &Entry, deadline: Instant) -> Result<KeyBytes> {
        check_deadline(deadline)?;
        let (key, value) = new_key()?;
        // Again, directly before it is written: the first time may have waited for a prompt.
        if let Some(key) = read(entry)? {
            return Ok(key);
        }
        entry.set_secret(&value).map_err(|error| classify(&error))?;
        thread::sleep(SETTLING);
        match read(entry)? {
            Some(kept) if **kept == **key => Ok(key),
            _ => Err(changed_meanwhile()),
        }
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|_| {
        Error::new(ErrorKind::Unavailable, "check the operating system's source of randomness")
            .because("the operating system gives no random bytes")
    })
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;
    use std::sync::Barrier;
    use std::thread;

    use strongroom_testkit::gnome_keyring::Keyring;

    use super::*;

    /// Set in the child, which sees the keyring of the test.
    const CHILD: &str = "KEYRING_UNIT_CHILD";
    const DONE: &str = "the work is done";

    #[test]
    fn a_late_answer_creates_nothing_and_an_entry_that_appears_is_kept() {
        let keyring = Keyring::start();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["keyring::tests::child", "--exact", "--nocapture"])
            .envs(keyring.variables())
            .env(CHILD, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        let errors = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && output.contains(DONE), "{output}{errors}");
    }

    /// The work of the child; does nothing in the test process itself.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let entry = entry("late").unwrap();
        let late = creation::create_key("late", &entry, Instant::now());
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
        assert!(read(&entry).unwrap().is_none());

        let limit = Duration::from_secs(60);
        let first = creation::create_key("late", &entry, Instant::now() + limit).unwrap();
        // As after a search that was before another process has created it, also when that was too late.
        for deadline in [Instant::now() + limit, Instant::now()] {
            let second = creation::create_key("late", &entry, deadline).unwrap();
            assert_eq!(**second, **first);
        }
        assert_eq!(**read(&entry).unwrap().unwrap(), **first);

        for round in 0..5 {
            race(&format!("race-{round}"));
        }
        println!("\n{DONE}");
    }
    /// Creates a key on several connections at once: all that succeed have the same key, which stays.
    #[expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]
    fn race(account: &str) {
        let barrier = Barrier::new(4);
        let create = || {
            let entry = entry(account).unwrap();
            barrier.wait();
            creation::create_key(account, &entry, Instant::now() + Duration::from_secs(60))
        };
        let created: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let kept = read(&entry(account).unwrap()).unwrap().unwrap();
        let mut count = 0;
        for created in created {
            match created {
                Ok(key) => {
                    assert_eq!(**key, **kept);
                    count += 1;
                }
                Err(error) => {
                    // `InvalidInput` while the entry of another connection is about to be removed.
                    let kinds = [ErrorKind::Conflict, ErrorKind::InvalidInput];
                    assert!(kinds.contains(&error.kind()), "{error}");
                }
            }
        }
        assert!(count > 0);
    }
}
