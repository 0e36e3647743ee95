//! A row of the `secrets` table: the metadata of a secret and its range of versions, under a MAC.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use strongroom_core::{Metadata, Result, SecretPath};

use crate::error::{deleted_secret, from_sqlite, record_corrupt};
use crate::record::{MacInput, RecordContext};
use crate::row_keys::{RowKeys, Signature};
use crate::writer::SharedTransaction;

/// The columns that [`SecretRow::from_row`] reads, in order, for use in `concat!`: a statement
/// formatted at run time would be formatted for every read.
macro_rules! columns {
    () => {
        "s.secret_id, s.active, s.first, s.latest, s.created_at, s.updated_at, s.deleted_at, \
         s.expires_at, s.rotation_ms, s.kind, s.tier, s.description, s.tags, s.mac"
    };
}
pub(crate) use columns;

/// The entry of the tags that holds `created_by`.
const CREATED_BY: &str = "strongroom.created_by";
/// The entry of the tags that holds `updated_by`.
const UPDATED_BY: &str = "strongroom.updated_by";

/// How many columns those are.
pub(crate) const COLUMN_COUNT: usize = 14;

#[derive(Debug)]
pub(crate) struct SecretRow {
    pub(crate) secret_id: [u8; 16],
    pub(crate) active: u64,
    /// The oldest version that is kept; all from here to `latest` exist.
    pub(crate) first: u64,
    pub(crate) latest: u64,
    pub(crate) deleted_at: Option<i64>,
    pub(crate) metadata: Metadata,
    /// As the row is stored; `None` for one that is not.
    pub(crate) signature: Option<Signature>,
}

impl SecretRow {
    /// A secret before its first write.
    pub(crate) fn new(secret_id: [u8; 16], now: i64, mut metadata: Metadata) -> Self {
        metadata.created_at = Some(to_time(now));
        Self {
            secret_id,
            active: 0,
            first: 1,
            latest: 0,
            deleted_at: None,
            metadata,
            signature: None,
        }
    }

    /// Reads and authenticates the row of `path`, deleted or not.
    pub(crate) fn load(
        connection: &Connection,
        path: &SecretPath,
        keys: &RowKeys,
    ) -> Result<Option<Self>> {
        connection
            .prepare_cached(concat!("SELECT ", columns!(), " FROM secrets s WHERE s.path = ?"))
            .and_then(|mut statement| {
                statement
                    .query_row([path.as_str()], |row| Ok(Self::from_row(row, path, keys)))
                    .optional()
            })
            .map_err(from_sqlite)?
            .transpose()
    }

    /// Authenticates a row that begins with `columns!()`.
    pub(crate) fn from_row(row: &Row<'_>, path: &SecretPath, keys: &RowKeys) -> Result<Self> {
        let raw = RawRow::read(row).map_err(from_sqlite)?;
        let signature = keys.verify(&raw.mac_input(path, &keys.store_id), raw.mac)?;
        let unreadable = || record_corrupt("the record has metadata that cannot be read");
        let row = raw.parse().ok_or_else(unreadable)?;
        Ok(Self { signature: Some(signature), ..row })
    }

    /// Fails with `NotFound` for a deleted secret.
    pub(crate) fn ensure_not_deleted(self, store: &Path) -> Result<Self> {
        if self.deleted_at.is_some() { Err(deleted_secret(store)) } else { Ok(self) }
    }

    /// The associated data of one of this secret's versions.
    pub(crate) fn record_context<'a>(
        &'a self,
        store_id: &'a [u8; 16],
        path: &'a SecretPath,
        version: u64,
        created_at: i64,
    ) -> RecordContext<'a> {
        RecordContext { store_id, secret_id: &self.secret_id, version, created_at, path }
    }

    /// Signs the row and writes it over the previous one, of which the transaction tells the state.
    pub(crate) fn store(
        &mut self,
        transaction: &SharedTransaction<'_>,
        path: &SecretPath,
    ) -> Result<()> {
        let keys = &transaction.key_ring.rows;
        let metadata = &self.metadata;
        let tags = encode_tags(metadata)?;
        let mut raw = RawRow {
            secret_id: &self.secret_id,
            active: self.active,
            first: self.first,
            latest: self.latest,
            created_at: metadata.created_at.map_or(0, to_millis),
            updated_at: metadata.updated_at.map_or(0, to_millis),
            deleted_at: self.deleted_at,
            expires_at: metadata.expires_at.map(to_millis),
            rotation_ms: metadata.rotation_interval.map(duration_to_millis),
            kind: metadata.kind.as_str(),
            tier: metadata.tier.as_str(),
            description: metadata.description.as_deref(),
            tags: tags.as_deref(),
            mac: &[],
        };
        let signature = keys.sign(&raw.mac_input(path, &keys.store_id));
        raw.mac = &signature.mac;
        raw.write(transaction.connection, path).map_err(from_sqlite)?;
        transaction.state_change.write_row(keys, self.signature.as_ref(), &signature)?;
        self.signature = Some(signature);
        Ok(())
    }
}

/// Removes the row of `path`, which `signature` has signed.
///
/// Without a signature, the row fails authentication, and the state keeps the element of the authentic row that was
/// there: the MAC in a damaged row may be that of any other row, whose removal this would hide. `verify` finds the
/// difference until an operator accepts the state.
pub(crate) fn remove(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    signature: Option<&Signature>,
) -> Result<()> {
    transaction
        .connection
        .prepare_cached("DELETE FROM secrets WHERE path = ?")
        .and_then(|mut delete| delete.execute([path.as_str()]))
        .map_err(from_sqlite)?;
    transaction.state_change.touch();
    let forget =
        |signature| transaction.state_change.remove_row(&transaction.key_ring.rows, signature);
    signature.map_or(Ok(()), forget)
}

/// The tags as a JSON object, with the principals under names that no tag has.
fn encode_tags(metadata: &Metadata) -> Result<Option<String>> {
    let principals = [(CREATED_BY, &metadata.created_by), (UPDATED_BY, &metadata.updated_by)];
    let principals = principals.into_iter().filter_map(|(name, by)| Some((name, by.as_deref()?)));
    let tags = metadata.tags.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let all: BTreeMap<_, _> = tags.chain(principals).collect();
    (!all.is_empty())
        .then(|| serde_json::to_string(&all))
        .transpose()
        .map_err(|_| record_corrupt("tags cannot be written"))
}

/// The columns as stored in the file.
struct RawRow<'a> {
    secret_id: &'a [u8],
    active: u64,
    first: u64,
    latest: u64,
    created_at: i64,
    updated_at: i64,
    deleted_at: Option<i64>,
    expires_at: Option<i64>,
    rotation_ms: Option<i64>,
    kind: &'a str,
    tier: &'a str,
    description: Option<&'a str>,
    tags: Option<&'a str>,
    mac: &'a [u8],
}

impl<'a> RawRow<'a> {
    fn read(row: &'a Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            secret_id: row.get_ref(0)?.as_blob()?,
            active: row.get(1)?,
            first: row.get(2)?,
            latest: row.get(3)?,
            created_at: row.get(4)?,
            updated_at: row.get(5)?,
            deleted_at: row.get(6)?,
            expires_at: row.get(7)?,
            rotation_ms: row.get(8)?,
            kind: row.get_ref(9)?.as_str()?,
            tier: row.get_ref(10)?.as_str()?,
            description: row.get_ref(11)?.as_str_or_null()?,
            tags: row.get_ref(12)?.as_str_or_null()?,
            mac: row.get_ref(13)?.as_blob()?,
        })
    }

    fn mac_input(&self, path: &SecretPath, store_id: &[u8; 16]) -> MacInput {
        MacInput::new(b's', store_id)
            .bytes(self.secret_id)
            .number(to_i64(self.active))
            .number(to_i64(self.first))
            .number(to_i64(self.latest))
            .number(self.created_at)
            .number(self.updated_at)
            .optional_number(self.deleted_at)
            .optional_number(self.expires_at)
            .optional_number(self.rotation_ms)
            .bytes(self.kind.as_bytes())
            .bytes(self.tier.as_bytes())
            .optional_bytes(self.description.map(str::as_bytes))
            .optional_bytes(self.tags.map(str::as_bytes))
            .bytes(path.as_str().as_bytes())
    }

    fn parse(&self) -> Option<SecretRow> {
        let mut tags: BTreeMap<_, _> = match self.tags {
            Some(tags) => serde_json::from_str(tags).ok()?,
            None => BTreeMap::new(),
        };
        let mut metadata = Metadata::default();
        metadata.created_by = tags.remove(CREATED_BY);
        metadata.updated_by = tags.remove(UPDATED_BY);
        metadata.kind = self.kind.parse().ok()?;
        metadata.tier = self.tier.parse().ok()?;
        metadata.tags = tags;
        metadata.description = self.description.map(str::to_owned);
        metadata.created_at = Some(to_time(self.created_at));
        metadata.updated_at = Some(to_time(self.updated_at));
        metadata.expires_at = self.expires_at.map(to_time);
        metadata.rotation_interval = match self.rotation_ms {
            Some(millis) => Some(Duration::from_millis(millis.try_into().ok()?)),
            None => None,
        };
        Some(SecretRow {
            secret_id: self.secret_id.try_into().ok()?,
            active: self.active,
            first: self.first,
            latest: self.latest,
            deleted_at: self.deleted_at,
            metadata,
            signature: None,
        })
    }

    fn write(&self, connection: &Connection, path: &SecretPath) -> rusqlite::Result<()> {
        // By position, in the order of the table's columns: names would be looked up at each write.
        let mut statement = connection.prepare_cached(
            "INSERT OR REPLACE INTO secrets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        statement.execute(params![
            path.as_str(),
            self.secret_id,
            self.active,
            self.first,
            self.latest,
            self.created_at,
            self.updated_at,
            self.deleted_at,
            self.expires_at,
            self.rotation_ms,
            self.kind,
            self.tier,
            self.description,
            self.tags,
            self.mac,
        ])?;
        Ok(())
    }
}

/// The path in the column after `columns!()`, as stored in the file, which may have been edited.
pub(crate) fn raw_path(row: &Row<'_>) -> Result<Vec<u8>> {
    match row.get_ref(COLUMN_COUNT).map_err(from_sqlite)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
        _ => Err(record_corrupt("a row of the store cannot be read")),
    }
}

pub(crate) fn valid_path(raw: &[u8]) -> Option<SecretPath> {
    SecretPath::parse(std::str::from_utf8(raw).ok()?).ok()
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    to_millis(SystemTime::now())
}

pub(crate) fn to_time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time = if millis < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

pub(crate) fn to_millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => duration_to_millis(since),
        Err(before) => -duration_to_millis(before.duration()),
    }
}

fn duration_to_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value as Cell;
    use rusqlite::{ToSql, params_from_iter};
    use serde_json::Value;

    use super::*;
    use crate::record::vectors::{array, bytes, mac_key, row_keys, vectors};

    fn cell(row: &Value, column: &str) -> Cell {
        match &row[column] {
            Value::Null => Cell::Null,
            Value::Number(number) => Cell::Integer(number.as_i64().unwrap()),
            blob if ["secret_id", "mac"].contains(&column) => Cell::Blob(bytes(blob)),
            text => Cell::Text(text.as_str().unwrap().to_owned()),
        }
    }

    /// Reads the row from a query of constants, with `change` made to its cells.
    fn read(row: &Value, change: impl FnOnce(&mut [Cell])) -> Result<SecretRow> {
        let vectors = vectors();
        let columns = columns!().split(", ").map(|column| column.strip_prefix("s.").unwrap());
        let mut cells: Vec<_> = columns.map(|column| cell(row, column)).collect();
        assert_eq!(cells.len(), COLUMN_COUNT);
        change(&mut cells);
        let path = SecretPath::parse(row["path"].as_str().unwrap()).unwrap();
        let query = format!("SELECT {}", vec!["?"; COLUMN_COUNT].join(", "));
        let parameters = params_from_iter(cells.iter().map(|cell| cell as &dyn ToSql));
        Connection::open_in_memory()
            .unwrap()
            .query_row(&query, parameters, |row| {
                Ok(SecretRow::from_row(row, &path, &row_keys(&vectors)))
            })
            .unwrap()
    }

    #[test]
    fn committed_rows_authenticate() {
        let vectors = vectors();
        let [full, plain] = vectors["secrets"].as_array().unwrap().as_slice() else { panic!() };
        for row in [full, plain] {
            let (input, mac) = (bytes(&row["mac_input"]), bytes(&row["mac"]));
            mac_key(&vectors).verify(&input, &mac).unwrap();
            let read = read(row, |_| {}).unwrap();
            assert_eq!(read.secret_id, array(&row["secret_id"]));
            assert_eq!((read.active, read.latest), (2, 3));
            assert_eq!(read.deleted_at, row["deleted_at"].as_i64());
            assert_eq!(read.metadata.expires_at, row["expires_at"].as_i64().map(to_time));
            assert_eq!(read.metadata.description.as_deref(), row["description"].as_str());
        }
        let tags = read(full, |_| {}).unwrap().metadata.tags;
        assert_eq!(serde_json::to_string(&tags).unwrap(), full["tags"].as_str().unwrap());
        assert!(read(plain, |_| {}).unwrap().metadata.tags.is_empty());
    }

    #[test]
    fn cells_of_another_type_are_corrupt() {
        let vectors = vectors();
        let row = &vectors["secrets"][0];
        for column in 0..COLUMN_COUNT {
            for wrong in [Cell::Real(1.0), Cell::Null, Cell::Text("1".into()), Cell::Blob(vec![1])]
            {
                let error = read(row, |cells| cells[column] = wrong.clone()).unwrap_err();
                assert_eq!(error.kind(), strongroom_core::ErrorKind::Corrupt, "{column} {wrong:?}");
            }
        }
    }

    #[test]
    fn times_before_1970_round_trip() {
        for millis in [0, 1, -1, 253_402_300_799_999, i64::MIN + 1] {
            assert_eq!(to_millis(to_time(millis)), millis);
        }
    }
}
