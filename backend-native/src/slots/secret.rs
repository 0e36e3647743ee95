//! What opens a slot: a key, or a passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_core::{Result, Setting};
use zeroize::Zeroizing;

use super::changed;
use super::row::SlotRow;
use crate::argon2id::Argon2id;
use crate::config::KeySource;
use crate::crypto::{KeyBytes, NotAuthentic};
use crate::key_file;
use crate::key_text;
use crate::settings::{KEY, KEY_FILE, PASSPHRASE, PASSPHRASE_FILE};

/// What a [`KeySource`] holds, read once.
pub(crate) enum SlotSecret {
    Key(KeyBytes),
    Passphrase(Zeroizing<Vec<u8>>),
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
        }
    }

    /// The kind of the slots that it may open.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Passphrase(_) => "passphrase",
        }
    }

    /// Chooses the parameters of a new slot, and derives its key.
    pub(super) fn new_slot(&self) -> Result<(String, KeyBytes)> {
        match self {
            Self::Key(key) => Ok((json!({}).to_string(), key.clone())),
            Self::Passphrase(passphrase) => {
                let argon2id = Argon2id::recommended()?;
                Ok((encode(&argon2id), argon2id.derive(passphrase)?))
            }
        }
    }

    /// Derives the key of a slot of this kind. Takes about 0.2 s with a passphrase.
    pub(super) fn slot_key(&self, row: &SlotRow) -> Result<KeyBytes> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::Passphrase(passphrase) => {
                let argon2id = decode(&row.parameters).ok_or(NotAuthentic).map_err(changed)?;
                argon2id.derive(passphrase)
            }
        }
    }
}

/// The settings that open a slot of a kind.
pub(super) fn settings_of(kind: &str) -> &'static [Setting] {
    match kind {
        "key" => &[KEY_FILE, KEY],
        "passphrase" => &[PASSPHRASE, PASSPHRASE_FILE],
        _ => &[],
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
