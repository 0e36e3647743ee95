//! Metadata and lists.

use serde_json::Value;

use crate::support::{Store, planted};

fn described(store: &Store, path: &str) -> Value {
    store.run(&["describe", path]).succeeds().documents().remove(0)
}

pub(crate) fn lists(store: &Store) {
    let put = |path: &str, options: &[&str]| {
        store.run_with(&[&["put", path], options].concat(), planted("")).succeeds();
    };
    put("lists/b", &["--kind", "api_key", "--tag", "team=payments", "--expires-in", "3d"]);
    put("lists/a", &["--tag", "team=payments", "--tier", "critical", "--expires-in", "90d"]);
    put("lists/deep/c", &[]);
    let list = |options: &[&str]| {
        store.run(&[&["list", "lists"], options].concat()).succeeds().texts("path")
    };
    assert_eq!(list(&[]), ["lists/a", "lists/b", "lists/deep/c"]);
    assert_eq!(list(&["--tag", "team=payments"]), ["lists/a", "lists/b"]);
    assert_eq!(list(&["--kind", "api_key"]), ["lists/b"]);
    assert_eq!(list(&["--tier", "critical"]), ["lists/a"]);
    assert_eq!(list(&["--expires-within", "7d"]), ["lists/b"]);
    assert_eq!(list(&["--expires-within", "1000d", "--kind", "custom"]), ["lists/a"]);
    let below = store.run(&["ls", "lists/deep/"]).succeeds();
    assert_eq!(below.texts("path"), ["lists/deep/c"]);
    let long = store.run(&["ls", "lists", "--long", "--format", "table"]).succeeds();
    let text = long.text();
    assert!(text.starts_with("PATH") && text.contains("team=payments"), "{text}");
    assert!(text.contains("in 2d") || text.contains("in 3d"), "{text}");
    assert_eq!(
        store.run(&["ls", "lists", "--format", "text"]).text(),
        "lists/a\nlists/b\nlists/deep/c\n"
    );
    store.run(&["delete", "lists/a"]).succeeds();
    assert_eq!(list(&["--include-deleted"]), ["lists/a", "lists/b", "lists/deep/c"]);
    let marked = store.run(&["ls", "lists", "--include-deleted"]).succeeds().documents();
    let deleted: Vec<_> = marked.iter().map(|listed| listed["deleted"] == true).collect();
    assert_eq!(deleted, [true, false, false]);
    assert_eq!(
        store.run(&["ls", "lists", "--include-deleted", "--format", "text"]).text(),
        "lists/a\tdeleted\nlists/b\nlists/deep/c\n"
    );
    assert_eq!(list(&[]), ["lists/b", "lists/deep/c"]);
}

pub(crate) fn annotations(store: &Store) {
    let path = "annotations/a";
    store.put(path, planted(""));
    store.run(&["annotate", path, "--tags", "one=1,two=2", "--tag", "three=3,4"]).succeeds();
    let tags = described(store, path)["tags"].clone();
    assert_eq!(
        (&tags["one"], &tags["two"], &tags["three"]),
        (&"1".into(), &"2".into(), &"3,4".into())
    );
    store.run(&["annotate", path, "--clear", "tags"]).succeeds();
    let annotate = |options: &[&str]| {
        store.run(&[&["annotate", path], options].concat()).succeeds();
        described(store, path)
    };
    let version = described(store, path)["version"].clone();
    let found = annotate(&[
        "--kind",
        "db_credential",
        "--tier",
        "critical",
        "--tag",
        "team=payments",
        "--tag",
        "env=prod",
        "--description",
        "the main database",
        "--expires-at",
        "2099-01-31",
        "--rotation-interval",
        "30d",
    ]);
    assert_eq!(found["version"], version);
    for (member, value) in [
        ("kind", "db_credential"),
        ("tier", "critical"),
        ("description", "the main database"),
        ("expires_at", "2099-01-31T00:00:00.000Z"),
    ] {
        assert_eq!(found[member], value, "{member}");
    }
    assert_eq!(found["tags"]["team"], "payments");
    assert_eq!(found["rotation_interval_seconds"], 30 * 86_400);
    let found = annotate(&["--remove-tag", "env"]);
    assert!(found["tags"].get("env").is_none() && found["tags"]["team"] == "payments", "{found}");
    let found = annotate(&["--clear", "kind,tier,tags,description,expiry,rotation-interval"]);
    assert_eq!((&found["kind"], &found["tier"]), (&"custom".into(), &"sensitive".into()));
    for member in ["description", "expires_at", "rotation_interval_seconds"] {
        assert!(found[member].is_null(), "{member}: {found}");
    }
    assert!(found["tags"].as_object().unwrap().is_empty(), "{found}");
    // What is set stays, also beside what is cleared.
    let found = annotate(&["--clear", "tags", "--tag", "team=search"]);
    assert_eq!(found["tags"]["team"], "search");
    store.run(&["annotate", path]).fails(2, &["nothing to change"]);
    store.run(&["annotate", path, "--expires-in", "90"]).fails(2, &["`90d`"]);
    annotate(&["--expires-at", "2020-01-01"]);
    let ended = store.run_with(&["put", path], "newer").succeeds();
    assert!(ended.errors.contains("`--clear expiry`"), "{}", ended.errors);
    let ended = store.run_with(&["put", path, "--expires-in", "1d"], "newest").succeeds();
    assert!(!ended.errors.contains("`--clear expiry`"), "{}", ended.errors);
    store.run(&["annotate", "annotations/none", "--tier", "critical"]).fails(3, &["not found"]);
}

pub(crate) fn with_a_value(store: &Store) {
    let path = "with-a-value/a";
    let put = |options: &[&str]| {
        store.run_with(&[&["put", path], options].concat(), planted("")).succeeds();
        described(store, path)
    };
    let found = put(&["--tag", "team=payments", "--expires-in", "30d"]);
    assert_eq!(found["expired"], false);
    // A new version keeps the metadata.
    assert_eq!(put(&[])["tags"]["team"], "payments");
    store.run(&["annotate", path, "--expires-at", "2020-01-01"]).succeeds();
    store.run(&["get", path]).fails(7, &["expired", "2020-01-01"]);
    assert_eq!(described(store, path)["expired"], true);
    let listed = store.run(&["list", "with-a-value", "--expires-within", "1d"]).succeeds();
    assert_eq!(listed.texts("path"), [path]);
}
