//! How often the backend logs in, and how sessions end, on a real server.
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
const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOGIN: &str = "auth/approle/login";
const MOUNT: &str = "sys/internal/ui/mounts/secret";
const KEPT: &str = "secret/data/logins/kept";
const VALUE: &str = "hello";

fn kept() -> SecretPath {
    SecretPath::parse("logins/kept").unwrap()
}

/// A server with a secret, and a backend for a role of it.
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
            let made = proxy.insert(Proxy::new(upstream));
            config.address = format!("http://{}", made.address());
        })
        .await;
        (store, proxy.unwrap())
    }

    async fn new() -> Self {
        Self::with(ApproleOptions::default(), |_, _| {}).await
    }

    async fn with(
        options: ApproleOptions<'_>,
        change: impl FnOnce(&Server, &mut HashicorpConfig),
    ) -> Self {
        let server = Server::dev().await;
        server.enable_approle("approle").await;
        let data = json!({ "data": { "value": VALUE } });
        server.admin("POST", KEPT, Some(data)).await;
        let made = server.approle(&options).await;
        let auth = AppRole::new(made.role_id, SecretId::Text(made.secret_id.into()));
        let mut config = HashicorpConfig::new(server.address(), auth);
        change(&server, &mut config);
        let audit = server.enable_audit().await;
        Self { server, audit, backend: Arc::new(HashicorpBackend::open(config).unwrap()) }
    }

    async fn read(&self) -> Result<Secret> {
        self.backend.get(&kept(), &VersionSelector::Active).await
    }

    /// Reads from many tasks at once.
    async fn read_at_once(&self) {
        let reads = (0..READERS).map(|_| {
            let backend = Arc::clone(&self.backend);
            tokio::spawn(async move { backend.get(&kept(), &VersionSelector::Active).await })
        });
        for read in join_all(reads.collect::<Vec<_>>()).await {
            assert_eq!(read.unwrap().unwrap().expose_text().unwrap(), VALUE);
        }
    }

    fn answered(&self, path: &str) -> usize {
        self.audit.answered(path).len()
    }

    /// The accessor of the token that the last login gave.
    fn accessor(&self) -> Value {
        let logins = self.audit.answered(LOGIN);
        logins.last().expect("a login")["response"]["auth"]["accessor"].clone()
    }

    async fn lookup(&self, accessor: &Value) -> (u16, Value) {
        let body = json!({ "accessor": accessor });
        self.server.call("POST", "auth/token/lookup-accessor", Some(body)).await
    }

    async fn is_alive(&self, accessor: &Value) -> bool {
        self.lookup(accessor).await.0 == 200
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "not in time: {what}");
        sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_first_reads_cause_one_login() {
    let store = Store::new().await;
    store.read_at_once().await;
    assert_eq!(store.answered(LOGIN), 1);
    report(format!("{READERS} first reads: 1 login, {} mount look-ups", store.answered(MOUNT)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reads_with_a_revoked_token_cause_one_more() {
    let store = Store::new().await;
    store.read().await.unwrap();
    let body = json!({ "accessor": store.accessor() });
    store.server.admin("POST", "auth/token/revoke-accessor", Some(body)).await;
    let before = store.answered(MOUNT);
    store.read_at_once().await;
    assert_eq!(store.answered(LOGIN), 2);
    let looked_up = store.answered(MOUNT) - before;
    report(format!("{READERS} reads, token revoked: 1 login, {looked_up} mount look-ups"));
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_the_login_to_the_next() {
    let (store, proxy) = Store::behind_a_proxy().await;
    proxy.stall();
    let backend = Arc::clone(&store.backend);
    let reader = tokio::spawn(async move { backend.get(&kept(), &VersionSelector::Active).await });
    until("the login is under way", || proxy.connections() > 0).await;
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
    proxy.pass();
    assert_eq!(store.read().await.unwrap().expose_text().unwrap(), VALUE);
    assert_eq!(store.answered(LOGIN), 1);
    assert_eq!(proxy.connections(), 1, "the login went on, on its connection");
}

#[test]
fn a_backend_outlives_the_runtime_it_was_first_used_in() {
    let store = Runtime::new().unwrap().block_on(async {
        let options =
            ApproleOptions { token_ttl: Duration::from_secs(4), ..ApproleOptions::default() };
        let margin = Duration::from_secs(2);
        let store = Store::with(options, |_, config| config.renew_margin = margin).await;
        store.read().await.unwrap();
        store
    });
    Runtime::new().unwrap().block_on(async {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(6) {
            assert_eq!(store.read().await.unwrap().expose_text().unwrap(), VALUE);
            sleep(LOOK_EVERY * 5).await;
        }
        assert!(store.answered("auth/token/renew-self") > 0, "the token is renewed");
        assert_eq!(store.answered(LOGIN), 1);
        let accessor = store.accessor();
        store.backend.close().await.unwrap();
        assert!(!store.is_alive(&accessor).await);
    });
}

#[tokio::test]
async fn a_backend_that_is_dropped_leaves_no_task() {
    let store = Store::new().await;
    let metrics = Handle::current().metrics();
    let tasks = || metrics.num_alive_tasks();
    let before = tasks();
    store.read_at_once().await;
    assert!(tasks() > before, "a token is kept alive by a task");
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
    assert!(store.is_alive(&accessor).await);
    store.backend.close().await.unwrap();
    assert!(!store.is_alive(&accessor).await);
    store.backend.close().await.unwrap();
    let (path, value) = (kept(), SecretValue::from("late"));
    let (read, written, health) = tokio::join!(
        store.read(),
        store.backend.put(&path, value, PutOptions::new()),
        store.backend.health(),
    );
    let errors = [read.unwrap_err(), written.unwrap_err(), health.unwrap_err()];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Closed), "{errors:?}");
    assert_eq!(store.answered("auth/token/revoke-self"), 1);
    assert_eq!(store.answered(LOGIN), 1);
}

#[tokio::test]
async fn closing_what_never_logged_in_asks_the_store_nothing() {
    let store = Store::new().await;
    let before = store.audit.entries().len();
    store.backend.close().await.unwrap();
    assert_eq!(store.audit.entries().len(), before);
}

#[tokio::test]
async fn requests_under_way_at_close_end_well() {
    let (store, proxy) = Store::behind_a_proxy().await;
    store.read().await.unwrap();
    let accessor = store.accessor();
    proxy.stall();
    // Readers are asked first: each has sent, or waits for a connection, when `close` begins.
    let reads = join_all((0..20).map(|_| store.read()));
    let closing = async {
        let mut closing = pin!(store.backend.close());
        let waits = timeout(Duration::from_millis(200), closing.as_mut()).await;
        waits.expect_err("`close` waits for requests under way");
        proxy.pass();
        closing.await
    };
    let (reads, closed) = join(reads, closing).await;
    closed.unwrap();
    for read in reads {
        assert_eq!(read.unwrap().expose_text().unwrap(), VALUE);
    }
    assert!(!store.is_alive(&accessor).await);
    let entries = store.audit.entries();
    let answers = |path: &'static str| {
        let is_answer =
            move |entry: &Value| entry["type"] == "response" && entry["request"]["path"] == path;
        entries.iter().enumerate().filter(move |(_, entry)| is_answer(entry)).map(|(at, _)| at)
    };
    let revoked = answers("auth/token/revoke-self").next().expect("it is revoked");
    assert!(answers(KEPT).all(|read| read < revoked), "revoked while in use");
}
