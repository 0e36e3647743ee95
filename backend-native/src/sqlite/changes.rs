//! Tells of changes: compares the number of changes of the file that `SQLite` keeps for each connection.
//!
//! [`PRAGMA data_version`](https://sqlite.org/pragma.html#pragma_data_version) gives another number once another
//! connection, of this process or another one, has committed a change. To ask for it costs a few microseconds, and the
//! writers nothing. It does not tell which secrets have changed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rusqlite::Connection;
use strongroom_core::{Change, ChangeFeed, Error, ErrorKind, ForkGuard, Result, async_trait};
use tokio::time::{Instant, sleep_until};

use crate::error::from_sqlite;
use crate::store::Store;
use crate::store_cell::StoreCell;

/// How often a feed looks at the store.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a feed waits at most before it tries again to connect, or reports again that a file has appeared.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The feeds of a backend, so that it can close their connections.
pub(crate) struct Feeds {
    slots: Mutex<Vec<Weak<Slot>>>,
    fork_guard: ForkGuard,
}

/// The connection of a feed.
#[derive(Default)]
struct Slot(Mutex<SlotState>);

#[derive(Default)]
enum SlotState {
    #[default]
    Empty,
    Connected(Connected),
    Closed,
}

struct Connected {
    connection: Connection,
    /// The number of changes at the last look.
    version: i64,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects, unless the backend was closed. As for a reader, this takes some 0.2 ms, on the thread of the caller.
    fn connect(&self, store: &Store) -> Result<()> {
        let mut state = self.lock();
        if matches!(*state, SlotState::Closed) {
            return Err(Error::backend_closed());
        }
        let connection = store.file().ok_or_else(Error::backend_closed)?.connect()?;
        let version = data_version(&connection)?;
        *state = SlotState::Connected(Connected { connection, version });
        Ok(())
    }
}

impl Feeds {
    pub(crate) fn new() -> Self {
        Self { slots: Mutex::default(), fork_guard: ForkGuard::new() }
    }

    /// A new feed; `None` in a forked child, which must not use the store.
    pub(crate) fn start(&self, cell: &Arc<StoreCell>) -> Option<Box<dyn ChangeFeed>> {
        self.fork_guard.check().ok()?;
        let slot = Arc::new(Slot::default());
        let mut slots = self.lock();
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&slot));
        drop(slots);
        // If it fails, the feed tries again, and then reports that it may have missed a change.
        let _ = cell.get().and_then(|store| slot.connect(&store));
        Some(Box::new(FileFeed {
            cell: Arc::downgrade(cell),
            slot,
            fork_guard: self.fork_guard,
            next_look: Instant::now(),
            pause: INTERVAL,
            is_in_place: true,
        }))
    }

    /// Closes the connections of all feeds. To be called after the cell is closed, so that no feed starts later.
    pub(crate) fn close(&self) {
        for slot in self.lock().drain(..).filter_map(|slot| slot.upgrade()) {
            *slot.lock() = SlotState::Closed;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of changes that other connections have made, as this one sees it.
fn data_version(connection: &Connection) -> Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")
        .and_then(|mut query| query.query_row([], |row| row.get(0)))
        .map_err(from_sqlite)
}

/// Looks at the store at an interval, while `next` is awaited.
struct FileFeed {
    /// It does not keep the store open.
    cell: Weak<StoreCell>,
    slot: Arc<Slot>,
    fork_guard: ForkGuard,
    next_look: Instant,
    /// How long the next pause after a failure is.
    pause: Duration,
    /// Whether the path led to the opened file at the last look.
    is_in_place: bool,
}

/// What a look at the store has found.
enum Look {
    Unchanged,
    Changed,
    /// There is a store, and no connection to it.
    Disconnected(Arc<Store>),
    /// The backend has not opened a store.
    Missing {
        /// Whether there is a file now that the next read opens.
        has_appeared: bool,
    },
    Closed,
}

impl FileFeed {
    fn look(&mut self) -> Look {
        let is_child = self.fork_guard.check().is_err();
        let Some(cell) = self.cell.upgrade().filter(|_| !is_child) else { return Look::Closed };
        let store = match cell.get() {
            Ok(store) => store,
            Err(error) if error.kind() == ErrorKind::Closed => return Look::Closed,
            Err(_) => return Look::Missing { has_appeared: cell.has_appeared() },
        };
        let mut state = self.slot.lock();
        let connected = match &mut *state {
            SlotState::Closed => return Look::Closed,
            SlotState::Empty => return Look::Disconnected(store),
            SlotState::Connected(connected) => connected,
        };
        let Ok(version) = data_version(&connected.connection) else {
            *state = SlotState::Empty;
            return Look::Disconnected(store);
        };
        let is_new = std::mem::replace(&mut connected.version, version) != version;
        drop(state);
        // Reads of a store that was replaced may use the old file, or fail.
        let is_in_place = store.check_not_replaced().is_ok();
        let has_moved = std::mem::replace(&mut self.is_in_place, is_in_place) != is_in_place;
        if is_new || has_moved { Look::Changed } else { Look::Unchanged }
    }

    /// The pause before the next attempt at something that failed.
    fn back_off(&mut self) -> Duration {
        let longer = MAX_PAUSE.min(2 * self.pause);
        std::mem::replace(&mut self.pause, longer)
    }
}

#[async_trait]
impl ChangeFeed for FileFeed {
    async fn next(&mut self) -> Option<Change> {
        loop {
            sleep_until(self.next_look).await;
            let found = self.look();
            if !matches!(found, Look::Disconnected(_) | Look::Missing { has_appeared: true }) {
                self.pause = INTERVAL;
            }
            self.next_look = Instant::now() + INTERVAL;
            match found {
                Look::Unchanged | Look::Missing { has_appeared: false } => {}
                Look::Changed => return Some(Change::Any),
                Look::Closed => return None,
                // The read that follows opens the store, unless another process is still creating it.
                Look::Missing { has_appeared: true } => {
                    self.next_look = Instant::now() + self.back_off();
                    return Some(Change::Any);
                }
                Look::Disconnected(store) => match self.slot.connect(&store) {
                    Ok(()) => return Some(Change::Any),
                    Err(_) => self.next_look = Instant::now() + self.back_off(),
                },
            }
        }
    }
}

impl fmt::Debug for FileFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileFeed").finish_non_exhaustive()
    }
}
