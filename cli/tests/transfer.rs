//! `copy` and `migrate` with the real binary, between stores of each kind, and with kills in the middle.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code reports a failure with a panic"
)]

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;
use support::{Ended, Store, planted};

fn report(ended: &Ended) -> (Vec<(String, String, u64)>, Value) {
    let mut documents = ended.documents();
    let summary = documents.pop().unwrap()["summary"].clone();
    let text = |document: &Value, member: &str| document[member].as_str().unwrap().to_owned();
    let secret = |document: &Value| {
        (text(document, "path"), text(document, "outcome"), document["versions"].as_u64().unwrap())
    };
    (documents.iter().map(secret).collect(), summary)
}

/// Runs a command in the environment of `from`, with the configuration file of `to`.
fn run(from: &Store, to: &Store, arguments: &[&str]) -> Ended {
    let config = to.config_file("");
    let to = ["--to", config.to_str().unwrap(), "--format", "json"];
    from.run(&[arguments, &to].concat())
}

fn values(store: &Store, path: &str) -> Vec<String> {
    let versions = store.run(&["versions", path, "--format", "json"]).succeeds();
    let mut versions = versions.texts("version");
    versions.reverse();
    let value =
        |version: &String| String::from_utf8(store.value(&[path, "--version", version])).unwrap();
    versions.iter().map(value).collect()
}

/// Secrets with versions, metadata and fields.
fn fill(store: &Store) {
    for value in ["-1", "-2", "-3"] {
        store.put("app/db/password", planted(value));
    }
    store
        .run(&[
            "annotate",
            "app/db/password",
            "--tier",
            "critical",
            "--kind",
            "db_credential",
            "--tag",
            "team=payments",
            "--description",
            "the main database",
            "--expires-at",
            "2099-01-31",
            "--rotation-interval",
            "30d",
        ])
        .succeeds();
    let fields = format!("{{\"user\":\"app\",\"password\":\"{}\"}}", planted(""));
    store.run_with(&["put", "app/fields", "--fields"], fields).succeeds();
    store.put("other", planted(""));
}

fn migrates(from: &Store, to: &Store) {
    fill(from);
    let dry = run(from, to, &["migrate", "app", "--dry-run"]).succeeds();
    let created = |versions| {
        [("app/db/password", versions), ("app/fields", 1)]
            .map(|(path, versions)| (path.to_owned(), "created".to_owned(), versions))
    };
    assert_eq!(report(&dry).0, created(3));
    to.run(&["get", "app/fields"]).fails(3, &["not found"]);

    let ended = run(from, to, &["migrate", "app"]).succeeds();
    let (secrets, summary) = report(&ended);
    assert_eq!(secrets, created(3));
    assert_eq!((&summary["created"], &summary["complete"]), (&2.into(), &true.into()));
    assert_eq!(values(to, "app/db/password"), ["-1", "-2", "-3"].map(planted));
    assert_eq!(to.value(&["app/fields", "--field", "password"]), planted("").as_bytes());
    to.run(&["get", "other"]).fails(3, &["not found"]);
    let described = |store: &Store| {
        let found = store.run(&["describe", "app/db/password", "--format", "json"]).documents();
        ["kind", "tier", "tags", "description", "expires_at", "rotation_interval_seconds"]
            .map(|member| found[0][member].clone())
    };
    assert_eq!(described(from), described(to));

    // Again: nothing changes. A version more is one more there.
    let outcomes = |ended: &Ended| -> Vec<_> {
        report(ended).0.into_iter().map(|(_, outcome, versions)| (outcome, versions)).collect()
    };
    let unchanged = ("unchanged".to_owned(), 0);
    let again = run(from, to, &["migrate", "app"]).succeeds();
    assert_eq!(outcomes(&again), [unchanged.clone(), unchanged.clone()]);
    from.put("app/db/password", planted("-4"));
    from.run(&["annotate", "app/fields", "--tag", "new=tag"]).succeeds();
    let again = run(from, to, &["migrate", "app"]).succeeds();
    assert_eq!(outcomes(&again), [("continued".to_owned(), 1), ("completed".to_owned(), 0)]);
    assert_eq!(values(to, "app/db/password"), ["-1", "-2", "-3", "-4"].map(planted));

    // What another process wrote stays, unless it is to be replaced.
    to.put("app/fields", planted("-other"));
    let copy = ["copy", "app/fields", "app/db/password"];
    let kept = run(from, to, &copy).succeeds();
    assert_eq!(outcomes(&kept), [unchanged.clone(), ("skipped".to_owned(), 0)]);
    let replaced = run(from, to, &[&copy[..], &["--overwrite"]].concat()).succeeds();
    assert_eq!(outcomes(&replaced), [unchanged, ("overwritten".to_owned(), 1)]);
    assert_eq!(to.value(&["app/fields", "--field", "user"]), b"app");
}

#[test]
fn a_native_store_migrates_to_another_one() {
    migrates(&Store::native(), &Store::native());
}

#[tokio::test]
async fn a_native_store_migrates_to_openbao() {
    migrates(&Store::native(), &Store::openbao().await);
}

#[tokio::test]
async fn openbao_migrates_to_a_native_store() {
    migrates(&Store::openbao().await, &Store::native());
}

#[tokio::test]
async fn a_native_store_migrates_to_localstack() {
    let to = Store::localstack().await;
    let mut from = Store::native();
    // The SDK finds its credentials in the environment.
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"] {
        from.set(name, to.variable(name));
    }
    migrates(&from, &to);
}

#[test]
fn stores_are_named_in_three_ways_and_must_differ() {
    let store = Store::native();
    store.put("a", planted(""));
    let other = store.file("other.db");
    let other = format!("native:{}", other.to_str().unwrap());
    // The key of the environment opens both files.
    store.run(&["copy", "a", "--to", &other]).succeeds();
    let config = store.config_file("");
    let config = config.to_str().unwrap();
    store.run(&["copy", "a", "--from", &other, "--to", config, "--to-namespace", "b"]).succeeds();
    assert_eq!(store.value(&["b/a"]), planted("").as_bytes());
    store.run(&["copy", "a", "--to", "native"]).fails(2, &["the same place", "--to-namespace"]);
    store.run(&["copy", "a", "--to", config]).fails(2, &["the same place"]);
    store.run(&["copy", "a", "--to", "native", "--to-namespace", "c"]).succeeds();
    store.run(&["copy", "a"]).fails(2, &["`--to` is missing"]);
    store.run(&["copy", "--to", "native"]).fails(2, &["missing"]);
    store.run(&["copy", "a", "--to", "nativ"]).fails(2, &["nativ"]);
    store.run(&["copy", "a", "--to", "none.toml"]).fails(1, &["cannot read `--to`"]);
    store.run(&["copy", "a", "--to", "env"]).fails(1, &["not supported", "use "]);
    store.run(&["copy", "none", "--to", &other]).fails(1, &[]);
}

#[test]
fn a_copy_below_its_source_is_not_copied_again() {
    let store = Store::native();
    for path in ["a", "db/main", "backup-2/a"] {
        store.put(path, planted(""));
    }
    let migrate = |options: &[&str]| {
        let fixed = ["migrate", "--to", "native", "--to-namespace", "backup", "--format", "json"];
        let ended = store.run(&[&fixed, options].concat()).succeeds();
        report(&ended).0.into_iter().map(|(path, outcome, _)| (path, outcome)).collect::<Vec<_>>()
    };
    for outcome in ["created", "unchanged", "unchanged"] {
        let expected = ["a", "backup-2/a", "db/main"].map(|path| (path.into(), outcome.into()));
        assert_eq!(migrate(&[]), expected);
    }
    // Another store may have secrets below a path of the same name.
    let other = Store::native();
    other.put("backup/a", planted(""));
    let config = other.config_file("");
    assert_eq!(
        migrate(&["--from", config.to_str().unwrap()]),
        [("backup/a".to_owned(), "created".to_owned())]
    );
}

#[test]
fn the_environment_is_copied_by_name() {
    let to = Store::native();
    let from = Store::env().with("APP_DB_HOST", planted(""));
    let ended = run(&from, &to, &["copy", "db-host", "--versions"]).succeeds();
    assert!(ended.errors.contains("`env` has no versions"), "{}", ended.errors);
    assert_eq!(to.value(&["db-host"]), planted("").as_bytes());
    run(&from, &to, &["migrate"]).fails(2, &["cannot list", "copy PATH"]);
}

#[test]
fn a_migration_of_no_secret_is_an_error() {
    let (from, to) = (Store::native(), Store::native());
    run(&from, &to, &["migrate"]).fails(3, &["no secrets in", "secrets.db"]);
    from.put("app/a", planted(""));
    run(&from, &to, &["migrate", "ap"]).fails(3, &["no secrets below `ap`"]);
    run(&from, &to, &["migrate", "app/a"]).fails(3, &["no secrets below `app/a`"]);
    let arguments = ["migrate", "x", "--from-namespace", "app"];
    run(&from, &to, &arguments).fails(3, &["no secrets below `app/x`"]);
    assert!(to.run(&["list"]).succeeds().output.is_empty());
}

#[test]
fn a_secret_that_cannot_be_read_is_reported_and_the_others_are_copied() {
    let (from, to) = (Store::native(), Store::native());
    from.put("expired", planted(""));
    from.put("live", planted(""));
    from.run(&["annotate", "expired", "--expires-at", "2020-01-01"]).succeeds();
    let ended = run(&from, &to, &["migrate"]);
    assert_eq!(ended.code, 1, "{}", ended.errors);
    let (secrets, summary) = report(&ended);
    assert_eq!((secrets[0].1.as_str(), secrets[1].1.as_str()), ("refused", "created"));
    assert_eq!(summary["refused"], 1);
    assert!(ended.text().contains("expired"));
}

#[test]
fn an_agent_copies_nothing_that_it_may_not_read() {
    let (from, to) = (Store::native(), Store::native());
    from.put("a", planted(""));
    let from = from.with("CLAUDECODE", "1");
    let config = to.config_file("");
    let config = config.to_str().unwrap();
    for arguments in [
        &["copy", "a", "--to", config][..],
        &["copy", "a", "--to", config, "--dry-run"],
        &["migrate", "--to", config],
        &["copy", "a", "--to", "native", "--to-namespace", "granted"],
    ] {
        let ended = from.run(arguments).fails(4, &["CLAUDECODE", "nothing is copied"]);
        assert!(ended.output.is_empty(), "{}", ended.text());
    }
    assert!(to.run(&["list"]).succeeds().output.is_empty());
    assert_eq!(from.run(&["list"]).succeeds().texts("path"), ["a"]);
}

#[test]
fn an_expired_secret_of_the_target_is_replaced_on_request() {
    let (from, to) = (Store::native(), Store::native());
    from.put("a", planted("-1"));
    from.put("a", planted("-2"));
    to.put("a", planted("-old"));
    to.run(&["annotate", "a", "--expires-at", "2020-01-01"]).succeeds();
    let outcome = |options: &[&str]| {
        report(&run(&from, &to, &[&["migrate"], options].concat()).succeeds()).0.remove(0)
    };
    let expected = |outcome: &str, versions| ("a".to_owned(), outcome.to_owned(), versions);
    assert_eq!(outcome(&[]), expected("skipped", 0));
    to.run(&["get", "a"]).fails(7, &["expired"]);
    assert_eq!(outcome(&["--overwrite", "--dry-run"]), expected("overwritten", 2));
    assert_eq!(outcome(&["--overwrite"]), expected("overwritten", 2));
    assert_eq!(values(&to, "a"), ["-old", "-1", "-2"].map(planted));
    assert_eq!(outcome(&[]), expected("unchanged", 0));
    // An expiry of the source comes along.
    to.run(&["annotate", "a", "--expires-at", "2020-01-01"]).succeeds();
    from.run(&["annotate", "a", "--expires-at", "2099-01-31"]).succeeds();
    assert_eq!(outcome(&["--overwrite"]).1, "overwritten");
    let found = to.run(&["describe", "a", "--format", "json"]).documents();
    assert!(found[0]["expires_at"].as_str().unwrap().starts_with("2099-01-31"), "{found:?}");
}

#[tokio::test]
async fn the_report_counts_the_versions_that_were_written_before_a_refusal() {
    let to = Store::localstack().await;
    let mut from = Store::native();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"] {
        from.set(name, to.variable(name));
    }
    from.put("a", planted("-1"));
    from.put("a", planted("-2"));
    // The service takes at most 64 KiB.
    from.put("a", planted(&"x".repeat(100_000)));
    let ended = run(&from, &to, &["migrate"]);
    assert_eq!(ended.code, 1, "{}", ended.errors);
    let (secrets, summary) = report(&ended);
    assert_eq!(secrets, [("a".to_owned(), "refused".to_owned(), 2)]);
    assert_eq!((&summary["refused"], &summary["complete"]), (&1.into(), &true.into()));
    assert_eq!(values(&to, "a"), ["-1", "-2"].map(planted));
}

#[test]
fn a_secret_whose_store_fails_is_in_the_report() {
    let from = Store::native();
    from.put("a", planted(""));
    let to = Store::none()
        .with("SECRETS_BACKEND", "openbao")
        .with("VAULT_ADDR", "http://127.0.0.1:1")
        .with("VAULT_TOKEN", "x");
    let ended =
        run(&from, &to, &["migrate"]).fails(5, &["the server cannot be reached", "ended midway"]);
    let (secrets, summary) = report(&ended);
    assert_eq!(secrets, [("a".to_owned(), "failed".to_owned(), 0)]);
    assert_eq!((&summary["failed"], &summary["complete"]), (&1.into(), &false.into()));
}

#[test]
fn a_report_that_cannot_be_printed_stops_no_copy() {
    let (from, to) = (Store::native(), Store::native());
    let count = 20;
    for round in 0..2 {
        let env = |i| format!("KEY_{i}={}\n", planted(&format!("-{i}-{round}")));
        let env: String = (0..count).map(env).collect();
        from.run_with(&["import", "--overwrite"], env).succeeds();
    }
    let config = to.config_file("");
    for format in ["text", "json"] {
        let arguments = ["migrate", "--to", config.to_str().unwrap(), "--format", format];
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = from.command(&arguments).stdout(full).output().unwrap();
        let errors = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{errors}");
        assert!(errors.contains("cannot write to standard output"), "{errors}");
        for i in 0..count {
            let expected = [0, 1].map(|round| planted(&format!("-{i}-{round}")));
            assert_eq!(values(&to, &format!("key-{i}")), expected);
        }
    }
}

#[test]
fn the_active_version_stays_the_active_one() {
    let (from, to) = (Store::native(), Store::native());
    for value in ["-1", "-2", "-3"] {
        from.put("a", planted(value));
    }
    from.run(&["rollback", "a", "1"]).succeeds();
    run(&from, &to, &["migrate"]).succeeds();
    assert_eq!(to.value(&["a"]), planted("-1").as_bytes());
    assert_eq!(report(&run(&from, &to, &["migrate"]).succeeds()).0[0].1, "unchanged");
}

#[test]
fn a_second_run_finishes_a_migration_that_was_killed() {
    let (from, to) = (Store::native(), Store::native());
    let count = 120;
    for round in 0..3 {
        let env = |i| format!("KEY_{i}={}\n", planted(&format!("-{i}-{round}")));
        let env: String = (0..count).map(env).collect();
        from.run_with(&["import", "--overwrite", "--tier", "critical"], env).succeeds();
    }
    let config = to.config_file("");
    for round in 0..4 {
        let arguments = ["migrate", "--to", config.to_str().unwrap()];
        let mut command = from.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.take(10 + round * 15).flatten().count(), 10 + round * 15);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (secrets, summary) = report(&run(&from, &to, &["migrate"]).succeeds());
    assert_eq!((secrets.len(), &summary["complete"]), (count, &true.into()));
    assert!(summary["unchanged"].as_u64().unwrap() >= 55, "{summary}");
    for i in [0, 9, 10, 54, 55, 56, 57, 58, 59, 119] {
        let path = format!("key-{i}");
        let expected = [0, 1, 2].map(|round| planted(&format!("-{i}-{round}")));
        assert_eq!(values(&to, &path), expected);
        let found = to.run(&["describe", &path, "--format", "json"]).documents();
        assert_eq!(found[0]["tier"], "critical");
    }
}
