//! Stores of schema 1, which had no state and no key slots: the key or passphrase gave the root key itself. Opening one
//! changes it to the schema of this release.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};
use strongroom_core::Result;
use tracing::{info, warn};

use super::schema::{self, FileContent};
use crate::argon2id::Argon2id;
use crate::config::KeySource;
use crate::crypto::{self, KeyBytes};
use crate::error::{from_sqlite, record_corrupt};
use crate::key_ring::{self, StoreRow};
use crate::root_key::RootKey;
use crate::slots::{self, NewSlot, SlotSecret};
use crate::state::{RowSum, State};
use crate::store_name::StoreName;

/// The row of the `store` table of schema 1.
struct EarlierStore {
    row: StoreRow,
    /// How the root key is derived from a passphrase; `None` if the store is opened with the root key itself.
    argon2id: Option<Argon2id>,
}

impl EarlierStore {
    /// `None` if another process has migrated the store.
    fn load(connection: &Connection) -> Result<Option<Self>> {
        let snapshot = connection.unchecked_transaction().map_err(from_sqlite)?;
        if schema::identify(&snapshot)? != FileContent::Schema1 {
            return Ok(None);
        }
        let sql = "SELECT store_id, root_check, created_at, argon2_memory_kib, argon2_passes, argon2_lanes, \
                   argon2_salt FROM store";
        let store = snapshot.query_row(sql, [], Self::from_row).optional().map_err(from_sqlite)?;
        store.map(Some).ok_or_else(|| record_corrupt("the table `store` is empty"))
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let argon2id = match row.get(3)? {
            None => None,
            Some(memory_kib) => Some(Argon2id {
                memory_kib,
                passes: row.get(4)?,
                lanes: row.get(5)?,
                salt: row.get(6)?,
            }),
        };
        Ok(Self {
            row: StoreRow {
                store_id: row.get(0)?,
                created_at: row.get(2)?,
                root_check: row.get(1)?,
            },
            argon2id,
        })
    }

    fn kind(&self) -> &'static str {
        if self.argon2id.is_some() { "passphrase" } else { "key" }
    }

    /// The root key, if the source holds it.
    fn root(&self, secret: &SlotSecret) -> Result<KeyBytes> {
        let root = match (secret, &self.argon2id) {
            (SlotSecret::Key(key), None) => key.clone(),
            (SlotSecret::Passphrase(passphrase), Some(argon2id)) => argon2id.derive(passphrase)?,
            _ => return Err(slots::wrong_kind(secret, [self.kind()])),
        };
        let check = RootKey::new(&root).check(&self.row.store_id);
        crypto::equal(&self.row.root_check, &*check).map_err(|_| slots::wrong_key())?;
        Ok(root)
    }
}

/// Changes a store of schema 1 to the schema of this release, in one transaction. `path` names it in errors.
pub(crate) fn migrate(
    connection: &mut Connection,
    sources: &[KeySource],
    group: Option<u32>,
    path: &Path,
) -> Result<()> {
    let Some(earlier) = EarlierStore::load(connection)? else { return Ok(()) };
    let root =
        slots::first_that_opens(sources, group, &StoreName::File(path.to_owned()), |secret| {
            earlier.root(secret)
        })?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(from_sqlite)?;
    // Another process may have migrated it meanwhile.
    if schema::identify(&transaction)? != FileContent::Schema1 {
        return Ok(());
    }
    let key_ring = key_ring::load(&*transaction, &earlier.row, Arc::new(RootKey::new(&root)))?;
    schema::migrate(&transaction)?;
    let slot = NewSlot::of_schema_1(earlier.argon2id.as_ref(), &root);
    slot.store(&*transaction, slots::FIRST, &key_ring.rows, &root, earlier.row.created_at)?;
    let (rows, damaged) = RowSum::of_store(&*transaction, &key_ring.rows)?;
    if damaged > 0 {
        warn!(damaged, "secrets fail authentication and are not in the first state of the store");
    }
    State::first(rows).store(&*transaction, &key_ring.rows)?;
    transaction.commit().map_err(from_sqlite)?;
    info!("brought the store of an earlier release up to date");
    Ok(())
}
