//! Faults that SoftHSM2 does not have, from a module without cryptography.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use strongroom_core::{ErrorKind, Operation, WrappingKey as _};
use strongroom_pkcs11::{Pin, Pkcs11Config, Pkcs11Key};
use strongroom_testkit::canary;
use strongroom_testkit::softhsm::PIN;
use strongroom_testkit::wrapping_key::{check_error, context};

const INITIALIZED: u32 = 0x400;
const USER_PIN_INITIALIZED: u32 = 0x8;
const FINAL_TRY: u32 = 0x20000;
const LOCKED: u32 = 0x40000;

/// A module, compiled into a folder.
struct Fake {
    folder: tempfile::TempDir,
    module: PathBuf,
}

impl Fake {
    /// `defines` are macros of `fake_module.c`.
    fn build(serial: &str, flags: u32, defines: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("fake.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_module.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let status = Command::new(compiler)
            .args(["-shared", "-fPIC", "-o"])
            .args([&module, &source])
            .arg(format!("-DFLAGS={}", flags | INITIALIZED))
            .arg(format!("-DSERIAL=\"{serial}\""))
            .arg(format!("-DLOG=\"{}\"", folder.path().join("log").display()))
            .args(defines.iter().map(|define| format!("-D{define}")))
            .status()
            .unwrap();
        assert!(status.success());
        Self { folder, module }
    }

    fn key(&self, timeout: Duration) -> Pkcs11Key {
        canary::watch();
        let mut config = Pkcs11Config::new(&self.module, Pin::Text(PIN.into()));
        config.timeout = timeout;
        Pkcs11Key::new(config, "pkcs11:token=fake;object=key").unwrap()
    }

    fn logins(&self) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("log"));
        log.unwrap_or_default().lines().count()
    }
}

async fn refusal(fake: &Fake) -> String {
    let key = fake.key(Duration::from_secs(10));
    let unwrapped = key.unwrap(&[1; 77], &context()).await;
    let kind = ErrorKind::Unauthenticated;
    let error = check_error(&key, kind, Operation::Unwrap, unwrapped);
    assert!(!error.is_temporary(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn no_pin_is_sent_to_a_token_that_is_locked_or_would_be() {
    for (flags, words) in [
        (USER_PIN_INITIALIZED | LOCKED, "is locked"),
        (USER_PIN_INITIALIZED | FINAL_TRY, "would lock the token"),
        (0, "has no user PIN"),
    ] {
        let fake = Fake::build("1", flags, &[]);
        let error = refusal(&fake).await;
        assert!(error.contains(words), "{error}");
        assert_eq!(fake.logins(), 0, "{error}");
    }
}

#[tokio::test]
async fn a_pin_that_the_token_may_have_counted_as_wrong_is_sent_once() {
    // The values of a vendor, `CKR_PIN_INVALID`, `CKR_GENERAL_ERROR` and `CKR_FUNCTION_FAILED`.
    for (login, kind) in [
        ("LOGIN=0x80000001UL", ErrorKind::Unavailable),
        ("LOGIN=0xA1", ErrorKind::Unauthenticated),
        ("LOGIN=5", ErrorKind::Unavailable),
        ("LOGIN=6", ErrorKind::Unavailable),
    ] {
        let fake = Fake::build("2", USER_PIN_INITIALIZED, &[login]);
        let key = fake.key(Duration::from_secs(10));
        let unwrapped = key.unwrap(&[1; 77], &context()).await;
        let error = check_error(&key, kind, Operation::Unwrap, unwrapped);
        assert!(!error.is_temporary() && error.to_string().contains("not send"), "{error}");
        for _ in 0..3 {
            assert!(refusal(&fake).await.contains("was not sent again"), "{login}");
        }
        assert_eq!(fake.logins(), 1, "{login}");
    }
}

#[tokio::test]
async fn a_pin_that_the_token_has_not_judged_is_sent_again() {
    // `CKR_PIN_LOCKED`, `CKR_PIN_EXPIRED`, `CKR_DEVICE_ERROR`, `CKR_SESSION_HANDLE_INVALID` and `CKR_FUNCTION_CANCELED`.
    for (login, kind) in [
        ("LOGIN=0xA4", ErrorKind::Unauthenticated),
        ("LOGIN=0xA3", ErrorKind::Unauthenticated),
        ("LOGIN=0x30", ErrorKind::Unavailable),
        ("LOGIN=0xB3", ErrorKind::Unavailable),
        ("LOGIN=0x50", ErrorKind::Unavailable),
    ] {
        let fake = Fake::build("5", USER_PIN_INITIALIZED, &[login]);
        let key = fake.key(Duration::from_secs(10));
        for sent in 1..=2 {
            let unwrapped = key.unwrap(&[1; 77], &context()).await;
            let error = check_error(&key, kind, Operation::Unwrap, unwrapped);
            assert_eq!(error.is_temporary(), kind == ErrorKind::Unavailable, "{error}");
            assert_eq!(fake.logins(), sent, "{login}: {error}");
        }
    }
}

#[tokio::test]
async fn the_names_of_one_module_share_what_was_refused() {
    let mut fake = Fake::build("6", USER_PIN_INITIALIZED, &["LOGIN=0xA0"]);
    assert!(refusal(&fake).await.contains("refuses the user PIN"));
    let link = fake.folder.path().join("link.so");
    std::os::unix::fs::symlink(&fake.module, &link).unwrap();
    fake.module = link;
    assert!(refusal(&fake).await.contains("was not sent again"));
    assert_eq!(fake.logins(), 1);
}

#[tokio::test]
async fn a_key_without_a_length_is_not_taken_for_aes_256() {
    let fake = Fake::build("7", USER_PIN_INITIALIZED, &["LOGIN=0"]);
    let key = fake.key(Duration::from_secs(10));
    let unwrapped = key.unwrap(&[1; 77], &context()).await;
    let error = check_error(&key, ErrorKind::Unsupported, Operation::Unwrap, unwrapped);
    assert!(error.to_string().contains("CKA_VALUE_LEN"), "{error}");
}

#[tokio::test]
async fn a_token_or_key_that_cannot_be_described_is_an_error() {
    for (define, logins) in [("ATTRIBUTES=5", 1), ("TOKEN=5", 0)] {
        let fake = Fake::build("8", USER_PIN_INITIALIZED, &["LOGIN=0", define]);
        let key = fake.key(Duration::from_secs(10));
        let unwrapped = key.unwrap(&[1; 77], &context()).await;
        let error = check_error(&key, ErrorKind::Unavailable, Operation::Unwrap, unwrapped);
        assert!(error.is_temporary() && error.to_string().contains("GeneralError"), "{error}");
        assert_eq!(fake.logins(), logins, "{error}");
    }
    // A token that was removed meanwhile, and one in another reader that the module does not know, are none.
    for define in ["TOKEN=0xE0", "TOKEN=0xE1"] {
        let fake = Fake::build("9", USER_PIN_INITIALIZED, &[define]);
        let key = fake.key(Duration::from_secs(10));
        let unwrapped = key.unwrap(&[1; 77], &context()).await;
        let error = check_error(&key, ErrorKind::Unavailable, Operation::Unwrap, unwrapped);
        let error = error.to_string();
        assert!(error.contains("no such token") && !error.contains("cannot describe"), "{error}");
    }
}

#[tokio::test]
async fn a_module_that_hangs_is_a_timeout_and_holds_one_thread() {
    let fake = Fake::build("3", USER_PIN_INITIALIZED, &["HANG"]);
    let limit = Duration::from_millis(200);
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let before = threads();
    for _ in 0..4 {
        let key = fake.key(limit);
        let begin = Instant::now();
        let wrapped = key.wrap(&canary::text("key"), &context()).await;
        let error = check_error(&key, ErrorKind::Timeout, Operation::Wrap, wrapped);
        assert!(error.is_temporary(), "{error}");
        assert!((limit..Duration::from_secs(5)).contains(&begin.elapsed()));
    }
    // Other tests of this process come and go.
    assert!(threads() <= before + 8, "a call that hangs must not add threads");
    assert_eq!(fake.logins(), 0);
}

#[test]
fn a_runtime_ends_while_a_module_hangs() {
    let fake = Fake::build("4", USER_PIN_INITIALIZED, &["HANG"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key = fake.key(Duration::from_millis(200));
    let begin = Instant::now();
    let wrapped = runtime.block_on(key.wrap(&canary::text("key"), &context()));
    check_error(&key, ErrorKind::Timeout, Operation::Wrap, wrapped);
    drop(runtime);
    assert!(begin.elapsed() < Duration::from_secs(10));
}
