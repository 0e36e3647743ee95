//! Recovery shares: showing them at a terminal, printing them, and the way back into a store whose keys are lost.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's own functions may panic"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::terminal::{Stdout, Terminal};
use support::{Store, planted};

/// The shares that a command has printed as JSON, and what the command has told about them.
fn add_shares(store: &Store, split: &str) -> (Vec<String>, serde_json::Value) {
    let add = ["store", "add-slot", "--recovery-shares", split, "--all-at-once"];
    let ended = store.run(&[&add[..], &["--format", "json"]].concat()).succeeds();
    let document = ended.documents().remove(0);
    let shares = document["shares"].as_array().unwrap().iter();
    (shares.map(|share| share.as_str().unwrap().to_owned()).collect(), document)
}

/// A store with a secret, whose key is lost after `recovery` was set up.
fn store() -> Store {
    let store = Store::native();
    store.put("a", planted("-a"));
    store
}

fn lose_key(store: &Store) {
    fs::remove_file(store.file("strongroom.key")).unwrap();
}

/// Asserts that a text has no two words of a share one after another.
fn assert_hides(text: &str, shares: &[String]) {
    for share in shares {
        let words: Vec<_> = share.split(' ').collect();
        for pair in words[2..].windows(2) {
            assert!(!text.contains(&pair.join(" ")), "{text}");
        }
    }
}

fn write_shares(store: &Store, shares: &[String]) -> std::path::PathBuf {
    let file = store.write_file("shares.txt", shares.join("\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

#[test]
fn a_lost_key_is_replaced_with_shares_from_a_file() {
    let mut store = store();
    let (shares, document) = add_shares(&store, "2/3");
    assert_eq!(
        (shares.len(), &document["slot"], &document["threshold"]),
        (3, &2.into(), &2.into())
    );
    let slots = store.run(&["store", "slots", "--format", "json"]).succeeds().documents();
    let name = format!("2 of 3, set {}", document["identifier"]);
    assert_eq!((&slots[1]["kind"], &slots[1]["key_id"]), (&"shares".into(), &name.into()));
    lose_key(&store);
    store.run(&["get", "a"]).fails(2, &["SECRETS_NATIVE_KEY_FILE", "is missing"]);
    let recover = ["store", "recover", "--key-file", "./new.key", "--label", "after the fire"];
    store.run(&recover).fails(2, &["no terminal", "SECRETS_NATIVE_SHARES_FILE"]);

    let file = write_shares(&store, &shares[..1]);
    store.set("SECRETS_NATIVE_SHARES_FILE", &file);
    let ended = store.run(&recover).fails(2, &["too few shares: 1 given, 2 needed"]);
    assert_hides(&ended.errors, &shares);
    assert!(!store.file("new.key").exists());
    let wrong = shares[1].replacen(' ', " hunter2 ", 1);
    write_shares(&store, &[shares[0].clone(), wrong]);
    let ended = store.run(&recover).fails(2, &["line 2: word 2 is not in the word list"]);
    assert!(!ended.errors.contains("hunter2"), "{}", ended.errors);
    write_shares(&store, &shares[1..]);
    let ended = store.run(&recover).succeeds();
    for advice in ["added slot 3, which ./new.key opens", "remove slot 2", "rotate-root-key"] {
        assert!(ended.errors.contains(advice), "{}", ended.errors);
    }
    assert_hides(&ended.errors, &shares);

    // What it says to do next.
    store.remove("SECRETS_NATIVE_SHARES_FILE");
    store.set("SECRETS_NATIVE_KEY_FILE", store.file("new.key"));
    assert_eq!(store.value(&["a"]), planted("-a").into_bytes());
    store.run(&["store", "remove-slot", "1", "--yes"]).succeeds();
    store.run(&["store", "remove-slot", "2", "--yes"]).succeeds();
    store.run(&["store", "rotate-root-key"]).succeeds();
    assert_eq!(store.value(&["a"]), planted("-a").into_bytes());
    store.set("SECRETS_NATIVE_SHARES_FILE", &file);
    store.run(&recover).fails(2, &["opened with a key, not recovery shares"]);
}

#[test]
fn what_is_printed_at_once_is_a_file_with_shares() {
    let mut store = store();
    // As many as there can be.
    let add = ["store", "add-slot", "--recovery-shares", "16/16", "--all-at-once", "--qr"];
    let ended = store.run(&[&add[..], &["--format", "text"]].concat()).succeeds();
    assert!(ended.errors.contains("any 16 of the 16 shares"), "{}", ended.errors);
    let text = ended.text();
    let headings: Vec<_> = text.lines().filter(|line| line.contains("Recovery share")).collect();
    assert!(headings[0].starts_with("# Recovery share 1 of 16, set "), "{headings:?}");
    assert!(headings[1].contains("share 2 of 16") && text.contains('\u{2588}'));
    let file = store.write_file("printed.txt", text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    lose_key(&store);
    store.remove("SECRETS_NATIVE_KEY_FILE");
    store.set("SECRETS_NATIVE_SHARES_FILE", &file);
    // A drill: the shares open the store, and nothing is changed.
    store.run(&["store", "verify"]).succeeds();
    assert_eq!(store.value(&["a"]), planted("-a").into_bytes());
}

#[test]
fn shares_are_neither_printed_without_a_terminal_nor_for_an_agent() {
    let store = store();
    let add = ["store", "add-slot", "--recovery-shares", "2/3"];
    store.run(&add).fails(2, &["no terminal", "--all-at-once"]);
    store.run(&[&add[..], &["--format", "json"]].concat()).fails(2, &["--all-at-once"]);
    for wrong in ["3", "3/", "a/b", "2/300", "-1/3"] {
        let add = format!("--recovery-shares={wrong}");
        store.run(&["store", "add-slot", &add, "--all-at-once"]).fails(2, &["3/5"]);
    }
    for wrong in ["1/3", "4/3", "2/17", "0/0"] {
        let add = ["store", "add-slot", "--recovery-shares", wrong, "--all-at-once"];
        store.run(&add).fails(2, &["2 to 16 shares"]);
    }
    store.run(&["store", "add-slot", "--passphrase", "--qr"]).fails(2, &["--recovery-shares"]);
    let slots = store.run(&["store", "slots", "--format", "json"]).succeeds().documents();
    assert_eq!(slots.len(), 1);
    let store = store.with("CLAUDECODE", "1");
    store.run(&[&add[..], &["--all-at-once"]].concat()).fails(4, &["CLAUDECODE", "AI agent"]);
    let recover = ["store", "recover", "--key-file", "./new.key"];
    store.run(&recover).fails(4, &["CLAUDECODE", "AI agent"]);
    store.run(&["store", "add-slot", "--help"]).succeeds();
}

/// The share that a page shows: numbers, each with its word.
fn read_page(screen: &str, heading: &str) -> String {
    let page = screen.rsplit_once(heading).unwrap().1;
    let page = page.split_once("open the store\r\n").unwrap().1;
    let table = page.split_once("Write the heading").unwrap().0;
    let cells: Vec<&str> = table.split_whitespace().collect();
    let words: BTreeMap<usize, &str> =
        cells.chunks(2).map(|cell| (cell[0].parse().unwrap(), cell[1])).collect();
    assert_eq!(words.len(), 33, "{screen}");
    words.into_values().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_holder_sees_one_share_and_types_it_to_recover_the_store() {
    let store = store();
    let add = ["store", "add-slot", "--recovery-shares", "2/3"];
    let mut terminal = Terminal::start(&store, &add, Stdout::Pipe);
    for number in 1..=3 {
        terminal.expect(&format!("share {number} of 3: its holder alone"));
        assert!(!terminal.echoes());
        terminal.send("typed at random\x1b[A\r");
        terminal.expect(&format!("Recovery share {number} of 3, set "));
        terminal.expect("Press Enter to clear");
        if number < 3 {
            terminal.send("\r");
        }
    }
    terminal.send("\r");
    let (code, screen, output) = terminal.end();
    assert_eq!((code, output.as_slice()), (0, &b""[..]), "{screen}");
    let shares: Vec<String> = (1..=3)
        .map(|number| read_page(&screen, &format!("Recovery share {number} of 3, set ")))
        .collect();
    // Each page is on the alternate screen, which is cleared before it is left.
    let pages: Vec<_> = screen.split("\x1b[?1049h").skip(1).collect();
    assert_eq!(pages.len(), 6);
    for page in &pages {
        assert!(page.contains("\x1b[2J\x1b[H\x1b[?1049l"), "{page:?}");
    }
    let after = pages[5].split_once("\x1b[?1049l").unwrap().1;
    assert!(after.contains("added slot 2: any 2 of the 3 shares"), "{after}");
    assert_hides(after, &shares);

    lose_key(&store);
    let recover = ["store", "recover", "--key-file", "./new.key"];
    let mut terminal = Terminal::start(&store, &recover, Stdout::Terminal);
    terminal.expect("number 1 of those you give (not shown): ");
    terminal.send("hunter2 hunter3\r");
    terminal.expect("word 1 is not in the word list of SLIP-0039; give it again");
    terminal.wait_for_echo(false);
    let (beginning, last) = shares[2].rsplit_once(' ').unwrap();
    let other = if last == "academic" { "zero" } else { "academic" };
    terminal.send(format!("{beginning} {other}\r"));
    terminal.expect("its checksum does not match: at least one word is wrong; give it again");
    terminal.wait_for_echo(false);
    // In upper case, and words cut off.
    let short: Vec<_> = shares[2].split(' ').map(|word| word[..4].to_uppercase()).collect();
    terminal.send(short.join("  ") + "\r");
    terminal.expect("share 3 is right: 1 more of the set ");
    terminal.expect("number 2 of those you give (not shown): ");
    terminal.send(shares[2].clone() + "\r");
    terminal.expect("share 3 is given twice; give it again, or another one");
    terminal.wait_for_echo(false);
    terminal.send(shares[0].clone() + "\r");
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    for text in ["share 1 is right", "added slot 3, which ./new.key opens", "rotate-root-key"] {
        assert!(screen.contains(text), "{screen}");
    }
    assert!(!screen.contains("hunter"), "{screen}");
    assert_hides(&screen.to_lowercase(), &shares);
    let store = store.with("SECRETS_NATIVE_KEY_FILE", "./new.key");
    assert_eq!(store.value(&["a"]), planted("-a").into_bytes());
}

#[test]
fn shares_that_were_not_all_shown_open_no_slot() {
    let store = store();
    let add = ["store", "add-slot", "--recovery-shares", "2/3"];
    let mut terminal = Terminal::start(&store, &add, Stdout::Terminal);
    terminal.expect("share 1 of 3: its holder alone");
    terminal.send("\r");
    terminal.expect("Press Enter to clear");
    terminal.send("\x03");
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    let after = screen.rsplit_once("\x1b[?1049l").unwrap().1;
    assert!(after.contains("not all shares were shown: no slot was added"), "{after}");
    let slots = store.run(&["store", "slots", "--format", "json"]).succeeds().documents();
    assert_eq!(slots.len(), 1);
}

#[test]
fn a_signal_takes_the_share_off_the_screen() {
    let store = store();
    let add = ["store", "add-slot", "--recovery-shares", "2/3"];
    let mut terminal = Terminal::start(&store, &add, Stdout::Terminal);
    terminal.expect("share 1 of 3: its holder alone");
    terminal.send("\r");
    terminal.expect("Press Enter to clear");
    terminal.signal("TERM");
    terminal.wait_for_echo(true);
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 143, "{screen}");
    assert!(screen.ends_with("\x1b[2J\x1b[H\x1b[?1049l"), "{screen:?}");
    let slots = store.run(&["store", "slots", "--format", "json"]).succeeds().documents();
    assert_eq!(slots.len(), 1, "no slot is left whose shares nobody has");
}

#[test]
fn a_file_that_others_can_read_gets_no_shares() {
    let store = store();
    let add = ["store", "add-slot", "--recovery-shares", "2/2", "--all-at-once"];
    let command = |mode: u32| {
        let path = store.write_file("printed.txt", "");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = store.command(&add);
        let status = command.stdout(fs::File::create(&path).unwrap()).status().unwrap();
        (status.code(), fs::read_to_string(path).unwrap())
    };
    assert_eq!(command(0o644), (Some(2), String::new()));
    let (code, printed) = command(0o600);
    assert!(code == Some(0) && printed.contains("# Recovery share 2 of 2"), "{code:?}");
    let slots = store.run(&["store", "slots", "--format", "json"]).succeeds().documents();
    assert_eq!(slots.len(), 2);
}
