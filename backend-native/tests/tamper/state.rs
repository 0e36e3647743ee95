//! Edits of the state and of the anchor, and earlier ones in their place.

use std::fs;

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend as _, ErrorKind};

use crate::edit::{Cell, Edit};
use crate::guarded::{Guarded, Rows, assert_says, findings, put};
use crate::sample::DB;

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
