//! A key of AWS KMS that wraps other keys.

mod error;
mod key_id;

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use strongroom_core::{
    Error, Operation, Problems, Result, SecretValue, WrapContext, WrappingKey, check_wrappable,
};
use strongroom_transport::ensure_runtime;

use self::error::{classify, mismatch, with_key};
use self::key_id::check_key_id;
use crate::config::AwsConfig;
use crate::error::unexpected_answer;
use crate::request::send_with;
use crate::sdk_config::{build_kms_client, load_for_kms};
use crate::settings::REGION;

const KIND: &str = "aws-kms";
/// The longest ciphertext that `Decrypt` takes, in bytes; see
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>.
const MAX_CIPHERTEXT: usize = 6144;

/// A symmetric key of AWS KMS that wraps other keys, such as those of a store. Its [kind](WrappingKey::kind) is
/// `aws-kms`.
///
/// [`wrap`](WrappingKey::wrap) sends one `Encrypt`, [`unwrap`](WrappingKey::unwrap) one `Decrypt`, which AWS
/// bills. Both name the key and pass the context as the encryption context, which the audit log of AWS shows. Requests
/// have the retries, time limits and TLS of [`AwsBackend`](crate::AwsBackend). The SDK's copies of an unwrapped
/// key are not wiped.
///
/// Variables of the SDK set the endpoint: `AWS_ENDPOINT_URL_KMS`, then `AWS_ENDPOINT_URL`. The settings of
/// [`AwsConfig`] that concern secrets, such as `prefix`, `kms_key_id` and `secrets_manager_endpoint_url`, have no
/// effect.
///
/// # Permissions
/// The identity needs `kms:Decrypt` to open a store, and `kms:Encrypt` to add or replace what the key wraps. A
/// condition limits both to the context of one store, here its entry `store`:
///
/// ```json
/// {
///   "Version": "2012-10-17",
///   "Statement": [
///     {
///       "Effect": "Allow",
///       "Action": ["kms:Encrypt", "kms:Decrypt"],
///       "Resource": "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
///       "Condition": { "StringEquals": { "kms:EncryptionContext:store": "5f0c81d2a6b94e3f8c7d1e2f3a4b5c6d" } }
///     }
///   ]
/// }
/// ```
///
/// The policy names the key and not its alias: AWS checks the key that an alias stands for. A key of another
/// account needs the same in its key policy. See
/// <https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-encryption-context>.
///
/// # Examples
/// ```no_run
/// # async fn run(data_key: strongroom_core::SecretValue) -> strongroom_core::Result<()> {
/// use strongroom_backend_aws::{AwsConfig, KmsKey};
/// use strongroom_core::{WrapContext, WrappingKey};
///
/// let key = KmsKey::open(AwsConfig::from_env()?, "alias/strongroom").await?;
/// let context = WrapContext::new().with("store", "5f0c81d2a6b94e3f8c7d1e2f3a4b5c6d").with("slot", "1");
/// let wrapped = key.wrap(&data_key, &context).await?;
/// let same = key.unwrap(&wrapped, &context).await?;
/// # drop(same);
/// # Ok(())
/// # }
/// ```
pub struct KmsKey {
    client: Client,
    region: String,
    key_id: String,
}

impl KmsKey {
    /// Builds a client for the key with this id, ARN or alias (`alias/NAME`, or its ARN). It sends no request to
    /// AWS KMS: the first call shows whether the key exists and may be used.
    ///
    /// An alias may be pointed to another key later, which cannot unwrap what the first one has wrapped.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) if the configuration is wrong, no region is found, or the
    /// key id is not one of the region.
    pub async fn open(config: AwsConfig, key_id: impl Into<String>) -> Result<Self> {
        let open = async {
            ensure_runtime()?;
            let sdk = load_for_kms(&config).await?;
            let (client, region) = build_kms_client(&sdk, &config)?;
            let key_id: String = key_id.into();
            let mut problems = Problems::new();
            let region_setting = config.setting_names.name(&REGION);
            check_key_id(&key_id, &region, &region_setting, &mut problems);
            problems.into_result()?;
            Ok::<_, Error>(Self { client, region, key_id })
        };
        open.await.map_err(|error| error.during(Operation::Open).from_backend(KIND))
    }

    async fn encrypt(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
        check_wrappable(key)?;
        ensure_runtime()?;
        let request = self
            .client
            .encrypt()
            .key_id(&self.key_id)
            .plaintext(Blob::new(key.expose_bytes()))
            .set_encryption_context(Some(encryption_context(context)));
        let answer = send_with(request.send(), classify("Encrypt")).await?;
        let ciphertext = answer.ciphertext_blob.map(Blob::into_inner);
        ciphertext.filter(|bytes| !bytes.is_empty()).ok_or_else(unexpected_answer)
    }

    async fn decrypt(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
        if !(1..=MAX_CIPHERTEXT).contains(&wrapped.len()) {
            return Err(mismatch());
        }
        ensure_runtime()?;
        let request = self
            .client
            .decrypt()
            .key_id(&self.key_id)
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(Some(encryption_context(context)));
        let answer = send_with(request.send(), classify("Decrypt")).await?;
        let key = answer.plaintext.map(|blob| SecretValue::binary(blob.into_inner()));
        key.filter(|key| !key.is_empty()).ok_or_else(unexpected_answer)
    }
}

fn encryption_context(context: &WrapContext) -> HashMap<String, String> {
    context.entries().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[async_trait]
impl WrappingKey for KmsKey {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn key_id(&self) -> &str {
        &self.key_id
    }

    async fn wrap(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
        let wrapped = self.encrypt(key, context).await;
        wrapped.map_err(|error| with_key(error, &self.key_id).during(Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
        let key = self.decrypt(wrapped, context).await;
        key.map_err(|error| with_key(error, &self.key_id).during(Operation::Unwrap))
    }
}

/// Leaves out the SDK's client, which holds credentials.
impl fmt::Debug for KmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsKey")
            .field("key_id", &self.key_id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
