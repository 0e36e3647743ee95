//! The anchor of a store, elsewhere: it says which state the store had at least.

mod file;
mod stored;

use std::fmt;
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, FilePath, Result, Setting};

pub(crate) use self::file::AnchorFile;
pub(crate) use self::stored::StoredAnchor;
use crate::config::NativeConfig;
use crate::crypto::{self, NotAuthentic};
use crate::error::ACCEPT;
use crate::row_keys::RowKeys;
use crate::settings::{ANCHOR_FILE, ANCHOR_SECRET};
use crate::state::State;
use crate::state_keys::StateKeys;

const MAGIC: [u8; 4] = *b"SRA\x01";
const TAG_MAGIC: [u8; 4] = *b"SRT\x01";
/// HMAC-SHA-256.
const ALGORITHM: u8 = 1;
/// Everything before the MAC of the anchor.
const SIGNED: usize = 4 + 1 + 4 + 16 + 8 + 32;
const MAC: usize = 32;

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

/// Why bytes are not the anchor of a store.
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
pub(crate) enum AnchorLocation {
    File(AnchorFile),
    Store(StoredAnchor),
}

/// Held while an anchor is compared and replaced, so that no process lowers it.
pub(crate) enum AnchorLock {
    File(#[expect(dead_code, reason = "the lock ends when it is dropped")] file::Locked),
    /// Another store has no lock: this is what was read, and a write fails unless it is still there.
    Store(stored::Fetched),
}

impl AnchorLocation {
    /// The anchor that the configuration names, if it names one.
    pub(crate) fn of(config: &NativeConfig) -> Result<Option<Self>> {
        if let Some(store) = &config.anchor_store {
            return Ok(Some(Self::Store(StoredAnchor::new(store))));
        }
        Ok(AnchorFile::of(config)?.map(Self::File))
    }

    /// The anchor in another store, if it is in one.
    pub(crate) fn stored(&self) -> Option<&StoredAnchor> {
        match self {
            Self::File(_) => None,
            Self::Store(store) => Some(store),
        }
    }

    /// The setting that names it.
    pub(crate) fn setting(&self) -> Setting {
        match self {
            Self::File(_) => ANCHOR_FILE,
            Self::Store(_) => ANCHOR_SECRET,
        }
    }

    /// The anchor as the file has it, or as this process last read or wrote it in another store, which is not asked. `None`
    /// if there is none.
    pub(crate) fn current(&self, keys: &RowKeys) -> Result<Option<Anchor>> {
        match self {
            Self::File(file) => self.open(file.read()?.as_deref(), keys),
            Self::Store(store) => self.open(store.known().as_deref(), keys),
        }
    }

    /// Locks the file, or returns `None` if another process holds the lock for longer than `wait`. Reads the anchor of
    /// another store; this and the write that follows take `wait` each at most.
    pub(crate) fn lock(&self, wait: Duration) -> Result<Option<AnchorLock>> {
        match self {
            Self::File(file) => Ok(file.lock(wait)?.map(AnchorLock::File)),
            Self::Store(store) => store.fetch(wait).map(|fetched| Some(AnchorLock::Store(fetched))),
        }
    }

    /// Authenticates the anchor that is locked; `None` if there is none.
    pub(crate) fn read(&self, lock: &AnchorLock, keys: &RowKeys) -> Result<Option<Anchor>> {
        let (Self::Store(store), AnchorLock::Store(fetched)) = (self, lock) else {
            return self.current(keys);
        };
        let anchor = self.open(fetched.bytes(), keys)?;
        if let (Some(anchor), Some(bytes)) = (&anchor, fetched.bytes()) {
            store.remember(anchor.number, bytes);
        }
        Ok(anchor)
    }

    /// Writes the anchor of a state that is committed, over the one that is locked. Returns `false` if another process
    /// has written one since then.
    pub(crate) fn write(
        &self,
        lock: &mut AnchorLock,
        state: &State,
        keys: &RowKeys,
    ) -> Result<bool> {
        let active = keys.active_state_keys();
        let bytes = Anchor::new(state, active).encode(active, &keys.store_id);
        match (self, lock) {
            (Self::File(file), AnchorLock::File(_)) => file.write(&bytes).map(|()| true),
            (Self::Store(store), AnchorLock::Store(fetched)) => {
                let written = store.write(fetched, &bytes)?;
                if written {
                    store.remember(state.number, &bytes);
                }
                Ok(written)
            }
            // No lock belongs to an anchor of the other kind.
            _ => Ok(false),
        }
    }

    fn open(&self, bytes: Option<&[u8]>, keys: &RowKeys) -> Result<Option<Anchor>> {
        let Some(bytes) = bytes else { return Ok(None) };
        parse(bytes, keys).map(Some).map_err(|invalid| match invalid {
            Invalid::NoAnchor => {
                self.complain("it is not the anchor of a store; name another path")
            }
            Invalid::OfAnotherStore => self
                .complain("it is the anchor of another store; name that of this one, or a new one"),
            Invalid::NotAuthentic => Error::new(
                ErrorKind::Corrupt,
                format!("put the anchor back, or check the store and {ACCEPT}"),
            )
            .because(format!("the anchor {self} fails authentication: it was damaged or edited")),
        })
    }

    fn complain(&self, complaint: &str) -> Error {
        Error::config(vec![format!("`{}`: {self}: {complaint}", self.setting())])
    }

    /// The error of an anchor that was there and is not any more.
    pub(crate) fn missing(&self) -> Error {
        self.complain(&format!(
            "the anchor is missing, but the store had one; put it back, or check the store and {ACCEPT}"
        ))
    }

    /// The error of an anchor that other processes keep from being written.
    pub(crate) fn held(&self) -> Error {
        let (advice, cause) = match self {
            Self::File(_) => (
                "try again; look for a process that stopped while it wrote the anchor",
                format!("another process holds the lock of the anchor {self}"),
            ),
            Self::Store(_) => (
                "try again; if the anchor was deleted in its store, undelete it, or destroy it for ever",
                format!("another process writes the anchor {self}, or it was deleted"),
            ),
        };
        Error::new(ErrorKind::Unavailable, advice).because(cause)
    }
}

impl fmt::Display for AnchorLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => FilePath::new(file.path()).fmt(f),
            Self::Store(store) => f.write_str(store.name()),
        }
    }
}

/// Parses a forged anchor, with keys that have not signed it. For `fuzz/`.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8], keys: &RowKeys) {
    assert!(parse(bytes, keys).is_err(), "a forged anchor is authentic");
}
