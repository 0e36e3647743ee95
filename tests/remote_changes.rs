//! The cache and the handles of a client see what others write to the store of its server, without asking again.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use strongroom::access::{Access, AccessConfig, NewToken, Scope, TenantName};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::remote::{BearerToken, RemoteBackend, RemoteConfig};
use strongroom::{ReadPolicy, SecretsManager};
use strongroom_server::{Server, ServerConfig};
use strongroom_testkit::report;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3_600);
/// How long a test waits for what has to come, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const SAMPLES: usize = 25;

/// A server with its store and rules in a folder, as a process has them.
struct Running {
    address: SocketAddr,
    access: Access,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn open_store(folder: &Path) -> NativeBackend {
    let mut config = NativeConfig::new(KeySource::KeyFile(folder.join("store.key")));
    config.path = Some(folder.join("store.db"));
    NativeBackend::open(config).await.unwrap()
}

fn policy() -> ReadPolicy {
    ReadPolicy::new().cache_ttl(HOUR).negative_ttl(HOUR).watch_interval(HOUR)
}

impl Running {
    async fn start(folder: &Path, port: u16) -> Self {
        let secrets = SecretsManager::with_policy(open_store(folder).await, policy());
        let access = AccessConfig::new(folder.join("access.db"), folder.join("access.key"));
        let access = access.single_tenant(TenantName::parse("acme").unwrap());
        let access = Access::open(access).await.unwrap();
        let mut config = ServerConfig::new();
        config.listen.set_port(port);
        let server = Server::bind(config, secrets, access.clone()).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            // A dropped sender stops it, too.
            let _ = stopped.await;
        }));
        Self { address, access, stop, task }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        timeout(LIMIT, self.task).await.unwrap().unwrap();
    }

    async fn client(&self) -> SecretsManager {
        let end = SystemTime::now() + HOUR;
        let new = NewToken::new([Scope::parse("secrets:read").unwrap()], end, "a test");
        let rules = self.access.administrator("test", &TenantName::parse("acme").unwrap()).unwrap();
        let (_, token) = rules.issue_token(new).await.unwrap();
        let url = format!("http://{}", self.address);
        let config = RemoteConfig::new(url, BearerToken::Text(token));
        SecretsManager::with_policy(RemoteBackend::open(config).await.unwrap(), policy())
    }
}

async fn wait_for(secrets: &SecretsManager, path: &str, value: &str) {
    let begin = Instant::now();
    loop {
        let read = secrets.get(path).await;
        if read.is_ok_and(|secret| secret.expose_text().unwrap() == value) {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "the client does not see the change");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_what_others_write_and_how_late_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), 0).await;
    let other = SecretsManager::with_backend(open_store(folder.path()).await);
    other.put("a", "none").await.unwrap();
    let client = server.client().await;
    wait_for(&client, "a", "none").await;
    // What is not there is remembered, too.
    assert!(client.get("later").await.is_err());
    let mut handle = client.watch("a").await.unwrap();
    let mut delays = Vec::new();
    for number in 0..SAMPLES {
        sleep(Duration::from_millis(u64::try_from(number * 7 % 50).unwrap())).await;
        let value = number.to_string();
        other.put("a", value.as_str()).await.unwrap();
        let written = Instant::now();
        wait_for(&client, "a", &value).await;
        delays.push(written.elapsed());
        timeout(LIMIT, handle.changed()).await.unwrap().unwrap();
    }
    other.put("later", "now").await.unwrap();
    wait_for(&client, "later", "now").await;
    delays.sort();
    let [median, late] = [50, 99].map(|percent| delays.get(SAMPLES * percent / 100));
    report(format_args!("over a server: p50 {median:?}, p99 {late:?}, of {SAMPLES}"));
    client.close().await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_misses_nothing_while_its_server_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), 0).await;
    let other = SecretsManager::with_backend(open_store(folder.path()).await);
    other.put("a", "before").await.unwrap();
    let client = server.client().await;
    wait_for(&client, "a", "before").await;
    let port = server.address.port();
    server.stop().await;
    other.put("a", "meanwhile").await.unwrap();
    let server = Running::start(folder.path(), port).await;
    wait_for(&client, "a", "meanwhile").await;
    other.put("a", "after").await.unwrap();
    wait_for(&client, "a", "after").await;
    client.close().await.unwrap();
    server.stop().await;
}
