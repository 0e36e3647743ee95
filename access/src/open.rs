//! Opens the log with its key.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use strongroom_core::{Error, FilePath, Result, Setting};
use zeroize::Zeroizing;

use crate::AccessConfig;
use crate::appender::Appender;
use crate::config::KeySource;
use crate::log::LogStore;
use crate::log::keys::Keys;
use crate::log::location::LogLocation;
use crate::log::memory::MemoryLog;
use crate::published::Published;
use crate::settings::{GROUP, KEY, KEY_FILE};

type KeyBytes = Zeroizing<[u8; 32]>;

/// A key in base64 has 44 bytes and perhaps a line break.
const MAX_KEY_FILE: u64 = 1024;
/// How long a process waits for the key of a log that another one has just created.
const KEY_WAIT: Duration = Duration::from_secs(2);

/// Opens the log that `config` describes, and creates it with its key if neither exists. Errors name settings by
/// their variables.
pub(crate) fn open_appender(
    config: &AccessConfig,
    published: &Arc<Published>,
) -> Result<(Appender, Arc<Keys>)> {
    let (store, root): (Box<dyn LogStore>, KeyBytes) = match &config.log {
        None => (Box::new(MemoryLog::new()?), random_key()?),
        Some((location, key)) => {
            if !config.creates {
                // Before the key: without a log, a missing key file is no problem of its own.
                location.open()?;
            }
            let root = match key {
                KeySource::Key(text) => parse_key(text)?,
                KeySource::File(file) => key_from_file(file, location, config.group)?,
            };
            (location.open_or_create(config.max_age)?, root)
        }
    };
    let keys = Arc::new(Keys::new(&root));
    let mut appender = Appender::open(
        store,
        Arc::clone(&keys),
        Arc::clone(published),
        config.max_age,
        config.batch_limits(),
    )?;
    if let Some((file, interval)) = &config.checkpoints {
        appender.write_checkpoints_to(file, *interval)?;
    }
    Ok((appender, keys))
}

/// Parses a key in base64. The error does not repeat it.
pub(crate) fn parse_key(text: &SecretString) -> Result<KeyBytes> {
    decode(text.expose_secret().as_bytes()).ok_or_else(|| invalid_key(KEY))
}

fn decode(text: &[u8]) -> Option<KeyBytes> {
    // The decoder reserves output in blocks of three bytes.
    let mut decoded = Zeroizing::new([0; 36]);
    let length = STANDARD.decode_slice(text.trim_ascii(), &mut *decoded).ok()?;
    to_key(decoded.get(..length)?)
}

/// Copies a key into its own buffer, and leaves no copy on the stack.
fn to_key(bytes: &[u8]) -> Option<KeyBytes> {
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(bytes);
    Some(key)
}

fn random_key() -> Result<KeyBytes> {
    let mut key = Zeroizing::new([0; 32]);
    crate::id::fill_random(&mut *key)?;
    Ok(key)
}

fn key_from_file(file: &Path, log: &LogLocation, group: Option<u32>) -> Result<KeyBytes> {
    if is_missing(file) {
        if log.is_vacant()? {
            create_key(file, log)?;
        } else {
            wait_for_key(file)?;
        }
    }
    let content = read_private_file(file, MAX_KEY_FILE, KEY_FILE, group)?;
    decode(&content).or_else(|| to_key(&content)).ok_or_else(|| invalid_key(KEY_FILE))
}

fn is_missing(file: &Path) -> bool {
    fs::symlink_metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Waits for the key of a log that exists: another process of this host may have created the log a moment ago. With another
/// key, nothing in the log could be verified.
fn wait_for_key(file: &Path) -> Result<()> {
    let started = Instant::now();
    while is_missing(file) {
        if started.elapsed() >= KEY_WAIT {
            return Err(without_key(file));
        }
        thread::sleep(KEY_WAIT / 20);
    }
    Ok(())
}

fn without_key(file: &Path) -> Error {
    problem(
        file,
        "it does not exist, but the log does: restore the file from a backup, or copy it from a host that has it. If no \
         host has opened the log yet, remove the log and start again",
    )
}

/// Creates the file with a random key for a log that is this process's to create, unless another process was first.
fn create_key(path: &Path, log: &LogLocation) -> Result<()> {
    let failed = |error: io::Error| problem(path, describe(&error));
    let temporary = write_key(path).map_err(failed)?;
    let claimed = log.claim();
    if matches!(claimed, Ok(false)) {
        fs::remove_file(&temporary).map_err(failed)?;
        return wait_for_key(path);
    }
    // A claim that failed may have created the log, so that its key must not be lost. A link is made whole or not at all,
    // and replaces no file.
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => fs::remove_file(&temporary).map_err(failed),
    };
    claimed.and(linked)
}

/// Reads a file that only its owner and the members of `group` can access.
pub(crate) fn read_private_file(
    file: &Path,
    max: u64,
    setting: Setting,
    group: Option<u32>,
) -> Result<Zeroizing<Vec<u8>>> {
    check_private(file, setting, group)?;
    FilePath::new(file).read(max).map_err(|error| file_problem(file, describe(&error), setting))
}

/// Writes a random key to a file beside `path`, and returns the name of that.
fn write_key(path: &Path) -> io::Result<PathBuf> {
    let key = random_key().map_err(io::Error::other)?;
    let mut text = Zeroizing::new([0; 45]);
    let (digits, end) = text.split_at_mut(44);
    STANDARD.encode_slice(&key[..], digits).map_err(|_| io::ErrorKind::InvalidData)?;
    end.copy_from_slice(b"\n");
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{:016x}.new",
        u64::from_ne_bytes(crate::id::random().map_err(io::Error::other)?)
    ));
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(&*text)?;
        file.sync_all()
    });
    match written {
        Ok(()) => Ok(temporary),
        Err(error) => {
            // Fails if the file could not be created.
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

#[cfg(unix)]
fn check_private(path: &Path, setting: Setting, group: Option<u32>) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let failed = |error: io::Error| file_problem(path, describe(&error), setting);
    let metadata = fs::metadata(path).map_err(failed)?;
    let (for_group, for_others) = (metadata.mode() & 0o070, metadata.mode() & 0o007);
    let is_of_group = group == Some(metadata.gid());
    // Who can write the key can exchange it.
    if for_others == 0 && (for_group == 0 || (is_of_group && for_group == 0o040)) {
        return Ok(());
    }
    if FilePath::new(path).is_service_credential(metadata.uid(), metadata.mode()) {
        return Ok(());
    }
    Err(file_problem(
        path,
        &format!(
            "its group or others can access it; `chmod 600` it, or set `{GROUP}` if only that group can"
        ),
        setting,
    ))
}

#[cfg(not(unix))]
fn check_private(_path: &Path, _setting: Setting, _group: Option<u32>) -> Result<()> {
    Ok(())
}

/// Describes an error by its class alone.
pub(crate) fn describe(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist; create its folder, or name another path",
        io::ErrorKind::PermissionDenied => "this process may not access it",
        io::ErrorKind::InvalidInput => "it is not a regular file",
        io::ErrorKind::FileTooLarge => "it is longer than a key",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full",
        io::ErrorKind::NotADirectory => "a part of its path is not a directory",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        _ => "the file system failed",
    }
}

fn invalid_key(setting: Setting) -> Error {
    Error::config(vec![format!(
        "`{setting}` is not a key: it must hold 32 random bytes in base64, as from `openssl rand -base64 32`"
    )])
}

fn problem(path: &Path, complaint: &str) -> Error {
    file_problem(path, complaint, KEY_FILE)
}

fn file_problem(path: &Path, complaint: &str, setting: Setting) -> Error {
    Error::config(vec![format!("`{setting}`: {}: {complaint}", FilePath::new(path))])
}
