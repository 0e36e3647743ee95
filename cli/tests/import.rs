//! `import` with the real binary: names, metadata, repeats, refusals, and a kill in the middle.

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
use strongroom_testkit::canary;
use support::{Ended, Store, planted};

/// The members of each secret's document, and the summary.
fn report(ended: &Ended) -> (Vec<(String, String, String)>, Value) {
    let mut documents = ended.documents();
    let summary = documents.pop().unwrap()["summary"].clone();
    let text = |document: &Value, member: &str| document[member].as_str().unwrap().to_owned();
    let secret = |document: &Value| {
        (text(document, "path"), text(document, "tier"), text(document, "outcome"))
    };
    (documents.iter().map(secret).collect(), summary)
}

fn import(store: &Store, options: &[&str], input: &str) -> Ended {
    let arguments = [&["import", "--format", "json"], options].concat();
    store.run_with(&arguments, input).succeeds()
}

fn outcomes(ended: &Ended) -> Vec<String> {
    report(ended).0.into_iter().map(|(_, _, outcome)| outcome).collect()
}

/// What a service's `.env` goes through, on any store.
fn imports(store: &Store) {
    let env = format!(
        "# database\nDB_HOST={}\nDB_PASSWORD='p@$$w0rd {0}'\nexport LOG_LEVEL=info\n",
        planted("")
    );
    let options = [
        "--namespace",
        "production",
        "--tier",
        "standard",
        "--tier-prefix",
        "DB_=sensitive,DB_PASS=critical",
        "--kind",
        "db_credential",
        "--tags",
        "team=payments",
        "--expires-in",
        "90d",
    ];
    let expected = |outcome: &str| {
        [("db-host", "sensitive"), ("db-password", "critical"), ("log-level", "standard")]
            .map(|(path, tier)| (path.to_owned(), tier.to_owned(), outcome.to_owned()))
    };
    // A dry run writes nothing.
    let dry = import(store, &[&options[..], &["--dry-run"]].concat(), &env);
    assert_eq!(report(&dry).0, expected("created"));
    store.run(&["get", "production/db-host"]).fails(3, &["not found"]);

    let ended = import(store, &options, &env);
    let (secrets, summary) = report(&ended);
    assert_eq!(secrets, expected("created"));
    assert_eq!((&summary["created"], &summary["complete"]), (&3.into(), &true.into()));
    let value = store.value(&["production/db-password"]);
    assert_eq!(value, format!("p@$$w0rd {}", planted("")).as_bytes());
    let found = store.run(&["describe", "production/db-password", "--format", "json"]).documents();
    let found = &found[0];
    assert_eq!((&found["tier"], &found["kind"]), (&"critical".into(), &"db_credential".into()));
    assert!(found["tags"]["team"] == "payments" && found["expires_at"].is_string(), "{found}");
    let version = found["version"].clone();

    // Again: nothing changes. Other values are skipped, and replaced on request.
    assert_eq!(outcomes(&import(store, &options, &env)), ["unchanged"; 3]);
    let changed = env.replace("info", "debug") + "NEW_ONE=''\n";
    let ended = import(store, &options, &changed);
    assert_eq!(outcomes(&ended), ["unchanged", "unchanged", "skipped", "created"]);
    assert_eq!(store.value(&["production/log-level"]), b"info");
    let overwrite = [&options[..], &["--overwrite"]].concat();
    let ended = import(store, &overwrite, &changed);
    assert_eq!(outcomes(&ended), ["unchanged", "unchanged", "overwritten", "unchanged"]);
    assert_eq!(store.value(&["production/log-level"]), b"debug");
    let found = store.run(&["describe", "production/db-password", "--format", "json"]).documents();
    assert_eq!(found[0]["version"], version);

    // A value that one secret cannot have does not keep the others back.
    store.run(&["delete", "production/new-one"]).succeeds();
    let ended = store.run_with(&[&["import", "--format", "json"], &options[..]].concat(), &changed);
    assert_eq!(ended.code, 1, "{}", ended.errors);
    let (secrets, summary) = report(&ended);
    assert_eq!((secrets[3].2.as_str(), &summary["refused"]), ("refused", &1.into()));
    assert!(ended.text().contains("deleted secret"), "{}", ended.text());
}

#[test]
fn a_file_is_imported_into_the_native_store() {
    imports(&Store::native());
}

#[tokio::test]
async fn a_file_is_imported_into_openbao() {
    imports(&Store::openbao().await);
}

#[tokio::test]
async fn a_file_is_imported_into_localstack() {
    imports(&Store::localstack().await);
}

#[test]
fn names_can_be_kept_and_the_name_of_a_file_says_its_format() {
    let store = Store::native();
    store.write_file("a.json", r#"{"DB_HOST": "h", "db/main": {"user": "app"}, "PORT": 5432}"#);
    store.write_file("b.yaml", "YAML_ONE: no\nYAML_TWO: |\n  two\n  lines\n");
    import(&store, &["a.json", "--keep-names"], "");
    import(&store, &["b.yaml"], "");
    import(&store, &["--input-format", "yaml"], "FROM_STDIN: 'x'\n");
    assert_eq!(store.value(&["DB_HOST"]), b"h");
    assert_eq!(store.value(&["PORT"]), b"5432");
    assert_eq!(store.value(&["db/main", "--field", "user"]), b"app");
    assert_eq!(store.value(&["yaml-one"]), b"no");
    assert_eq!(store.value(&["yaml-two"]), b"two\nlines\n");
    assert_eq!(store.value(&["from-stdin"]), b"x");
}

#[test]
fn nothing_is_written_if_the_file_is_wrong() {
    let store = Store::native();
    for (input, options, expected) in [
        ("A=1\nB='open\n", &[][..], "line 2"),
        ("A_B=1\nA-B=2\n", &[], "are both the path `a-b`"),
        ("{\"A\": \"1\", \"two words\": \"2\"}", &["--input-format", "json"], "value 2"),
        ("A=1\n", &["--tier-prefix", "DB_"], "DB_=critical"),
        ("A=1\n", &["--tag", "team"], "NAME=VALUE"),
    ] {
        let input = input.replace('1', &planted(""));
        let ended = store.run_with(&[&["import"], options].concat(), input);
        ended.fails(2, &[expected]);
    }
    store.run(&["list"]).succeeds();
    assert!(store.run(&["list"]).text().is_empty());
    store.run(&["import", "none.env"]).fails(1, &["none.env"]);
    Store::env().run_with(&["import"], "A=1\n").fails(1, &["not supported"]);
}

#[test]
fn an_agent_cannot_test_guesses() {
    let store = Store::native();
    store.put("key", planted("-right"));
    let version = |store: &Store| {
        store.run(&["describe", "key", "--format", "json"]).documents()[0].to_string()
    };
    let before = version(&store);
    let right = format!("KEY={}\n", planted("-right"));
    let wrong = format!("KEY={}\n", planted("-wrong"));
    // The metadata are those that an import completes if the value is the same.
    let import = |store: &Store, options: &[&str], input: &str| {
        let arguments = [&["import", "--format", "json", "--tags", "team=x"], options].concat();
        let ended = store.run_with(&arguments, input).succeeds();
        (String::from_utf8(ended.output).unwrap(), ended.errors)
    };
    assert_ne!(import(&store, &["--dry-run"], &right), import(&store, &["--dry-run"], &wrong));
    let store = store.with("CLAUDECODE", "1");
    for (options, outcome) in [
        (&["--dry-run"][..], "skipped"),
        (&[], "skipped"),
        (&["--dry-run", "--overwrite"], "overwritten"),
    ] {
        let (report, errors) = import(&store, options, &right);
        assert_eq!((report.clone(), errors), import(&store, options, &wrong), "{options:?}");
        assert!(report.contains(&format!("\"outcome\":\"{outcome}\"")), "{report}");
        assert_eq!(version(&store), before, "{options:?}");
    }
}

#[test]
fn a_diff_for_people_shows_no_value() {
    let store = Store::native();
    let env = format!("A={0}\nB={0}\n", planted(""));
    store.put("a", planted("-other"));
    let ended = store.run_with(&["import", "--format", "text", "--dry-run"], &env).succeeds();
    assert_eq!(ended.text(), "  skipped      a  sensitive\n+ created      b  sensitive\n");
    assert!(ended.errors.contains("nothing was written: 1 created, 1 skipped"), "{}", ended.errors);
}

#[test]
fn a_report_that_cannot_be_printed_neither_stops_the_import_nor_hides_its_failure() {
    let import = |store: &Store, format: &str| {
        let file = store.write_file("a.env", "A=1\nB=2\nC=3\n");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let arguments = ["import", file.to_str().unwrap(), "--format", format];
        let ended = store.command(&arguments).stdout(full).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let unreachable = Store::none()
        .with("SECRETS_BACKEND", "openbao")
        .with("VAULT_ADDR", "http://127.0.0.1:1")
        .with("VAULT_TOKEN", "x");
    for format in ["text", "json"] {
        let store = Store::native();
        let (code, errors) = import(&store, format);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains("cannot write to standard output"), "{errors}");
        assert_eq!(store.run(&["list"]).succeeds().texts("path"), ["a", "b", "c"]);
        let (code, errors) = import(&unreachable, format);
        assert_eq!(code, Some(5), "{errors}");
        assert!(errors.contains("the server cannot be reached"), "{errors}");
        let ended = unreachable.run_with(&["import", "--format", "json"], "A=1\n");
        let (secrets, summary) = report(&ended.fails(5, &["ended midway"]));
        assert_eq!((secrets[0].2.as_str(), &summary["failed"]), ("failed", &1.into()));
    }
}

#[test]
fn a_second_run_finishes_an_import_that_was_killed() {
    let store = Store::native();
    let count = 300;
    let env: String = (0..count)
        .map(|i| format!("KEY_{i}={}", planted(&format!("-{i}"))))
        .collect::<Vec<_>>()
        .join("\n");
    let file = store.write_file("many.env", &env);
    let file = file.to_str().unwrap();
    for round in 0..3 {
        let mut command = store.command(&["import", file, "--tier", "critical"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Each line tells of a secret that is done.
        for _ in 0..(round + 1) * 20 {
            let line = lines.next().unwrap().unwrap();
            assert!(canary::find(line.as_bytes()).is_none());
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (secrets, summary) = report(&import(&store, &[file, "--tier", "critical"], ""));
    assert_eq!(secrets.len(), count);
    let number = |member: &str| summary[member].as_u64().unwrap();
    assert!(number("unchanged") >= 60, "{summary}");
    assert_eq!(number("unchanged") + number("created"), count as u64, "{summary}");
    for i in [0, 19, 20, 59, 150, 299] {
        let path = format!("key-{i}");
        assert_eq!(store.value(&[&path]), planted(&format!("-{i}")).as_bytes());
        let found = store.run(&["describe", &path, "--format", "json"]).documents();
        assert_eq!(found[0]["tier"], "critical");
    }
}
