//! Roles and secret ids that are invalid, used up or replaced.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use strongroom_backend_hashicorp::{Auth, HashicorpBackend, SecretId};
use strongroom_core::{Backend as _, Error, ErrorKind, Operation, Result};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao::ApproleOptions;
use strongroom_testkit::stub::{Reply, Stub};
use tempfile::TempDir;

use crate::support::{
    Account, LIMIT, check, config_for, expect_permanent, expect_transient, open, read,
    read_until_error, read_until_success,
};

/// A file with a secret id that an orchestrator replaces.
struct SecretIdFile(TempDir);

impl SecretIdFile {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("secret-id")
    }

    /// Replaces the file atomically.
    fn write(&self, secret_id: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, secret_id).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    async fn open(&self, account: &Account) -> HashicorpBackend {
        let mut config = account.config();
        config.auth = Some(account.login(SecretId::File(self.path())).into());
        open(config).await
    }
}

fn unauthenticated(result: Result<String>) -> Error {
    expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result)
}

#[tokio::test]
async fn a_rejected_login_tells_that_the_clocks_differ() {
    for (offset, told) in
        [(-600, "clock is 6"), (600, "clock is 5"), (-600, "ahead of"), (600, "behind"), (0, "")]
    {
        let stub = Stub::new(move |request| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            match request.target.as_str() {
                "/v1/sys/health" => Reply::json(
                    200,
                    &json!({
                        "initialized": true, "sealed": false, "version": "2.0.0",
                        "server_time_utc": now.checked_add_signed(offset).unwrap(),
                    }),
                ),
                _ => Reply::json(403, &json!({ "errors": ["permission denied", "invalid token"] })),
            }
        });
        let backend = open(config_for(&stub.url(), Auth::Token(CANARY.into()))).await;
        let error = backend.health().await.unwrap_err();
        check(&error);
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.cause().contains(told), "{error}");
        assert_eq!(error.cause().contains("clock"), offset != 0, "{error}");
    }
}

#[tokio::test]
async fn an_invalid_role_id_or_secret_id_is_unauthenticated() {
    let account = Account::new("wrong-ids").await;
    account.write("kept").await;
    let right = SecretId::Text(account.credentials.secret_id.clone().into());
    let wrong = SecretId::Text(format!("{}x", account.credentials.secret_id).into());
    let mut wrong_role = account.login(right);
    wrong_role.role_id.push('x');
    for login in [wrong_role, account.login(wrong)] {
        let mut config = account.config();
        config.auth = Some(login.into());
        let backend = open(config).await;
        for _ in 0..2 {
            let error = unauthenticated(read(&backend, &account.path()).await);
            assert!(error.advice().contains("`AppRole::role_id`"), "{error}");
        }
        let health = backend.health().await;
        let error = expect_permanent(Operation::Health, ErrorKind::Unauthenticated, health);
        assert!(error.advice().contains("`AppRole::role_id`"), "{error}");
    }
    assert_eq!(account.logins(), 0);
}

#[tokio::test]
async fn reads_the_secret_id_file_at_each_login() {
    let account = Account::new("file").await;
    account.write("kept").await;
    let secret_id_file = SecretIdFile::new();
    let backend = secret_id_file.open(&account).await;
    // The file may be delivered after the service has started.
    let error = expect_transient(
        Operation::Get,
        ErrorKind::Unauthenticated,
        read(&secret_id_file.open(&account).await, &account.path()).await,
    );
    assert!(error.advice().contains("`SecretId::File`"), "{error}");
    for content in ["", " \n", "two words", "line\nbreak"] {
        secret_id_file.write(content);
        let error =
            unauthenticated(read(&secret_id_file.open(&account).await, &account.path()).await);
        assert!(error.advice().contains("`SecretId::File`"), "{error}");
        unauthenticated(read(&backend, &account.path()).await);
    }
    secret_id_file.write(&format!("{}\n", account.credentials.secret_id));
    assert_eq!(read_until_success(&backend, &account.path()).await, "kept");
    assert_eq!(account.logins(), 1);
}

#[tokio::test]
async fn rejects_a_pipe_as_secret_id_file_without_blocking() {
    let account = Account::new("pipe").await;
    account.write("kept").await;
    let secret_id_file = SecretIdFile::new();
    let made = Command::new("mkfifo").arg(secret_id_file.path()).status().unwrap();
    assert!(made.success());
    let backend = secret_id_file.open(&account).await;
    let (begin, key) = (Instant::now(), account.path());
    let mut others = 0;
    let error = tokio::select! {
        result = read(&backend, &key) => unauthenticated(result),
        () = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                others += 1;
            }
        } => unreachable!(),
    };
    let taken = begin.elapsed();
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    assert!(taken < Duration::from_secs(1) || others > 100, "{others} steps in {taken:?}");
    assert!(error.advice().contains("`SecretId::File`"), "{error}");
    secret_id_file.write(&account.credentials.secret_id);
    assert_eq!(read_until_success(&backend, &key).await, "kept");
}

#[tokio::test]
async fn replaces_an_expired_secret_id_by_the_next_one_in_the_file() {
    let ttl = ApproleOptions { secret_id_ttl: Duration::from_secs(5), ..Default::default() };
    let account = Account::with("expired", ttl).await;
    assert_replaced(&account).await;
}

#[tokio::test]
async fn replaces_an_exhausted_secret_id_by_the_next_one_in_the_file() {
    let once = ApproleOptions { secret_id_num_uses: 2, ..Default::default() };
    let account = Account::with("exhausted", once).await;
    assert_replaced(&account).await;
}

/// Logs in until the secret id no longer works, and then with a new one.
async fn assert_replaced(account: &Account) {
    account.write("kept").await;
    let secret_id_file = SecretIdFile::new();
    secret_id_file.write(&account.credentials.secret_id);
    let backend = secret_id_file.open(account).await;
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    // A token outlives the secret id of its login.
    let begin = Instant::now();
    while read(&secret_id_file.open(account).await, &account.path()).await.is_ok() {
        assert!(begin.elapsed() < LIMIT, "the secret id still works");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unauthenticated(read(&secret_id_file.open(account).await, &account.path()).await);
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");

    let logins = account.logins();
    account.revoke_all().await;
    unauthenticated(Err(read_until_error(&backend, &account.path()).await));
    assert_eq!(account.logins(), logins);
    secret_id_file.write(&account.another_secret_id().await);
    assert_eq!(read_until_success(&backend, &account.path()).await, "kept");
    assert_eq!(account.logins(), logins + 1);
}

#[tokio::test]
async fn unwraps_a_secret_id_once_and_reuses_it() {
    let account = Account::new("wrapped").await;
    account.write("kept").await;
    let secret_id_file = SecretIdFile::new();
    let open_wrapped = async || {
        let mut config = account.config();
        let mut login = account.login(SecretId::File(secret_id_file.path()));
        login.wrapped = true;
        config.auth = Some(login.into());
        open(config).await
    };
    secret_id_file.write(&account.wrapped_secret_id().await);
    let backend = open_wrapped().await;
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    for logins in 2..4 {
        account.revoke().await;
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        assert_eq!(account.logins(), logins);
    }

    let second = open_wrapped().await;
    let error = unauthenticated(read(&second, &account.path()).await);
    assert!(error.to_string().contains("treat it as stolen"), "{error}");
    secret_id_file.write(&account.wrapped_secret_id().await);
    assert_eq!(read_until_success(&second, &account.path()).await, "kept");

    // The first backend finds a wrapping token that the second one has used.
    account.revoke_all().await;
    unauthenticated(Err(read_until_error(&backend, &account.path()).await));
    secret_id_file.write(&account.wrapped_secret_id().await);
    assert_eq!(read_until_success(&backend, &account.path()).await, "kept");
}

#[tokio::test]
async fn a_secret_id_in_place_of_a_wrapping_token_is_unauthenticated() {
    let account = Account::new("unwrapped").await;
    account.write("kept").await;
    let mut config = account.config();
    let secret_id = SecretId::Text(account.credentials.secret_id.clone().into());
    let mut login = account.login(secret_id);
    login.wrapped = true;
    config.auth = Some(login.into());
    unauthenticated(read(&open(config).await, &account.path()).await);
}

#[tokio::test]
async fn a_deleted_role_fails_once_its_token_expires_and_recovers_when_restored() {
    let ttl = ApproleOptions { token_ttl: Duration::from_secs(2), ..Default::default() };
    let account = Account::with("role-deleted", ttl).await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    account.server.admin("DELETE", &account.role(""), None).await;
    unauthenticated(Err(read_until_error(&backend, &account.path()).await));
    account.restore().await;
    assert_eq!(read_until_success(&backend, &account.path()).await, "kept");
}

#[tokio::test]
async fn a_disabled_auth_method_fails_and_recovers_when_restored() {
    let account = Account::new("method-disabled").await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    let method = format!("sys/auth/{}", account.name);
    account.server.admin("DELETE", &method, None).await;
    // The server does not tell an unauthenticated client that the method is disabled.
    let error = unauthenticated(read(&backend, &account.path()).await);
    assert!(error.to_string().contains("`HashicorpConfig::auth_mount`"), "{error}");
    let approle = json!({ "type": "approle" });
    account.server.admin("POST", &method, Some(approle)).await;
    account.restore().await;
    assert_eq!(read_until_success(&backend, &account.path()).await, "kept");
}
