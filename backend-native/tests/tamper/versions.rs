//! Edits of single rows of the `versions` table: value, wrapped data key, time.

use crate::edit::{Cell, Edit, version_row};
use crate::sample::{DB, Damage, Operation, Sample};

/// Whether `versions`, which opens no value, notices that this column was edited.
fn is_listed(column: &str) -> bool {
    column != "body"
}

#[tokio::test]
async fn refuses_a_flip_of_any_bit_of_a_version() {
    let mut sample = Sample::new().await;
    for column in ["created_at", "wrap", "body"] {
        for edit in Cell::of_version(DB, 2, column).flips(&sample.editor) {
            sample.refuses(&edit, &[Damage::version(DB, 2, is_listed(column))]).await;
        }
    }
    sample.finish(1_100).await;
}

#[tokio::test]
async fn refuses_blobs_of_any_other_length() {
    let mut sample = Sample::new().await;
    for column in ["wrap", "body"] {
        for edit in Cell::of_version(DB, 2, column).resizes(&sample.editor) {
            sample.refuses(&edit, &[Damage::version(DB, 2, is_listed(column))]).await;
        }
    }
    sample.finish(250).await;
}

#[tokio::test]
async fn versions_cannot_be_removed_added_or_renumbered() {
    let mut sample = Sample::new().await;
    for version in 1..=3 {
        let row = version_row(DB, version);
        let damage = || [Damage::version(DB, version, true)];
        sample.refuses(&Edit::sql(format!("DELETE FROM versions WHERE {row}")), &damage()).await;
        for number in [0, 4, 100, i64::MAX, -1] {
            let edit = Edit::sql(format!("UPDATE versions SET version = {number} WHERE {row}"));
            sample.refuses(&edit, &damage()).await;
        }
        let edit = Edit::sql(format!("UPDATE versions SET secret_id = zeroblob(16) WHERE {row}"));
        sample.refuses(&edit, &damage()).await;
    }
    for number in [0, 4] {
        let copy = Edit::sql(format!(
            "INSERT INTO versions SELECT secret_id, {number}, created_at, wrap, body \
             FROM versions WHERE {}",
            version_row(DB, 3)
        ));
        // A next version that is already there is not written over.
        let put = (number == 4).then_some(Operation::Put);
        let operations = [Operation::Versions].into_iter().chain(put).collect();
        sample.refuses(&copy, &[Damage { path: DB, operations }]).await;
    }
    sample.finish(23).await;
}
