//! Work on a whole store: removing old versions, and giving room back.

use rusqlite::Connection;
use strongroom_core::{Error, ErrorKind, Result};
use tracing::{info, warn};

use crate::error::from_sqlite;
use crate::secret_page::SecretPage;
use crate::sqlite::schema::{self, CHECKPOINT_WAIT, WRITE_WAIT};
use crate::store::{IfMissing, Store};
use crate::write::{self, Retention};
use crate::writer::{SharedTransaction, Writer};

/// How many secrets one transaction looks at: a few milliseconds, so that other writes do not wait long.
const BATCH: usize = 200;

/// What a sweep has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sweep {
    /// The secrets that were looked at, deleted ones included.
    pub secrets: u64,
    /// The versions that were removed.
    pub removed: u64,
    /// The secrets that are corrupt, and were left as they are.
    pub damaged: u64,
}

/// Removes the versions that the retention does not keep, in small transactions.
pub(crate) async fn sweep(writer: &Writer, retention: Retention) -> Result<Sweep> {
    let (mut sweep, mut after) = (Sweep::default(), Some(Vec::new()));
    while let Some(from) = after {
        let (batch, last) = writer
            .submit(IfMissing::Leave, move |transaction| sweep_batch(transaction, retention, &from))
            .await?;
        sweep.secrets += batch.secrets;
        sweep.removed += batch.removed;
        sweep.damaged += batch.damaged;
        after = last;
    }
    info!(secrets = sweep.secrets, removed = sweep.removed, "removed old versions");
    Ok(sweep)
}

/// Sweeps some secrets after a path. Returns the last path, if more may follow.
fn sweep_batch(
    transaction: &SharedTransaction<'_>,
    retention: Retention,
    after: &[u8],
) -> Result<(Sweep, Option<Vec<u8>>)> {
    let SharedTransaction { tables, key_ring, .. } = transaction;
    let page = SecretPage::load(*tables, after, BATCH, &key_ring.rows)?;
    let mut sweep = Sweep::default();
    for secret in page.secrets {
        sweep.secrets += 1;
        let Some((path, secret)) = secret else {
            warn!("a record fails authentication and is not swept");
            sweep.damaged += 1;
            continue;
        };
        sweep.removed += write::sweep(transaction, &path, secret, retention)?;
    }
    Ok((sweep, page.last))
}

/// Rewrites the file without empty pages. Blocks, and other writes wait meanwhile.
pub(crate) fn vacuum(store: &Store) -> Result<()> {
    let file = store.file().ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "let the database do it, which vacuums its tables by itself",
        )
        .because("the store is in a database, and only a store in a file can be vacuumed here")
    })?;
    let mut connection = file.connect()?;
    schema::set_lock_wait(&mut connection, WRITE_WAIT).map_err(from_sqlite)?;
    // Also in a store that an earlier release created without the table of pages to move.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(from_sqlite)?;
    connection.execute_batch("VACUUM").map_err(from_sqlite)?;
    truncate_log(&mut connection);
    file.check_not_replaced()
}

/// Moves the log into the file and truncates it, if no reader uses it. Else a writer does so while it is idle.
fn truncate_log(connection: &mut Connection) {
    // The checkpoint holds the write lock while it waits.
    let result = schema::set_lock_wait(connection, CHECKPOINT_WAIT).and_then(|()| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
    });
    if !matches!(result, Ok(false)) {
        tracing::debug!("the write-ahead log could not be truncated after a vacuum");
    }
}
