//! Earlier authentic copies in the place of the newest: of the file, of one secret, of the state, of the anchor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend as _, Error, ErrorKind, PutOptions, Result, VersionSelector};
use tempfile::TempDir;

use crate::edit::{Cell, Edit, all_rows, version_row};
use crate::sample::{DB, PLAIN, TWIN, fill, parse};

const TABLES: [(&str, &str); 4] = [
    ("secrets", "INSERT INTO secrets VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"),
    ("versions", "INSERT INTO versions VALUES (?,?,?,?,?)"),
    ("keyring", "INSERT INTO keyring VALUES (?,?,?,?,?,?,?)"),
    ("state", "INSERT INTO state VALUES (?,?,?)"),
];

/// The rows of some tables at one moment.
struct Rows(Vec<(&'static str, &'static str, Vec<Value>)>);

impl Rows {
    fn read(connection: &Connection, tables: &[&str]) -> Self {
        let tables = TABLES.iter().filter(|(table, _)| tables.contains(table));
        let rows = tables.flat_map(|(table, insert)| {
            all_rows(connection, table).into_iter().map(|row| (*table, *insert, row))
        });
        Self(rows.collect())
    }

    fn put_back(&self, connection: &Connection) {
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
struct Guarded {
    folder: TempDir,
    elsewhere: TempDir,
    has_anchor: bool,
}

impl Guarded {
    /// A closed store with some secrets.
    async fn new(has_anchor: bool) -> Self {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Self { folder, elsewhere, has_anchor };
        let backend = store.open().await.unwrap();
        fill(&backend).await;
        backend.close().await.unwrap();
        store
    }

    fn config(&self) -> NativeConfig {
        let mut config = NativeConfig::new(KeySource::KeyFile(self.folder.path().join("key")));
        config.path = Some(self.file());
        config.anchor_file = self.has_anchor.then(|| self.anchor());
        config
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("secrets.db")
    }

    fn anchor(&self) -> PathBuf {
        self.elsewhere.path().join("anchor")
    }

    async fn open(&self) -> Result<NativeBackend> {
        NativeBackend::open(self.config()).await
    }

    async fn open_error(&self) -> Error {
        self.open().await.unwrap_err()
    }

    fn editor(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    fn state(&self) -> u64 {
        self.editor().query_row("SELECT number FROM state", [], |row| row.get(0)).unwrap()
    }

    fn anchored_state(&self) -> u64 {
        anchored_state(&self.anchor())
    }

    async fn write_one_more(&self) {
        let backend = self.open().await.unwrap();
        put(&backend, DB, "newest").await.unwrap();
        backend.close().await.unwrap();
    }
}

fn anchored_state(anchor: &Path) -> u64 {
    u64::from_be_bytes(fs::read(anchor).unwrap()[25..33].try_into().unwrap())
}

async fn put(backend: &NativeBackend, path: &str, value: &str) -> Result<()> {
    backend.put(&parse(path), value.into(), PutOptions::new()).await.map(drop)
}

async fn active(backend: &NativeBackend, path: &str) -> Result<Vec<u8>> {
    let secret = backend.get(&parse(path), &VersionSelector::Active).await?;
    Ok(secret.expose_bytes().to_vec())
}

/// What `verify` says about the store as a whole.
async fn findings(backend: &NativeBackend) -> Vec<String> {
    let found = backend.verify().await.unwrap();
    let of_store = found.damage.into_iter().filter(|damage| damage.path.is_none());
    of_store.map(|damage| damage.what.into_owned()).collect()
}

fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
}

#[tokio::test]
async fn an_anchor_notices_that_yesterdays_file_was_put_back_while_no_process_ran() {
    let store = Guarded::new(true).await;
    let yesterday = fs::read(store.file()).unwrap();
    let before = store.state();
    assert_eq!(store.anchored_state(), before);
    store.write_one_more().await;
    let after = store.state();
    assert!(store.anchored_state() == after && after > before, "{before} {after}");

    fs::write(store.file(), &yesterday).unwrap();
    let error = store.open_error().await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let words = [&format!("at state {before}"), &format!("at state {after}"), "store accept"];
    assert_says(&error, &words.map(|word| word as &str));
    assert_eq!(store.anchored_state(), after, "the anchor was lowered");

    let accepted = NativeBackend::accept_state(store.config()).await.unwrap();
    assert_eq!((accepted.before, accepted.anchor), (Some(before), Some(after)));
    assert_eq!((accepted.number, accepted.damaged), (after + 1, 0));
    assert_eq!((store.state(), store.anchored_state()), (after + 1, after + 1));
    let backend = store.open().await.unwrap();
    assert_eq!(active(&backend, DB).await.unwrap(), b"second");
    assert!(findings(&backend).await.is_empty());
}

/// As the documentation says: nothing else is left that could tell.
#[tokio::test]
async fn without_an_anchor_a_file_that_is_put_back_while_no_process_runs_is_not_noticed() {
    let store = Guarded::new(false).await;
    let yesterday = fs::read(store.file()).unwrap();
    store.write_one_more().await;
    fs::write(store.file(), &yesterday).unwrap();
    let backend = store.open().await.unwrap();
    assert_eq!(active(&backend, DB).await.unwrap(), b"second");
    assert!(findings(&backend).await.is_empty());
}

#[tokio::test]
async fn a_running_process_notices_that_an_earlier_file_was_put_back() {
    for has_anchor in [false, true] {
        let store = Guarded::new(has_anchor).await;
        let backend = store.open().await.unwrap();
        put(&backend, DB, "newer").await.unwrap();
        let editor = store.editor();
        let all = ["secrets", "versions", "keyring", "state"];
        let earlier = Rows::read(&editor, &all);
        put(&backend, DB, "newest").await.unwrap();
        let newest = Rows::read(&editor, &all);
        assert_eq!(active(&backend, DB).await.unwrap(), b"newest");

        earlier.put_back(&editor);
        let error = put(&backend, TWIN, "x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_says(&error, &["this process has seen", "earlier copy"]);
        assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(findings(&backend).await.iter().any(|found| found.contains("earlier copy")));
        // A reader looks once a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(active(&backend, DB).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(backend.describe(&parse(PLAIN)).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(
            backend.list(None, &<_>::default()).await.unwrap_err().kind(),
            ErrorKind::Corrupt
        );

        newest.put_back(&editor);
        assert_eq!(active(&backend, DB).await.unwrap(), b"newest");
        put(&backend, TWIN, "x").await.unwrap();
        assert!(findings(&backend).await.is_empty());
    }
}

/// Another history of the store, which has the same number.
#[tokio::test]
async fn a_copy_that_was_written_on_elsewhere_is_noticed() {
    let store = Guarded::new(true).await;
    let common = fs::read(store.file()).unwrap();
    store.write_one_more().await;
    let (number, anchor) = (store.state(), fs::read(store.anchor()).unwrap());

    fs::write(store.file(), &common).unwrap();
    let copy = Guarded { has_anchor: false, ..store };
    copy.write_one_more().await;
    let store = Guarded { has_anchor: true, ..copy };
    assert_eq!((store.state(), fs::read(store.anchor()).unwrap()), (number, anchor));
    let error = store.open_error().await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_says(&error, &[&format!("are at state {number}"), "differ"]);
}

/// Another process has written, and an earlier state than its own was put back: only the anchor knows.
#[tokio::test]
async fn a_running_process_notices_a_state_behind_the_anchor() {
    let store = Guarded::new(true).await;
    let idle = store.open().await.unwrap();
    idle.health().await.unwrap();
    let editor = store.editor();
    let seen = Rows::read(&editor, &["secrets", "versions", "keyring", "state"]);
    store.write_one_more().await;
    seen.put_back(&editor);
    let error = idle.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_says(&error, &["its anchor", "earlier copy"]);
    // From then on this process knows.
    assert_eq!(put(&idle, DB, "x").await.unwrap_err().kind(), ErrorKind::Corrupt);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(active(&idle, DB).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_check_notices_a_secret_that_was_replaced_by_its_earlier_self() {
    let store = Guarded::new(true).await;
    let earlier = Rows::read(&store.editor(), &["secrets", "versions"]);
    let backend = store.open().await.unwrap();
    assert!(findings(&backend).await.is_empty());
    put(&backend, DB, "newest").await.unwrap();
    assert!(findings(&backend).await.is_empty());
    earlier.put_back(&store.editor());
    let found = findings(&backend).await;
    assert!(found.len() == 1 && found[0].contains("replaced by earlier ones"), "{found:?}");
    // Writes do not cover it up.
    put(&backend, TWIN, "x").await.unwrap();
    backend.destroy(&parse(DB)).await.unwrap();
    put(&backend, DB, "again").await.unwrap();
    assert_eq!(findings(&backend).await, found);
    backend.close().await.unwrap();
    NativeBackend::accept_state(store.config()).await.unwrap();
    assert!(findings(&store.open().await.unwrap()).await.is_empty());
}

#[tokio::test]
async fn a_check_counts_secrets_that_were_removed_or_put_back() {
    let store = Guarded::new(false).await;
    let backend = store.open().await.unwrap();
    let with_all = Rows::read(&store.editor(), &["secrets", "versions"]);
    let id = format!("(SELECT secret_id FROM secrets WHERE path = '{PLAIN}')");
    Edit::sql(format!("DELETE FROM versions WHERE secret_id = {id}"))
        .then(Edit::sql(format!("DELETE FROM secrets WHERE path = '{PLAIN}'")))
        .apply(&store.editor());
    let found = findings(&backend).await;
    assert!(
        found.len() == 1 && found[0].contains("has 4 secrets, its last state had 5"),
        "{found:?}"
    );
    // A secret that is written in its place has another element.
    put(&backend, PLAIN, "x").await.unwrap();
    assert_eq!(findings(&backend).await.len(), 1);

    with_all.put_back(&store.editor());
    NativeBackend::accept_state(store.config()).await.unwrap();
    backend.destroy(&parse(PLAIN)).await.unwrap();
    assert!(findings(&backend).await.is_empty());
    with_all.put_back(&store.editor());
    let found = findings(&backend).await;
    assert!(found.len() == 1 && found[0].contains("put back"), "{found:?}");
}

#[tokio::test]
async fn a_check_names_a_version_that_was_removed() {
    let store = Guarded::new(false).await;
    let backend = store.open().await.unwrap();
    Edit::sql(format!("DELETE FROM versions WHERE {}", version_row(DB, 2))).apply(&store.editor());
    let found = backend.verify().await.unwrap();
    assert_eq!(found.damaged, 1);
    assert_eq!((&found.damage[0].path, found.damage[0].version), (&Some(parse(DB)), Some(2)));
}

/// The MAC in a damaged row may be that of any other row.
#[tokio::test]
async fn the_destruction_of_a_damaged_secret_hides_no_removal() {
    let store = Guarded::new(false).await;
    let backend = store.open().await.unwrap();
    let editor = store.editor();
    let mac = Cell::of_secret(PLAIN, "mac").value(&editor);
    let id = format!("(SELECT secret_id FROM secrets WHERE path = '{PLAIN}')");
    Edit::sql(format!("DELETE FROM versions WHERE secret_id = {id}"))
        .then(Edit::sql(format!("UPDATE secrets SET path = 'forged' WHERE path = '{PLAIN}'")))
        .then(Edit::with("UPDATE secrets SET mac = ? WHERE path = 'forged'", vec![mac]))
        .apply(&editor);
    backend.destroy(&parse("forged")).await.unwrap();
    let found = findings(&backend).await;
    assert!(found.len() == 1 && found[0].contains("has 4 secrets, its last state had 5"));
}

#[tokio::test]
async fn an_edited_state_is_refused() {
    let store = Guarded::new(false).await;
    let backend = store.open().await.unwrap();
    let editor = store.editor();
    let newest = Rows::read(&editor, &["state"]);
    let cell = |column| Cell { table: "state", column, row: "id = 1".to_owned() };
    let edits = ["number", "sealed"].into_iter().flat_map(|column| cell(column).flips(&editor));
    let edits: Vec<_> = edits.chain(cell("sealed").resizes(&editor)).collect();
    assert!(edits.len() > 800, "{}", edits.len());
    for (number, edit) in edits.iter().enumerate() {
        edit.apply(&editor);
        assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Corrupt, "{edit}");
        if number % 16 == 0 {
            assert_eq!(put(&backend, DB, "x").await.unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(store.open_error().await.kind(), ErrorKind::Corrupt, "{edit}");
            assert_eq!(findings(&backend).await.len(), 1, "{edit}");
        }
        newest.put_back(&editor);
    }
    Edit::sql("DELETE FROM state").apply(&editor);
    assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.open_error().await.kind(), ErrorKind::Corrupt);
    // The operator can accept the secrets that are there.
    backend.close().await.unwrap();
    let accepted = NativeBackend::accept_state(store.config()).await.unwrap();
    assert_eq!((accepted.before, accepted.anchor, accepted.secrets), (None, None, 5));
    let backend = store.open().await.unwrap();
    assert!(findings(&backend).await.is_empty());
    editor.execute_batch("DROP TABLE state").unwrap();
    assert_eq!(put(&backend, DB, "x").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn an_earlier_state_beside_the_newest_secrets_is_noticed() {
    let store = Guarded::new(false).await;
    let earlier = Rows::read(&store.editor(), &["state"]);
    let backend = store.open().await.unwrap();
    put(&backend, DB, "newest").await.unwrap();
    earlier.put_back(&store.editor());
    assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Corrupt);
    backend.close().await.unwrap();
    // Without an anchor, it opens, and a check finds that the secrets do not fit.
    assert_eq!(findings(&store.open().await.unwrap()).await.len(), 1);
}

#[tokio::test]
async fn an_edited_anchor_is_refused() {
    let store = Guarded::new(true).await;
    let anchor = fs::read(store.anchor()).unwrap();
    assert_eq!(anchor.len(), 97);
    for bit in 0..anchor.len() * 8 {
        let mut edited = anchor.clone();
        edited[bit / 8] ^= 1 << (bit % 8);
        fs::write(store.anchor(), edited).unwrap();
        let expected = match bit / 8 {
            // No anchor, or that of another store.
            0..5 | 9..25 => ErrorKind::Config,
            _ => ErrorKind::Corrupt,
        };
        assert_eq!(store.open_error().await.kind(), expected, "bit {bit}");
    }
    for length in [0, 1, 96, 98] {
        let mut other = anchor.clone();
        other.resize(length, 0);
        fs::write(store.anchor(), other).unwrap();
        assert_eq!(store.open_error().await.kind(), ErrorKind::Config, "{length} bytes");
    }
    fs::write(store.anchor(), &anchor).unwrap();
    store.open().await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn an_anchor_that_was_there_must_not_be_missing() {
    let store = Guarded::new(true).await;
    fs::remove_file(store.anchor()).unwrap();
    let error = store.open_error().await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_says(&error, &["`NativeConfig::anchor_file`", "missing", "store accept"]);
    assert!(!store.anchor().exists(), "a new anchor would cover the rollback up");
    let before = store.state();
    let accepted = NativeBackend::accept_state(store.config()).await.unwrap();
    assert_eq!((accepted.anchor, accepted.number), (None, before + 1));
    store.open().await.unwrap().close().await.unwrap();

    // While a process runs, it says so and creates none.
    let backend = store.open().await.unwrap();
    fs::remove_file(store.anchor()).unwrap();
    assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Config);
    put(&backend, DB, "x").await.unwrap();
    backend.close().await.unwrap();
    assert!(!store.anchor().exists());
}

#[tokio::test]
async fn the_anchor_of_another_store_is_refused_and_kept() {
    let (store, other) = (Guarded::new(true).await, Guarded::new(true).await);
    let foreign = fs::read(other.anchor()).unwrap();
    fs::write(store.anchor(), &foreign).unwrap();
    let error = store.open_error().await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_says(&error, &["`NativeConfig::anchor_file`", "another store"]);
    let refused = NativeBackend::accept_state(store.config()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert_eq!(fs::read(store.anchor()).unwrap(), foreign);
}

/// It says less than the newest, and the next writer advances it.
#[tokio::test]
async fn an_earlier_anchor_beside_the_newest_file_is_advanced() {
    let store = Guarded::new(true).await;
    let earlier = fs::read(store.anchor()).unwrap();
    store.write_one_more().await;
    let newest = fs::read(store.anchor()).unwrap();
    fs::write(store.anchor(), &earlier).unwrap();
    store.open().await.unwrap().close().await.unwrap();
    assert_eq!(fs::read(store.anchor()).unwrap(), newest);
}
