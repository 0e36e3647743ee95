//! Values and versions.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Store, planted};

pub(crate) fn values(store: &Store) {
    let line = planted("-line");
    store.run_with(&["put", "values/line"], format!("{line}\n")).succeeds();
    assert_eq!(store.value(&["values/line"]), line.as_bytes());
    let document = store.document(&["values/line"]);
    assert_eq!(document["value"], line.as_str());
    assert_eq!((&document["path"], &document["masked"]), (&"values/line".into(), &false.into()));

    let pem = "-----BEGIN X-----\nabc\n-----END X-----\n";
    store.run_with(&["set", "values/pem"], pem).succeeds();
    assert_eq!(store.value(&["values/pem"]), pem.as_bytes());

    store.run_with(&["put", "values/raw", "--raw"], "kept\n").succeeds();
    assert_eq!(store.value(&["values/raw"]), b"kept\n");

    let binary = [0, 0xff, b'\n', b'\r', 0];
    store.run_with(&["put", "values/binary"], binary).succeeds();
    assert_eq!(store.value(&["values/binary"]), binary);
    assert_eq!(store.document(&["values/binary"])["value_base64"], "AP8KDQA=");

    let file = store.write_file("from", &line);
    store.run(&["put", "values/file", "--from-file", file.to_str().unwrap()]).succeeds();
    assert_eq!(store.value(&["values/file"]), line.as_bytes());

    store.run(&["put", "values/empty"]).fails(2, &["empty", "`--allow-empty`"]);
    store.run(&["get", "values/empty"]).fails(3, &["not found"]);
}

pub(crate) fn fields(store: &Store) {
    let password = planted("-password");
    let object = format!("{{\"user\": \"app\", \"password\": \"{password}\", \"port\": 5432}}");
    store.run_with(&["put", "fields/db", "--fields"], &object).succeeds();
    assert_eq!(store.value(&["fields/db", "--field", "password"]), password.as_bytes());
    assert_eq!(store.value(&["fields/db", "--field", "port"]), b"5432");
    store.run(&["get", "fields/db", "--field", "pasword"]).fails(3, &["field not found"]);
    store.run_with(&["put", "fields/text", "--fields"], planted("")).fails(2, &["`--fields`"]);
}

pub(crate) fn compromised(store: &Store) {
    let (old, new) = (planted("-old"), planted("-new"));
    store.put("compromised/plain", &old);
    let rotate = |path, value: &str| store.run_with(&["rotate", "--compromised", path], value);
    rotate("compromised/plain", &old).fails(2, &["the new value is the compromised one"]);
    rotate("compromised/plain", &new).succeeds();
    assert_eq!(store.value(&["compromised/plain"]), new.as_bytes());
    rotate("compromised/none", &new).fails(3, &["not found"]);
    store.run(&["annotate", "compromised/plain", "--expires-at", "2020-01-01"]).succeeds();
    rotate("compromised/plain", &old).succeeds();
    assert_eq!(store.value(&["compromised/plain"]), old.as_bytes());

    // A service rotates this one, and replaces the key that is marked.
    let record = |more: &str| {
        format!(
            "{{{more}\"key\":\"{old}\",\"rotation_version\":\"1\",\"rotation_generation\":\"4\"}}"
        )
    };
    store.run_with(&["put", "compromised/rotating", "--fields"], record("")).succeeds();
    rotate("compromised/rotating", "").succeeds();
    let field = |name| store.value(&["compromised/rotating", "--field", name]);
    assert_eq!(field("rotation_compromised"), b"4");
    assert_eq!(field("key"), old.as_bytes());
    let two_keys = record("\"rotation_previous\":\"earlier\",");
    store.run_with(&["put", "compromised/rotating", "--fields"], two_keys).succeeds();
    rotate("compromised/rotating", "").fails(6, &["a rotation is under way"]);
}

pub(crate) fn conditions(store: &Store) {
    let put = |options: &[&str], value| {
        store.run_with(&[&["put", "conditions/a", "--format", "json"], options].concat(), value)
    };
    let first = put(&["--if-absent"], planted("1")).succeeds().texts("version").remove(0);
    put(&["--if-absent"], planted("2")).fails(6, &["conflict"]);
    let second = put(&["--if-version", &first], planted("3")).succeeds();
    put(&["--if-version", &first], planted("4")).fails(6, &["conflict"]);
    assert_ne!(second.texts("version"), [first]);
    assert_eq!(store.value(&["conditions/a"]), planted("3").as_bytes());
    store
        .run(&["put", "conditions/a", "--if-absent", "--if-version", "1"])
        .fails(2, &["--if-absent", "--if-version"]);
}

pub(crate) fn files(store: &Store) {
    store.put("files/a", planted("-a"));
    let file = store.file("output");
    fs::write(&file, "old").unwrap();
    store.run(&["get", "files/a", "--output", "output"]).succeeds();
    assert_eq!(fs::read(&file).unwrap(), planted("-a").as_bytes());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let input = store.run_with(&["put", "files/b", "--from-file", "-"], planted("-b"));
    input.succeeds();
    assert_eq!(store.value(&["files/b"]), planted("-b").as_bytes());
    store.run(&["get", "files/a", "--output", "/dev/stdout"]).fails(2, &["redirect"]);
    store.run(&["get", "files/a", "--output", "-"]).fails(2, &["redirect"]);
    // A command that fails leaves the file as it is.
    store.run(&["get", "files/none", "--output", "output"]).fails(3, &["not found"]);
    assert_eq!(fs::read(&file).unwrap(), planted("-a").as_bytes());
    fs::remove_file(&file).unwrap();
}

pub(crate) fn versions(store: &Store) {
    store.put("versions/a", planted("-1"));
    store.put("versions/a", planted("-2"));
    let listed = store.run(&["versions", "versions/a"]).succeeds();
    let versions = listed.texts("version");
    let active: Vec<_> = listed.documents().iter().map(|found| found["active"] == true).collect();
    assert_eq!((versions.len(), active), (2, vec![true, false]));
    let first = versions.last().unwrap();
    assert_eq!(store.value(&["versions/a", "--version", first]), planted("-1").as_bytes());
    store.run(&["rollback", "versions/a", first]).succeeds();
    assert_eq!(store.value(&["versions/a"]), planted("-1").as_bytes());
    let table = store.run(&["history", "versions/a", "--format", "table"]).succeeds();
    assert!(table.text().starts_with("VERSION"), "{}", table.text());
    store.run(&["get", "versions/a", "--version", "999"]).fails(3, &["not found"]);
    store.run(&["rollback", "versions/a", "999"]).fails(3, &["not found"]);
}

pub(crate) fn deletion(store: &Store) {
    store.put("deletion/a", planted("-a"));
    store.put("deletion/b", planted("-b"));
    store.run(&["delete", "deletion/a", "deletion/b"]).succeeds();
    store.run(&["get", "deletion/a"]).fails(3, &["not found"]);
    store.run(&["undelete", "deletion/a"]).succeeds();
    assert_eq!(store.value(&["deletion/a"]), planted("-a").as_bytes());
    store.run(&["delete", "deletion/none"]).fails(3, &["not found"]);
    store.run(&["delete", "deletion/none", "--if-exists"]).succeeds();
    store.run(&["destroy", "deletion/a"]).fails(2, &["`--yes`"]);
    assert_eq!(store.value(&["deletion/a"]), planted("-a").as_bytes());
    store.run(&["destroy", "deletion/a", "deletion/b", "--yes"]).succeeds();
    let misspelt = store.run(&["destroy", "deletion/nope", "--yes", "--format", "text"]).succeeds();
    assert!(misspelt.errors.contains("`deletion/nope`: there was no secret"), "{misspelt:?}");
    store.run(&["get", "deletion/a"]).fails(3, &["not found"]);
    store.run(&["undelete", "deletion/a"]).fails(3, &["not found"]);
}

pub(crate) fn namespaces(store: &Store) {
    store.put("namespaces/inner/a", planted("-a"));
    assert_eq!(store.value(&["a", "--namespace", "namespaces/inner/"]), planted("-a").as_bytes());
    // Paths are as the caller gives them.
    assert_eq!(store.document(&["inner/a", "--namespace", "namespaces"])["path"], "inner/a");
    let listed = store.run(&["--namespace", "namespaces", "list"]).succeeds();
    assert_eq!(listed.texts("path"), ["inner/a"]);
    store.run(&["--namespace", "/", "list"]).fails(2, &["--namespace"]);
}

pub(crate) fn suggestions(store: &Store) {
    store.put("suggestions/openai/api-key", planted(""));
    store
        .run(&["get", "suggestions/openai/api-kye"])
        .fails(3, &["did you mean `suggestions/openai/api-key`?"]);
    store
        .run(&["describe", "opnai/api-key", "--namespace", "suggestions"])
        .fails(3, &["did you mean `openai/api-key`?"]);
}

pub(crate) fn declared(store: &Store) {
    store.put("declared/there", planted("-sk"));
    store.put("declared/wrong", planted("-no"));
    let file = store.config_file(
        "[[declare]]\npath = \"declared/there\"\npattern = \"-sk$\"\n\
         [[declare]]\npath = \"declared/wrong\"\npattern = \"-sk$\"\n\
         [[declare]]\npath = \"declared/missing\"\n\
         [[declare]]\npath = \"declared/optional\"\nrequired = false\n\
         [[declare]]\npath = \"declared/default\"\ndefault = \"gpt-5\"\n",
    );
    let config = ["--config", file.to_str().unwrap()];
    let checked = store.run(&[&["check"], &config[..]].concat()).fails(1, &[]);
    assert_eq!(checked.texts("status"), ["present", "malformed", "missing", "absent", "default"]);
    let table = store.run(&[&["check", "--format", "text"], &config[..]].concat());
    table.fails(1, &["`declared/missing` is missing: set", "does not match"]);
    // A command for other secrets is not stopped by what is missing, and gets defaults.
    assert_eq!(store.value(&[&["declared/default"], &config[..]].concat()), b"gpt-5");
    store.run(&["check"]).fails(2, &["no secrets are declared"]);
}

pub(crate) fn state(store: &Store) {
    let health = store.run(&["health"]).succeeds();
    assert_eq!(health.texts("backend"), [store.name]);
    assert_eq!(health.texts("status"), ["ready"]);
    store.put("state/a", planted(""));
    let doctor = store.run(&["doctor", "state/a", "--format", "json"]).succeeds();
    let steps = doctor.texts("step");
    for step in ["settings", "store", "connection", "read", "list"] {
        assert!(steps.iter().any(|found| found == step), "{step}: {steps:?}");
    }
    assert!(!doctor.texts("status").iter().any(|status| status == "problem"), "{}", doctor.text());
    let before = store.run(&["list"]).succeeds().texts("path");
    let doctor = store.run(&["doctor", "--write", "--format", "text"]).succeeds();
    assert!(doctor.text().contains("ok       write"), "{}", doctor.text());
    assert_eq!(store.run(&["list"]).succeeds().texts("path"), before);
    assert!(doctor.text().contains(store.name), "{}", doctor.text());
}
