//! The number of logins, and the end of sessions, on a real server.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use strongroom_backend_hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom_core::{
    Backend, ErrorKind, PutOptions, Result, Secret, SecretPath, SecretValue, VersionSelector,
};
use strongroom_testkit::openbao::{ApproleOptions, AuditLog, Server};
use strongroom_testkit::proxy::Proxy;
use strongroom_testkit::report;
use tokio::runtime::{Handle, Runtime};
use tokio::time::{Instant, sleep, timeout};

const READERS: usize = 100;
const LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const LOGIN: &str = "auth/approle/login";
const MOUNT_LOOKUP: &str = "sys/internal/ui/mounts/secret";
const DATA: &str = "secret/data/logins/key";
const VALUE: &str = "hello";

fn secret_path() -> SecretPath {
    SecretPath::parse("logins/key").unwrap()
}

/// A server with a secret, and a backend with a role.
struct Store {
    server: Server,
    audit: AuditLog,
    backend: Arc<HashicorpBackend>,
}

impl Store {
    async fn behind_a_proxy() -> (Self, Proxy) {
        let mut proxy = None;
        let store = Self::with(ApproleOptions::default(), |server, config| {
            let upstream = server.address().split_once("://").unwrap().1.parse().unwrap();
            let created = proxy.insert(Proxy::new(upstream));
            config.address = format!("http://{}", created.address());
        })
        .await;
        (store, proxy.unwrap())
    }

    async fn new() -> Self {
        Self::with(ApproleOptions::default(), |_, _| {}).await
    }

    async fn with(
        options: ApproleOptions<'_>,
        configure: impl FnOnce(&Server, &mut HashicorpConfig),
    ) -> Self {
        let server = Server::dev().await;
        server.enable_approle("approle").await;
        let data = json!({ "data": { "value": VALUE } });
        server.admin("POST", DATA, Some(data)).await;
        let made = server.approle(&options).await;
        let auth = AppRole::new(made.role_id, SecretId::Text(made.secret_id.into()));
        let mut config = HashicorpConfig::new(server.address(), auth);
        configure(&server, &mut config);
        let audit = server.enable_audit().await;
        Self { server, audit, backend: Arc::new(HashicorpBackend::open(config).await.unwrap()) }
    }

    async fn read(&self) -> Result<Secret> {
        self.backend.get(&secret_path(), &VersionSelector::Active).await
    }

    /// Reads from many tasks concurrently.
    async fn read_concurrently(&self) {
        let reads = (0..READERS).map(|_| {
            let backend = Arc::clone(&self.backend);
            tokio::spawn(async move { backend.get(&secret_path(), &VersionSelector::Active).await })
        });
        for read in join_all(reads.collect::<Vec<_>>()).await {
            assert_eq!(read.unwrap().unwrap().expose_text().unwrap(), VALUE);
        }
    }

    /// The number of requests for `path` that have succeeded.
    fn successes(&self, path: &str) -> usize {
        self.audit.successes(path).len()
    }

    /// The accessor of the token of the last login.
    fn accessor(&self) -> Value {
        let logins = self.audit.successes(LOGIN);
        logins.last().expect("a login")["response"]["auth"]["accessor"].clone()
    }

    async fn is_valid(&self, accessor: &Value) -> bool {
        let body = json!({ "accessor": accessor });
        self.server.call("POST", "auth/token/lookup-accessor", Some(body)).await.0 == 200
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(POLL_INTERVAL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_first_reads_share_one_login() {
    let store = Store::new().await;
    store.read_concurrently().await;
    assert_eq!(store.successes(LOGIN), 1);
    report(format!(
        "{READERS} first reads: 1 login, {} mount look-ups",
        store.successes(MOUNT_LOOKUP)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reads_with_a_revoked_token_share_one_login() {
    let store = Store::new().await;
    store.read().await.unwrap();
    let body = json!({ "accessor": store.accessor() });
    store.server.admin("POST", "auth/token/revoke-accessor", Some(body)).await;
    let before = store.successes(MOUNT_LOOKUP);
    store.read_concurrently().await;
    assert_eq!(store.successes(LOGIN), 2);
    let looked_up = store.successes(MOUNT_LOOKUP) - before;
    report(format!("{READERS} reads, token revoked: 1 login, {looked_up} mount look-ups"));
}

#[tokio::test]
async fn the_login_of_a_cancelled_reader_serves_the_next() {
    let (store, proxy) = Store::behind_a_proxy().await;
    proxy.stall();
    let backend = Arc::clone(&store.backend);
    let reader =
        tokio::spawn(async move { backend.get(&secret_path(), &VersionSelector::Active).await });
    until("the login has begun", || proxy.connections() > 0).await;
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
    proxy.pass();
    assert_eq!(store.read().await.unwrap().expose_text().unwrap(), VALUE);
    assert_eq!(store.successes(LOGIN), 1);
    assert_eq!(proxy.connections(), 1, "the login has completed on its connection");
}

#[test]
fn renews_the_token_after_its_first_runtime_has_ended() {
    let store = Runtime::new().unwrap().block_on(async {
        let options =
            ApproleOptions { token_ttl: Duration::from_secs(6), ..ApproleOptions::default() };
        // Renewal is due after 2 s: a busy machine has 4 s for it.
        let margin = Duration::from_secs(4);
        let store = Store::with(options, |_, config| config.renew_margin = margin).await;
        store.read().await.unwrap();
        store
    });
    Runtime::new().unwrap().block_on(async {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(8) {
            assert_eq!(store.read().await.unwrap().expose_text().unwrap(), VALUE);
            sleep(5 * POLL_INTERVAL).await;
        }
        assert!(store.successes("auth/token/renew-self") > 0, "the token is renewed");
        assert_eq!(store.successes(LOGIN), 1);
        let accessor = store.accessor();
        store.backend.close().await.unwrap();
        assert!(!store.is_valid(&accessor).await);
    });
}

#[tokio::test]
async fn a_dropped_backend_leaves_no_task() {
    let store = Store::new().await;
    let metrics = Handle::current().metrics();
    let tasks = || metrics.num_alive_tasks();
    let before = tasks();
    store.read_concurrently().await;
    assert!(tasks() > before, "a task renews the token");
    let Store { server, backend, .. } = store;
    drop(backend);
    until("all tasks have ended", || tasks() <= before).await;
    drop(server);
}

#[tokio::test]
async fn close_revokes_the_token_and_ends_everything() {
    let store = Store::new().await;
    store.read().await.unwrap();
    let accessor = store.accessor();
    assert!(store.is_valid(&accessor).await);
    store.backend.close().await.unwrap();
    assert!(!store.is_valid(&accessor).await);
    store.backend.close().await.unwrap();
    let (path, value) = (secret_path(), SecretValue::from("late"));
    let (read, written, health) = tokio::join!(
        store.read(),
        store.backend.put(&path, value, PutOptions::new()),
        store.backend.health(),
    );
    let errors = [read.unwrap_err(), written.unwrap_err(), health.unwrap_err()];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Closed), "{errors:?}");
    assert_eq!(store.successes("auth/token/revoke-self"), 1);
    assert_eq!(store.successes(LOGIN), 1);
}

#[tokio::test]
async fn closing_an_unused_backend_sends_no_requests() {
    let store = Store::new().await;
    let before = store.audit.entries().len();
    store.backend.close().await.unwrap();
    assert_eq!(store.audit.entries().len(), before);
}

#[tokio::test]
async fn requests_in_flight_at_close_succeed() {
    let (store, proxy) = Store::behind_a_proxy().await;
    store.read().await.unwrap();
    let accessor = store.accessor();
    proxy.stall();
    // `join` polls the reads first: each is in flight or waits for a connection when `close` begins.
    let reads = join_all((0..20).map(|_| store.read()));
    let closing = async {
        let mut closing = pin!(store.backend.close());
        let result = timeout(Duration::from_millis(200), closing.as_mut()).await;
        result.expect_err("`close` waits for requests in flight");
        proxy.pass();
        closing.await
    };
    let (reads, closed) = join(reads, closing).await;
    closed.unwrap();
    for read in reads {
        assert_eq!(read.unwrap().expose_text().unwrap(), VALUE);
    }
    assert!(!store.is_valid(&accessor).await);
    let entries = store.audit.entries();
    let responses = |path: &'static str| {
        let is_response =
            move |entry: &Value| entry["type"] == "response" && entry["request"]["path"] == path;
        entries.iter().enumerate().filter(move |(_, entry)| is_response(entry)).map(|(at, _)| at)
    };
    let revoked = responses("auth/token/revoke-self").next().expect("a revocation");
    assert!(responses(DATA).all(|read| read < revoked), "revoked while in use");
}
