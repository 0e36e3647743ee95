//! What opens a slot: a key, a passphrase, a key outside, or recovery shares.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_core::{Error, ErrorKind, Result, SecretValue, Setting, WrapContext, WrappingKey};
use tokio::runtime::Builder;
use zeroize::Zeroizing;

use super::error::{self, changed};
use super::row::SlotRow;
use super::shares::{self, CombinedShares};
use crate::argon2id::Argon2id;
use crate::config::KeySource;
use crate::crypto::{self, KeyBytes, NotAuthentic};
use crate::key_file;
use crate::key_text;
use crate::settings::{
    KEY, KEY_FILE, KEYRING_KEY, KMS_KEY, PASSPHRASE, PASSPHRASE_FILE, PKCS11_KEY, SHARES_FILE,
    TRANSIT_KEY,
};

/// What a [`KeySource`] holds, read once.
pub(crate) enum SlotSecret {
    Key(KeyBytes),
    Passphrase(Zeroizing<Vec<u8>>),
    Wrapping(Arc<dyn WrappingKey>),
    Shares(CombinedShares),
}

impl SlotSecret {
    /// Reads a source, and checks the form of what it holds. `group` may read its file.
    pub(crate) fn read(source: &KeySource, group: Option<u32>) -> Result<Self> {
        match source {
            KeySource::KeyFile(path) => key_file::read_key(path, group).map(Self::Key),
            KeySource::Key(text) => key_text::parse_key(text, KEY).map(Self::Key),
            KeySource::Passphrase(text) => {
                let passphrase = key_text::parse_passphrase(text, PASSPHRASE)?;
                Ok(Self::Passphrase(passphrase.to_vec().into()))
            }
            KeySource::PassphraseFile(path) => {
                key_file::read_passphrase(path, group).map(Self::Passphrase)
            }
            KeySource::Wrapping(key) => Ok(Self::Wrapping(Arc::clone(key))),
            KeySource::RecoveryShares(shares) => {
                shares::combine(shares, source.setting()).map(Self::Shares)
            }
            KeySource::RecoverySharesFile(path) => shares::read(path, group).map(Self::Shares),
        }
    }

    /// The kind of the slots that it may open.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Passphrase(_) => "passphrase",
            Self::Wrapping(key) => key.kind(),
            Self::Shares(_) => shares::KIND,
        }
    }

    /// Whether it was made for a slot, by the name that the slot has of it.
    pub(super) fn is_named_by(&self, row: &SlotRow) -> bool {
        match self {
            Self::Key(_) | Self::Passphrase(_) => false,
            Self::Wrapping(key) => key_id_of(&row.parameters).as_deref() == Some(key.key_id()),
            Self::Shares(combined) => {
                shares::identifier_of(&row.parameters) == Some(combined.identifier)
            }
        }
    }

    /// The error of a secret that opens none of the slots of its kind.
    pub(super) fn opens_none(&self, rows: &[&SlotRow]) -> Error {
        let Self::Shares(combined) = self else { return error::wrong_key() };
        let sets = rows.iter().filter_map(|row| shares::identifier_of(&row.parameters));
        error::wrong_shares(combined.identifier, &sets.collect::<Vec<_>>())
    }

    /// Chooses the parameters of a new slot, and derives its key.
    pub(super) fn new_slot(&self, store_id: &[u8; 16]) -> Result<(String, KeyBytes)> {
        match self {
            Self::Key(key) => Ok((json!({}).to_string(), key.clone())),
            Self::Passphrase(passphrase) => {
                let argon2id = Argon2id::recommended()?;
                Ok((encode(&argon2id), argon2id.derive(passphrase)?))
            }
            Self::Wrapping(outside) => {
                let key = crypto::random_key()?;
                let binding = hex(&crypto::random()?);
                let context = context(store_id, &binding);
                let value = SecretValue::binary(key.to_vec());
                let wrapped = wait(outside.wrap(&value, &context))?;
                let parameters = json!({
                    "key_id": outside.key_id(),
                    "binding": binding,
                    "wrapped": STANDARD.encode(wrapped),
                });
                Ok((parameters.to_string(), key))
            }
            Self::Shares(_) => Err(shares::no_new_slot()),
        }
    }

    /// Derives the key of a slot of this kind. Takes about 0.2 s with a passphrase.
    pub(super) fn slot_key(&self, row: &SlotRow, store_id: &[u8; 16]) -> Result<KeyBytes> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::Passphrase(passphrase) => {
                let argon2id = decode(&row.parameters).ok_or(NotAuthentic).map_err(changed)?;
                argon2id.derive(passphrase)
            }
            Self::Wrapping(outside) => {
                let (binding, wrapped) =
                    decode_wrapped(&row.parameters).ok_or(NotAuthentic).map_err(changed)?;
                let context = context(store_id, &binding);
                let key = wait(outside.unwrap(&wrapped, &context))?;
                let key = key.expose_bytes().try_into();
                key.map(Zeroizing::new).map_err(|_| changed(NotAuthentic))
            }
            Self::Shares(combined) => Ok(combined.key.clone()),
        }
    }
}

/// Waits for a key outside, on a thread of the store, which blocks. The runtime is one of its own: that of the caller may
/// end, or not run meanwhile.
fn wait<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| {
        Error::new(ErrorKind::Unavailable, "raise the limits on open files and threads")
            .because("no runtime could be started to ask for the key of a slot")
    })?;
    runtime.block_on(call)
}

/// What a wrapped key belongs to.
fn context(store_id: &[u8; 16], binding: &str) -> WrapContext {
    WrapContext::new().with("store", hex(store_id)).with("slot", binding)
}

fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

/// What a slot's key is called, if it has a name.
pub(super) fn describe_key(parameters: &str) -> Option<String> {
    key_id_of(parameters).or_else(|| shares::describe(parameters))
}

/// The name of the key outside that wraps a slot's key.
pub(super) fn key_id_of(parameters: &str) -> Option<String> {
    let parameters: Value = serde_json::from_str(parameters).ok()?;
    Some(parameters.get("key_id")?.as_str()?.to_owned())
}

fn decode_wrapped(parameters: &str) -> Option<(String, Vec<u8>)> {
    let parameters: Value = serde_json::from_str(parameters).ok()?;
    let binding = parameters.get("binding")?.as_str()?.to_owned();
    let wrapped = STANDARD.decode(parameters.get("wrapped")?.as_str()?).ok()?;
    Some((binding, wrapped))
}

/// The settings that open a slot of a kind.
pub(super) fn settings_of(kind: &str) -> &'static [Setting] {
    match kind {
        "key" => &[KEY_FILE, KEY],
        "passphrase" => &[PASSPHRASE, PASSPHRASE_FILE],
        "aws-kms" => &[KMS_KEY],
        "transit" => &[TRANSIT_KEY],
        "pkcs11" => &[PKCS11_KEY],
        "os-keyring" => &[KEYRING_KEY],
        shares::KIND => &[SHARES_FILE],
        _ => &[],
    }
}

/// A kind in words.
pub(super) fn describe(kind: &str) -> String {
    match kind {
        "key" => "a key".into(),
        "passphrase" => "a passphrase".into(),
        "aws-kms" => "a key in AWS KMS".into(),
        "transit" => "a key in a transit engine".into(),
        "pkcs11" => "a key on a PKCS#11 token".into(),
        "os-keyring" => "a key in the keyring of the operating system".into(),
        shares::KIND => "recovery shares".into(),
        other => format!("`{other}`"),
    }
}

pub(super) fn encode(argon2id: &Argon2id) -> String {
    json!({
        "memory_kib": argon2id.memory_kib,
        "passes": argon2id.passes,
        "lanes": argon2id.lanes,
        "salt": STANDARD.encode(argon2id.salt),
    })
    .to_string()
}

fn decode(parameters: &str) -> Option<Argon2id> {
    let parameters: Value = serde_json::from_str(parameters).ok()?;
    let number = |name| parameters.get(name)?.as_u64()?.try_into().ok();
    let salt = STANDARD.decode(parameters.get("salt")?.as_str()?).ok()?;
    Some(Argon2id {
        memory_kib: number("memory_kib")?,
        passes: number("passes")?,
        lanes: number("lanes")?,
        salt: salt.try_into().ok()?,
    })
}
