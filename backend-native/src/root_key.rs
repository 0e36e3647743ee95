//! The root key: its source, its derivation, and the check that it belongs to a store.

use std::io;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom_core::{Error, ErrorKind, FilePath, Result, Setting};
use zeroize::Zeroizing;

use crate::config::KeySource;
use crate::crypto::{self, AeadKey, DerivationKey, KEY_LEN, KeyBytes};
use crate::error::describe_io_error;
use crate::settings::{KEY, KEY_FILE, PASSPHRASE, PASSPHRASE_FILE};
use crate::{file, key_text, new_file};

const RING_KEY: &[u8] = b"strongroom v1 ring key";
const CHECK: &[u8] = b"strongroom v1 root check";

/// The largest parameters of Argon2id that a store may ask for: four times those that every release has
/// written, so that an edited file costs no more than 256 MiB and some seconds.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 12;
const MAX_LANES: u32 = 16;

/// How the root key is derived from the secret that the operator holds. Stored in the `store`
/// table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Derivation {
    /// The operator holds the root key itself.
    None,
    /// The operator holds a passphrase.
    Argon2id(Argon2id),
}

/// Parameters of Argon2id (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Argon2id {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
    pub(crate) salt: [u8; 16],
}

impl Argon2id {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes. It is
    /// above the minimum of the OWASP Password Storage Cheat Sheet (19 MiB, 2 passes, 1 lane).
    fn recommended() -> Result<Self> {
        Ok(Self { memory_kib: 64 * 1024, passes: 3, lanes: 4, salt: crypto::random()? })
    }

    fn derive(&self, passphrase: &[u8]) -> Result<KeyBytes> {
        let Self { memory_kib, passes, lanes, .. } = *self;
        let out_of_range = || {
            Error::new(ErrorKind::Corrupt, "restore the store from a backup").because(format!(
                "the store's parameters of Argon2id ({memory_kib} KiB, {passes} passes, {lanes} lanes) are \
                 out of range: at most {MAX_MEMORY_KIB} KiB, {MAX_PASSES} passes and {MAX_LANES} lanes"
            ))
        };
        if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(out_of_range());
        }
        let params =
            Params::new(memory_kib, passes, lanes, Some(KEY_LEN)).map_err(|_| out_of_range())?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into(passphrase, &self.salt, &mut *key)
            .map_err(|_| {
                Error::new(ErrorKind::Internal, "report this").because("Argon2id failed")
            })?;
        Ok(key)
    }
}

/// The key that opens the key ring of one store.
pub(crate) struct RootKey(Box<DerivationKey>);

impl RootKey {
    /// Chooses how a new store derives its root key from `source`.
    pub(crate) fn choose_derivation(source: &KeySource) -> Result<Derivation> {
        match source {
            KeySource::KeyFile(_) | KeySource::Key(_) => Ok(Derivation::None),
            KeySource::Passphrase(_) | KeySource::PassphraseFile(_) => {
                Argon2id::recommended().map(Derivation::Argon2id)
            }
        }
    }

    /// Fails if `source` holds no valid key or passphrase, before the store creates any file.
    pub(crate) fn check_source(source: &KeySource, group: Option<u32>) -> Result<()> {
        match source {
            KeySource::KeyFile(path) => key_from_file(path, group).map(drop),
            KeySource::Key(text) => key_text::parse_key(text, KEY).map(drop),
            KeySource::Passphrase(text) => key_text::parse_passphrase(text, PASSPHRASE).map(drop),
            KeySource::PassphraseFile(path) => passphrase_from_file(path, group).map(drop),
        }
    }

    /// Derives the root key as the store prescribes. Takes about 0.2 s with a passphrase.
    pub(crate) fn derive(
        source: &KeySource,
        group: Option<u32>,
        derivation: &Derivation,
    ) -> Result<Self> {
        let key = match (source, derivation) {
            (KeySource::KeyFile(path), Derivation::None) => key_from_file(path, group)?,
            (KeySource::Key(text), Derivation::None) => key_text::parse_key(text, KEY)?,
            (KeySource::Passphrase(text), Derivation::Argon2id(argon2id)) => {
                argon2id.derive(key_text::parse_passphrase(text, PASSPHRASE)?)?
            }
            (KeySource::PassphraseFile(path), Derivation::Argon2id(argon2id)) => {
                argon2id.derive(&passphrase_from_file(path, group)?)?
            }
            (_, Derivation::None) => {
                return Err(wrong_source("a key, not a passphrase", KEY_FILE, KEY));
            }
            (_, Derivation::Argon2id(_)) => {
                return Err(wrong_source("a passphrase, not a key", PASSPHRASE, PASSPHRASE_FILE));
            }
        };
        Ok(Self(Box::new(DerivationKey::new(&key))))
    }

    /// The key that wraps the ring of this store.
    pub(crate) fn ring_key(&self, store_id: &[u8; 16]) -> AeadKey {
        AeadKey::new(&self.0.derive(RING_KEY, store_id))
    }

    /// A value that only this root key derives for this store; stored to detect a wrong key.
    pub(crate) fn check(&self, store_id: &[u8; 16]) -> KeyBytes {
        self.0.derive(CHECK, store_id)
    }
}

fn key_from_file(path: &Path, group: Option<u32>) -> Result<KeyBytes> {
    let content = file::read_secret(path, KEY_FILE, group)?;
    match <&[u8; KEY_LEN]>::try_from(content.as_slice()) {
        // A typed text has far less than 256 bits of entropy.
        Ok(raw) if raw.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
            return Err(key_text::invalid_key(KEY_FILE));
        }
        Ok(raw) => return Ok(Zeroizing::new(*raw)),
        Err(_) => {}
    }
    key_text::decode_key(content.trim_ascii()).ok_or_else(|| key_text::invalid_key(KEY_FILE))
}

/// Creates a key file with a new random key, unless it exists.
pub(crate) fn create_key_file(path: &Path) -> Result<bool> {
    let key = crypto::random_key()?;
    let mut text = Zeroizing::new([0; 45]);
    let (encoded, line_break) = text.split_at_mut(44);
    let written = STANDARD.encode_slice(key.as_slice(), encoded);
    line_break.fill(b'\n');
    if written != Ok(44) {
        return Err(Error::new(ErrorKind::Internal, "report this").because("base64 failed"));
    }
    new_file::create_secret(path, &*text).map_err(|error| cannot_create_key(path, &error))
}

/// Fails if there is no directory for a new key file.
pub(crate) fn check_key_directory(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match directory.map(std::fs::metadata) {
        Some(Err(error)) => Err(cannot_create_key(path, &error)),
        _ => Ok(()),
    }
}

fn cannot_create_key(path: &Path, error: &io::Error) -> Error {
    if file::is_disk_full(error) {
        return file::cannot_create(KEY_FILE, path, error);
    }
    Error::config(vec![format!(
        "`{KEY_FILE}`: {}: the key file cannot be created: {}; create its directory, or the file \
         itself with mode 0600 and a key from `openssl rand -base64 32`",
        FilePath::new(path),
        describe_io_error(error)
    )])
}

fn passphrase_from_file(path: &Path, group: Option<u32>) -> Result<Zeroizing<Vec<u8>>> {
    let passphrase = file::strip_line_break(file::read_secret(path, PASSPHRASE_FILE, group)?);
    key_text::check_length(&passphrase, PASSPHRASE_FILE).map(|()| passphrase)
}

fn wrong_source(with: &str, one: Setting, other: Setting) -> Error {
    Error::config(vec![format!("this store is opened with {with}: set `{one}` or `{other}`")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_range_parameters_are_corrupt_not_run() {
        let written = Argon2id::recommended().unwrap();
        let out_of_range = [
            Argon2id { memory_kib: u32::MAX, ..written },
            Argon2id { memory_kib: MAX_MEMORY_KIB + 1, ..written },
            Argon2id { passes: MAX_PASSES + 1, ..written },
            Argon2id { lanes: MAX_LANES + 1, ..written },
            Argon2id { memory_kib: 0, passes: 0, lanes: 0, ..written },
        ];
        for parameters in out_of_range {
            let error = parameters.derive(b"passphrase").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let (limit, found) = ("262144 KiB, 12 passes and 16 lanes", parameters.memory_kib);
            assert!(error.to_string().contains(limit), "{error}");
            assert!(error.to_string().contains(&format!("({found} KiB, ")), "{error}");
        }
        assert!(Argon2id { memory_kib: 64, ..written }.derive(b"passphrase").is_ok());
    }
}
