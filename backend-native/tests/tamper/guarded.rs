//! A store with or without an anchor, and the rows of its tables at earlier moments.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend as _, Error, PutOptions, Result, VersionSelector};
use tempfile::TempDir;

use crate::edit::all_rows;
use crate::sample::{DB, fill, parse};

const TABLES: [(&str, &str); 4] = [
    ("secrets", "INSERT INTO secrets VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"),
    ("versions", "INSERT INTO versions VALUES (?,?,?,?,?)"),
    ("keyring", "INSERT INTO keyring VALUES (?,?,?,?,?,?,?)"),
    ("state", "INSERT INTO state VALUES (?,?,?)"),
];

/// The rows of some tables at one moment.
pub(crate) struct Rows(Vec<(&'static str, &'static str, Vec<Value>)>);

impl Rows {
    pub(crate) fn read(connection: &Connection, tables: &[&str]) -> Self {
        let tables = TABLES.iter().filter(|(table, _)| tables.contains(table));
        let rows = tables.flat_map(|(table, insert)| {
            all_rows(connection, table).into_iter().map(|row| (*table, *insert, row))
        });
        Self(rows.collect())
    }

    pub(crate) fn put_back(&self, connection: &Connection) {
        let transaction = connection.unchecked_transaction().unwrap();
        for (table, _) in TABLES {
            if self.0.iter().any(|(name, _, _)| *name == table) {
                transaction.execute(&format!("DELETE FROM {table}"), []).unwrap();
            }
        }
        for (_, insert, row) in &self.0 {
            transaction.prepare_cached(insert).unwrap().execute(params_from_iter(row)).unwrap();
        }
        transaction.commit().unwrap();
    }
}

/// A store, with or without an anchor in another folder.
pub(crate) struct Guarded {
    pub(crate) folder: TempDir,
    pub(crate) elsewhere: TempDir,
    pub(crate) has_anchor: bool,
}

impl Guarded {
    /// A closed store with some secrets.
    pub(crate) async fn new(has_anchor: bool) -> Self {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Self { folder, elsewhere, has_anchor };
        let backend = store.open().await.unwrap();
        fill(&backend).await;
        backend.close().await.unwrap();
        store
    }

    pub(crate) fn config(&self) -> NativeConfig {
        let mut config = NativeConfig::new(KeySource::KeyFile(self.folder.path().join("key")));
        config.path = Some(self.file());
        config.anchor_file = self.has_anchor.then(|| self.anchor());
        config
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("secrets.db")
    }

    pub(crate) fn anchor(&self) -> PathBuf {
        self.elsewhere.path().join("anchor")
    }

    pub(crate) async fn open(&self) -> Result<NativeBackend> {
        NativeBackend::open(self.config()).await
    }

    pub(crate) async fn open_error(&self) -> Error {
        self.open().await.unwrap_err()
    }

    pub(crate) fn editor(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    pub(crate) fn state(&self) -> u64 {
        self.editor().query_row("SELECT number FROM state", [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn anchored_state(&self) -> u64 {
        anchored_state(&self.anchor())
    }

    pub(crate) async fn write_one_more(&self) {
        let backend = self.open().await.unwrap();
        put(&backend, DB, "newest").await.unwrap();
        backend.close().await.unwrap();
    }
}

pub(crate) fn anchored_state(anchor: &Path) -> u64 {
    u64::from_be_bytes(fs::read(anchor).unwrap()[25..33].try_into().unwrap())
}

pub(crate) async fn put(backend: &NativeBackend, path: &str, value: &str) -> Result<()> {
    backend.put(&parse(path), value.into(), PutOptions::new()).await.map(drop)
}

pub(crate) async fn active(backend: &NativeBackend, path: &str) -> Result<Vec<u8>> {
    let secret = backend.get(&parse(path), &VersionSelector::Active).await?;
    Ok(secret.expose_bytes().to_vec())
}

/// What `verify` says about the store as a whole.
pub(crate) async fn findings(backend: &NativeBackend) -> Vec<String> {
    let found = backend.verify().await.unwrap();
    let of_store = found.damage.into_iter().filter(|damage| damage.path.is_none());
    of_store.map(|damage| damage.what.into_owned()).collect()
}

pub(crate) fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
}
