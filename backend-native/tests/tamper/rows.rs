//! Edits of the `secrets` table: metadata, the active version, the row's MAC.

use rusqlite::types::Value;

use crate::edit::{Cell, Edit};
use crate::sample::{API, DB, DELETED, Damage, PLAIN, Sample};

const COLUMNS: [&str; 14] = [
    "secret_id",
    "active",
    "first",
    "latest",
    "created_at",
    "updated_at",
    "deleted_at",
    "expires_at",
    "rotation_ms",
    "kind",
    "tier",
    "description",
    "tags",
    "mac",
];

#[tokio::test]
async fn refuses_a_flip_of_any_bit_of_any_column() {
    let mut sample = Sample::new().await;
    for column in COLUMNS {
        for edit in Cell::of_secret(API, column).flips(&sample.editor) {
            sample.refuses(&edit, &[Damage::row(API)]).await;
        }
    }
    for edit in Cell::of_secret(DELETED, "deleted_at").flips(&sample.editor) {
        sample.refuses(&edit, &[Damage::row(DELETED)]).await;
    }
    sample.finish(1_300).await;
}

/// Edits that an attacker would want, and edits close to the original: each an assignment in SQL.
const ASSIGNMENTS: &[(&str, &[&str])] = &[
    (
        DB,
        &[
            "active = 1",
            "active = 3",
            "active = 4",
            "active = 0",
            "active = -2",
            "active = 9223372036854775807",
            "first = 0",
            "first = 2",
            "first = 4",
            "first = -1",
            "latest = 2",
            "latest = 4",
            "latest = 9223372036854775807",
            "latest = -1",
            "active = 1, first = 1, latest = 1",
        ],
    ),
    (
        API,
        &[
            "created_at = created_at + 1",
            "created_at = -created_at",
            "created_at = 0",
            "updated_at = updated_at + 1",
            "updated_at = created_at - 1",
            "deleted_at = 0",
            "deleted_at = updated_at",
            "expires_at = NULL",
            "expires_at = 0",
            "expires_at = updated_at",
            "expires_at = expires_at + 1",
            "expires_at = -1",
            "rotation_ms = NULL",
            "rotation_ms = 0",
            "rotation_ms = -rotation_ms",
            "expires_at = rotation_ms, rotation_ms = expires_at",
            "kind = ''",
            "kind = 'custom'",
            "kind = 'oauth_token'",
            "kind = 'API_KEY'",
            "kind = 'api_key '",
            "kind = 'api_key' || char(0)",
            "tier = ''",
            "tier = 'standard'",
            "tier = 'sensitive'",
            "kind = 'api_keycritical', tier = ''",
            "kind = 'api_key' || substr(tier, 1, 1), tier = substr(tier, 2)",
            "kind = tier, tier = kind",
            "description = NULL",
            "description = ''",
            "description = 'for test'",
            "description = 'for tests '",
            "description = tags, tags = description",
            "description = NULL, tags = NULL",
            "tags = NULL",
            "tags = ''",
            "tags = '{}'",
            "tags = '[]'",
            "tags = ' ' || tags",
            "tags = tags || char(10)",
            "tags = replace(tags, ',', ', ')",
            "tags = '{\"team\":\"payments\",\"env\":\"test\"}'",
            "tags = '{\"env\":\"test\",\"team\":\"payments\",\"env\":\"test\"}'",
            "tags = '{\"env\":\"test\"}'",
            "tags = '{\"env\":\"production\",\"team\":\"payments\"}'",
            "tags = '{\"env\":\"payments\",\"team\":\"test\"}'",
            "tags = '{\"env\":\"\\u0074est\",\"team\":\"payments\"}'",
            "mac = zeroblob(32)",
            "secret_id = zeroblob(16)",
            "secret_id = x''",
            "secret_id = mac, mac = secret_id",
        ],
    ),
    (
        PLAIN,
        &[
            "deleted_at = 0",
            "expires_at = 0",
            "expires_at = 221845392000000",
            "rotation_ms = 0",
            "rotation_ms = 1000",
            "description = ''",
            "description = 'plain'",
            "tags = ''",
            "tags = '{}'",
            "tags = '{\"env\":\"test\"}'",
            "tier = 'standard'",
            "expires_at = updated_at, updated_at = created_at",
        ],
    ),
    (
        DELETED,
        &[
            "deleted_at = NULL",
            "deleted_at = 0",
            "deleted_at = deleted_at + 1",
            "deleted_at = NULL, expires_at = deleted_at",
        ],
    ),
];

#[tokio::test]
async fn metadata_cannot_be_set_cleared_or_rewritten() {
    let mut sample = Sample::new().await;
    for (path, assignments) in ASSIGNMENTS {
        for assignment in *assignments {
            let edit = Edit::sql(format!("UPDATE secrets SET {assignment} WHERE path = '{path}'"));
            sample.refuses(&edit, &[Damage::row(path)]).await;
        }
    }
    for column in ["kind", "tier", "description", "tags"] {
        let edit = Cell::of_secret(API, column).set_text(vec![b'{', 0xff, 0xc0]);
        sample.refuses(&edit, &[Damage::row(API)]).await;
    }
    for column in ["secret_id", "mac"] {
        for edit in Cell::of_secret(API, column).resizes(&sample.editor) {
            sample.refuses(&edit, &[Damage::row(API)]).await;
        }
    }
    sample.finish(185).await;
}

#[tokio::test]
async fn a_row_belongs_to_its_path() {
    let mut sample = Sample::new().await;
    for new in ["app/dc", "app", "app/db/x", "app/d", "a", "zz/db", "APP/DB"] {
        let edit = Edit::sql(format!("UPDATE secrets SET path = '{new}' WHERE path = '{DB}'"));
        sample.refuses(&edit, &[Damage::row(new), Damage::unchecked(DB)]).await;
    }
    // A copy under a second path, which then shares the versions.
    let others = COLUMNS.join(", ");
    let edit = Edit::sql(format!(
        "INSERT INTO secrets (path, {others}) SELECT 'app/copy', {others} FROM secrets \
         WHERE path = '{DB}'"
    ));
    sample.refuses(&edit, &[Damage::row("app/copy")]).await;

    // Under the path of another secret, with or without that secret under its own path.
    let both = || [Damage::row(DB), Damage::row(API)];
    let exchanged = |columns: &[&'static str], sample: &Sample| {
        let swap = |column: &&'static str| {
            let [a, b] = [DB, API].map(|path| Cell::of_secret(path, column));
            (a.value(&sample.editor) != b.value(&sample.editor))
                .then(|| Edit::swap(&sample.editor, &a, &b))
        };
        columns.iter().filter_map(swap).reduce(Edit::then).unwrap()
    };
    for columns in [
        &COLUMNS[..],
        &["secret_id"],
        &["mac"],
        &["secret_id", "mac"],
        &["kind", "tier", "description", "tags"],
        &["active", "first", "latest", "secret_id"],
    ] {
        let edit = exchanged(columns, &sample);
        sample.refuses(&edit, &both()).await;
    }
    for column in ["secret_id", "mac"] {
        let value: Value = Cell::of_secret(API, column).value(&sample.editor);
        sample.refuses(&Cell::of_secret(DB, column).set(value), &[Damage::row(DB)]).await;
    }
    sample.finish(16).await;
}

#[tokio::test]
async fn a_damaged_secret_can_be_destroyed_and_written_again() {
    use strongroom_core::{Backend as _, PutOptions, VersionSelector};

    let sample = Sample::new().await;
    Edit::sql(format!("UPDATE secrets SET tier = 'standard' WHERE path = '{API}'"))
        .apply(&sample.editor);
    let path = crate::sample::parse(API);
    sample.backend.destroy(&path).await.unwrap();
    sample.backend.put(&path, "again".into(), PutOptions::new().must_not_exist()).await.unwrap();
    let secret = sample.backend.get(&path, &VersionSelector::Active).await.unwrap();
    assert_eq!(secret.expose_text().unwrap(), "again");
    assert_eq!(sample.backend.versions(&path).await.unwrap().len(), 1);
}
