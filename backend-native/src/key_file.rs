//! Files with a key or a passphrase.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom_core::{Error, ErrorKind, FilePath, Result};
use zeroize::Zeroizing;

use crate::crypto::{self, KEY_LEN, KeyBytes};
use crate::error::describe_io_error;
use crate::settings::{KEY_FILE, PASSPHRASE_FILE};
use crate::{file, key_text, new_file};

/// Whether there is no such file.
pub(crate) fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Reads a key from a file.
pub(crate) fn read_key(path: &Path, group: Option<u32>) -> Result<KeyBytes> {
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
pub(crate) fn create(path: &Path) -> Result<bool> {
    let key = crypto::random_key()?;
    let mut text = Zeroizing::new([0; 45]);
    let (encoded, line_break) = text.split_at_mut(44);
    let written = STANDARD.encode_slice(key.as_slice(), encoded);
    line_break.fill(b'\n');
    if written != Ok(44) {
        return Err(Error::new(ErrorKind::Internal, "report this").because("base64 failed"));
    }
    new_file::create_secret(path, &*text).map_err(|error| cannot_create(path, &error))
}

/// Fails if there is no directory for a new key file.
pub(crate) fn check_directory(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match directory.map(std::fs::metadata) {
        Some(Err(error)) => Err(cannot_create(path, &error)),
        _ => Ok(()),
    }
}

fn cannot_create(path: &Path, error: &io::Error) -> Error {
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

/// Reads a passphrase from a file.
pub(crate) fn read_passphrase(path: &Path, group: Option<u32>) -> Result<Zeroizing<Vec<u8>>> {
    let passphrase = file::strip_line_break(file::read_secret(path, PASSPHRASE_FILE, group)?);
    key_text::check_length(&passphrase, PASSPHRASE_FILE).map(|()| passphrase)
}
