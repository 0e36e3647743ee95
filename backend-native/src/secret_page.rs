//! Secrets in the order of their paths, for work on all of them.

use rusqlite::Connection;
use strongroom_core::{Result, SecretPath};

use crate::error::from_sqlite;
use crate::row_keys::RowKeys;
use crate::secret_row::{SecretRow, columns, raw_path, valid_path};

/// Some secrets in the order of their paths.
pub(crate) struct SecretPage {
    /// `None` for one that fails authentication.
    pub(crate) secrets: Vec<Option<(SecretPath, SecretRow)>>,
    /// The last path as stored in the file, if more may follow.
    pub(crate) last: Option<Vec<u8>>,
}

impl SecretPage {
    /// Reads at most `limit` secrets after a path, deleted ones included.
    pub(crate) fn load(
        connection: &Connection,
        after: &[u8],
        limit: usize,
        keys: &RowKeys,
    ) -> Result<Self> {
        let mut statement = connection
            .prepare_cached(concat!(
                "SELECT ",
                columns!(),
                ", s.path FROM secrets s WHERE s.path > CAST(?1 AS TEXT) ORDER BY s.path LIMIT ?2"
            ))
            .map_err(from_sqlite)?;
        let mut rows = statement.query((after, limit)).map_err(from_sqlite)?;
        let (mut secrets, mut last) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next().map_err(from_sqlite)? {
            last = raw_path(row)?;
            secrets.push(valid_path(&last).and_then(|path| {
                let secret = SecretRow::from_row(row, &path, keys).ok()?;
                Some((path, secret))
            }));
        }
        // A path that does not follow the previous one was edited, and would repeat the page forever.
        let last = (secrets.len() == limit && last.as_slice() > after).then_some(last);
        Ok(Self { secrets, last })
    }
}
