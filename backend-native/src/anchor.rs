//! The anchor of a store: a small file elsewhere that says which state the store had at least.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use strongroom_core::{Error, ErrorKind, FilePath, Result};

use crate::config::NativeConfig;
use crate::crypto::{self, NotAuthentic};
use crate::error::ACCEPT;
use crate::row_keys::RowKeys;
use crate::settings::ANCHOR_FILE;
use crate::state::State;
use crate::state_keys::StateKeys;
use crate::{file, new_file};

const MAGIC: [u8; 4] = *b"SRA\x01";
const TAG_MAGIC: [u8; 4] = *b"SRT\x01";
/// HMAC-SHA-256.
const ALGORITHM: u8 = 1;
/// Everything before the MAC of the file.
const SIGNED: usize = 4 + 1 + 4 + 16 + 8 + 32;
const MAC: usize = 32;
/// How often a lock is tried that another process holds for some milliseconds.
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// What an anchor says about the state of its store.
#[derive(Clone)]
pub(crate) struct Anchor {
    /// The id of the key of row MACs from which the anchor's key follows.
    key_id: u32,
    pub(crate) number: u64,
    /// Says which state has the number, and nothing about its sum.
    tag: [u8; MAC],
}

impl Anchor {
    fn new(state: &State, keys: &StateKeys) -> Self {
        Self { key_id: keys.id(), number: state.number, tag: tag(state, keys) }
    }

    /// Whether the state is the one that the anchor was written for, if their numbers are equal.
    pub(crate) fn has_tag_of(&self, state: &State, keys: &RowKeys) -> bool {
        let keys = keys.state_keys(self.key_id);
        keys.and_then(|keys| crypto::equal(&tag(state, keys), &self.tag)).is_ok()
    }

    fn encode(&self, keys: &StateKeys, store_id: &[u8; 16]) -> Vec<u8> {
        let (id, number) = (self.key_id.to_be_bytes(), self.number.to_be_bytes());
        let mut bytes = [&MAGIC[..], &[ALGORITHM], &id, store_id, &number, &self.tag].concat();
        bytes.extend_from_slice(&keys.sign_anchor(&bytes));
        bytes
    }
}

fn tag(state: &State, keys: &StateKeys) -> [u8; MAC] {
    let (number, sum) = (state.number.to_be_bytes(), state.rows.sum.to_bytes());
    let message = [&TAG_MAGIC[..], &number, &sum, &state.rows.secrets.to_be_bytes()].concat();
    keys.sign_anchor(&message)
}

/// Why the bytes of a file are not the anchor of a store.
#[derive(Debug, PartialEq, Eq)]
enum Invalid {
    NoAnchor,
    OfAnotherStore,
    NotAuthentic,
}

fn parse(bytes: &[u8], keys: &RowKeys) -> Result<Anchor, Invalid> {
    let (signed, mac) = bytes.split_first_chunk::<SIGNED>().ok_or(Invalid::NoAnchor)?;
    let (header, rest) = signed.split_first_chunk::<5>().ok_or(Invalid::NoAnchor)?;
    let [m0, m1, m2, m3, algorithm] = *header;
    if [m0, m1, m2, m3] != MAGIC || algorithm != ALGORITHM || mac.len() != MAC {
        return Err(Invalid::NoAnchor);
    }
    let (id, rest) = rest.split_first_chunk().ok_or(Invalid::NoAnchor)?;
    let (store_id, rest) = rest.split_first_chunk::<16>().ok_or(Invalid::NoAnchor)?;
    let (number, tag) = rest.split_first_chunk().ok_or(Invalid::NoAnchor)?;
    let tag = tag.try_into().map_err(|_| Invalid::NoAnchor)?;
    if *store_id != keys.store_id {
        return Err(Invalid::OfAnotherStore);
    }
    let key_id = u32::from_be_bytes(*id);
    keys.state_keys(key_id)
        .and_then(|keys| keys.verify_anchor(signed, mac))
        .map_err(|NotAuthentic| Invalid::NotAuthentic)?;
    Ok(Anchor { key_id, number: u64::from_be_bytes(*number), tag })
}

/// Where the anchor of a store is.
pub(crate) struct AnchorFile {
    path: PathBuf,
    group: Option<u32>,
}

/// Held while an anchor is compared and replaced, so that no process lowers it.
pub(crate) struct AnchorLock(
    #[expect(dead_code, reason = "the lock ends when it is dropped")] File,
);

impl AnchorFile {
    /// The anchor that the configuration names, if it names one.
    pub(crate) fn of(config: &NativeConfig) -> Result<Option<Self>> {
        let Some(path) = &config.anchor_file else { return Ok(None) };
        let resolved = file::resolve_links(path)
            .map_err(|error| file::cannot_create(ANCHOR_FILE, path, &error))?;
        Ok(Some(Self { path: resolved, group: config.group }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and authenticates the anchor; `None` if there is no file.
    pub(crate) fn read(&self, keys: &RowKeys) -> Result<Option<Anchor>> {
        let found = fs::symlink_metadata(&self.path);
        if found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let bytes = file::read_secret(&self.path, ANCHOR_FILE, self.group)?;
        let complain = |text| Err(file::path_error(ANCHOR_FILE, &self.path, text));
        match parse(&bytes, keys) {
            Ok(anchor) => Ok(Some(anchor)),
            Err(Invalid::NoAnchor) => {
                complain("it is not the anchor of a store; name another path")
            }
            Err(Invalid::OfAnotherStore) => {
                complain("it is the anchor of another store; name that of this one, or a new file")
            }
            Err(Invalid::NotAuthentic) => Err(Error::new(
                ErrorKind::Corrupt,
                format!("put the anchor back, or check the store and {ACCEPT}"),
            )
            .because(format!(
                "the anchor {} fails authentication: it was damaged or edited",
                FilePath::new(&self.path)
            ))),
        }
    }

    /// The error of an anchor that was there and is not any more.
    pub(crate) fn missing(&self) -> Error {
        let complaint = format!(
            "the anchor is missing, but the store had one; put it back, or check the store and {ACCEPT}"
        );
        file::path_error(ANCHOR_FILE, &self.path, &complaint)
    }

    /// Locks the anchor, or returns `None` if another process holds the lock for longer than `wait`.
    pub(crate) fn lock(&self, wait: Duration) -> Result<Option<AnchorLock>> {
        let path = file::with_suffix(&self.path, ".lock");
        let failed = |error: &io::Error| file::cannot_create(ANCHOR_FILE, &path, error);
        let file = self.open_lock(&path).map_err(|error| failed(&error))?;
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(AnchorLock(file))),
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
                Err(TryLockError::WouldBlock) if begin.elapsed() >= wait => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
            }
        }
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        match file::create_private(path) {
            Ok(created) => new_file::keep_access(&self.path, &created).map(|()| created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().write(true).open(path)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the anchor of a state that is committed, over the one before.
    pub(crate) fn write(&self, _lock: &AnchorLock, state: &State, keys: &RowKeys) -> Result<()> {
        let active = keys.active_state_keys();
        let bytes = Anchor::new(state, active).encode(active, &keys.store_id);
        new_file::replace(&self.path, &bytes)
            .map_err(|error| file::cannot_create(ANCHOR_FILE, &self.path, &error))
    }
}

/// Parses a forged anchor, with keys that have not signed it. For `fuzz/`.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8], keys: &RowKeys) {
    assert!(parse(bytes, keys).is_err(), "a forged anchor is authentic");
}
