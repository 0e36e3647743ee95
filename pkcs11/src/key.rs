//! A key on a token, as a [`WrappingKey`].

use std::sync::Arc;

use async_trait::async_trait;
use strongroom_core::{
    Error, Operation, Problems, Result, SecretValue, WrapContext, WrappingKey, check_wrappable,
};
use strongroom_transport::ensure_runtime;
use tracing::warn;

use crate::config::Pkcs11Config;
use crate::error::{KIND, mismatch, with_key};
use crate::object::TokenKey;
use crate::uri::KeyUri;
use crate::wrapped::Wrapped;
use crate::{module, token};

/// An AES-256 key on a PKCS#11 token that wraps other keys, such as those of a store. Its
/// [kind](WrappingKey::kind) is `pkcs11`.
///
/// The token encrypts with AES-256-GCM (`CKM_AES_GCM`), and the key does not leave it. The context is authenticated as
/// [JSON](WrapContext::to_json). A wrapped key is 29 bytes longer than the key: a version, the IV of 96 bits and the tag of
/// 128 bits. [`wrap`](WrappingKey::wrap) unwraps what it has wrapped, and requires the token to refuse it with another
/// context. The module's copies of a key are not wiped.
///
/// Each call opens a session, logs in with the user PIN, and closes the session, so a token that was removed and returned
/// works again. Calls to one module wait for one another, each for at most [`Pkcs11Config::timeout`].
///
/// # The PIN
/// A token locks its PIN after a few wrong ones. A PIN that a token has refused, or to which it has answered with a failure
/// that may mean so, is not sent to it again by this process, and none is sent while the token says that one more wrong PIN
/// would lock it. Each process sends a wrong PIN once: several processes, or a restart, send it again.
///
/// The sessions of a process share a login, so no call logs out (`C_Logout`). The login ends with the last session of
/// the process: if another part of the program has a session of this token open, it stays logged in after a call, and a
/// call then does not check the PIN. The mode and the owner of a [file with the PIN](crate::Pin::File) are not checked:
/// whoever can read the file has the PIN.
///
/// # The module
/// The module runs inside this process, once for all keys. If another part of the program has initialized it, it is used as
/// it is; otherwise it is finalized and initialized again when a token is missing, so a part of the program that uses the
/// same module has to initialize it first.
///
/// # Errors
/// As the table of [`WrappingKey`] says. A module that cannot be loaded is
/// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) and permanent, a token that is not there is `Unavailable` and temporary, a refused or
/// locked PIN is [`Unauthenticated`](strongroom_core::ErrorKind::Unauthenticated), and a URI that names several tokens or keys is
/// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput). A key that the token may give away (`CKA_EXTRACTABLE`, or not `CKA_SENSITIVE`)
/// works, with a warning at each call.
#[derive(Clone, Debug)]
pub struct Pkcs11Key {
    uri: String,
    key: Arc<KeyUri>,
    config: Pkcs11Config,
}

impl Pkcs11Key {
    /// The key that a URI (RFC 7512) names, such as `pkcs11:token=orders;object=strongroom`. Loads no module: the first call
    /// shows whether the key exists and may be used.
    ///
    /// The URI has the attribute `token` or `serial`, and `object` (the key's label) or `id`; `manufacturer` and `model` may be
    /// added. It must name one token and one secret key of it. It holds no PIN, since a store keeps it and errors show it.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong with the URI and the configuration.
    pub fn new(config: Pkcs11Config, uri: impl Into<String>) -> Result<Self> {
        let uri = uri.into();
        let mut problems = Problems::new();
        let key = KeyUri::parse(&uri);
        if let Err(complaint) = &key {
            problems.add(format!("the URI of the key {complaint}"));
        }
        config.check(&mut problems);
        let checked = problems.into_result();
        let named = |error: Error| error.during(Operation::Open).from_backend(KIND);
        checked.map_err(named)?;
        let key = key.map_err(|complaint| named(Error::config(vec![complaint.into()])))?;
        Ok(Self { uri, key: Arc::new(key), config })
    }

    /// Runs `work` with the key on the token.
    async fn with_key<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TokenKey<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        ensure_runtime()?;
        let (key, pin) = (Arc::clone(&self.key), self.config.pin.clone());
        let run = move |module: &mut module::Module| {
            let session = token::open(module, &key, &pin.read()?)?;
            let key = TokenKey::find(&session, &key)?;
            work(&key).map(|done| (done, key.is_extractable))
        };
        let (done, is_extractable) =
            module::call(&self.config.module, self.config.timeout, run).await?;
        if is_extractable {
            warn!(
                key = %self.uri,
                "the token may give this key away: replace it by one with `CKA_SENSITIVE` and without `CKA_EXTRACTABLE`"
            );
        }
        Ok(done)
    }
}

#[async_trait]
impl WrappingKey for Pkcs11Key {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn key_id(&self) -> &str {
        &self.uri
    }

    async fn wrap(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
        let wrap = async {
            check_wrappable(key)?;
            let (key, context) = (key.clone(), context.to_json());
            self.with_key(move |token| token.wrap(key.expose_bytes(), context.as_bytes())).await
        };
        let wrapped = wrap.await.map(|wrapped| wrapped.to_bytes());
        wrapped.map_err(|error| with_key(error, &self.uri).during(Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
        let unwrap = async {
            let wrapped = Wrapped::parse(wrapped).ok_or_else(mismatch)?;
            let context = context.to_json();
            self.with_key(move |token| token.decrypt(&wrapped, context.as_bytes())).await
        };
        let key = unwrap.await;
        key.map_err(|error| with_key(error, &self.uri).during(Operation::Unwrap))
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;
    use crate::Pin;

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let config = Pkcs11Config::new("module.so", Pin::Text("hunter2".into()));
        let uri = "pkcs11:token=a;object=b?pin-value=hunter2";
        let error = Pkcs11Key::new(config.clone(), uri).unwrap_err();
        assert_eq!((error.kind(), error.backend()), (ErrorKind::Config, Some("pkcs11")));
        assert_eq!(error.problems().len(), 2, "{error}");
        assert!(!format!("{error} {error:?} {config:?}").contains("hunter2"));
    }
}
