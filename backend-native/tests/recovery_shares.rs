//! Slots that recovery shares open.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's own functions may panic"
)]

mod support;

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig, RecoveryShares};
use strongroom_core::{Backend as _, Error, ErrorKind};
use strongroom_recovery::{Share, ShareSet};
use support::{
    config, directory_in_memory, is_intact, key_file, open, path, put_next, raw, store_file,
};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Shares, and the slot that was added for them.
#[derive(Debug)]
struct Added {
    shares: RecoveryShares,
    slot: u32,
}

impl Deref for Added {
    type Target = RecoveryShares;

    fn deref(&self) -> &RecoveryShares {
        &self.shares
    }
}

async fn add(
    backend: &NativeBackend,
    threshold: u8,
    count: u8,
    label: Option<String>,
) -> Result<Added, Error> {
    let shares = backend.new_recovery_shares(threshold, count, label).await?;
    let slot = backend.add_recovery_slot(&shares).await?;
    Ok(Added { shares, slot })
}

fn with(directory: &Path, keys: Vec<KeySource>) -> NativeConfig {
    let mut config = config(directory);
    config.create = false;
    config.keys = keys;
    config
}

async fn open_with(directory: &Path, key: KeySource) -> Result<NativeBackend, Error> {
    NativeBackend::open(with(directory, vec![key])).await
}

/// Some of the shares, by their numbers.
fn some(shares: &RecoveryShares, numbers: &[usize]) -> KeySource {
    let chosen = numbers.iter().map(|number| shares.shares()[number - 1].clone());
    KeySource::RecoveryShares(chosen.collect())
}

/// A file with shares, by their numbers.
fn write_file(directory: &Path, shares: &RecoveryShares, numbers: &[usize]) -> KeySource {
    let file = directory.join("shares.txt");
    let lines = numbers.iter().map(|number| {
        format!("# share {number}\n\n  {}\r\n", shares.shares()[number - 1].expose_secret())
    });
    fs::write(&file, lines.collect::<String>()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    KeySource::RecoverySharesFile(file)
}

/// Asserts that a text has no three words of a share one after another.
fn assert_hides(text: &str, shares: &RecoveryShares) {
    for share in shares.shares() {
        let words: Vec<_> = share.expose_secret().split(' ').collect();
        for three in words.windows(3) {
            assert!(!text.contains(&three.join(" ")), "{text}");
        }
    }
}

async fn fails(directory: &Path, key: KeySource, kind: ErrorKind, texts: &[&str]) -> String {
    let error = open_with(directory, key).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert_eq!(error.kind(), kind, "{text}");
    for expected in texts {
        assert!(text.contains(expected), "no `{expected}` in: {text}");
    }
    text
}

#[tokio::test]
async fn any_shares_up_to_the_threshold_open_the_store() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    let label = Some("the board".to_owned());
    let shares = add(&backend, 3, 5, label.clone()).await.unwrap();
    assert_eq!((shares.slot, shares.threshold, shares.shares().len()), (2, 3, 5));
    let slots = backend.slots().await.unwrap();
    assert_eq!((slots[1].kind.as_str(), &slots[1].label), ("shares", &label));
    let name = format!("3 of 5, set {}", shares.identifier);
    assert_eq!(slots[1].key_id.as_ref(), Some(&name));
    assert!(slots[1].opened_at.is_none());
    backend.close().await.unwrap();

    for numbers in [&[1, 2, 3][..], &[5, 3, 1], &[2, 4, 5, 1], &[1, 2, 3, 4, 5]] {
        for key in [some(&shares, numbers), write_file(directory, &shares, numbers)] {
            let backend = open_with(directory, key).await.unwrap();
            assert!(is_intact(&backend, "a", 1).await);
            let slots = backend.slots().await.unwrap();
            assert!(slots[1].is_current && slots[1].opened_at.is_some());
            backend.close().await.unwrap();
        }
    }
    // The slot that is lost is replaced, and the shares open the store with its next root key.
    let backend = open_with(directory, some(&shares, &[2, 3, 4])).await.unwrap();
    let new = backend.add_slot(KeySource::KeyFile(directory.join("new.key")), None).await;
    assert_eq!(new.unwrap(), 3);
    backend.remove_slot(1).await.unwrap();
    assert_eq!(backend.rotate_root_key().await.unwrap().slots, 2);
    assert_eq!(backend.remove_slot(2).await.unwrap_err().kind(), ErrorKind::Conflict);
    backend.close().await.unwrap();
    let backend = open_with(directory, some(&shares, &[1, 4, 5])).await.unwrap();
    assert!(is_intact(&backend, "a", 1).await);
    backend.close().await.unwrap();
}

#[tokio::test]
async fn shares_that_do_not_open_the_store_are_refused_with_the_reason() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    let key = || KeySource::KeyFile(key_file(directory));
    let nothing = KeySource::RecoveryShares(Vec::new());
    fails(directory, nothing, ErrorKind::Config, &["no recovery share"]).await;
    let other = directory_in_memory();
    let shares = add(&open(other.path()).await, 2, 3, None).await.unwrap();
    let words = ["this store is opened with a key, not recovery shares", "`KeySource::KeyFile`"];
    fails(directory, some(&shares, &[1, 2]), ErrorKind::Config, &words).await;

    let shares = add(&backend, 3, 5, None).await.unwrap();
    let set = shares.identifier.to_string();
    let words =
        ["too few shares: 2 given, 3 needed of the set", &set, "`KeySource::RecoveryShares`"];
    fails(directory, some(&shares, &[1, 2]), ErrorKind::Config, &words).await;
    let file = write_file(directory, &shares, &[4]);
    let words = ["`KeySource::RecoverySharesFile`", "shares.txt", "1 given, 3 needed"];
    let text = fails(directory, file, ErrorKind::Config, &words).await;
    assert_hides(&text, &shares);
    let twice = ["item 3", "share 2 is given twice"];
    fails(directory, some(&shares, &[1, 2, 2]), ErrorKind::Config, &twice).await;

    // A word that is not one, and a word that is another one.
    let mut given: Vec<SecretString> = shares.shares()[..3].to_vec();
    let replaced = |number: usize, word: &str| {
        let mut words: Vec<_> = shares.shares()[number].expose_secret().split(' ').collect();
        words[6] = word;
        words.join(" ").into()
    };
    given[0] = replaced(0, "hunter2");
    let right = shares.shares()[1].expose_secret().split(' ').nth(6).unwrap();
    given[1] = replaced(1, if right == "academic" { "zero" } else { "academic" });
    let expected =
        ["item 1: word 7 is not in the word list", "item 2: its checksum does not match"];
    let text =
        fails(directory, KeySource::RecoveryShares(given), ErrorKind::Config, &expected).await;
    assert!(!text.contains("hunter2"), "{text}");
    assert_hides(&text, &shares);

    // Shares of two sets of this store, and those of another store.
    let second = add(&backend, 2, 2, None).await.unwrap();
    let mixed = vec![shares.shares()[0].clone(), second.shares()[1].clone()];
    let text = format!("item 2: it belongs to the set {}", second.identifier);
    fails(directory, KeySource::RecoveryShares(mixed), ErrorKind::Config, &[&text]).await;
    let foreign = add(&open(other.path()).await, 2, 3, None).await.unwrap();
    let words = ["they are of the set", &set, &foreign.identifier.to_string(), "secrets.db"];
    let text = fails(directory, some(&foreign, &[1, 2]), ErrorKind::Unauthenticated, &words).await;
    assert_hides(&text, &foreign);
    let file = write_file(directory, &foreign, &[1, 2]);
    let words = ["`KeySource::RecoverySharesFile` does not open"];
    fails(directory, file, ErrorKind::Unauthenticated, &words).await;

    // With another source, which opens it.
    let config = with(directory, vec![some(&shares, &[1]), key()]);
    NativeBackend::open(config).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn each_of_several_sets_opens_the_store() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    let one = add(&backend, 2, 3, None).await.unwrap();
    let two = add(&backend, 2, 3, None).await.unwrap();
    assert_ne!(one.identifier, two.identifier);
    for (shares, slot) in [(&one, 2), (&two, 3)] {
        let backend = open_with(directory, some(shares, &[2, 3])).await.unwrap();
        let current = backend.slots().await.unwrap().into_iter().find(|slot| slot.is_current);
        assert_eq!(current.unwrap().id, slot);
        backend.close().await.unwrap();
    }
    backend.remove_slot(one.slot).await.unwrap();
    let text = format!("of the set {}, and the store has slots", one.identifier);
    fails(directory, some(&one, &[1, 2]), ErrorKind::Unauthenticated, &[&text]).await;
}

#[tokio::test]
async fn shares_create_no_store_and_no_slot() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let elsewhere = directory_in_memory();
    let shares = add(&open(elsewhere.path()).await, 2, 3, None).await.unwrap();
    for key in [some(&shares, &[1, 2]), write_file(elsewhere.path(), &shares, &[1, 2])] {
        let mut alone = with(directory, vec![key.clone()]);
        for create in [false, true] {
            alone.create = create;
            let error = NativeBackend::open(alone.clone()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("creates none"), "{error}");
        }
        assert!(!store_file(directory).exists());
    }
    // Behind or before another key, which creates the store.
    let mut both =
        with(directory, vec![some(&shares, &[1, 2]), KeySource::KeyFile(key_file(directory))]);
    both.create = true;
    let backend = NativeBackend::open(both).await.unwrap();
    assert_eq!(backend.slots().await.unwrap()[0].kind, "key");
    let error = backend.add_slot(some(&shares, &[1, 2]), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for (threshold, count) in [(0, 3), (1, 3), (4, 3), (2, 17)] {
        let error = add(&backend, threshold, count, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("2 to 16 shares"), "{error}");
    }
    let error = add(&backend, 2, 3, Some(String::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for slot in 2..=8 {
        assert_eq!(add(&backend, 2, 2, None).await.unwrap().slot, slot);
    }
    let error = add(&backend, 2, 3, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn parameters_that_were_edited_are_corrupt_and_tell_the_holders_no_lie() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    let shares = add(&backend, 2, 3, None).await.unwrap();
    let edit = "UPDATE slots SET parameters = replace(parameters, '\"threshold\":2', '\"threshold\":3') WHERE id = 2";
    assert_eq!(raw(directory).execute(edit, []).unwrap(), 1);
    assert_eq!(backend.slots().await.unwrap_err().kind(), ErrorKind::Corrupt);
    fails(directory, some(&shares, &[1, 2]), ErrorKind::Corrupt, &["key slot"]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_with_shares_is_private_and_small_text() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    let shares = add(&backend, 16, 16, None).await.unwrap();
    let all: Vec<usize> = (1..=16).collect();
    let key = write_file(directory, &shares, &all);
    let file = directory.join("shares.txt");
    open_with(directory, key.clone()).await.unwrap().close().await.unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let words = ["`KeySource::RecoverySharesFile`", "group or others"];
    fails(directory, key.clone(), ErrorKind::Config, &words).await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, [0xff, 0xfe]).unwrap();
    fails(directory, key.clone(), ErrorKind::Config, &["not UTF-8"]).await;
    fs::write(&file, "# none\n\n").unwrap();
    fails(directory, key.clone(), ErrorKind::Config, &["no recovery share"]).await;
    fs::write(&file, "a".repeat(200_000)).unwrap();
    fails(directory, key.clone(), ErrorKind::Config, &["larger than 128 KiB"]).await;
    let missing = KeySource::RecoverySharesFile(directory.join("missing.txt"));
    fails(directory, missing, ErrorKind::Config, &["does not exist"]).await;
    // The words themselves in place of the name of a file.
    let words = KeySource::RecoverySharesFile(shares.shares()[0].expose_secret().into());
    let text = fails(directory, words, ErrorKind::Config, &["hidden: may be a secret"]).await;
    assert_hides(&text, &shares);
}

#[tokio::test]
async fn a_backup_is_restored_with_shares() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    let shares = add(&backend, 2, 3, None).await.unwrap();
    let backup = directory.join("backup.db");
    backend.backup(&backup).await.unwrap();
    let elsewhere = directory_in_memory();
    let config = with(elsewhere.path(), vec![some(&shares, &[1, 3])]);
    assert_eq!(NativeBackend::restore(config.clone(), &backup).await.unwrap().damaged, 0);
    let restored = NativeBackend::open(config).await.unwrap();
    assert!(is_intact(&restored, "a", 1).await);
    assert!(restored.get(&path("b"), &support::exact(1)).await.is_err());
}

/// What all crates log at TRACE.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_shares_nor_their_key_are_logged() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    let shares = add(&backend, 2, 3, None).await.unwrap();
    for key in [some(&shares, &[1, 2]), write_file(directory, &shares, &[2, 3])] {
        open_with(directory, key).await.unwrap().close().await.unwrap();
    }
    fails(directory, some(&shares, &[1]), ErrorKind::Config, &["too few"]).await;
    tracing::trace!("{shares:?} {shares:#?}");
    let mut set = ShareSet::new();
    for share in &shares.shares()[..2] {
        set.add(Share::parse(share.expose_secret()).unwrap()).unwrap();
    }
    let key = set.recover(b"").unwrap();
    let log = log.0.lock().unwrap();
    let text = String::from_utf8_lossy(&log);
    assert!(text.contains("threshold: 2"), "the subscriber sees nothing");
    assert_hides(&text, &shares);
    let bytes = format!("{:?}", &key[..]);
    for form in [hex::encode(&key[..]), STANDARD.encode(&key[..]), bytes] {
        let half = &form[..form.len() / 2];
        assert!(!text.contains(half.trim_start_matches('[')), "{text}");
    }
}

#[tokio::test]
async fn debug_shows_numbers_alone() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    let shares = add(&backend, 2, 3, None).await.unwrap();
    let shown = format!("{shares:?} {:?}", with(directory, vec![some(&shares, &[1, 2])]));
    assert!(shown.contains("shares: 3") && shown.contains("RecoveryShares(2)"), "{shown}");
    assert_hides(&shown, &shares);
}

#[tokio::test]
async fn shares_without_a_slot_open_nothing_and_foreign_ones_are_not_combined() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    let unused = backend.new_recovery_shares(2, 2, None).await.unwrap();
    assert_eq!(backend.slots().await.unwrap().len(), 1);
    let nothing = ["recovery shares"];
    fails(directory, some(&unused, &[1, 2]), ErrorKind::Config, &nothing).await;
    // The first vector of SLIP-0039: one share of 128 bits.
    let foreign = "duckling enlarge academic academic agency result length solution fridge kidney coal piece deal \
                   husband erode duke ajar critical decision keyboard";
    let key = KeySource::RecoveryShares(vec![foreign.into()]);
    fails(directory, key, ErrorKind::Config, &["item 1", "of another kind"]).await;
}
