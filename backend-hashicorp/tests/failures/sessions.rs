//! Tokens that are used up or revoked while requests are in flight.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use strongroom_backend_hashicorp::{AppRole, Auth, HashicorpBackend, SecretId};
use strongroom_core::{Backend as _, Error, ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao::ApproleOptions;
use strongroom_testkit::stub::{Reply, Request, Stub};

use crate::support::{
    Account, LIMIT, check, config_for, expect_permanent, open, path, read, read_until_success,
};

const READERS: usize = 32;

/// The accessors of all tokens of this account.
fn accessors(account: &Account) -> Vec<Value> {
    let logins = account.audit.successes(&format!("auth/{}/login", account.name));
    let accessors = logins.iter().map(|entry| &entry["response"]["auth"]["accessor"]);
    accessors.filter(|accessor| accessor.is_string()).cloned().collect()
}

async fn is_valid(account: &Account, accessor: &Value) -> bool {
    let accessor = json!({ "accessor": accessor });
    account.server.call("POST", "auth/token/lookup-accessor", Some(accessor)).await.0 == 200
}

/// Sends [`READERS`] concurrent reads; the errors of those that failed, which must be temporary.
async fn read_concurrently(backend: &HashicorpBackend, account: &Account) -> Vec<Error> {
    let key = account.path();
    let results = join_all((0..READERS).map(|_| read(backend, &key))).await;
    let mut errors = Vec::new();
    for result in results {
        match result {
            Ok(text) => assert_eq!(text, "kept"),
            Err(error) => {
                check(&error);
                assert_ne!(error.kind(), ErrorKind::Denied, "{error}");
                assert!(error.is_temporary(), "{error}");
                errors.push(error);
            }
        }
    }
    errors
}

#[tokio::test]
async fn a_used_up_token_is_never_reported_as_a_missing_permission() {
    let few = ApproleOptions { token_num_uses: 10, ..Default::default() };
    let account = Account::with("few-uses", few).await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    let mut succeeded = 0;
    for _ in 0..20 {
        succeeded += READERS - read_concurrently(&backend, &account).await.len();
        assert_eq!(read_until_success(&backend, &account.path()).await, "kept");
    }
    assert!(succeeded > 0, "no read succeeded");

    // The server has accepted the token, so its revocation does not delay the next login.
    account.revoke_all().await;
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
}

#[tokio::test]
async fn concurrent_reads_survive_the_revocation_of_the_token() {
    let account = Account::new("revoked-under").await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    let errors = read_concurrently(&backend, &account).await;
    assert!(errors.is_empty(), "{errors:?}");
    for logins in 2..6 {
        let (errors, ()) = tokio::join!(read_concurrently(&backend, &account), account.revoke());
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        assert_eq!(account.logins(), logins);
    }
}

/// A stub that words its errors like HashiCorp Vault, with one secret and a token for each login.
struct Vault {
    stub: Stub,
    /// Tokens up to this number are revoked.
    revoked: Arc<AtomicUsize>,
    /// Whether the stub sends the secret `slow` slowly.
    is_slow: Arc<AtomicBool>,
}

const FIRST: usize = 1;
const SLOW: Duration = Duration::from_millis(60);

fn token(number: usize) -> String {
    format!("{CANARY}token-{number}")
}

fn invalid_token() -> Reply {
    let text = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
    Reply::json(403, &json!({ "errors": [text] }))
}

impl Vault {
    fn new() -> Self {
        let (revoked, is_slow) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (revoked_up_to, slow, issued) =
            (Arc::clone(&revoked), Arc::clone(&is_slow), AtomicUsize::new(0));
        let stub = Stub::new(move |request| {
            if request.target == "/v1/auth/approle/login" {
                let number = issued.fetch_add(1, Ordering::SeqCst) + FIRST;
                let auth = json!({
                    "client_token": token(number), "lease_duration": 3600, "renewable": true,
                });
                return Reply::json(200, &json!({ "auth": auth }));
            }
            let given = request.header("x-vault-token").unwrap_or_default();
            let number = given.rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
            if number.is_none_or(|number| number <= revoked_up_to.load(Ordering::SeqCst)) {
                return invalid_token();
            }
            let reply = good_reply(request);
            let is_slow = request.target.ends_with("/slow") && slow.load(Ordering::SeqCst);
            if is_slow { reply.in_pieces(8, SLOW) } else { reply }
        });
        Self { stub, revoked, is_slow }
    }

    fn revoke_up_to(&self, number: usize) {
        self.revoked.store(number, Ordering::SeqCst);
    }

    async fn open(&self, auth: impl Into<Auth>) -> HashicorpBackend {
        open(config_for(&self.stub.url(), auth)).await
    }

    fn app_role() -> AppRole {
        AppRole::new("role", SecretId::Text(format!("{CANARY}secret-id").into()))
    }

    fn count(&self, target: &str, number: usize) -> usize {
        let token = token(number);
        self.stub.count(|request| {
            request.target == target && request.header("x-vault-token") == Some(&token)
        })
    }

    fn logins(&self) -> usize {
        self.stub.count(|request| request.target == "/v1/auth/approle/login")
    }
}

fn good_reply(request: &Request) -> Reply {
    let data = match request.target.as_str() {
        "/v1/auth/token/lookup-self" => json!({ "ttl": 3600, "renewable": true }),
        "/v1/auth/token/revoke-self" => return Reply::new(204, ""),
        "/v1/sys/internal/ui/mounts/secret" => {
            json!({ "path": "secret/", "type": "kv", "options": { "version": "2" } })
        }
        _ => json!({ "data": { "value": format!("{CANARY}fake") }, "metadata": { "version": 1 } }),
    };
    Reply::json(200, &json!({ "data": data }))
}

#[tokio::test]
async fn replaces_a_token_that_vault_reports_as_invalid() {
    let vault = Vault::new();
    let (backend, key) = (vault.open(Vault::app_role()).await, path("key"));
    for number in FIRST..5 {
        for _ in 0..3 {
            assert_eq!(read(&backend, &key).await.unwrap(), "fake");
        }
        assert_eq!(vault.logins(), number);
        vault.revoke_up_to(number);
    }
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_given_token_that_vault_reports_as_invalid_is_unauthenticated() {
    let vault = Vault::new();
    let key = path("key");
    let auth = || Auth::Token(token(FIRST).into());
    let backend = vault.open(auth()).await;
    assert_eq!(read(&backend, &key).await.unwrap(), "fake");
    vault.revoke_up_to(FIRST);
    // The token was valid before, and is invalid from the beginning.
    for backend in [backend, vault.open(auth()).await] {
        for _ in 0..2 {
            let result = read(&backend, &key).await;
            let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
            assert!(error.advice().contains("`Auth::Token`"), "{error}");
        }
    }
    assert_eq!(vault.logins(), 0);
}

#[tokio::test]
async fn close_also_revokes_an_old_token_that_a_slow_request_carries() {
    let vault = Vault::new();
    let (backend, key) = (vault.open(Vault::app_role()).await, path("key"));
    assert_eq!(read(&backend, &key).await.unwrap(), "fake");
    vault.is_slow.store(true, Ordering::SeqCst);
    let slow = path("slow");
    let revoked = |number| vault.count("/v1/auth/token/revoke-self", number);
    let (result, ()) = tokio::join!(read(&backend, &slow), async {
        while vault.count("/v1/secret/data/slow", FIRST) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        vault.revoke_up_to(FIRST);
        assert_eq!(read(&backend, &key).await.unwrap(), "fake");
        assert_eq!((vault.logins(), revoked(FIRST)), (2, 0), "the old token is still in use");
        backend.close().await.unwrap();
        assert_eq!((revoked(FIRST), revoked(FIRST + 1)), (1, 1));
    });
    assert_eq!(result.unwrap(), "fake");
}

#[test]
fn close_outside_of_the_runtime_revokes_the_token() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (account, backend) = runtime.block_on(async {
        let account = Account::new("outside").await;
        account.write("kept").await;
        let backend = open(account.config()).await;
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        (account, backend)
    });
    let accessors = accessors(&account);
    assert_eq!(accessors.len(), 1);
    assert!(runtime.block_on(is_valid(&account, &accessors[0])));
    outside_of_tokio(backend.close()).unwrap();
    assert!(!runtime.block_on(is_valid(&account, &accessors[0])));
}

/// Drives a future without Tokio.
fn outside_of_tokio<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(LIMIT),
        }
    }
}
