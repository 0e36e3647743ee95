//! A key in a keyring, as a [`WrappingKey`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::{
    Error, Operation, Result, SecretValue, WrapContext, WrappingKey, check_wrappable,
};
use strongroom_transport::ensure_runtime;

use crate::error::{KIND, mismatch, with_key};
use crate::{keyring, wrapped};

/// The longest account, in bytes.
const MAX_ACCOUNT: usize = 64;
/// How long a call may take. A keyring that is locked asks its user.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A random key of 32 bytes in the keyring of the operating system, which wraps other keys, such as those of a store: the
/// Secret Service of a Linux desktop (GNOME Keyring, KWallet), the Keychain of macOS, the Credential Manager of Windows. Its
/// [kind](WrappingKey::kind) is `os-keyring`.
///
/// The entry has the service `strongroom` and the account that the operator chooses. The first
/// [`wrap`](WrappingKey::wrap) creates it. A Secret Service is asked to replace no entry, and a prompt that is answered
/// after the call has timed out creates none: of two processes that create the same entry at the same moment, the later
/// removes its own and fails with [`Conflict`](strongroom_core::ErrorKind::Conflict). Should it end before it has, the
/// entry is ambiguous until the operator removes one of the two. The Keychain and the Credential Manager let a process
/// that has found no entry replace one that appears in that moment: there, the new entry is read again after half a
/// second, and another key in it is that error. Whoever may read the user's unlocked keyring has the key, every other
/// program of the user on Linux included; it protects a store that is copied to another machine.
///
/// Keys are wrapped with AES-256-GCM in this process, and the context is authenticated as
/// [JSON](WrapContext::to_json). The copies of the key that the keyring's library makes are not wiped.
///
/// # Errors
/// As the table of [`WrappingKey`] says. A keyring that cannot be reached, or is locked, is
/// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) and temporary, a prompt that is dismissed is
/// [`Denied`](strongroom_core::ErrorKind::Denied), and a missing entry is
/// [`NotFound`](strongroom_core::ErrorKind::NotFound) when a key is unwrapped. An entry that is not such a key is
/// [`Unsupported`](strongroom_core::ErrorKind::Unsupported). A call takes at most 60 s, the answer to a prompt included.
#[derive(Clone, Debug)]
pub struct KeyringKey {
    account: Arc<str>,
}

impl KeyringKey {
    /// The key of an account: 1 to 64 letters, digits and `-._@/`. Does not ask the keyring.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) if the account is another text.
    pub fn new(account: impl Into<String>) -> Result<Self> {
        let account: String = account.into();
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@/".contains(&byte);
        if (1..=MAX_ACCOUNT).contains(&account.len()) && account.bytes().all(is_allowed) {
            return Ok(Self { account: account.into() });
        }
        let problem = format!(
            "the account of the key in the keyring has 1 to {MAX_ACCOUNT} letters, digits and `-._@/`"
        );
        Err(Error::config(vec![problem]).during(Operation::Open).from_backend(KIND))
    }
}

#[async_trait]
impl WrappingKey for KeyringKey {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn key_id(&self) -> &str {
        &self.account
    }

    async fn wrap(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
        let wrap = async {
            check_wrappable(key)?;
            ensure_runtime()?;
            let wrapping = keyring::key(&self.account, true, TIMEOUT).await?;
            wrapped::seal(&wrapping, key.expose_bytes(), context.to_json().as_bytes())
        };
        let wrapped = wrap.await;
        wrapped.map_err(|error| with_key(error, &self.account).during(Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
        let unwrap = async {
            if !wrapped::is_wrapped(wrapped) {
                return Err(mismatch());
            }
            ensure_runtime()?;
            let wrapping = keyring::key(&self.account, false, TIMEOUT).await?;
            wrapped::open(&wrapping, wrapped, context.to_json().as_bytes())
        };
        let key = unwrap.await;
        key.map_err(|error| with_key(error, &self.account).during(Operation::Unwrap))
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    #[test]
    fn an_account_is_a_short_name() {
        for account in ["orders", "team/orders-1.prod", "a@b", &"a".repeat(64)] {
            assert_eq!(KeyringKey::new(account).unwrap().key_id(), account);
        }
        for account in ["", "hunter2 hunter2", "hunter2\n", "ä", &"a".repeat(65)] {
            let error = KeyringKey::new(account).unwrap_err();
            assert_eq!((error.kind(), error.backend()), (ErrorKind::Config, Some("os-keyring")));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
