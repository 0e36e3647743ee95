//! `scan` with the real binary and real Git repositories.

#![expect(clippy::unwrap_used, reason = "test code reports a failure with a panic")]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Store, planted};

/// The shape of a key, in parts, so that no scanner finds it here.
fn shaped() -> String {
    format!("ghp_{}", planted("").repeat(2).get(..36).unwrap())
}

/// A store, whose folder has a folder `work` with a repository.
fn store() -> Store {
    let store = Store::native();
    store.put("db/password", planted("-password"));
    fs::create_dir(store.file("work")).unwrap();
    git(&store, &["init", "--quiet"]);
    git(&store, &["config", "user.name", "A"]);
    git(&store, &["config", "user.email", "a@example.org"]);
    store
}

fn git(store: &Store, arguments: &[&str]) {
    let mut command = Command::new("git");
    store.prepare(&mut command);
    command.current_dir(store.file("work")).env("GIT_CONFIG_GLOBAL", "/dev/null").args(arguments);
    assert!(command.stdout(Stdio::null()).status().unwrap().success(), "{arguments:?}");
}

fn write(store: &Store, name: &str, content: impl AsRef<[u8]>) {
    let file = store.file("work").join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content).unwrap();
}

/// Runs `scan` in the repository: the exit status and the findings. No value is printed.
fn scan(store: &Store, arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut command = store.command(&[&["scan", "--format", "json"], arguments].concat());
    let output = command.current_dir(store.file("work")).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    for printed in [output.stdout.as_slice(), errors.as_bytes()] {
        assert!(strongroom_testkit::canary::find(printed).is_none(), "{errors}");
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let findings: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let code = output.status.code().unwrap();
    assert_eq!(
        code == 1,
        !findings.is_empty() && !arguments.contains(&"--update-ignore-file"),
        "{errors}"
    );
    (code, findings)
}

/// The file, the line, the column and the rule of each finding, in order.
fn places(findings: &[Value]) -> Vec<String> {
    let place = |finding: &Value| {
        let text = |member: &str| finding[member].as_str().unwrap_or_default().to_owned();
        format!("{}:{}:{} {}", text("file"), finding["line"], finding["column"], text("rule"))
    };
    let mut places: Vec<_> = findings.iter().map(place).collect();
    places.sort();
    places
}

#[test]
fn values_and_shapes_of_keys_are_found_in_files() {
    let store = store();
    write(&store, "src/config.ini", format!("[db]\npassword = {}\n", planted("-password")));
    write(&store, ".hidden", format!("token: {}\n", shaped()));
    write(&store, "clean.txt", "nothing");
    write(&store, ".gitignore", "ignored.env\n");
    write(&store, "ignored.env", planted("-password"));
    let (code, findings) = scan(&store, &[]);
    assert_eq!(code, 1);
    assert_eq!(places(&findings), [".hidden:1:8 github-token", "src/config.ini:2:12 known"]);
    let known = findings.iter().find(|finding| finding["rule"] == "known").unwrap();
    assert_eq!((&known["path"], &known["form"]), (&"db/password".into(), &"plain".into()));

    assert_eq!(places(&scan(&store, &["--known"]).1), ["src/config.ini:2:12 known"]);
    assert_eq!(places(&scan(&store, &["--shapes"]).1), [".hidden:1:8 github-token"]);
    assert_eq!(scan(&store, &["--known", "clean.txt"]), (0, vec![]));
    store.put("other/key", planted("-other"));
    assert_eq!(scan(&store, &["--known", "--prefix", "other"]).0, 0);
    let with_ignored = places(&scan(&store, &["--known", "--no-ignore"]).1);
    assert_eq!(with_ignored, ["ignored.env:1:1 known", "src/config.ini:2:12 known"]);
    // A file that the caller names is searched.
    assert_eq!(places(&scan(&store, &["--known", "ignored.env"]).1), ["ignored.env:1:1 known"]);
    store.run(&["scan", "--known", "no-such-file"]).fails(2, &["No such file"]);
}

#[test]
fn shapes_need_no_store_and_values_do() {
    let store = store();
    write(&store, "a", shaped());
    let none = Store::none();
    let file = store.file("work").join("a");
    let ended = none.run(&["scan", "--shapes", file.to_str().unwrap()]);
    ended.fails(1, &["1 findings"]);
    let ended = none.run(&["scan", "--known", "."]);
    assert_eq!(ended.code, 2, "{}", ended.errors);
}

#[test]
fn settings_are_not_looked_for_unless_the_caller_wants_them() {
    let store = store();
    let env = "LOG_LEVEL=info\nDEBUG=true\nDB_HOST=localhost\nPORT=5432\nSTAGE=production\nSHORT=k1-Xy9\n";
    store.run_with(&["import"], env).succeeds();
    store.run_with(&["import", "--tier", "standard"], "TITLE='The best shop'\n").succeeds();
    let text = "info: localhost:5432 is true in production, k1-Xy9, The best shop\n";
    write(&store, "a.txt", format!("{text}{}\n", planted("-password")));
    let file = store.file("work/a.txt");
    let run = |options: &[&str]| {
        let arguments = ["scan", "--known", "--format", "json", file.to_str().unwrap()];
        let ended = store.run(&[&arguments, options].concat());
        let mut paths = ended.texts("path");
        paths.sort();
        (paths, ended.errors)
    };
    let (paths, errors) = run(&[]);
    assert_eq!(paths, ["db/password"]);
    let note = "7 values are too common to look for: `db-host`, `debug`, `log-level`, `port`, `short`, `stage`, \
                `title`; `--min-length 4` looks for them";
    assert_eq!(errors.matches(note).count(), 1, "{errors}");
    let all = ["db-host", "db/password", "debug", "log-level", "port", "short", "stage", "title"];
    assert_eq!(run(&["--min-length", "4"]).0, all);
    let (paths, errors) = run(&["--min-length", "8"]);
    assert_eq!(paths, ["db-host", "db/password", "stage", "title"]);
    assert!(errors.contains("4 values are too short to look for: `debug`"), "{errors}");
    let options = ["--min-length", "8", "--exclude", "db", "--exclude", "stage"];
    assert_eq!(run(&options).0, ["db-host", "title"]);
}

#[test]
fn a_setting_in_a_document_is_not_looked_for_and_its_password_is() {
    let store = store();
    let document = format!("{{\"user\": \"postgres\", \"password\": \"{}\"}}", planted("-x"));
    store.put("db/main", &document);
    write(&store, "a.txt", "postgres\n");
    assert_eq!(scan(&store, &["--known"]).0, 0);
    write(&store, "a.txt", format!("postgres {}\n", planted("-x")));
    assert_eq!(places(&scan(&store, &["--known"]).1), ["a.txt:1:10 known"]);
}

#[test]
fn a_person_reads_what_to_do() {
    let store = store();
    write(&store, "a", planted("-password"));
    let file = store.file("work").join("a");
    let ended = store.run(&["scan", "--known", "--format", "text", file.to_str().unwrap()]);
    let ended = ended.fails(1, &["strongroom rotate --compromised db/password"]);
    assert!(
        ended.text().contains(":1:1: the value of `db/password` (plain) ["),
        "{}",
        ended.text()
    );
}

#[test]
fn the_history_and_the_index_of_a_repository_are_searched() {
    let store = store();
    write(&store, "old.txt", format!("a\n{}", planted("-password")));
    git(&store, &["add", "."]);
    git(&store, &["commit", "--quiet", "-m", "first"]);
    git(&store, &["rm", "--quiet", "old.txt"]);
    git(
        &store,
        &["commit", "--quiet", "--allow-empty", "-m", &format!("says {}", planted("-password"))],
    );
    assert_eq!(scan(&store, &["--known"]).0, 0);

    let (code, findings) = scan(&store, &["--known", "--git"]);
    assert_eq!((code, findings.len()), (1, 2), "{findings:?}");
    let file = findings.iter().find(|finding| finding["file"] == "old.txt").unwrap();
    assert_eq!((&file["line"], file["commit"].as_str().unwrap().len()), (&2.into(), 40));
    let message = findings.iter().find(|finding| finding["file"] != "old.txt").unwrap();
    assert!(message["file"].as_str().unwrap().starts_with("commit "), "{message}");

    assert_eq!(scan(&store, &["--known", "--staged"]).0, 0);
    write(&store, "new name.txt", planted("-password"));
    assert_eq!(scan(&store, &["--known", "--staged"]).0, 0);
    git(&store, &["add", "."]);
    // The index counts, not the file.
    write(&store, "new name.txt", "clean");
    let (code, findings) = scan(&store, &["--known", "--staged"]);
    assert_eq!((code, places(&findings)), (1, vec!["new name.txt:1:1 known".to_owned()]));
}

#[test]
fn the_first_commit_of_a_repository_is_searched_before_it_is_made() {
    let store = store();
    write(&store, "a", planted("-password"));
    git(&store, &["add", "."]);
    assert_eq!(places(&scan(&store, &["--staged", "--known"]).1), ["a:1:1 known"]);
}

#[test]
fn shell_histories_and_the_environment_are_searched() {
    let mut store = store();
    store.write_file(".bash_history", format!("ls\nexport PW={}\n", planted("-password")));
    let (_, findings) = scan(&store, &["--known", "--shell-history"]);
    assert_eq!(findings.len(), 1);
    assert!(findings[0]["file"].as_str().unwrap().ends_with("/.bash_history"));
    assert_eq!(findings[0]["line"], 2);
    assert_eq!(scan(&store, &["--known", "--environment"]).0, 0);
    store.set("DATABASE_URL", format!("postgres://app:{}@db/app", planted("-password")));
    let (_, findings) = scan(&store, &["--known", "--environment"]);
    assert_eq!((findings.len(), &findings[0]["variable"]), (1, &"DATABASE_URL".into()));
}

#[test]
fn an_ignored_finding_stays_ignored_when_it_moves_and_a_new_one_is_found() {
    let store = store();
    write(&store, "a.txt", planted("-password"));
    let (code, findings) = scan(&store, &["--known", "--update-ignore-file"]);
    assert_eq!((code, findings.len()), (0, 1));
    let list = fs::read(store.file("work").join(".strongroom-ignore")).unwrap();
    assert!(strongroom_testkit::canary::find(&list).is_none());
    assert_eq!(scan(&store, &["--known"]).0, 0);
    write(&store, "a.txt", format!("\n\n  {}", planted("-password")));
    assert_eq!(scan(&store, &["--known"]).0, 0);
    write(&store, "b.txt", planted("-password"));
    let (_, findings) = scan(&store, &["--known"]);
    assert_eq!(places(&findings), ["b.txt:1:1 known"]);
}

#[test]
fn a_report_in_sarif_has_places_and_no_values() {
    let store = store();
    write(&store, "a b.txt", format!("x {}", planted("-password")));
    // Without an ignore file, the key of the fingerprints is another one in each scan.
    scan(&store, &["--known", "--sarif", "report.sarif", "a b.txt"]);
    let text = fs::read_to_string(store.file("work").join("report.sarif")).unwrap();
    assert!(!text.contains("partialFingerprints"), "{text}");
    // The file behind a stream has more than the report. A pipe is written to.
    let run = |script: &str| {
        let mut command = Command::new("bash");
        store.prepare(&mut command);
        command.current_dir(store.file("work")).env("BINARY", support::binary());
        command.args(["-c", script]).output().unwrap()
    };
    let scan_to = "\"$BINARY\" -q scan --known --format json --sarif";
    let output = run(&format!("{{ echo before; {scan_to} /dev/stdout 'a b.txt'; }} > stream"));
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(store.file("work").join("stream")).unwrap(), "before\n");
    let output = run(&format!("{scan_to} /dev/stdout 'a b.txt' | cat"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"version\":\"2.1.0\""));
    write(&store, "other.txt", planted("-password"));
    scan(&store, &["--known", "--update-ignore-file", "other.txt"]);
    scan(&store, &["--known", "--sarif", "report.sarif", "a b.txt"]);
    let text = fs::read(store.file("work").join("report.sarif")).unwrap();
    assert!(strongroom_testkit::canary::find(&text).is_none());
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(report["version"], "2.1.0");
    let run = &report["runs"][0];
    let result = &run["results"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
    let location = &result["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "a%20b.txt");
    assert_eq!(
        (&location["region"]["startLine"], &location["region"]["startColumn"]),
        (&1.into(), &3.into())
    );
    assert_eq!(result["partialFingerprints"]["strongroom/v1"].as_str().unwrap().len(), 32);
}

#[test]
fn a_pipe_and_a_link_that_are_named_are_searched() {
    let store = store();
    write(&store, "config", format!("password={}\n", planted("-password")));
    std::os::unix::fs::symlink("config", store.file("work").join("link")).unwrap();
    let (code, findings) = scan(&store, &["--known", "link"]);
    assert_eq!((code, findings.len()), (1, 1));
    let mut command = Command::new("bash");
    store.prepare(&mut command);
    command.current_dir(store.file("work")).env("BINARY", support::binary());
    let output = command.args(["-c", "\"$BINARY\" scan --known <(cat config)"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_failure_has_another_exit_code_than_findings() {
    let mut store = store();
    write(&store, "list", "not a fingerprint\n");
    for arguments in [
        &["scan", "no-such-file"][..],
        &["scan", "--ignore-file", "work/list"],
        &["scan", "--shapes", "--sarif", "no/such/folder", "work"],
        &["scan", "--shapes", "--update-ignore-file", "--ignore-file", "no/such/folder", "work"],
        &["scan", "--git"],
    ] {
        let ended = store.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.errors);
    }
    store.write_file("secrets.db", "damaged");
    assert!(store.run(&["scan", "--known", "work"]).code >= 2);
    store.set("PATH", "");
    assert_eq!(store.run(&["scan", "--shapes", "--staged", "work"]).code, 2);
}

#[test]
fn the_history_of_a_shallow_clone_is_refused() {
    let store = store();
    write(&store, "config", format!("password={}\n", planted("-password")));
    git(&store, &["add", "."]);
    git(&store, &["commit", "--quiet", "-m", "first"]);
    git(&store, &["rm", "--quiet", "config"]);
    git(&store, &["commit", "--quiet", "-m", "second"]);
    let (origin, clone) = (store.file("work"), store.file("clone"));
    let origin = format!("file://{}", origin.display());
    let path = clone.to_str().unwrap();
    git(&store, &["clone", "--quiet", "--depth", "1", &origin, path]);
    let mut command = store.command(&["scan", "--known", "--git"]);
    let output = command.current_dir(&clone).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("`git fetch --unshallow`"), "{errors}");
}

#[test]
fn a_scan_of_a_partial_clone_downloads_nothing_and_says_what_is_missing() {
    let store = store();
    write(&store, "config", format!("password={}\n", planted("-password")));
    git(&store, &["add", "."]);
    git(&store, &["commit", "--quiet", "-m", "first"]);
    git(&store, &["config", "uploadpack.allowFilter", "true"]);
    let (origin, clone) = (store.file("work"), store.file("clone"));
    let origin = format!("file://{}", origin.display());
    let path = clone.to_str().unwrap();
    git(&store, &["clone", "--quiet", "--filter=blob:none", "--no-checkout", &origin, path]);
    let mut command = store.command(&["scan", "--known", "--git"]);
    let output = command.current_dir(&clone).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("warning: 1 objects are not in this clone"), "{errors}");
    let mut command = Command::new("git");
    store.prepare(&mut command);
    command.arg("-C").arg(&clone).args(["rev-list", "--objects", "--all", "--missing=print"]);
    let listed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(listed.lines().any(|line| line.starts_with('?')), "{listed}");
}
