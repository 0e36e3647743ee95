//! The connection that writes to a store in a file, and what it does between transactions.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::room;
use super::schema::{self, CHECKPOINT_WAIT, WRITE_WAIT};
use super::store_file::StoreFile;
use crate::storage::{Idle, Tables, WriterTables};

/// How long the idle thread waits before it tries again to truncate a log that a reader uses.
const RETRY_RELEASE: Duration = Duration::from_secs(1);

pub(crate) struct FileWriter {
    connection: Connection,
    file: Arc<StoreFile>,
    /// The write-ahead log still holds removed data, since a reader kept it from being truncated.
    truncation_pending: bool,
    /// Whether a transaction ran since the last time that room was released.
    has_written: bool,
}

impl FileWriter {
    pub(crate) fn new(connection: Connection, file: Arc<StoreFile>) -> Self {
        Self { connection, file, truncation_pending: false, has_written: true }
    }

    /// Takes one short step to give room back to the file system that a burst of writes, or removed
    /// secrets, have left.
    fn release_room(&mut self) -> Idle {
        if !self.has_written && !self.truncation_pending {
            return Idle::Done;
        }
        match room::release_pages(&self.connection) {
            Ok(true) => return Idle::Continue,
            Ok(false) => {}
            // Another process writes, or the disk is full. A later write tries again.
            Err(_) => tracing::debug!("no room of the store could be released"),
        }
        if !self.truncation_pending && self.file.log_len() <= room::LARGE_LOG {
            self.has_written = false;
            return Idle::Done;
        }
        self.truncation_pending = !self.truncate_log(Duration::ZERO);
        if self.truncation_pending { Idle::Retry(RETRY_RELEASE) } else { Idle::Continue }
    }

    /// Moves everything from the write-ahead log into the store and truncates the log. Returns
    /// `false` if a reader kept the checkpoint from being complete.
    fn truncate_log(&mut self, wait: Duration) -> bool {
        // The checkpoint holds the write lock while it waits.
        let truncated = schema::set_lock_wait(&mut self.connection, wait).and_then(|()| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            self.connection.query_row(checkpoint, [], |row| row.get::<_, i64>(0))
        });
        let restored = schema::set_lock_wait(&mut self.connection, WRITE_WAIT);
        if truncated != Ok(0) || restored.is_err() {
            tracing::debug!("the write-ahead log is in use; a later write truncates it");
            return false;
        }
        true
    }
}

impl WriterTables for FileWriter {
    fn tables(&self) -> &dyn Tables {
        &self.connection
    }

    fn note_commit(&mut self, has_removed: bool) {
        self.has_written = true;
        if has_removed {
            self.truncation_pending = !self.truncate_log(CHECKPOINT_WAIT);
        } else if self.truncation_pending {
            self.truncation_pending = !self.truncate_log(Duration::ZERO);
        }
    }

    fn rest(&mut self) -> Idle {
        self.release_room()
    }

    fn finish(&mut self) {
        if self.truncation_pending {
            self.truncate_log(CHECKPOINT_WAIT);
        }
    }
}
