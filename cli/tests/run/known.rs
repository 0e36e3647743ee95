//! Which values `run --redact` and `redact` mask: a selection that finds none, options that leave values out, values
//! that are new, and those that cannot be read.

use crate::session::{Session, wait_until};
use crate::support::{Ended, Store, planted};

/// Asserts that nothing was passed on.
fn fails_closed(ended: Ended, code: i32, texts: &[&str]) {
    assert!(ended.output.is_empty(), "{}", ended.text());
    ended.fails(code, texts);
}

#[test]
fn a_selection_without_secrets_is_an_error_and_nothing_passes() {
    let store = Store::native();
    store.put("db/password", planted("-1"));
    // A misspelt prefix, one of several, and the path of a secret, below which there is none.
    for (options, missing) in [
        (&["--prefix", "bd"][..], "`bd`"),
        (&["--prefix", "db", "--prefix", "bd"], "`bd`"),
        (&["--prefix", "db/password"], "`db/password`"),
        (&["--namespace", "bd"], "`bd`"),
        (&["--namespace", "db", "--prefix", "x"], "`db/x`"),
        (&["--exclude", "db"], "`--exclude`"),
    ] {
        let arguments = [&["redact", "--quiet"], options].concat();
        fails_closed(store.run_with(&arguments, planted("-1")), 3, &[missing]);
        let arguments = [&["redact"], options, &["--", "echo", "started"]].concat();
        fails_closed(store.run(&arguments), 125, &[missing]);
        let arguments = [&["scan", "--known", "--quiet"], options].concat();
        fails_closed(store.run(&arguments), 3, &[missing]);
    }
    let arguments = ["run", "--prefix", "bd", "--", "echo", "started"];
    fails_closed(store.run(&arguments), 125, &["no secrets below `bd`"]);
    let arguments = ["run", "--only", "db/password", "--prefix", "bd", "--", "echo", "started"];
    fails_closed(store.run(&arguments), 125, &["no secrets below `bd`"]);
}

#[test]
fn an_empty_store_is_an_error_unless_the_caller_allows_it() {
    let store = Store::native();
    let file = store.file("secrets.db");
    let file = file.to_str().unwrap();
    fails_closed(store.run_with(&["redact", "--quiet"], "text"), 3, &["no secrets in", file]);
    fails_closed(store.run(&["redact", "--", "echo", "started"]), 125, &["no secrets in"]);
    fails_closed(store.run(&["scan", "--quiet"]), 3, &["no secrets in", file]);
    for options in [&[][..], &["--prefix", "none"]] {
        let arguments = [&["redact", "--allow-empty"], options].concat();
        assert_eq!(store.run_with(&arguments, "text").succeeds().text(), "text");
    }
}

/// A store with a secret and the settings of an ordinary `.env`.
fn with_settings() -> Store {
    let store = Store::native();
    let env = format!("LOG_LEVEL=info\nDB_HOST=localhost\nPORT=5432\nKEY={}\n", planted("-key"));
    store.run_with(&["import"], env).succeeds();
    store
}

#[test]
fn values_that_mask_ordinary_text_are_named_and_can_be_left_out() {
    let store = with_settings();
    let text = format!("info localhost 5432 {}\n", planted("-key"));
    let ended = store.run_with(&["redact"], &text).succeeds();
    let masked = "[REDACTED:log-level] [REDACTED:db-host] [REDACTED:port] [REDACTED:key]\n";
    assert_eq!(ended.text(), masked);
    let named = "short or common: `db-host`, `log-level`, `port`;";
    assert!(ended.errors.contains(named), "{}", ended.errors);

    let ended = store.run_with(&["redact", "--min-length", "8"], &text).succeeds();
    assert_eq!(ended.text(), "info [REDACTED:db-host] 5432 [REDACTED:key]\n");
    let options = ["redact", "--exclude", "log-level", "--exclude", "db-host", "--exclude", "port"];
    let ended = store.run_with(&options, &text).succeeds();
    assert_eq!(ended.text(), "info localhost 5432 [REDACTED:key]\n");
    assert!(ended.errors.is_empty(), "{}", ended.errors);

    store.write_file("text", &text);
    for (options, expected) in [
        (&["--redact=all", "--min-length=9"][..], "info [REDACTED:db-host] 5432 [REDACTED:key]\n"),
        (
            &["--redact=all", "--exclude", "db-host", "--min-length=8"],
            "info localhost 5432 [REDACTED:key]\n",
        ),
        (&["--redact"], "info localhost [REDACTED:port] [REDACTED:key]\n"),
        (&["--redact", "--exclude", "port"], "info localhost 5432 [REDACTED:key]\n"),
    ] {
        let selected = ["--only", "port", "--only", "key", "--", "cat", "text"];
        let ended = store.run(&[&["run"], options, &selected].concat()).succeeds();
        assert_eq!(ended.text(), expected, "{options:?}");
    }
    let arguments = ["run", "--exclude", "port", "--only", "port", "--", "true"];
    store.run(&arguments).fails(125, &["add `--redact`"]);
}

#[test]
fn an_agent_cannot_leave_values_out_of_the_masks() {
    let store = Store::native().with("CLAUDECODE", "1");
    store.put("a", planted("-1"));
    for options in [["--exclude", "a"], ["--min-length", "1000"]] {
        let arguments =
            [&["run", "--redact"], &options[..], &["--only", "a", "--", "printenv", "A"]].concat();
        fails_closed(store.run(&arguments), 125, &["CLAUDECODE"]);
    }
}

#[test]
fn a_secret_that_is_new_is_masked_while_a_filter_runs() {
    let store = Store::native().with("SECRETS_WATCH_INTERVAL", "1s");
    store.put("app/a", planted("-a"));
    store.write_file("value", planted("-new"));
    store.write_file("other", planted("-other"));
    let loop_script = "while :; do cat value other; echo; sleep 0.05; done";
    for arguments in [
        &["redact", "--prefix", "app", "--", "sh", "-c", loop_script][..],
        &[
            "run",
            "--redact=all",
            "--namespace",
            "app",
            "--only",
            "a",
            "--",
            "sh",
            "-c",
            loop_script,
        ],
    ] {
        let session = Session::start(store.command(arguments));
        session.expect(&planted("-new"));
        store.put("app/b/new", planted("-new"));
        store.put("other", planted("-other"));
        // A value outside of the selection stays as it is.
        let path = if arguments[0] == "redact" { "app/b/new" } else { "b/new" };
        session.expect(&format!("[REDACTED:{path}]{}\n", planted("-other")));
        session.send(rustix::process::Signal::TERM);
        session.end();
        store.run(&["destroy", "app/b/new", "other", "--yes"]).succeeds();
    }

    let mut session =
        Session::start(store.command(&["redact", "--allow-empty", "--exclude", "app"]));
    wait_until("the first secret of the selection is masked", || {
        store.put("late", planted("-late"));
        session.write(&format!("{}\n", planted("-late")));
        session.write("end of a round\n");
        session.expect("end of a round\n").contains("[REDACTED:late]")
    });
    assert_eq!(session.end_code().0, 0);
}

#[test]
fn an_expired_secret_is_named_also_to_a_caller_who_wants_no_warnings() {
    let store = Store::native();
    store.put("expired", planted("-1"));
    store.put("live", planted("-2"));
    store.run(&["annotate", "expired", "--expires-at", "2020-01-01"]).succeeds();
    let advice = "`strongroom annotate expired --clear expiry`";
    let ended = store.run_with(&["redact", "--quiet"], planted("-2")).succeeds();
    assert_eq!(ended.text(), "[REDACTED:live]");
    assert!(ended.errors.contains("`expired` is neither masked nor searched for"));
    assert!(ended.errors.contains(advice), "{}", ended.errors);
    let file = store.write_file("file", "text");
    let ended = store.run(&["scan", "--known", "--quiet", file.to_str().unwrap()]).succeeds();
    assert!(ended.errors.contains(advice), "{}", ended.errors);
    // If it is the only one, there is nothing to mask.
    store.run(&["destroy", "live", "--yes"]).succeeds();
    fails_closed(store.run_with(&["redact"], "text"), 7, &["expired"]);
    fails_closed(store.run_with(&["redact", "--allow-empty"], "text"), 7, &["expired"]);
    // The advice helps.
    store.run(&["annotate", "expired", "--clear", "expiry"]).succeeds();
    assert_eq!(store.run_with(&["redact"], planted("-1")).succeeds().text(), "[REDACTED:expired]");
}

#[test]
fn declared_secrets_are_masked_on_a_store_that_cannot_list() {
    let store = Store::env().with("APP_DB_PASSWORD", planted("-1"));
    let stores = "the backend `hashicorp`, `aws` or `native`";
    for arguments in [&["redact"][..], &["scan", "--known"]] {
        fails_closed(
            store.run(arguments),
            2,
            &["the store `env` cannot list", "`--config`", stores],
        );
    }
    let config = "backend = \"env\"\nenv_prefix = \"APP_\"\n[[declare]]\npath = \"db/password\"\n";
    let config = store.write_file("app.toml", config);
    let config = config.to_str().unwrap();
    for options in [&[][..], &["--prefix", "db"]] {
        let arguments = [&["redact", "--config", config], options].concat();
        let ended = store.run_with(&arguments, planted("-1")).succeeds();
        assert_eq!(ended.text(), "[REDACTED:db/password]");
    }
    let arguments = ["redact", "--config", config, "--prefix", "bd"];
    fails_closed(store.run_with(&arguments, planted("-1")), 3, &["`--prefix`"]);
}
