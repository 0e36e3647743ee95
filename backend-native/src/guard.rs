//! The guard against rollback: compares the state of a store with what this process has seen, and with its anchor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result};
use tracing::warn;

use crate::anchor::{Anchor, AnchorLocation, AnchorLock, StoredAnchor};
use crate::config::NativeConfig;
use crate::error::ACCEPT;
use crate::row_keys::RowKeys;
use crate::settings::ANCHOR_FILE;
use crate::state::{RowSum, State};
use crate::storage::{Tables, WriteTransaction};

/// How long an opening waits for the lock of the anchor, and how long any call waits for the store of one.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a transaction, which other writes wait for, waits for the store of the anchor.
const TRANSACTION_WAIT: Duration = Duration::from_secs(5);
/// How often an anchor is read again after another process has written it meanwhile.
pub(crate) const MAX_RACES: usize = 5;

/// The guard of one open store.
pub(crate) struct Guard {
    seen: Mutex<Seen>,
    /// How many commits have failed, of which each may have written all the same.
    unknown_outcomes: AtomicU64,
    anchor: Option<AnchorLocation>,
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
        let anchor = AnchorLocation::of(config)?;
        Ok(Self { seen: Mutex::default(), unknown_outcomes: AtomicU64::default(), anchor })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the highest state that this process has seen.
    #[cfg(feature = "postgres")]
    pub(crate) fn highest_number(&self) -> u64 {
        self.seen().number
    }

    /// How many commits of this process have failed and may have written all the same.
    #[cfg(feature = "postgres")]
    pub(crate) fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes.load(Ordering::Acquire)
    }

    /// A commit has failed, and may have written all the same.
    pub(crate) fn note_unknown_outcome(&self) {
        self.unknown_outcomes.fetch_add(1, Ordering::Release);
    }

    /// Whether a state is the highest one that this process has seen; `None` if the numbers differ or only an anchor told of it.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_highest(&self, state: &State) -> Option<bool> {
        let Seen { number, rows } = *self.seen();
        rows.filter(|_| number == state.number).map(|rows| rows == state.rows)
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
        if let (Some(anchor), Some(location)) = (&before.anchor, &self.anchor)
            && let Err(error) = compare(anchor, &state, location, keys)
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
        let Some(location) = &self.anchor else {
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
        for _ in 0..MAX_RACES {
            let mut lock = location.lock(LOCK_WAIT)?.ok_or_else(|| location.held())?;
            let anchor = location.read(&lock, keys)?;
            let mut state = self.check_with(anchor.clone(), tables, keys)?;
            if anchor.is_none() {
                if state.has_anchor {
                    return Err(location.missing());
                }
                // Before the flag: the store must not wait for an anchor that a killed process did not write.
                if !location.write(&mut lock, &state, keys)? {
                    continue;
                }
                warn!(
                    setting = location.setting().variable(),
                    "{location}: created an anchor for the store at state {}", state.number
                );
            }
            if !state.has_anchor {
                state = set_flag(tables, keys)?;
                self.remember(&state);
            }
            // Another process that has written it meanwhile has advanced it.
            let number = anchor.map_or(0, |anchor| anchor.number);
            return advance(location, &mut lock, number, &state, keys).map(drop);
        }
        Err(location.held())
    }

    /// Advances the anchor to the state of the file. Returns `false` if another process holds its lock for longer than
    /// `wait`, or has written it meanwhile.
    pub(crate) fn update_anchor(
        &self,
        tables: &dyn Tables,
        keys: &RowKeys,
        wait: Duration,
    ) -> Result<bool> {
        let Some(location) = &self.anchor else { return Ok(true) };
        let Some(mut lock) = location.lock(wait)? else { return Ok(false) };
        let anchor = location.read(&lock, keys)?.ok_or_else(|| location.missing())?;
        let state = self.check_with(Some(anchor.clone()), tables, keys)?;
        advance(location, &mut lock, anchor.number, &state, keys)
    }

    /// Advances the anchor to the state of the file, and fails if another process holds its lock for longer than `wait`.
    pub(crate) fn advance_anchor(
        &self,
        tables: &dyn Tables,
        keys: &RowKeys,
        wait: Duration,
    ) -> Result<()> {
        let Some(location) = &self.anchor else { return Ok(()) };
        let (wait, attempts) = match location {
            AnchorLocation::File(_) => (wait, 1),
            AnchorLocation::Store(_) => (TRANSACTION_WAIT, MAX_RACES),
        };
        for _ in 0..attempts {
            if self.update_anchor(tables, keys, wait)? {
                return Ok(());
            }
        }
        Err(location.held())
    }

    /// Fails if the anchor cannot be read or locked, whatever it says.
    pub(crate) fn reach_anchor(&self) -> Result<()> {
        let Some(location) = &self.anchor else { return Ok(()) };
        location.lock(LOCK_WAIT)?.ok_or_else(|| location.held()).map(drop)
    }

    /// Reads the anchor that is in another store, so that this process knows it. Blocks for up to 10 s.
    pub(crate) fn fetch_anchor(&self, keys: &RowKeys) -> Result<()> {
        match &self.anchor {
            Some(location @ AnchorLocation::Store(_)) => fetch(location, keys, LOCK_WAIT),
            _ => Ok(()),
        }
    }

    /// Compares the state of the store with the anchor, which knows the right keys, in a transaction that has found other
    /// keys than the one before.
    pub(crate) fn check_new_keys(&self, tables: &dyn Tables, keys: &RowKeys) -> Result<State> {
        if let Some(location @ AnchorLocation::Store(_)) = &self.anchor
            && location.current(keys).is_err()
        {
            // The key that has signed the anchor that this process knows may have been replaced.
            fetch(location, keys, TRANSACTION_WAIT)?;
        }
        self.check_health(tables, keys)
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

    /// The anchor in another store, if it is in one.
    pub(crate) fn stored_anchor(&self) -> Option<&StoredAnchor> {
        self.anchor.as_ref()?.stored()
    }
}

/// What is known of a store before its state is loaded: the state is not behind it, as processes write the anchor, and
/// remember a state, after its commit.
pub(crate) struct Watermark {
    seen: Seen,
    anchor: Option<Anchor>,
}

impl Watermark {
    /// With `needs_anchor`, an anchor that cannot be read is an error; else `health` reports it. One in another store is
    /// compared as this process knows it.
    pub(crate) fn of(guard: &Guard, keys: &RowKeys, needs_anchor: bool) -> Result<Self> {
        let anchor = match &guard.anchor {
            None => None,
            Some(location) if needs_anchor => {
                Some(location.current(keys)?.ok_or_else(|| location.missing())?)
            }
            Some(location) => location.current(keys).ok().flatten(),
        };
        Ok(Self { seen: *guard.seen(), anchor })
    }
}

/// Reads an anchor in another store, which has one.
fn fetch(location: &AnchorLocation, keys: &RowKeys, wait: Duration) -> Result<()> {
    let lock = location.lock(wait)?.ok_or_else(|| location.held())?;
    location.read(&lock, keys)?.ok_or_else(|| location.missing()).map(drop)
}

fn compare(anchor: &Anchor, state: &State, name: &AnchorLocation, keys: &RowKeys) -> Result<()> {
    let number = anchor.number;
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

/// Writes the anchor if the state is beyond it. Returns `false` if another process has written it meanwhile.
fn advance(
    location: &AnchorLocation,
    lock: &mut AnchorLock,
    from: u64,
    state: &State,
    keys: &RowKeys,
) -> Result<bool> {
    if state.number > from { location.write(lock, state, keys) } else { Ok(true) }
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

fn rolled_back(cause: String) -> Error {
    let advice = format!(
        "put the newest copy of the store back; or, if you have restored an earlier one yourself, {ACCEPT}"
    );
    Error::new(ErrorKind::Corrupt, advice).because(cause)
}
