//! A row of the `secrets` table: the metadata of a secret and its range of versions, under a MAC.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strongroom_core::{Metadata, Result, SecretPath};

use crate::error::{deleted_secret, record_corrupt};
use crate::record::{MacInput, RecordContext};
use crate::row_keys::{RowKeys, Signature};
use crate::storage::Tables;
use crate::store_name::StoreName;
use crate::writer::SharedTransaction;

/// The entry of the tags that holds `created_by`.
const CREATED_BY: &str = "strongroom.created_by";
/// The entry of the tags that holds `updated_by`.
const UPDATED_BY: &str = "strongroom.updated_by";

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
        tables: &dyn Tables,
        path: &SecretPath,
        keys: &RowKeys,
    ) -> Result<Option<Self>> {
        let mut loaded = None;
        tables.secret(path, &mut |raw| {
            loaded = Some(Self::authenticate(&raw, path, keys)?);
            Ok(())
        })?;
        Ok(loaded)
    }

    /// Authenticates a row.
    pub(crate) fn authenticate(
        raw: &RawSecret<'_>,
        path: &SecretPath,
        keys: &RowKeys,
    ) -> Result<Self> {
        let signature = keys.verify(&raw.mac_input(path, &keys.store_id), raw.mac)?;
        let unreadable = || record_corrupt("the record has metadata that cannot be read");
        let row = raw.parse().ok_or_else(unreadable)?;
        Ok(Self { signature: Some(signature), ..row })
    }

    /// Fails with `NotFound` for a deleted secret.
    pub(crate) fn ensure_not_deleted(self, store: &StoreName) -> Result<Self> {
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
        let mut raw = RawSecret {
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
        transaction.tables.write_secret(path, &raw)?;
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
    transaction.tables.remove_secret(path)?;
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

/// The columns as stored.
pub(crate) struct RawSecret<'a> {
    pub(crate) secret_id: &'a [u8],
    pub(crate) active: u64,
    pub(crate) first: u64,
    pub(crate) latest: u64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) deleted_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) rotation_ms: Option<i64>,
    pub(crate) kind: &'a str,
    pub(crate) tier: &'a str,
    pub(crate) description: Option<&'a str>,
    pub(crate) tags: Option<&'a str>,
    pub(crate) mac: &'a [u8],
}

impl RawSecret<'_> {
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
    use rusqlite::{Connection, ToSql, params_from_iter};
    use serde_json::Value;

    use super::*;
    use crate::error::from_sqlite;
    use crate::record::vectors::{array, bytes, mac_key, row_keys, vectors};
    use crate::sqlite::tables::{COLUMN_COUNT, columns, secret_of};

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
                let raw = secret_of(row).map_err(from_sqlite);
                Ok(raw.and_then(|raw| SecretRow::authenticate(&raw, &path, &row_keys(&vectors))))
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
