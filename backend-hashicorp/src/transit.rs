//! A key of a transit engine that wraps other keys; see <https://openbao.org/api-docs/secret/transit/>.

mod error;

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strongroom_core::{
    Error, ErrorKind, Operation, Result, SecretPath, SecretValue, ValueFormat, WrapContext,
    WrappingKey, check_wrappable,
};
use strongroom_transport::{ensure_runtime, run_blocking};
use zeroize::Zeroizing;

use self::error::{context_not_bound, mismatch, to_error, with_key};
use crate::client::Client;
use crate::config::HashicorpConfig;
use crate::error::{RequiredPermission, invalid_response};
use crate::http::Request;
use crate::response::Response;
use crate::value::decode_base64;

const KIND: &str = "transit";
const DEFAULT_MOUNT: &str = "transit";
/// How each ciphertext begins, of Vault and of OpenBao. The version of the key follows.
const CIPHERTEXT_PREFIX: &str = "vault:v";

/// A key of the transit engine of HashiCorp Vault or OpenBao that wraps other keys, such as those of a store. Its
/// [kind](WrappingKey::kind) is `transit`.
///
/// The server authenticates the context as `associated_data`. It does so for keys of an AEAD type without
/// derivation: `aes128-gcm96`, `aes256-gcm96`, `chacha20-poly1305` and `xchacha20-poly1305`. Keys of other types
/// are [`Unsupported`](ErrorKind::Unsupported).
///
/// [`unwrap`](WrappingKey::unwrap) sends one request. [`wrap`](WrappingKey::wrap) sends three: it reads the key's
/// description first, because the server would create a missing key, and decrypts the result without the context
/// afterwards, which the server has to refuse: a server that does not know `associated_data` ignores it.
///
/// The key has a session of its own, with the login, token, time limits and TLS that
/// [the crate's documentation](crate) describes. [`close`](WrappingKey::close) revokes the token. The settings of
/// [`HashicorpConfig`] that concern secrets have no effect: `mount`, `static_roles` and `secret_names`. An unwrapped
/// key is wiped from the buffers of this crate, and not from those of the HTTP and TLS libraries.
///
/// # Permissions
/// A policy for the key `transit/strongroom`. To open a store, the last rule suffices.
///
/// ```hcl
/// path "transit/keys/strongroom"    { capabilities = ["read"] }
/// path "transit/encrypt/strongroom" { capabilities = ["update"] }
/// path "transit/decrypt/strongroom" { capabilities = ["update"] }
/// ```
///
/// # Examples
/// ```no_run
/// # async fn run(data_key: strongroom_core::SecretValue) -> strongroom_core::Result<()> {
/// use strongroom_backend_hashicorp::{HashicorpConfig, TransitKey};
/// use strongroom_core::{WrapContext, WrappingKey};
///
/// let key = TransitKey::open(HashicorpConfig::from_env()?, "transit/strongroom").await?;
/// let context = WrapContext::new().with("store", "5f0c81d2a6b94e3f8c7d1e2f3a4b5c6d").with("slot", "1");
/// let wrapped = key.wrap(&data_key, &context).await?;
/// let same = key.unwrap(&wrapped, &context).await?;
/// key.close().await?;
/// # drop(same);
/// # Ok(())
/// # }
/// ```
pub struct TransitKey {
    client: Client,
    /// The mount and the name.
    key_id: String,
    mount: String,
    name: String,
}

#[derive(Serialize)]
struct EncryptBody<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Serialize)]
struct DecryptBody<'a> {
    ciphertext: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    associated_data: Option<&'a str>,
}

#[derive(Deserialize)]
struct Encrypted<'a> {
    #[serde(borrow)]
    ciphertext: Cow<'a, str>,
}

/// The description of a key. A secret of a KV engine that is mounted there does not have this member.
#[derive(Deserialize)]
struct KeyInfo {
    #[serde(rename = "latest_version")]
    _latest_version: u64,
}

impl TransitKey {
    /// Creates a client for the key `MOUNT/NAME`; `NAME` alone stands for `transit/NAME`. It sends nothing: the
    /// first call logs in, and shows whether the key exists.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the configuration or the key's name is invalid, a file that the
    /// configuration names cannot be used, or no Tokio runtime runs.
    pub async fn open(config: HashicorpConfig, key_id: impl AsRef<str> + Send) -> Result<Self> {
        let open = async {
            ensure_runtime()?;
            let (mount, name) = split(key_id.as_ref())?;
            let client = run_blocking(|| Client::new(config)).await?;
            Ok::<_, Error>(Self { client, key_id: format!("{mount}/{name}"), mount, name })
        };
        open.await.map_err(|error| error.during(Operation::Open).from_backend(KIND))
    }

    /// The API path of a part of the key, for requests and policies.
    fn api_path(&self, part: &str) -> String {
        format!("{}/{part}/{}", self.mount, self.name)
    }

    /// Sends a request that must succeed.
    async fn execute(&self, request: &Request, capability: &'static str) -> Result<Response> {
        let response = self.client.send(request).await?;
        if response.is_success() {
            return Ok(response);
        }
        Err(to_error(&response, RequiredPermission { capability, path: &request.path }))
    }

    async fn encrypt(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
        check_wrappable(key)?;
        ensure_runtime()?;
        let response = self.execute(&Request::get(self.api_path("keys")), "read").await?;
        let _: KeyInfo = response.data()?;
        let plaintext = Zeroizing::new(STANDARD.encode(key.expose_bytes()));
        let associated_data = encode(context);
        let body = EncryptBody { plaintext: &plaintext, associated_data: &associated_data };
        let request = Request::post(self.api_path("encrypt"), &body)?;
        let response = self.execute(&request, "update").await?;
        let Encrypted { ciphertext } = response.data()?;
        if !is_ciphertext(&ciphertext) {
            return Err(invalid_response());
        }
        match self.send_decrypt(&ciphertext, None).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(ciphertext.into_owned().into()),
            Err(error) => Err(error),
            Ok(_) => Err(context_not_bound()),
        }
    }

    async fn decrypt(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
        let ciphertext = std::str::from_utf8(wrapped).unwrap_or_default();
        if !is_ciphertext(ciphertext) {
            return Err(mismatch());
        }
        ensure_runtime()?;
        let response = self.send_decrypt(ciphertext, Some(&encode(context))).await?;
        let data: &RawValue = response.data()?;
        let data = SecretValue::from_stored(ValueFormat::Fields, Vec::from(data.get()))?;
        let key = data.field("plaintext").and_then(|text| decode_base64(&text));
        key.ok().filter(|key| !key.is_empty()).ok_or_else(invalid_response)
    }

    async fn send_decrypt(
        &self,
        ciphertext: &str,
        associated_data: Option<&str>,
    ) -> Result<Response> {
        let body = DecryptBody { ciphertext, associated_data };
        self.execute(&Request::post(self.api_path("decrypt"), &body)?, "update").await
    }

    /// Adds to an error what failed, and names settings as the caller set them.
    fn add_context(&self, error: Error, operation: Operation) -> Error {
        let error = self.client.setting_names.rename(error);
        with_key(error, &self.key_id).during(operation).from_backend(KIND)
    }
}

/// The mount and the name of a key.
fn split(key_id: &str) -> Result<(String, String)> {
    if SecretPath::parse(key_id).is_err() {
        // It is not shown, because it may be a secret by mistake.
        let problem =
            "the name of the transit key is not a mount and a name such as `transit/strongroom`";
        return Err(Error::config(vec![problem.into()]));
    }
    let (mount, name) = key_id.rsplit_once('/').unwrap_or((DEFAULT_MOUNT, key_id));
    Ok((mount.into(), name.into()))
}

/// Whether a text is a ciphertext as servers write it: `vault:v1:` and base64. Servers also read other texts for the
/// same ciphertext: version 0 for 1, line breaks, and other last bits.
fn is_ciphertext(text: &str) -> bool {
    let parts = text.strip_prefix(CIPHERTEXT_PREFIX).and_then(|rest| rest.split_once(':'));
    parts.is_some_and(|(version, bytes)| {
        version.bytes().all(|byte| byte.is_ascii_digit())
            && !version.starts_with('0')
            && !version.is_empty()
            && STANDARD.decode(bytes).is_ok_and(|bytes| !bytes.is_empty())
    })
}

/// A context as associated data.
fn encode(context: &WrapContext) -> String {
    STANDARD.encode(context.to_json())
}

#[async_trait]
impl WrappingKey for TransitKey {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn key_id(&self) -> &str {
        &self.key_id
    }

    async fn wrap(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
        let wrapped = self.encrypt(key, context).await;
        wrapped.map_err(|error| self.add_context(error, Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
        let key = self.decrypt(wrapped, context).await;
        key.map_err(|error| self.add_context(error, Operation::Unwrap))
    }

    /// Waits for requests in flight, for 10 s at most, and revokes the token. Without it, a token stays valid until
    /// it expires.
    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

/// Leaves out the client.
impl fmt::Debug for TransitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_has_one_text() {
        for text in ["vault:v1:AAECAw==", "vault:v12:AAEC"] {
            assert!(is_ciphertext(text), "{text}");
        }
        for text in [
            "",
            "vault:v1:",
            "vault:v1",
            "vault:v:AAEC",
            "vault:v0:AAEC",
            "vault:v01:AAEC",
            "vault:v+1:AAEC",
            "vault:v1:AAECAx==",
            "vault:v1:AAECAw",
            "vault:v1:AAEC\n",
            "Vault:v1:AAEC",
        ] {
            assert!(!is_ciphertext(text), "{text}");
        }
    }

    #[test]
    fn a_name_without_a_mount_is_one_of_the_usual_mount() {
        for (key_id, mount, name) in [
            ("strongroom", "transit", "strongroom"),
            ("transit/strongroom", "transit", "strongroom"),
            ("team/app/keys/strongroom", "team/app/keys", "strongroom"),
        ] {
            assert_eq!(split(key_id).unwrap(), (mount.to_owned(), name.to_owned()));
        }
        for key_id in ["", "/hunter2", "hunter2/", "hunter 2", "a/../hunter2", "hunter2?a"] {
            let error = split(key_id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
}
