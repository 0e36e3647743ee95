//! Authentic parts under another owner: versions, secrets and stores swap records.

use strongroom_core::Backend as _;

use crate::edit::{Cell, Edit, all_rows};
use crate::sample::{self, DB, DELETED, Damage, Operation, PLAIN, Sample, TWIN};

/// Which columns of a version are exchanged together.
const PARTS: [&[&str]; 6] = [
    &["body"],
    &["wrap"],
    &["wrap", "body"],
    &["created_at", "wrap"],
    &["created_at", "body"],
    &["created_at", "wrap", "body"],
];

type VersionKey = (&'static str, u64);

fn cells(key: VersionKey, part: &[&'static str]) -> Vec<Cell> {
    part.iter().map(|column| Cell::of_version(key.0, key.1, column)).collect()
}

fn damage(key: VersionKey, part: &[&str]) -> Damage<'static> {
    Damage::version(key.0, key.1, part.contains(&"wrap"))
}

#[tokio::test]
async fn versions_do_not_open_as_each_other() {
    let mut sample = Sample::new().await;
    let pairs: [(VersionKey, VersionKey); 6] = [
        ((DB, 1), (DB, 2)),
        ((DB, 2), (DB, 3)),
        ((DB, 1), (DB, 3)),
        ((DB, 2), (TWIN, 2)),
        ((DB, 1), (TWIN, 1)),
        ((DB, 2), (TWIN, 3)),
    ];
    for (a, b) in pairs {
        for part in PARTS {
            let swaps = cells(a, part).into_iter().zip(cells(b, part));
            let swap = swaps.map(|(a, b)| Edit::swap(&sample.editor, &a, &b)).reduce(Edit::then);
            sample.refuses(&swap.unwrap(), &[damage(a, part), damage(b, part)]).await;

            let copies = cells(a, part).into_iter().zip(cells(b, part));
            let copy = copies.map(|(a, b)| b.set(a.value(&sample.editor))).reduce(Edit::then);
            sample.refuses(&copy.unwrap(), &[damage(b, part)]).await;
        }
    }
    sample.finish(72).await;
}

#[tokio::test]
async fn the_history_of_one_secret_is_not_that_of_another() {
    let mut sample = Sample::new().await;
    let id = |path| format!("(SELECT secret_id FROM secrets WHERE path = '{path}')");
    let whole = |path| Damage {
        path,
        operations: vec![
            Operation::Get,
            Operation::GetVersion(1),
            Operation::GetVersion(2),
            Operation::Versions,
            Operation::Rollback(1),
        ],
    };
    let moved = |from: &str, to: &str, versions: &str| {
        Edit::sql(format!(
            "UPDATE versions SET secret_id = {to} WHERE secret_id = {from} AND version {versions}"
        ))
    };
    let swap = |versions: &str| {
        moved(&id(DB), "x'00'", versions).then(moved(&id(TWIN), &id(DB), versions)).then(moved(
            "x'00'",
            &id(TWIN),
            versions,
        ))
    };
    let version = || [Damage::version(DB, 2, true), Damage::version(TWIN, 2, true)];
    sample.refuses(&swap("= 2"), &version()).await;
    sample.refuses(&swap("> 0"), &[whole(DB), whole(TWIN)]).await;

    let replaced = Edit::sql(format!("DELETE FROM versions WHERE secret_id = {}", id(DB)))
        .then(moved(&id(TWIN), &id(DB), "> 0"));
    sample.refuses(&replaced, &[whole(DB), whole(TWIN)]).await;

    // The rows exchange their paths, alone or with the versions following.
    let exchange = format!(
        "UPDATE secrets SET path = CASE path WHEN '{DB}' THEN 'x' ELSE '{DB}' END \
         WHERE path IN ('{DB}', '{TWIN}')"
    );
    let back = format!("UPDATE secrets SET path = '{TWIN}' WHERE path = 'x'");
    let exchange = Edit::sql(exchange).then(Edit::sql(back));
    sample.refuses(&exchange, &[Damage::row(DB), Damage::row(TWIN)]).await;

    for (path, other) in [(PLAIN, DELETED), (DELETED, PLAIN)] {
        let edit = Edit::sql(format!("DELETE FROM secrets WHERE path = '{path}'"))
            .then(Edit::sql(format!("UPDATE secrets SET path = '{path}' WHERE path = '{other}'")));
        sample.refuses(&edit, &[Damage::row(path), Damage::unchecked(other)]).await;
    }
    sample.finish(6).await;
}

/// A second store with the same key file and the same secrets: only its identity differs.
#[tokio::test]
async fn stores_with_the_same_key_do_not_share_records() {
    let mut sample = Sample::new().await;
    let path = sample.directory.path().join("other.db");
    let other = sample::open(&path, &sample.key()).await.unwrap();
    sample::fill(&other).await;
    let foreign = rusqlite::Connection::open(path).unwrap();

    for version in 1..=3 {
        for part in PARTS {
            let key = (DB, version);
            let copies = cells(key, part).into_iter().map(|cell| cell.set(cell.value(&foreign)));
            sample.refuses(&copies.reduce(Edit::then).unwrap(), &[damage(key, part)]).await;
        }
    }
    let row = |table: &str, insert: &str| {
        let rows = all_rows(&foreign, table);
        assert!(!rows.is_empty());
        rows.into_iter().map(|row| Edit::with(insert, row)).reduce(Edit::then).unwrap()
    };
    let secret = row(
        &format!("secrets WHERE path = '{DB}'"),
        "INSERT OR REPLACE INTO secrets VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    );
    let versions = row(
        &format!("versions WHERE secret_id = (SELECT secret_id FROM secrets WHERE path = '{DB}')"),
        "INSERT INTO versions VALUES (?,?,?,?,?)",
    );
    sample.refuses(&secret, &[Damage::row(DB)]).await;
    sample.refuses(&secret.then(versions), &[Damage::row(DB)]).await;
    other.close().await.unwrap();
    sample.finish(20).await;
}
