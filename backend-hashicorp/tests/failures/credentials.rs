//! Roles and secret ids that are wrong, used up or replaced.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_backend_hashicorp::{HashicorpBackend, SecretId};
use strongroom_core::{Backend as _, Error, ErrorKind, HealthStatus, Operation, Result};
use strongroom_testkit::openbao::ApproleOptions;
use tempfile::TempDir;

use crate::support::{Account, LIMIT, fails, lasting, open, passing, read, recovers};

/// A file for a secret id, as an orchestrator would keep it.
struct Mailbox(TempDir);

impl Mailbox {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("secret-id")
    }

    /// Replaces the file as a whole.
    fn deliver(&self, secret_id: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, secret_id).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn open(&self, account: &Account) -> HashicorpBackend {
        let mut config = account.config();
        config.auth = Some(account.login(SecretId::File(self.file())).into());
        open(config)
    }
}

fn unauthenticated(result: Result<String>) -> Error {
    lasting(Operation::Get, ErrorKind::Unauthenticated, result)
}

#[tokio::test]
async fn a_wrong_role_id_or_secret_id_is_not_authenticated() {
    let account = Account::new("wrong-ids").await;
    account.write("kept").await;
    let right = SecretId::Text(account.credentials.secret_id.clone().into());
    let wrong = SecretId::Text(format!("{}x", account.credentials.secret_id).into());
    let mut wrong_role = account.login(right);
    wrong_role.role_id.push('x');
    for login in [wrong_role, account.login(wrong)] {
        let mut config = account.config();
        config.auth = Some(login.into());
        let backend = open(config);
        for _ in 0..2 {
            let error = unauthenticated(read(&backend, &account.path()).await);
            assert!(error.advice().contains("VAULT_ROLE_ID"), "{error}");
        }
        let health = backend.health().await.unwrap();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert!(health.details["token_last_error"].contains("not authenticated"));
    }
    assert_eq!(account.logins(), 0);
}

#[tokio::test]
async fn a_secret_id_file_is_awaited_and_read_again() {
    let account = Account::new("file").await;
    account.write("kept").await;
    let mailbox = Mailbox::new();
    let backend = mailbox.open(&account);
    // Whoever delivers it may come later than the service.
    let error = passing(
        Operation::Get,
        ErrorKind::Unauthenticated,
        read(&mailbox.open(&account), &account.path()).await,
    );
    assert!(error.advice().contains("VAULT_SECRET_ID_FILE"), "{error}");
    for content in ["", " \n", "two words", "line\nbreak"] {
        mailbox.deliver(content);
        let error = unauthenticated(read(&mailbox.open(&account), &account.path()).await);
        assert!(error.advice().contains("VAULT_SECRET_ID_FILE"), "{error}");
        unauthenticated(read(&backend, &account.path()).await);
    }
    mailbox.deliver(&format!("{}\n", account.credentials.secret_id));
    assert_eq!(recovers(&backend, &account.path()).await, "kept");
    assert_eq!(account.logins(), 1);
}

#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_is_refused_and_holds_nobody_up() {
    let account = Account::new("pipe").await;
    account.write("kept").await;
    let mailbox = Mailbox::new();
    let made = Command::new("mkfifo").arg(mailbox.file()).status().unwrap();
    assert!(made.success());
    let backend = mailbox.open(&account);
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
    assert!(error.advice().contains("VAULT_SECRET_ID_FILE"), "{error}");
    mailbox.deliver(&account.credentials.secret_id);
    assert_eq!(recovers(&backend, &key).await, "kept");
}

#[tokio::test]
async fn an_expired_secret_id_is_replaced_by_the_next_one_in_the_file() {
    let ttl = ApproleOptions { secret_id_ttl: Duration::from_secs(2), ..Default::default() };
    let account = Account::with("expired", ttl).await;
    replaced(&account).await;
}

#[tokio::test]
async fn an_exhausted_secret_id_is_replaced_by_the_next_one_in_the_file() {
    let once = ApproleOptions { secret_id_num_uses: 2, ..Default::default() };
    let account = Account::with("exhausted", once).await;
    replaced(&account).await;
}

/// Logs in until the secret id does not work any more, and with a new one then.
async fn replaced(account: &Account) {
    account.write("kept").await;
    let mailbox = Mailbox::new();
    mailbox.deliver(&account.credentials.secret_id);
    let backend = mailbox.open(account);
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    // A token outlives the secret id that it was made with.
    let begin = Instant::now();
    while read(&mailbox.open(account), &account.path()).await.is_ok() {
        assert!(begin.elapsed() < LIMIT, "it does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unauthenticated(read(&mailbox.open(account), &account.path()).await);
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");

    let logins = account.logins();
    account.revoke_all().await;
    unauthenticated(Err(fails(&backend, &account.path()).await));
    assert_eq!(account.logins(), logins);
    mailbox.deliver(&account.further_secret_id().await);
    assert_eq!(recovers(&backend, &account.path()).await, "kept");
    assert_eq!(account.logins(), logins + 1);
}

#[tokio::test]
async fn a_wrapped_secret_id_is_unwrapped_once_and_used_for_later_logins() {
    let account = Account::new("wrapped").await;
    account.write("kept").await;
    let mailbox = Mailbox::new();
    let open_wrapped = || {
        let mut config = account.config();
        let mut login = account.login(SecretId::File(mailbox.file()));
        login.wrapped = true;
        config.auth = Some(login.into());
        open(config)
    };
    mailbox.deliver(&account.wrapped_secret_id().await);
    let backend = open_wrapped();
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    for logins in 2..4 {
        account.revoke().await;
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        assert_eq!(account.logins(), logins);
    }

    let late = open_wrapped();
    let error = unauthenticated(read(&late, &account.path()).await);
    assert!(error.to_string().contains("treat it as stolen"), "{error}");
    mailbox.deliver(&account.wrapped_secret_id().await);
    assert_eq!(recovers(&late, &account.path()).await, "kept");

    // The first backend finds a wrapping token that the other one has used up.
    account.revoke_all().await;
    unauthenticated(Err(fails(&backend, &account.path()).await));
    mailbox.deliver(&account.wrapped_secret_id().await);
    assert_eq!(recovers(&backend, &account.path()).await, "kept");
}

#[tokio::test]
async fn something_else_than_a_wrapping_token_is_not_authenticated() {
    let account = Account::new("unwrapped").await;
    account.write("kept").await;
    let mut config = account.config();
    let secret_id = SecretId::Text(account.credentials.secret_id.clone().into());
    let mut login = account.login(secret_id);
    login.wrapped = true;
    config.auth = Some(login.into());
    unauthenticated(read(&open(config), &account.path()).await);
}

#[tokio::test]
async fn a_deleted_role_is_missed_at_the_end_of_its_token_and_used_when_it_is_back() {
    let ttl = ApproleOptions { token_ttl: Duration::from_secs(2), ..Default::default() };
    let account = Account::with("role-deleted", ttl).await;
    account.write("kept").await;
    let backend = open(account.config());
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    account.server.admin("DELETE", &account.role(""), None).await;
    unauthenticated(Err(fails(&backend, &account.path()).await));
    account.restore().await;
    assert_eq!(recovers(&backend, &account.path()).await, "kept");
}

#[tokio::test]
async fn a_disabled_auth_method_is_named_and_used_when_it_is_back() {
    let account = Account::new("method-disabled").await;
    account.write("kept").await;
    let backend = open(account.config());
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    let method = format!("sys/auth/{}", account.name);
    account.server.admin("DELETE", &method, None).await;
    // The server says the same as to a stranger.
    let error = unauthenticated(read(&backend, &account.path()).await);
    assert!(error.to_string().contains("SECRETS_VAULT_APPROLE_MOUNT"), "{error}");
    let approle = json!({ "type": "approle" });
    account.server.admin("POST", &method, Some(approle)).await;
    account.restore().await;
    assert_eq!(recovers(&backend, &account.path()).await, "kept");
}
