//! Earlier authentic copies in the place of the newest: of the file and of single secrets.

use std::fs;
use std::time::Duration;

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend as _, ErrorKind};

use crate::edit::{Cell, Edit, version_row};
use crate::guarded::{Guarded, Rows, active, assert_says, findings, put};
use crate::sample::{DB, PLAIN, TWIN, parse};

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
    NativeBackend::accept_state(store.config()).await.unwrap();
    assert!(findings(&backend).await.is_empty());
    put(&backend, PLAIN, "again").await.unwrap();
    assert!(findings(&backend).await.is_empty());
}
