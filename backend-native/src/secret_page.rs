//! Secrets in the order of their paths, for work on all of them.

use strongroom_core::{Result, SecretPath};

use crate::row_keys::RowKeys;
use crate::secret_row::{SecretRow, valid_path};
use crate::storage::{Range, Tables};

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
        tables: &dyn Tables,
        after: &[u8],
        limit: usize,
        keys: &RowKeys,
    ) -> Result<Self> {
        let (mut secrets, mut last) = (Vec::new(), Vec::new());
        let range = Range { after, before: None, limit: Some(limit) };
        tables.secrets(range, &mut |path, raw| {
            last = path.to_vec();
            secrets.push(valid_path(path).and_then(|path| {
                let secret = SecretRow::authenticate(&raw.ok()?, &path, keys).ok()?;
                Some((path, secret))
            }));
            Ok(())
        })?;
        // A path that does not follow the previous one was edited, and would repeat the page forever.
        let last = (secrets.len() == limit && last.as_slice() > after).then_some(last);
        Ok(Self { secrets, last })
    }
}
