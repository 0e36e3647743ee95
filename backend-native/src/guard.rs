//! The guard against rollback: compares the state of a store with what this process has seen, and with its anchor.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, FilePath, Result};
use tracing::warn;

use crate::anchor::{Anchor, AnchorFile, AnchorLock};
use crate::config::NativeConfig;
use crate::error::ACCEPT;
use crate::row_keys::RowKeys;
use crate::settings::ANCHOR_FILE;
use crate::state::{RowSum, State};
use crate::storage::{Tables, WriteTransaction};

/// How long an opening waits for the lock of the anchor.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The guard of one open store.
pub(crate) struct Guard {
    seen: Mutex<Seen>,
    anchor: Option<AnchorFile>,
}

/// The highest state that this process knows the store to have had.
#[derive(Clone, Copy, Default)]
struct Seen {
    number: u64,
    /// `None` if only an anchor told of the state.
    rows: Option<RowSum>,
}

impl Guard {
    pub(crate) fn new(config: &NativeConfig) -> Result<Self> {
        Ok(Self { seen: Mutex::default(), anchor: AnchorFile::of(config)? })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the highest state that this process has seen.
    #[cfg(feature = "postgres")]
    pub(crate) fn highest_number(&self) -> u64 {
        self.seen().number
    }

    /// Remembers a state that is committed.
    pub(crate) fn remember(&self, state: &State) {
        let mut seen = self.seen();
        if state.number > seen.number {
            *seen = Seen { number: state.number, rows: Some(state.rows) };
        }
    }

    /// Loads a state and compares it with the highest one that this process has seen.
    pub(crate) fn check(&self, load: impl FnOnce() -> Result<State>) -> Result<State> {
        // Before the state: other threads may remember later ones meanwhile.
        let seen = *self.seen();
        self.compare_with_seen(seen, load()?)
    }

    fn compare_with_seen(&self, seen: Seen, state: State) -> Result<State> {
        if state.number < seen.number {
            return Err(rolled_back(format!(
                "the store is at state {}, but this process has seen state {}: an earlier copy of it \
                 was put back",
                state.number, seen.number
            )));
        }
        if state.number == seen.number && seen.rows.is_some_and(|rows| rows != state.rows) {
            return Err(rolled_back(format!(
                "the store is at state {}, which this process has seen with other secrets: another copy \
                 of it was put in its place",
                state.number
            )));
        }
        self.remember(&state);
        Ok(state)
    }

    /// Compares the state of the store with what this process has seen and with the anchor, if that can be read.
    pub(crate) fn check_reads(&self, tables: &dyn Tables, keys: &RowKeys) -> Result<State> {
        let before = Watermark::of(self, keys, false)?;
        self.compare(&before, State::load(tables, keys)?, keys)
    }

    /// Compares the state of the store with what this process has seen and with the anchor.
    pub(crate) fn check_health(&self, tables: &dyn Tables, keys: &RowKeys) -> Result<State> {
        let before = Watermark::of(self, keys, true)?;
        self.compare(&before, State::load(tables, keys)?, keys)
    }

    /// Compares a state with what was known before it was loaded.
    pub(crate) fn compare(
        &self,
        before: &Watermark,
        state: State,
        keys: &RowKeys,
    ) -> Result<State> {
        let state = self.compare_with_seen(before.seen, state)?;
        if let (Some(anchor), Some(file)) = (&before.anchor, &self.anchor)
            && let Err(error) = compare(anchor, &state, file.path(), keys)
        {
            let mut seen = self.seen();
            if anchor.number > seen.number {
                *seen = Seen { number: anchor.number, rows: None };
            }
            return Err(error);
        }
        Ok(state)
    }

    /// Compares a store that is opened with its anchor. Creates the anchor if the store never had one.
    pub(crate) fn start(&self, tables: &dyn Tables, keys: &RowKeys) -> Result<()> {
        let Some(file) = &self.anchor else {
            let state = self.check(|| State::load(tables, keys))?;
            if state.has_anchor {
                warn!(
                    setting = ANCHOR_FILE.variable(),
                    "the store has an anchor that is not configured here: writes of this process do not \
                     advance it"
                );
            }
            return Ok(());
        };
        let lock = file.lock(LOCK_WAIT)?.ok_or_else(|| lock_held(file.path()))?;
        let anchor = file.read(keys)?;
        let mut state = self.check_with(anchor.clone(), tables, keys)?;
        if anchor.is_none() {
            if state.has_anchor {
                return Err(file.missing());
            }
            // Before the flag: the store must not wait for an anchor that a killed process did not write.
            file.write(&lock, &state, keys)?;
            warn!(
                setting = ANCHOR_FILE.variable(),
                "{}: created an anchor for the store at state {}",
                FilePath::new(file.path()),
                state.number
            );
        }
        if !state.has_anchor {
            state = set_flag(tables, keys)?;
            self.remember(&state);
        }
        advance(file, &lock, anchor.map_or(0, |anchor| anchor.number), &state, keys)
    }

    /// Advances the anchor to the state of the file. Returns `false` if another process holds its lock for longer than
    /// `wait`.
    pub(crate) fn update_anchor(
        &self,
        tables: &dyn Tables,
        keys: &RowKeys,
        wait: Duration,
    ) -> Result<bool> {
        let Some(file) = &self.anchor else { return Ok(true) };
        let Some(lock) = file.lock(wait)? else { return Ok(false) };
        let anchor = read_existing(file, keys)?;
        let state = self.check_with(Some(anchor.clone()), tables, keys)?;
        advance(file, &lock, anchor.number, &state, keys).map(|()| true)
    }

    /// Advances the anchor to the state of the file, and fails if another process holds its lock for longer than `wait`.
    pub(crate) fn advance_anchor(
        &self,
        tables: &dyn Tables,
        keys: &RowKeys,
        wait: Duration,
    ) -> Result<()> {
        match (self.update_anchor(tables, keys, wait)?, &self.anchor) {
            (false, Some(file)) => Err(lock_held(file.path())),
            _ => Ok(()),
        }
    }

    fn check_with(
        &self,
        anchor: Option<Anchor>,
        tables: &dyn Tables,
        keys: &RowKeys,
    ) -> Result<State> {
        let before = Watermark { seen: *self.seen(), anchor };
        self.compare(&before, State::load(tables, keys)?, keys)
    }

    pub(crate) fn has_anchor(&self) -> bool {
        self.anchor.is_some()
    }
}

/// What is known of a store before its state is loaded: the state is not behind it, as processes write the anchor, and
/// remember a state, after its commit.
pub(crate) struct Watermark {
    seen: Seen,
    anchor: Option<Anchor>,
}

impl Watermark {
    /// With `needs_anchor`, an anchor that cannot be read is an error; else `health` reports it.
    pub(crate) fn of(guard: &Guard, keys: &RowKeys, needs_anchor: bool) -> Result<Self> {
        let anchor = match &guard.anchor {
            None => None,
            Some(file) if needs_anchor => Some(read_existing(file, keys)?),
            Some(file) => file.read(keys).ok().flatten(),
        };
        Ok(Self { seen: *guard.seen(), anchor })
    }
}

/// Reads the anchor of an open store, which has one.
fn read_existing(file: &AnchorFile, keys: &RowKeys) -> Result<Anchor> {
    file.read(keys)?.ok_or_else(|| file.missing())
}

fn compare(anchor: &Anchor, state: &State, path: &Path, keys: &RowKeys) -> Result<()> {
    let (number, name) = (anchor.number, FilePath::new(path));
    if state.number < number {
        return Err(rolled_back(format!(
            "the store is at state {}, but its anchor {name} at state {number}: an earlier copy of the file \
             was put back",
            state.number
        )));
    }
    if state.number == number && !anchor.has_tag_of(state, keys) {
        return Err(rolled_back(format!(
            "the store and its anchor {name} are at state {number}, but their secrets differ: another copy \
             of the file was put in its place"
        )));
    }
    Ok(())
}

fn advance(
    file: &AnchorFile,
    lock: &AnchorLock,
    from: u64,
    state: &State,
    keys: &RowKeys,
) -> Result<()> {
    if state.number > from { file.write(lock, state, keys) } else { Ok(()) }
}

/// Notes in the store that it has an anchor.
fn set_flag(tables: &dyn Tables, keys: &RowKeys) -> Result<State> {
    let transaction = WriteTransaction::begin(tables)?;
    let state = State::load(tables, keys)?;
    let state = State { number: state.number.saturating_add(1), has_anchor: true, ..state };
    state.store(tables, keys)?;
    transaction.commit()?;
    Ok(state)
}

pub(crate) fn lock_held(path: &Path) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "try again; look for a process that stopped while it wrote the anchor",
    )
    .because(format!("another process holds the lock of the anchor {}", FilePath::new(path)))
}

fn rolled_back(cause: String) -> Error {
    let advice = format!(
        "put the newest copy of the store back; or, if you have restored an earlier one yourself, {ACCEPT}"
    );
    Error::new(ErrorKind::Corrupt, advice).because(cause)
}
