//! Which variables the command has.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Stdio;

use crate::support::{Ended, Store, planted};

fn env(store: &Store, arguments: &[&str]) -> Ended {
    store.run(&[&["run"], arguments, &["--", "env"]].concat()).succeeds()
}

fn has(ended: &Ended, line: &str) -> bool {
    ended.text().lines().any(|found| found == line)
}

#[test]
fn the_declared_secrets_are_variables_named_after_their_paths() {
    let mut store = Store::native();
    store.put("openai/api-key", "sk-1");
    store.put("other", "x");
    let declared = "declare = [\n{ path = \"openai/api-key\" },\n\
                    { path = \"openai/model\", required = false, default = \"gpt\" },\n\
                    { path = \"openai/org\", required = false },\n]\n";
    let file = store.config_file(declared);
    let config = file.to_str().unwrap();
    let ended = env(&store, &["--config", config]);
    assert!(has(&ended, "OPENAI_API_KEY=sk-1"));
    assert!(has(&ended, "OPENAI_MODEL=gpt"));
    assert!(!ended.text().contains("OPENAI_ORG"));
    assert!(!ended.text().contains("OTHER"));

    let ended = store.run(&["run", "--config", config, "--strict", "--", "env"]);
    ended.fails(125, &["`openai/org` is missing", "--strict"]);
    let ended = env(&store, &["--config", config, "--only", "other"]);
    assert!(has(&ended, "OTHER=x"));
    assert!(!ended.text().contains("OPENAI"));
    let ended = env(&store, &["--config", config, "--only", "other", "--declared"]);
    assert!(has(&ended, "OTHER=x") && has(&ended, "OPENAI_API_KEY=sk-1"));
    store.set("UNUSED", "x");
    store.run(&["run", "--", "env"]).fails(125, &["no secrets are declared"]);
}

#[test]
fn a_prefix_gives_names_below_it_and_a_namespace_too() {
    let store = Store::native();
    store.put("production/app/db/password", "p");
    store.put("production/app/key", "k");
    store.put("staging/app/key", "s");
    for arguments in [
        &["--prefix", "production/app"][..],
        &["--namespace", "production", "--prefix", "app"],
        &["--namespace", "production/app", "--only", "db/password,key"],
    ] {
        let ended = env(&store, arguments);
        assert!(has(&ended, "DB_PASSWORD=p") && has(&ended, "KEY=k"), "{}", ended.text());
    }
}

#[test]
fn a_name_of_the_callers_choice_takes_a_secret_or_a_field_of_it() {
    let store = Store::native();
    store.run_with(&["put", "db/main", "--fields"], r#"{"user":"app","pw":"a b\n\"c"}"#).succeeds();
    let ended = env(&store, &["--env", "PGUSER=db/main#user", "--env", "PGPASSWORD=db/main#pw"]);
    assert!(has(&ended, "PGUSER=app"));
    assert!(ended.text().contains("PGPASSWORD=a b\n\"c\n"));
    store
        .run(&["run", "--env", "A=db/main#none", "--", "env"])
        .fails(125, &["`db/main`", "field not found"]);
}

#[test]
fn a_value_reaches_the_command_byte_for_byte() {
    let store = Store::native();
    let value: Vec<u8> = (1..=255).collect();
    store.put("binary", &value);
    let output =
        store.command(&["run", "--only", "binary", "--", "sh", "-c", "printf %s \"$BINARY\""]);
    let output = { output }.output().unwrap();
    assert_eq!(output.stdout, value);
}

#[test]
fn inherited_variables_pass_also_if_they_are_not_utf_8() {
    let store = Store::native();
    store.put("a", "1");
    let strange = OsString::from_vec(b"\xff\xfe".to_vec());
    let mut command = store.command(&["run", "--only", "a", "--", "env"]);
    command.env("STRANGE", &strange).env("PLAIN", "yes").stdin(Stdio::null());
    let output = command.output().unwrap().stdout;
    let has = |line: &[u8]| output.split(|byte| *byte == b'\n').any(|found| found == line);
    assert!(has(b"STRANGE=\xff\xfe") && has(b"PLAIN=yes") && has(b"A=1"));
}

#[test]
fn the_credentials_of_the_store_are_not_in_the_environment() {
    let mut store = Store::native();
    store.put("a", "1");
    for name in [
        "VAULT_TOKEN",
        "VAULT_ADDR",
        "BAO_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_BEARER_TOKEN_X",
    ] {
        store.set(name, planted(""));
    }
    store.set("AWS_REGION", "eu-central-1");
    for options in [&["--only", "a"][..], &["--only", "a", "--redact"]] {
        let ended = env(&store, options);
        for name in
            ["VAULT_", "BAO_", "SECRETS_", "AWS_SECRET", "AWS_SESSION", "AWS_WEB", "AWS_BEARER"]
        {
            assert!(!ended.text().contains(name), "{name}");
        }
        assert!(has(&ended, "AWS_REGION=eu-central-1"));
    }
    let command = store.command(&[
        "run",
        "--only",
        "a",
        "--keep-credentials",
        "--",
        "printenv",
        "VAULT_TOKEN",
    ]);
    let kept = { command }.output().unwrap().stdout;
    assert_eq!(kept, (planted("") + "\n").as_bytes());
    // A secret may have such a name.
    let ended = env(&store, &["--env", "VAULT_TOKEN=a"]);
    assert!(has(&ended, "VAULT_TOKEN=1"));
}

#[test]
fn pristine_leaves_nothing_but_the_secrets() {
    let store = Store::native();
    store.put("a", "1");
    assert_eq!(env(&store, &["--pristine", "--only", "a"]).text(), "A=1\n");
    assert_eq!(env(&store, &["--pristine", "--only", "a", "--redact"]).text(), "A=1\n");
}

#[test]
fn pristine_passes_on_what_announces_a_session_of_an_ai_agent() {
    let store = Store::native().with("CLAUDECODE", "1").with("AI_AGENT", "");
    store.put("a", "1234");
    let ended = env(&store, &["--pristine", "--only", "a"]);
    assert!(has(&ended, "CLAUDECODE=1") && has(&ended, "A=[REDACTED:a]"), "{}", ended.text());
    assert_eq!(ended.text().lines().count(), 2);
}

#[test]
fn nothing_runs_unless_every_secret_is_there() {
    let store = Store::native();
    store.put("present", planted("-present"));
    store.put("nul", [planted("").as_bytes(), b"\0"].concat());
    store.put("large", planted("").repeat(10_000));
    store.put("ld/preload", planted(""));
    store.put("db-host", planted("-1"));
    store.put("db/host", planted("-2"));
    for (arguments, texts) in [
        (&["--only", "present,missing"][..], &["`missing`", "not found"][..]),
        (&["--only", "missing,gone"], &["2 secrets cannot be read", "`missing`", "`gone`"]),
        (&["--only", "present,nul"], &["`nul`", "NUL byte", "`NUL`", "--file"]),
        (&["--only", "large"], &["`large`", "128 KiB", "--file"]),
        (&["--only", "ld/preload"], &["`LD_PRELOAD`", "how programs run"]),
        (&["--only", "db-host,db/host"], &["`db-host` and `db/host`", "`DB_HOST`"]),
    ] {
        let arguments = [&["run"], arguments, &["--", "touch", "ran"]].concat();
        store.run(&arguments).fails(125, texts);
        assert!(!store.file("ran").exists(), "{arguments:?}");
    }
    // A wrong command line is no path of a secret, and is not repeated.
    let ended = store.run(&["run", "--env", &planted(""), "--", "true"]);
    ended.fails(125, &["`--env", "NAME=PATH"]);
}
