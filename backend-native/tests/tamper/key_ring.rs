//! Edits of the key ring, the slots and the `store` row. Opening the store detects them, or, if only a key
//! is missing, the first use of that key.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend as _, ErrorKind, PutOptions, VersionSelector};

use crate::edit::{Cell, Edit, Tables, all_rows, dump};
use crate::sample::{self, DB, Operation, Sample};

const TABLES: [(&str, &str); 3] = [
    ("INSERT INTO store VALUES (?,?,?,?)", "store"),
    ("INSERT INTO keyring VALUES (?,?,?,?,?,?,?)", "keyring"),
    ("INSERT INTO slots VALUES (?,?,?,?,?,?,?,?,?,?)", "slots"),
];

/// A closed store whose key ring is edited.
struct Ring {
    sample: Sample,
    pristine: Vec<(&'static str, Vec<Value>)>,
}

impl Ring {
    async fn new() -> Self {
        let sample = Sample::new().await;
        sample.backend.close().await.unwrap();
        let rows = |(insert, table)| {
            all_rows(&sample.editor, table).into_iter().map(move |row| (insert, row))
        };
        let pristine = TABLES.into_iter().flat_map(rows).collect();
        Self { sample, pristine }
    }

    fn editor(&self) -> &Connection {
        &self.sample.editor
    }

    fn dump(&self) -> Vec<String> {
        TABLES.iter().flat_map(|(_, table)| dump(self.editor(), table)).collect()
    }

    async fn open(&self) -> strongroom_core::Result<NativeBackend> {
        sample::open(&self.sample.store(), &self.sample.key()).await
    }

    /// Edits the ring and checks that the store cannot be used, that opening it writes nothing, and
    /// that it can be used again once the edit is taken back.
    async fn refuses(&mut self, edit: &Edit, expected: ErrorKind) {
        let before = self.dump();
        edit.apply(self.editor());
        let edited = self.dump();
        assert_ne!(edited, before, "{edit}: changes nothing");

        let secrets = Tables::dump(self.editor());
        let (mut failures, mut uses_counted) = (Vec::new(), false);
        match self.open().await {
            Err(error) if error.kind() == expected => {}
            Err(error) => failures.push(format!("{edit}: opening gave {:?}", error.kind())),
            Ok(backend) => {
                for operation in [Operation::Get, Operation::Versions, Operation::Put] {
                    let outcome = operation.run(&backend, DB).await;
                    if outcome != Err(expected) {
                        failures.push(format!("{edit}: {operation:?} gave {outcome:?}"));
                    }
                }
                backend.close().await.unwrap();
                // A ring that opens may count a use, though nothing was written with it.
                uses_counted = true;
            }
        }
        if (self.dump() != edited && !uses_counted) || Tables::dump(self.editor()) != secrets {
            failures.push(format!("{edit}: was written over"));
        }
        self.restore();
        if !self.is_readable().await {
            failures.push(format!("{edit}: taken back, the store cannot be read"));
        }
        self.sample.count(failures);
    }

    fn restore(&self) {
        let transaction = self.editor().unchecked_transaction().unwrap();
        transaction
            .execute_batch("DELETE FROM store; DELETE FROM keyring; DELETE FROM slots")
            .unwrap();
        for (insert, row) in &self.pristine {
            transaction.prepare_cached(insert).unwrap().execute(params_from_iter(row)).unwrap();
        }
        transaction.commit().unwrap();
    }

    async fn is_readable(&self) -> bool {
        let Ok(backend) = self.open().await else { return false };
        let secret = backend.get(&sample::parse(DB), &VersionSelector::Active).await;
        backend.close().await.unwrap();
        secret.is_ok_and(|secret| secret.expose_bytes() == b"second")
    }
}

const MAC_KEY: u32 = 1;
const KEK: u32 = 2;

#[tokio::test]
async fn refuses_a_flip_of_any_bit_of_the_key_ring() {
    let mut ring = Ring::new().await;
    for id in [MAC_KEY, KEK] {
        for column in ["purpose", "state", "uses", "created_at", "sealed", "mac"] {
            for edit in Cell::of_key(id, column).flips(ring.editor()) {
                ring.refuses(&edit, ErrorKind::Corrupt).await;
            }
        }
    }
    ring.sample.finish(1_600).await;
}

#[tokio::test]
async fn keys_cannot_be_removed_added_exchanged_or_cut() {
    let mut ring = Ring::new().await;
    for id in [MAC_KEY, KEK] {
        let mut edits = vec![
            Edit::sql(format!("DELETE FROM keyring WHERE id = {id}")),
            Edit::sql(format!("UPDATE keyring SET id = 3 WHERE id = {id}")),
            Edit::sql(format!(
                "INSERT INTO keyring SELECT 3, purpose, state, uses, created_at, sealed, mac FROM keyring WHERE id = {id}"
            )),
        ];
        for value in [0, 2, 3, 4, 255, 256, -1] {
            edits.push(Cell::of_key(id, "state").set(Value::Integer(value)));
        }
        for column in ["sealed", "mac"] {
            edits.extend(Cell::of_key(id, column).resizes(ring.editor()).into_iter().step_by(7));
        }
        for edit in edits {
            ring.refuses(&edit, ErrorKind::Corrupt).await;
        }
    }
    let columns = ["purpose", "uses", "sealed", "mac"];
    let swap = |column: &'static str| {
        let [a, b] = [MAC_KEY, KEK].map(|id| Cell::of_key(id, column));
        Edit::swap(ring.editor(), &a, &b)
    };
    let whole = columns.into_iter().map(swap).reduce(Edit::then).unwrap();
    let swaps: Vec<_> = columns.into_iter().map(swap).chain([whole]).collect();
    for edit in swaps {
        ring.refuses(&edit, ErrorKind::Corrupt).await;
    }
    ring.refuses(&Edit::sql("DELETE FROM keyring"), ErrorKind::Corrupt).await;
    ring.sample.finish(85).await;
}

/// With a changed identity or parameters, the right key looks like a wrong one.
#[tokio::test]
async fn refuses_a_flip_of_any_bit_of_the_store_row() {
    let mut ring = Ring::new().await;
    for edit in Cell::of_store("root_check").flips(ring.editor()) {
        ring.refuses(&edit, ErrorKind::Corrupt).await;
    }
    for edit in Cell::of_store("store_id").flips(ring.editor()) {
        ring.refuses(&edit, ErrorKind::Unauthenticated).await;
    }
    for edit in Cell::of_store("store_id").resizes(ring.editor()) {
        ring.refuses(&edit, ErrorKind::Corrupt).await;
    }
    ring.refuses(&Edit::sql("DELETE FROM store"), ErrorKind::Corrupt).await;
    ring.sample.finish(400).await;
}

/// A slot whose commitment is edited is another key's; every other edit of it is found.
#[tokio::test]
async fn refuses_a_flip_of_any_bit_of_a_slot() {
    const COMMITMENT: std::ops::Range<usize> = 9 * 8..(9 + 32) * 8;
    let mut ring = Ring::new().await;
    // Each third bit: at least two of each byte.
    for column in [
        "id",
        "kind",
        "created_at",
        "opened_at",
        "parameters",
        "private_key",
        "root_key",
        "public_key",
        "mac",
    ] {
        for (bit, edit) in
            Cell::of_slot(1, column).flips(ring.editor()).iter().enumerate().step_by(3)
        {
            let is_commitment = column == "private_key" && COMMITMENT.contains(&bit);
            let expected =
                if is_commitment { ErrorKind::Unauthenticated } else { ErrorKind::Corrupt };
            ring.refuses(edit, expected).await;
        }
    }
    for column in ["private_key", "root_key", "public_key", "mac"] {
        for edit in Cell::of_slot(1, column).resizes(ring.editor()).iter().step_by(7) {
            ring.refuses(edit, ErrorKind::Corrupt).await;
        }
    }
    let label = Cell::of_slot(1, "label").set(Value::Text("other".into()));
    ring.refuses(&label, ErrorKind::Corrupt).await;
    ring.refuses(&Edit::sql("DELETE FROM slots"), ErrorKind::Corrupt).await;
    ring.sample.finish(900).await;
}

#[tokio::test]
async fn refuses_the_key_ring_of_another_store_with_the_same_key() {
    let mut ring = Ring::new().await;
    let path = ring.sample.directory.path().join("other.db");
    let other = sample::open(&path, &ring.sample.key()).await.unwrap();
    sample::fill(&other).await;
    other.close().await.unwrap();
    let foreign = Connection::open(path).unwrap();

    let from_other = |table: &str, insert: &str| {
        let delete = Edit::sql(format!("DELETE FROM {table}"));
        let rows = all_rows(&foreign, table).into_iter().map(|row| Edit::with(insert, row));
        rows.fold(delete, Edit::then)
    };
    let [store, keyring, slots] = TABLES.map(|(insert, table)| from_other(table, insert));
    // To a slot, the key of another store is another key.
    ring.refuses(&store, ErrorKind::Unauthenticated).await;
    ring.refuses(&slots, ErrorKind::Unauthenticated).await;
    ring.refuses(&store.clone().then(keyring.clone()), ErrorKind::Unauthenticated).await;
    ring.refuses(&keyring, ErrorKind::Corrupt).await;
    ring.refuses(&keyring.clone().then(slots.clone()), ErrorKind::Unauthenticated).await;
    ring.refuses(&store.clone().then(slots.clone()), ErrorKind::Corrupt).await;
    // With all three, the ring opens, but to it every record is another store's.
    ring.refuses(&store.then(keyring).then(slots), ErrorKind::Corrupt).await;
    for id in [MAC_KEY, KEK] {
        for columns in [&["sealed"][..], &["mac"], &["sealed", "mac"]] {
            let cells = columns.iter().map(|column| Cell::of_key(id, column));
            let edit = cells.map(|cell| cell.set(cell.value(&foreign))).reduce(Edit::then);
            ring.refuses(&edit.unwrap(), ErrorKind::Corrupt).await;
        }
    }
    ring.sample.finish(13).await;
}

/// An open store holds its keys, but signs nothing that was edited behind its back.
#[tokio::test]
async fn a_rotation_does_not_sign_an_edited_key() {
    let sample = Sample::new().await;
    for column in ["uses", "created_at", "sealed", "mac"] {
        let cell = Cell::of_key(KEK, column);
        let original = cell.value(&sample.editor);
        let edit = cell.flips(&sample.editor).pop().unwrap();
        edit.apply(&sample.editor);
        let edited = dump(&sample.editor, "keyring");
        let error = sample.backend.rotate_kek().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{edit}");
        assert_eq!(dump(&sample.editor, "keyring"), edited, "{edit}: was written over");

        cell.set(original).apply(&sample.editor);
        // The ring is in memory again when the next edit comes.
        let options = PutOptions::new();
        sample.backend.put(&sample::parse(DB), "new".into(), options).await.unwrap();
    }
    assert_eq!(sample.backend.rotate_kek().await.unwrap().damaged, 0);
}

#[tokio::test]
async fn edited_parameters_of_a_passphrase_open_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secrets.db");
    let open = || {
        let key = KeySource::Passphrase("correct horse battery staple".into());
        let mut config = NativeConfig::new(key);
        config.path = Some(path.clone());
        config.create = true;
        NativeBackend::open(config)
    };
    open().await.unwrap().close().await.unwrap();
    let editor = Connection::open(&path).unwrap();
    let cell = Cell::of_slot(1, "parameters");
    let Value::Text(parameters) = cell.value(&editor) else { panic!("no parameters") };
    let with = |name: &str, value: serde_json::Value| {
        let mut parameters: serde_json::Value = serde_json::from_str(&parameters).unwrap();
        parameters[name] = value;
        parameters.to_string()
    };
    let other_salt = "AAECAwQFBgcICQoLDA0ODw==";
    for (parameters, expected) in [
        (with("memory_kib", 8_192.into()), ErrorKind::Unauthenticated),
        (with("passes", 1.into()), ErrorKind::Unauthenticated),
        (with("lanes", 2.into()), ErrorKind::Unauthenticated),
        (with("salt", other_salt.into()), ErrorKind::Unauthenticated),
        (with("added", 1.into()), ErrorKind::Corrupt),
        (format!("{parameters} "), ErrorKind::Corrupt),
        (with("salt", "AAEC".into()), ErrorKind::Corrupt),
        (with("salt", serde_json::Value::Null), ErrorKind::Corrupt),
        (with("memory_kib", serde_json::Value::Null), ErrorKind::Corrupt),
        (with("memory_kib", i64::MAX.into()), ErrorKind::Corrupt),
        (with("memory_kib", (256 * 1024 + 1).into()), ErrorKind::Corrupt),
        (with("memory_kib", 0.into()), ErrorKind::Corrupt),
        (with("passes", 13.into()), ErrorKind::Corrupt),
        (with("lanes", (-1).into()), ErrorKind::Corrupt),
        ("{".to_owned(), ErrorKind::Corrupt),
    ] {
        let (edit, back) = (cell.set(Value::Text(parameters)), cell.set(cell.value(&editor)));
        edit.apply(&editor);
        assert_eq!(open().await.unwrap_err().kind(), expected, "{edit}");
        back.apply(&editor);
    }
    open().await.unwrap().close().await.unwrap();
}
