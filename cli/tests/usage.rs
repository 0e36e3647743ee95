//! The command line: help, suggestions, names of settings, and sessions of AI agents.

#![expect(clippy::unwrap_used, reason = "test code reports a failure with a panic")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use support::{Store, planted};

/// The lines and columns of a small window.
const SCREEN: (usize, usize) = (40, 100);

fn commands(store: &Store) -> Vec<String> {
    let help = store.run(&["--help"]).succeeds();
    let listed = help.text().lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty());
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn the_help_of_each_command_fits_a_screen_and_has_an_example() {
    let store = Store::none();
    let commands = commands(&store);
    assert!(commands.len() > 10, "{commands:?}");
    for name in commands.iter().map(String::as_str).chain(["--help"]) {
        let help = store.run(&[name, "--help"]).succeeds();
        let lines: Vec<_> = help.text().lines().collect();
        assert!(lines.len() <= SCREEN.0, "{name}: {} lines", lines.len());
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(SCREEN.1), "{name}: {widest:?} columns");
        let example = lines.iter().find_map(|line| line.strip_prefix("Example: "));
        assert!(example.is_some_and(|line| line.contains("strongroom ")), "{name}: {example:?}");
    }
    for action in ["verify", "checkpoint", "export"] {
        let help = store.run(&["audit", action, "--help"]).succeeds();
        assert!(!help.text().contains("--namespace"), "{}", help.text());
    }
    let version = store.run(&["--version"]).succeeds();
    assert_eq!(version.text(), store.run(&["-V"]).succeeds().text());
    assert!(version.text().starts_with("strongroom "), "{}", version.text());
    let of_list = |arguments: &[&str]| store.run(arguments).succeeds().output;
    assert_eq!(of_list(&["help", "list"]), of_list(&["list", "--help"]));
}

#[test]
fn misspelt_names_are_suggested() {
    let store = Store::native();
    for (arguments, suggestion) in [
        (&["gte", "a"][..], "did you mean `get`?"),
        (&["get", "a", "--vresion", "1"], "did you mean `--version`?"),
        (&["put", "a", "--kind", "apikey"], "did you mean `api_key`?"),
        (&["list", "--format", "jsn"], "did you mean `json`?"),
        (&["get", "a", "--backend", "natve"], "did you mean `native`?"),
    ] {
        store.run(arguments).fails(2, &[suggestion]);
    }
    let misspelt = Store::native().with("SECRETS_NATIVE_KEEP_VERSION", "3");
    misspelt.run(&["list"]).fails(2, &["did you mean `SECRETS_NATIVE_KEEP_VERSIONS`?"]);
}

#[test]
fn a_field_that_is_probably_meant_is_suggested_and_a_name_that_is_not_near_is_none() {
    let store = Store::native();
    store.run_with(&["put", "k1", "--fields"], "{\"user\":\"a\",\"password\":\"b\"}").succeeds();
    let get = |arguments: &[&str]| store.run(&[&["get"], arguments].concat());
    get(&["k1", "--field", "pasword"]).fails(3, &["did you mean `password`?"]);
    for arguments in [&["db"][..], &["k1", "--field", "port"], &["k1", "--field", "pasword", "-q"]]
    {
        let ended = get(arguments).fails(3, &[]);
        assert!(!ended.errors.contains("did you mean"), "{}", ended.errors);
    }
}

#[test]
fn a_store_that_lacks_something_names_those_that_have_it() {
    let env = Store::env().with("APP_A", planted(""));
    let to = Store::native();
    let to = to.config_file("");
    let to = to.to_str().unwrap();
    // The native store lists, and does not rotate.
    for arguments in [
        &["export"][..],
        &["redact"],
        &["scan", "--known"],
        &["migrate", "--to", to],
        &["run", "--prefix", "a", "--", "true"],
        &["list"],
    ] {
        let ended = env.run(arguments);
        assert!(ended.code != 0 && ended.output.is_empty(), "{}", ended.errors);
        for name in ["env", "`hashicorp`", "`aws`", "`native`"] {
            assert!(ended.errors.contains(name), "{arguments:?}: {}", ended.errors);
        }
    }
    let native = Store::native();
    native.put("a", planted(""));
    for store in [&env, &native] {
        let ended = store.run(&["rotate", "a"]).fails(1, &["`aws`", "`hashicorp`"]);
        assert!(!ended.errors.contains("`native`"), "{}", ended.errors);
    }
}

#[test]
fn an_error_names_a_setting_as_it_was_given() {
    let store = Store::native();
    store.run(&["list", "--backend", ""]).fails(2, &["`--backend` is empty"]);
    store
        .run(&["list", "--backend", "nope"])
        .fails(2, &["`--backend` is not the name of a backend"]);
    let file = store.write_file("app.toml", "backend = \"nope\"");
    let file = file.to_str().unwrap();
    store.run(&["list", "--config", file]).fails(2, &["`backend` is not the name of a backend"]);
    let wrong = Store::native().with("SECRETS_BACKEND", "nope");
    wrong.run(&["list"]).fails(2, &["`SECRETS_BACKEND` is not the name of a backend"]);
    // The option overrides the variable and the file.
    wrong.run(&["list", "--backend", "native"]).succeeds();
    store.run(&["list", "--config", file, "--backend", "native"]).fails(2, &["native_key"]);
}

#[test]
fn a_configuration_file_replaces_the_environment_and_is_never_quoted() {
    let store = Store::native();
    store.put("a", planted(""));
    let file = store.config_file("");
    let elsewhere = Store::none().with("SECRETS_BACKEND", "env");
    assert_eq!(elsewhere.value(&["a", "--config", file.to_str().unwrap()]), planted("").as_bytes());
    let broken = store.write_file("broken.toml", format!("a = 1\nvault_token = {}\n", planted("")));
    let broken = broken.to_str().unwrap();
    store.run(&["list", "--config", broken]).fails(2, &["not valid TOML at line 2"]);
    store.run(&["list", "--config", "none.toml"]).fails(1, &["`--config`"]);
}

#[test]
fn a_value_that_is_given_as_an_argument_is_not_shown() {
    let store = Store::native();
    let value = planted("");
    for arguments in [
        &["put", "a", &value][..],
        &["put", &format!("{value} with spaces")],
        &["put", "a", &format!("--{value}")],
        &["put", "a", "--tier", &value],
        &["put", "a", "--expires-in", &value],
        &["put", "a", "--tag", &value],
        &["put", "a", "--from-file", &value],
        &["get", "a", "--output", &format!("{value}/x")],
        &["get", "a", &value],
        &[&value],
        &["list", "--backend", &value],
        &["list", "--namespace", &format!("{value}!")],
        &["list", "--config", &value],
        &["list", "--format", &value],
        &["completions", &value],
    ] {
        let ended = store.run(arguments);
        assert!(matches!(ended.code, 1..=3), "{arguments:?}: {}", ended.errors);
    }
}

#[test]
fn quiet_prints_errors_alone() {
    let store = Store::native();
    let ended = store.run_with(&["put", "a", "--quiet"], planted("")).succeeds();
    assert!(ended.errors.is_empty() && ended.output.is_empty(), "{}", ended.errors);
    store.run(&["get", "b", "--quiet"]).fails(3, &["error: "]);
}

#[test]
fn an_agent_gets_no_value() {
    for variable in ["CLAUDECODE", "AI_AGENT", "CURSOR_AGENT", "GEMINI_CLI", "CODEX_SANDBOX"] {
        let store = Store::native().with(variable, "1");
        store.put("a", planted(""));
        for arguments in [&["get", "a"][..], &["get", "a", "--reveal"]] {
            let ended = store.run(arguments).fails(4, &[variable, "/etc/strongroom/agents.toml"]);
            assert_eq!(ended.text(), "[REDACTED]\n");
        }
        store.run(&["get", "a", "--output", "file"]).fails(4, &[variable]);
        assert!(!store.file("file").exists());
        let masked = store.run(&["get", "a", "--format", "json", "--reveal"]);
        let masked = masked.fails(4, &[variable, "\"kind\":\"denied\""]);
        let document = masked.documents().remove(0);
        assert_eq!(document["masked"], true);
        assert!(document.get("value").is_none(), "{document}");
        assert_eq!(store.run(&["list"]).succeeds().texts("path"), ["a"]);
    }
}

#[test]
fn init_makes_a_store_that_can_be_used_at_once() {
    let store = Store::none();
    let made = store.run(&["init", "my store"]).succeeds();
    assert!(made.text().contains("export SECRETS_NATIVE_PATH='"), "{}", made.text());
    let config = store.file("my store/strongroom.toml");
    let config = ["--config", config.to_str().unwrap()];
    store.run_with(&[&["put", "a"], &config[..]].concat(), planted("")).succeeds();
    assert_eq!(store.value(&[&["a"], &config[..]].concat()), planted("").as_bytes());
    assert_eq!(std::fs::read_to_string(store.file("my store/.gitignore")).unwrap(), "*\n");
    // The lines that it prints work in a shell.
    let exports = made.text().lines().filter(|line| line.trim_start().starts_with("export "));
    let script = exports.collect::<Vec<_>>().join("\n") + "\nexec \"$0\" get a";
    let mut shell = Command::new("sh");
    store.prepare(shell.arg("-c").arg(script).arg(support::binary()));
    assert_eq!(shell.output().unwrap().stdout, planted("").as_bytes());
    store.run(&["init", "my store"]).fails(6, &["exists"]);
    // What is in a folder stays as it is.
    store.write_file(".gitignore", "target\n");
    store.run(&["init", "."]).fails(6, &["is not empty"]);
    assert_eq!(std::fs::read_to_string(store.file(".gitignore")).unwrap(), "target\n");
    assert!(!store.file("secrets.db").exists());
    let empty = store.file("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o777)).unwrap();
    store.run(&["init", "empty"]).succeeds();
    assert_eq!(std::fs::metadata(&empty).unwrap().permissions().mode() & 0o777, 0o700);
    store.run(&["init", "--backend", "aws"]).fails(2, &["`--backend`"]);
}

#[test]
fn doctor_names_the_first_thing_that_fails() {
    let store = Store::none().with("SECRETS_BACKEND", "nope");
    let doctor = store.run(&["doctor", "--format", "text"]).fails(1, &[]);
    assert!(doctor.text().contains("problem"), "{}", doctor.text());
    let store = Store::native();
    store.put("a", planted(""));
    let key = store.file("strongroom.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let doctor = store.run(&["doctor", "--format", "text"]);
    assert!(doctor.text().contains("others can read"), "{}", doctor.text());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    store.run(&["doctor", "b"]).fails(1, &[]);
    let absent = Store::none()
        .with("SECRETS_BACKEND", "vault")
        .with("VAULT_ADDR", "http://127.0.0.1:1")
        .with("VAULT_TOKEN", "token");
    let doctor = absent.run(&["doctor", "--format", "text"]).fails(1, &[]);
    assert!(doctor.text().contains("problem  connection"), "{}", doctor.text());
    assert!(doctor.text().contains("`VAULT_TOKEN`"), "{}", doctor.text());
}

#[test]
fn the_manual_has_a_page_per_command() {
    let store = Store::none();
    store.run(&["man", "pages"]).succeeds();
    let page = |name: &str| std::fs::read_to_string(store.file(&format!("pages/{name}"))).unwrap();
    assert!(page("strongroom.1").contains(".TH strongroom 1"));
    for name in commands(&store) {
        let page = page(&format!("strongroom-{name}.1"));
        assert!(page.contains("Example"), "{name}");
        assert!(page.contains("\\-\\-namespace"), "{name}");
    }
}
