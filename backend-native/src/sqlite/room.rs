//! Gives room back to the file system: pages that hold nothing since secrets were removed, and a log that
//! a burst of writes has made large.

use rusqlite::Connection;
use strongroom_core::Result;

use crate::error::from_sqlite;

/// A longer write-ahead log is truncated once no write waits, in bytes. SQLite begins to reuse a log at
/// about 4 MB (1,000 pages), unless a long read or transaction keeps it from doing so.
pub(crate) const LARGE_LOG: u64 = 8 * 1024 * 1024;

/// How many empty pages stay for later writes: 4 MiB in pages of 4 KiB, or more in a larger store.
const KEPT_PAGES: i64 = 1024;
/// A store keeps this part of its pages empty.
const KEPT_PART: i64 = 4;
/// How many pages one step releases: some milliseconds.
const STEP: i64 = 256;

/// Releases some pages of the store's file, if many are empty. Returns whether more can be released.
///
/// A store that an earlier release created has no table of pages to move (`auto_vacuum`), so it keeps its
/// size until `NativeBackend::vacuum`.
pub(crate) fn release_pages(connection: &Connection) -> Result<bool> {
    let empty = pragma(connection, "freelist_count")?;
    if empty <= KEPT_PAGES || pragma(connection, "auto_vacuum")? != INCREMENTAL {
        return Ok(false);
    }
    let kept = KEPT_PAGES.max(pragma(connection, "page_count")? / KEPT_PART);
    let excess = empty - kept;
    if excess <= 0 {
        return Ok(false);
    }
    // Each step of the statement releases one page.
    connection
        .execute_batch(&format!("PRAGMA incremental_vacuum({})", excess.min(STEP)))
        .map_err(from_sqlite)?;
    Ok(excess > STEP)
}

/// The value of `auto_vacuum` in which pages are released on demand.
const INCREMENTAL: i64 = 2;

fn pragma(connection: &Connection, name: &str) -> Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(from_sqlite)
}
