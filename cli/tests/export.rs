//! `export` with the real binary: what is printed, masked and refused.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use strongroom_testkit::canary::{self, CANARY};
use support::terminal::{Stdout, Terminal};
use support::{Store, planted};

fn filled() -> Store {
    let store = Store::native();
    store.put("production/db-host", planted("-host"));
    store.put("production/db/password", planted("'s $x"));
    store.put("other", "x");
    store
}

#[test]
fn names_are_variables_for_the_paths_below_the_prefix() {
    let store = filled();
    let export = |options: &[&str]| {
        let ended = store.printing(&[&["export"], options].concat()).succeeds();
        ended.text().replace(CANARY, "…")
    };
    let env = "DB_HOST=…-host\nDB_PASSWORD=…'s $x\n";
    assert_eq!(export(&["production"]), env);
    assert_eq!(export(&["--namespace", "production"]), env);
    let shell = "export DB_HOST='…-host'\nexport DB_PASSWORD='…'\\''s $x'\n";
    assert_eq!(export(&["production", "--format", "shell"]), shell);
    let kept = export(&["production", "--keep-names", "--format", "json"]);
    assert_eq!(kept, "{\n  \"db-host\": \"…-host\",\n  \"db/password\": \"…'s $x\"\n}\n");
    assert_eq!(
        export(&["--only", "other,production/db-host"]),
        "OTHER=x\nPRODUCTION_DB_HOST=…-host\n"
    );
    let manifest = export(&["production", "--format", "k8s", "--k8s-name", "app"]);
    assert!(manifest.starts_with("apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"app\"\n"));
}

#[test]
fn a_shell_gets_the_variables() {
    let store = filled();
    let mut shell = Command::new("sh");
    let binary = support::binary().to_str().unwrap();
    let script = format!(
        "eval \"$('{binary}' export production --format shell)\" && printf %s \"$DB_PASSWORD\""
    );
    store.prepare(shell.args(["-c", &script]));
    assert_eq!(shell.output().unwrap().stdout, planted("'s $x").as_bytes());
}

#[test]
fn what_cannot_be_exported_is_named_and_nothing_is_printed() {
    let store = filled();
    store.put("lines/key", planted("\nsecond"));
    let refused = |options: &[&str], code, texts: &[&str]| {
        let ended = store.run(&[&["export"], options].concat()).fails(code, texts);
        assert!(ended.output.is_empty());
    };
    refused(&["lines", "--format", "docker"], 1, &["`lines/key`", "line break"]);
    refused(&["none"], 3, &["no secrets below `none`"]);
    refused(&["--only", "other,none"], 3, &["none"]);
    store.put("same/a-b", "x");
    store.put("same/a/b", "x");
    refused(&["same"], 2, &["`same/a-b`", "`A_B`"]);
    store.put("bad/ld-preload", "/tmp/x.so");
    refused(&["bad", "--format", "shell"], 2, &["`bad/ld-preload`", "LD_PRELOAD"]);
    store.put("binary/key", [0xff, 0]);
    refused(&["binary"], 1, &["`binary/key`", "binary"]);
    refused(&["other", "--format", "k8s"], 2, &["--k8s-name"]);
    refused(&["other", "--format", "text"], 2, &["`dotenv`", "`gha`"]);
    store.run(&["list", "--format", "fish"]).fails(2, &["`text`, `json`"]);
    Store::env().run(&["export"]).fails(2, &["cannot list", "--only"]);
}

#[test]
fn a_store_that_cannot_list_exports_what_is_named() {
    let store = Store::env().with("APP_DB_HOST", planted(""));
    let ended = store.printing(&["export", "--only", "db-host"]).succeeds();
    assert_eq!(ended.text(), format!("DB_HOST={}\n", planted("")));
}

#[test]
fn a_file_is_for_its_owner_alone() {
    let store = filled();
    store.run(&["export", "production", "--output", "out.env"]).succeeds();
    let file = store.file("out.env");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().contains(CANARY));
}

#[test]
fn a_terminal_shows_masks_unless_values_are_asked_for() {
    let store = filled();
    for format in ["dotenv", "json", "yaml", "docker", "shell", "fish", "powershell", "systemd"] {
        let arguments = ["export", "production", "--format", format];
        let (code, screen, _) = Terminal::start(&store, &arguments, Stdout::Terminal).end();
        assert_eq!(code, 0, "{screen}");
        assert!(canary::find(screen.as_bytes()).is_none(), "{screen}");
        assert!(screen.contains("[REDACTED]") && screen.contains("--reveal"), "{screen}");
    }
    let reveal = ["export", "production", "--reveal"];
    let (code, screen, _) = Terminal::start(&store, &reveal, Stdout::Terminal).end();
    assert!(code == 0 && screen.contains(CANARY), "{screen}");
    // Standard output counts, not the other streams.
    let (_, screen, output) =
        Terminal::start(&store, &["export", "production"], Stdout::Pipe).end();
    assert!(canary::find(screen.as_bytes()).is_none(), "{screen}");
    assert!(canary::find(&output).is_some());
}

#[test]
fn the_session_of_an_agent_gets_nothing() {
    let mut store = filled().with("CLAUDECODE", "1");
    let step = store.write_file("github.env", "EARLIER=1\n");
    store.set("GITHUB_ENV", &step);
    for options in [
        &[][..],
        &["--reveal"],
        &["--output", "out.env"],
        &["--reveal", "--output", "out.env"],
        &["--format", "json"],
        &["--format", "gha"],
    ] {
        let arguments = [&["export", "production"], options].concat();
        let ended = store.run(&arguments).fails(4, &["CLAUDECODE", "/etc/strongroom/agents.toml"]);
        assert!(ended.output.is_empty(), "{options:?}: {}", ended.text());
    }
    assert!(!store.file("out.env").exists());
    assert_eq!(fs::read_to_string(&step).unwrap(), "EARLIER=1\n");
}

#[test]
fn a_step_of_github_actions_masks_before_it_sets_variables() {
    let mut store = filled();
    store.put("json/config", format!("{{\"user\": \"{}\"}}", planted("-leaf")));
    store.put("json/lines", format!("first {0}\n{0}\n", planted("")));
    store.put("json/short", "x");
    let arguments = ["export", "json", "--format", "gha"];
    store.run(&arguments).fails(2, &["GITHUB_ENV"]);
    let file = store.write_file("github.env", "EARLIER=1");
    store.set("GITHUB_ENV", &file);
    let ended = store.printing(&arguments).succeeds();
    assert!(ended.errors.contains("`json/short` has a line of one character"), "{}", ended.errors);
    let masks: Vec<_> = ended.text().lines().collect();
    let leaf = format!("::add-mask::{}", planted("-leaf"));
    let line = format!("::add-mask::{}", planted(""));
    assert!(masks.contains(&leaf.as_str()) && masks.contains(&line.as_str()), "{masks:?}");
    assert!(masks.iter().all(|mask| mask.len() > "::add-mask::x".len()));
    let written = fs::read_to_string(&file).unwrap();
    let mut lines = written.lines();
    assert_eq!(lines.next(), Some("EARLIER=1"));
    let (name, delimiter) = lines.next().unwrap().split_once("<<").unwrap();
    assert_eq!(name, "CONFIG");
    assert!(delimiter.len() >= 32 && written.matches(delimiter).count() == 6, "{name}");
    // Each run has another one.
    store.printing(&arguments).succeeds();
    assert_eq!(fs::read_to_string(&file).unwrap().matches(delimiter).count(), 6);
}
