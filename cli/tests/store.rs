//! `store`: maintenance of a native store.

mod support;

use std::fs;

use support::{Store, planted};

#[test]
fn a_backup_is_restored_where_no_store_is() {
    let mut store = Store::native();
    store.put("openai/key", planted("-one"));
    store.put("openai/key", planted("-two"));
    let backup = store.file("backup.db");
    let backup = backup.to_str().unwrap();
    let text = ["--format", "text"];
    let ended = store.run(&[&["store", "verify"], &text[..]].concat()).succeeds();
    assert_eq!(ended.text(), "1 secrets with 2 versions, 0 damaged\n");
    let ended = store.run(&["store", "backup", backup, "--format", "json"]).succeeds();
    let [found] = &ended.documents()[..] else { panic!("one document") };
    assert_eq!((&found["versions"], &found["damaged"]), (&2.into(), &0.into()));
    store.run(&["store", "backup", backup]).fails(6, &["backup.db", "exists"]);
    store.run(&["store", "restore", backup]).fails(6, &["secrets.db", "exists"]);

    store.set("SECRETS_NATIVE_PATH", store.file("restored.db"));
    // A misspelt path becomes no new store.
    store.run(&["store", "verify"]).fails(3, &["restored.db"]);
    assert!(!store.file("restored.db").exists());
    store.run(&["store", "restore", backup]).succeeds();
    let ended = store.run(&["versions", "openai/key", "--format", "json"]).succeeds();
    assert_eq!(ended.documents().len(), 2);
    store.set("SECRETS_NATIVE_PATH", store.file("another.db"));
    store.run(&["store", "restore", store.file("none").to_str().unwrap()]).fails(2, &["none"]);
    assert!(!store.file("another.db").exists());
}

#[test]
fn damage_is_named_and_fails_the_command() {
    let store = Store::native();
    store.put("a", planted("-a"));
    store.put("b", planted("-b"));
    store.run(&["store", "vacuum"]).succeeds();
    let file = store.file("secrets.db");
    let mut content = fs::read(&file).unwrap();
    let tier = content.windows(9).position(|window| window == b"sensitive").unwrap();
    *content.get_mut(tier).unwrap() = b'S';
    fs::write(&file, content).unwrap();
    let ended = store.run(&["store", "verify", "--format", "text"]).fails(1, &[]);
    assert!(ended.text().contains("fails authentication"), "{}", ended.text());
    assert!(ended.text().contains("1 damaged"), "{}", ended.text());
}

#[test]
fn versions_are_swept_and_keys_replaced() {
    let store = Store::native().with("SECRETS_NATIVE_KEEP_VERSIONS", "9");
    for value in ["-1", "-2", "-3"] {
        store.put("a", planted(value));
    }
    let store = store.with("SECRETS_NATIVE_KEEP_VERSIONS", "1");
    let ended = store.run(&["store", "sweep", "--format", "json"]).succeeds();
    assert_eq!(ended.documents()[0]["removed"], 2);
    let ended = store.run(&["store", "rotate-kek", "--format", "json"]).succeeds();
    assert_eq!(ended.documents()[0]["rewrapped"], 1);
    assert_eq!(ended.documents()[0]["old_keys_removed"], true);
    let ended = store.run(&["versions", "a", "--format", "json"]).succeeds();
    assert_eq!(ended.documents().len(), 1);
    let ended = store.run(&["store", "verify", "--format", "json"]).succeeds();
    assert_eq!(ended.documents()[0]["damaged"], 0);
}

#[test]
fn slots_are_added_removed_and_given_a_new_root_key() {
    let mut store = Store::native();
    store.put("a", planted("-a"));
    let spare = store.file("spare.key");
    let add = ["store", "add-slot", "--key-file", spare.to_str().unwrap(), "--label", "spare"];
    let ended = store.run(&[&add[..], &["--format", "json"]].concat()).succeeds();
    assert_eq!(ended.documents()[0]["slot"], 2);
    store.run(&add).fails(6, &["opens slot 2 already"]);
    let ended = store.run(&["store", "slots", "--format", "json"]).succeeds();
    let slots = ended.documents();
    assert_eq!((&slots[1]["label"], &slots[1]["in_use"]), (&"spare".into(), &false.into()));
    assert_eq!((&slots[0]["kind"], &slots[0]["in_use"]), (&"key".into(), &true.into()));
    store.run(&["store", "remove-slot", "1", "--yes"]).fails(6, &["slot 1 has opened the store"]);
    store.run(&["store", "remove-slot", "2"]).fails(2, &["--yes"]);
    store.run(&["store", "add-slot"]).fails(2, &["--key-file"]);
    store.run(&["store", "add-slot", "--passphrase"]).fails(2, &["--passphrase-file"]);

    let first = store.file("strongroom.key");
    store.set("SECRETS_NATIVE_KEY_FILE", &spare);
    store.run(&["store", "remove-slot", "1", "--yes"]).succeeds();
    let ended = store.run(&["store", "rotate-root-key", "--format", "json"]).succeeds();
    let rotated = &ended.documents()[0];
    assert_eq!((&rotated["slots"], &rotated["rewrapped"]), (&1.into(), &1.into()));
    let ended = store.run(&["store", "verify", "--format", "json"]).succeeds();
    assert_eq!(ended.documents()[0]["damaged"], 0);
    let ended = store.run(&["store", "slots", "--format", "text"]).succeeds();
    assert!(ended.text().contains("spare") && ended.text().contains("in use"), "{}", ended.text());
    store.set("SECRETS_NATIVE_KEY_FILE", &first);
    store.run(&["store", "verify"]).fails(4, &["SECRETS_NATIVE_KEY_FILE", "does not open"]);
}

#[test]
fn only_a_native_store_is_maintained() {
    Store::env().run(&["store", "verify"]).fails(2, &["SECRETS_BACKEND", "native"]);
    Store::none().run(&["store", "vacuum"]).fails(2, &["SECRETS_BACKEND", "native"]);
}

#[test]
fn a_store_that_was_put_back_is_refused_until_it_is_accepted() {
    let mut store = Store::native();
    store.set("SECRETS_NATIVE_ANCHOR_FILE", store.file("anchor"));
    store.put("a", planted("-1"));
    let yesterday = fs::read(store.file("secrets.db")).unwrap();
    store.put("a", planted("-2"));
    fs::write(store.file("secrets.db"), yesterday).unwrap();
    store.run(&["store", "verify"]).fails(1, &["earlier copy", "strongroom store accept"]);
    store.run(&["store", "accept"]).fails(2, &["--yes"]);
    let ended = store.run(&["store", "accept", "--yes", "--format", "json"]).succeeds();
    let accepted = &ended.documents()[0];
    assert!(accepted["before"].as_u64() < accepted["anchor"].as_u64(), "{accepted}");
    assert_eq!((&accepted["secrets"], &accepted["damaged"]), (&1.into(), &0.into()));
    let ended = store.run(&["store", "verify", "--format", "json"]).succeeds();
    assert_eq!(ended.documents()[0]["state"], accepted["number"]);
}
